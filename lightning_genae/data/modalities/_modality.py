"""What every modality is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lightning_genae.data.sequences import valid

Loss = Literal["mse", "bce", "l1", "ce"]  # of a reconstruction; see lightning_genae/nn/losses.py
Likelihood = Literal["bernoulli", "gaussian", "categorical"]


@dataclass(frozen=True, eq=False)
class Modality:
    """What differs between one sort of data and another; all are tensors (C, H, W) in [-1, 1] to models.

    A data set builds it with its units; a model, which needs none, by `modalities.new`.

    Args:
        has_mask: items end at different places; the last channel, one more than the data have, is 1 where there is a
            value and -1 beyond, where all others are 0.

    Attributes:
        item_name: what several items are called.
        is_sequence: whether items go on in time, (C, 1, L).
        is_categorical: whether an item has one of C tokens at every place, 1 in its channel and -1 in the others.
        losses: reconstruction errors of decoders that suit it; the first one unless the user says otherwise.
        likelihoods: of values given a code, likewise.
        is_wave: whether an item is one channel that oscillates.
        has_units: whether items mean nothing to people without the units of their data set.
        is_drawn_together: whether all items are in one set of axes, so that no item has a picture of its own.
        layout: how many pairs of items a picture shows, and in how many columns.
    """

    has_mask: bool = False

    item_name: ClassVar[str]
    is_sequence: ClassVar[bool] = False
    is_categorical: ClassVar[bool] = False
    losses: ClassVar[tuple[Loss, ...]] = ("mse", "bce", "l1")
    likelihoods: ClassVar[tuple[Likelihood, ...]] = ("gaussian", "bernoulli")
    has_units: ClassVar[bool] = True
    is_wave = False
    is_drawn_together: ClassVar[bool] = False
    layout: ClassVar[tuple[int, int]] = (16, 8)

    @property
    def name(self) -> str:
        """The name of its file."""
        return type(self).__module__.rpartition(".")[2]

    def default_features(self, num_classes: int) -> str:
        """The extractor whose features are compared unless the user says otherwise.

        Args:
            num_classes: of the data, 0 without labels.
        """
        return "pixels"

    def as_stored(self, x: Tensor) -> Tensor:
        """Items (N, C, H, W) in [-1, 1] as a data set holds them: float32."""
        return x.float()

    def project(self, x: Tensor) -> Tensor:
        """Any values (N, C, H, W) as the nearest that can be: in [-1, 1], and 0 beyond the end of an item."""
        if not self.has_mask:
            return self.project_values(x)
        there = valid(x)[:, None, None].to(x.dtype)
        return torch.cat([self.project_values(x[:, :-1]) * there, 2 * there - 1], 1)

    def project_values(self, x: Tensor) -> Tensor:
        """`project` without regard to a mask."""
        return x.clamp(-1, 1)

    def bound(self, output: Tensor) -> Tensor:
        """A generator's output (N, C, H, W), without a bound, in [-1, 1]; differentiable."""
        return output.tanh()

    def apply_change(self, x: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Items (N, C, H, W) changed as others are from `before` to `after`; a little beyond [-1, 1]."""
        return x + (after - before)

    def inverse_transform(self, images: Tensor) -> Sequence:
        """What items (N, C, H, W), stored or in [-1, 1], are to people: in the units of their data set."""
        return images

    def fidelity(self, x: Tensor, x_hat: Tensor) -> dict[str, float]:
        """How like items their reconstructions (N, C, H, W) in [-1, 1] are, by name, beyond what all data have."""
        return {}

    def num_characters(self, images: Tensor) -> int | None:
        """Characters of stored items (N, C, H, W), by which likelihoods of text are compared; None of what has none."""
        return None

    def draw(
        self,
        path: Path,
        images: Tensor,
        num_columns: int,
        rows: tuple[str, ...] = ("",),
        titles: tuple[str, ...] = (),
        behind: Tensor | None = None,
    ) -> Path:
        """Writes items (N, C, H, W) in [-1, 1] as one PNG, and beside it what a PNG cannot hold.

        Args:
            path: of the PNG.
            num_columns: items in a row.
            rows: what the rows show, by turns.
            titles: of the columns.
            behind: stored real items, which a picture of all items shows in grey.
        """
        raise NotImplementedError

    def write(self, stem: Path, samples: Tensor) -> dict[Path, str]:
        """Writes stored items (N, C, H, W) as a picture and as other programs read them.

        Args:
            stem: path of the files without their endings.

        Returns:
            what each file holds, by its path.
        """
        raise NotImplementedError
