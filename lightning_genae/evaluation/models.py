"""What an evaluation uses of a model, as types; lightning_genae/models/__init__.py says what all of it means."""

from collections.abc import Iterator
from typing import Protocol, TypeGuard

from torch import Tensor, nn

from lightning_genae.data.storage import Placed


class Generative(Placed, Protocol):
    """A module that draws samples."""

    def sample(self, num: int, labels: Tensor | None = None, /) -> Tensor: ...

    def modules(self) -> Iterator[nn.Module]: ...

    def eval(self) -> nn.Module: ...


class Reconstructing(Placed, Protocol):
    """A model that reconstructs images."""

    def reconstruct(self, x: Tensor, /) -> Tensor: ...


class Encoding(Reconstructing, Protocol):
    """One that gives their latents, too."""

    def encode(self, x: Tensor, /) -> Tensor: ...


def reconstructs(model: object) -> TypeGuard[Reconstructing]:
    """Whether a model reconstructs images."""
    return hasattr(model, "reconstruct")


def encodes(model: object) -> TypeGuard[Encoding]:
    """Whether a model has latents of images; such models reconstruct, too (models/_contract.py)."""
    return hasattr(model, "encode")
