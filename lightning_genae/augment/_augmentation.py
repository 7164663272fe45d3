"""The base class of augmentations."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from lightning_genae.data.dataset import Dataset
from lightning_genae.data.modalities import Modality

Side = Literal["data", "critic", "generator"]


class Augmentation(nn.Module):
    """An augmentation of images in [-1, 1].

    By default all augmentations vary the same fraction of the images, so that a comparison is about how they vary
    them: 0.5 on the data, 0.7 on the critic (chosen for autoencoders by benchmarks/low_data.py).

    Attributes:
        apply_to: data, critic or generator, unless the user says otherwise; see `preferred_sides`.
        fractions: what it can be applied to, and the default fraction of the images that it varies there; an
            augmentation that is not differentiable can be applied to the data only. On the generator it varies no
            image, but adds `matching` to the generator's loss.
        shows: whether its variations differ from the images, so that the quality report has something to measure.
        modalities: names of the modalities that it supports. None: all of them.
        target: of the overfitting signal, for an augmentation whose fraction adapts by default. None: it does not.
        side: what it is applied to, once that is chosen, which is before `check`.
        strength: of its variations, 0 for none, if it has one; the quality report then covers a grid of it.
    """

    apply_to: Side = "data"
    fractions: Mapping[Side, float] = MappingProxyType({"data": 0.5, "critic": 0.7})
    shows = True
    modalities: ClassVar[tuple[str, ...] | None] = None
    target: float | None = None
    side: Side | None = None
    strength: float

    @property
    def autocasts(self) -> bool:
        """Whether it computes in the precision of the run where that is mixed."""
        return True

    def preferred_sides(self, modality: Modality) -> tuple[Side, ...]:
        """What it is applied to unless the user says otherwise: the first of these that the model has."""
        return (self.apply_to,)

    def check(self, dataset: Dataset) -> None:
        """Checks the data before anything is trained.

        Raises:
            ValueError: the augmentation cannot work with this data.
        """

    def fit(self, dataset: Dataset, **trainer_options: Any) -> None:
        """Learns what the augmentation needs.

        Args:
            dataset: only `dataset.train` may be used.
            trainer_options: options of Lightning's Trainer, such as accelerator and callbacks.

        Raises:
            ValueError: it cannot be learnt from this data.
        """

    def vary(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """A variation (B, C, H, W) of every image (B, C, H, W) in [-1, 1], of classes (B,); None: not used."""
        raise NotImplementedError

    def forward(self, images: Tensor, labels: Tensor | None, fraction: float) -> Tensor:
        """The images (B, C, H, W) in [-1, 1], of which a fraction in [0, 1], drawn at random, is varied."""
        chosen = draw_fraction(images, fraction)
        if len(chosen) == 0:
            return images
        labels = None if labels is None else labels[chosen]
        # images in float32, whatever the model's precision: what is added to them may be less than bfloat16 resolves
        with nullcontext() if self.autocasts else torch.autocast(images.device.type, enabled=False):
            varied = self.vary(images[chosen].float(), labels)
        return images.index_copy(0, chosen, varied.to(images.dtype))

    def fit_matching(self, dataset: Dataset) -> None:
        """Learns what `matching` needs from `dataset.train` alone, after `fit`, if it is applied to the generator."""

    def matching(self, images: Tensor) -> Tensor:
        """What generated images (B, C, H, W) in [-1, 1] add to the generator's loss, a scalar."""
        raise NotImplementedError

    def matching_quality(self, dataset: Dataset, extractor: Callable[[Tensor], Tensor]) -> dict[str, float | str]:
        """Measures of what `matching` compares, by name, as `quality` gives those of variations; empty for many."""
        return {}

    def matching_state(self) -> dict[str, Tensor]:
        """What `matching` changes by being called, which a resumed training goes on with; nothing for many."""
        return {}

    def set_matching_state(self, state: dict[str, Tensor]) -> None:
        """Sets what `matching_state` gave."""

    def settings(self) -> dict[str, object]:
        """Values of the options that were left open and resolved later; empty for most augmentations."""
        return {}

    def quality(
        self, dataset: Dataset, extractor: Callable[[Tensor], Tensor], images: Tensor, real: Tensor
    ) -> dict[str, float | str]:
        """Measures of the augmentation beyond those of its variations, by name; empty for most augmentations.

        Args:
            dataset: of the images.
            extractor: of the features, from stored images (N, C, H, W) to (N, d).
            images: stored training images (N, C, H, W).
            real: features (M, d) of validation images.
        """
        return {}


def draw_fraction(images: Tensor, fraction: float) -> Tensor:
    """Indices of a random fraction of the images (B, C, H, W), rounded at random so that its mean is exact.

    Even a small batch then has the right fraction on average.
    """
    num = int(fraction * len(images) + torch.rand(()).item())
    return torch.randperm(len(images), device=images.device)[:num]
