"""The base class of modalities."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from lightning_genae.data.sequences import valid

Loss = Literal["mse", "bce", "l1", "ce"]  # of a reconstruction; see lightning_genae/nn/losses.py
Likelihood = Literal["bernoulli", "gaussian", "categorical"]


@dataclass(frozen=True, eq=False)
class Modality:
    """Everything that differs between kinds of data; for models all are tensors (C, H, W) in [-1, 1].

    A data set builds it with units; a model, which needs none, by `modalities.new`.

    Args:
        has_mask: items end at different positions; an additional last channel is 1 where there is a value and -1
            beyond, where all others are 0.

    Attributes:
        item_name: plural name of items.
        is_sequence: whether items extend over time, (C, 1, L).
        is_categorical: whether an item has one of C tokens at every position, 1 in its channel and -1 in the others.
        losses: reconstruction errors that suit it; the first is the default.
        likelihoods: of values given latents; the first is the default.
        is_wave: whether an item is a wave, a single oscillating channel.
        has_units: whether people need the units of the data set to read items.
        is_drawn_together: whether a picture shows all items in the same axes.
        layout: numbers of pairs of items and of columns in a picture.
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

    def default_features(self, num_classes: int, num_values: int) -> tuple[str, ...]:
        """Names of extractors of the features that are compared; the first one that is installed is the default.

        Args:
            num_classes: of the data, 0 without labels.
            num_values: of an item.
        """
        return ("pixels",)

    def as_stored(self, x: Tensor) -> Tensor:
        """Items (N, C, H, W) in [-1, 1] as a data set stores them: float32."""
        return x.float()

    def project(self, x: Tensor) -> Tensor:
        """The nearest valid values (N, C, H, W) to any values: in [-1, 1], and 0 beyond the end of an item."""
        if not self.has_mask:
            return self.project_values(x)
        present = valid(x)[:, None, None].to(x.dtype)
        return torch.cat([self.project_values(x[:, :-1]) * present, 2 * present - 1], 1)

    def project_values(self, x: Tensor) -> Tensor:
        """`project` without regard to a mask."""
        return x.clamp(-1, 1)

    def bound(self, output: Tensor) -> Tensor:
        """An unbounded output (N, C, H, W) of a generator, mapped to [-1, 1]; differentiable."""
        return output.tanh()

    def apply_change(self, x: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Items (N, C, H, W) plus the change from `before` to `after`; may slightly exceed [-1, 1]."""
        return x + (after - before)

    def inverse_transform(self, images: Tensor) -> Any:
        """Items (N, C, H, W), stored or in [-1, 1], in the units of their data set: N texts, or an array or tensor."""
        return images

    def fidelity(self, x: Tensor, x_hat: Tensor) -> dict[str, float]:
        """Measures of reconstructions (N, C, H, W) in [-1, 1] beyond those of all modalities, by name."""
        return {}

    def num_characters(self, images: Tensor) -> int | None:
        """Number of characters in stored items (N, C, H, W), to compare likelihoods of text; None if not text."""
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
        """Writes items (N, C, H, W) in [-1, 1] as one PNG, with more files for what a PNG cannot show.

        Args:
            path: of the PNG.
            images: (N, C, H, W) in [-1, 1].
            num_columns: items in a row.
            rows: labels of the rows, repeated in turn.
            titles: of the columns.
            behind: stored real items, which a picture of all items shows in grey.
        """
        raise NotImplementedError

    def write(self, stem: Path, samples: Tensor) -> dict[Path, str]:
        """Writes stored items (N, C, H, W) as a picture and in formats that other programs read.

        Args:
            stem: path of the files without their suffixes.
            samples: stored items (N, C, H, W).

        Returns:
            the description of each file, by its path.
        """
        raise NotImplementedError
