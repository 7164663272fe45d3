"""Rows of a table: numbers without an order, each column in its unit."""

import csv
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_genae.data.drawing.grids import save_scatter
from lightning_genae.data.modalities._modality import Modality

MAX_PANELS = 6  # pairs of columns that a picture shows


@dataclass(frozen=True, eq=False)
class Table(Modality):
    """Rows of C columns, as images (C, 1, 1), scaled to [-1, 1] by the range of the training data; stored as float32.

    Args:
        columns: names of the C columns.
        centre: (C,), in the data's units, which becomes 0.
        half_range: (C,), in the data's units; centre + half_range becomes 1.
    """

    columns: tuple[str, ...] = ()
    centre: np.ndarray | float = 0.0
    half_range: np.ndarray | float = 1.0

    item_name = "rows"
    is_drawn_together = True

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Values (N, C) in the data's units, scaled."""
        return (values - self.centre) / self.half_range

    def inverse_transform(self, images: Tensor) -> np.ndarray:
        """Rows (N, C) in the data's units."""
        return images.detach().float().cpu().flatten(1).numpy() * self.half_range + self.centre

    def draw(
        self,
        path: Path,
        images: Tensor,
        num_columns: int,
        rows: tuple[str, ...] = ("",),
        titles: tuple[str, ...] = (),
        behind: Tensor | None = None,
    ) -> Path:
        """Scatter plots of pairs of columns; for a single column its values in ascending order."""
        sets, names = [images] if behind is None else [images, behind], self.columns
        sets = [torch.from_numpy(self.inverse_transform(part)) for part in sets]
        if len(names) == 1:
            sets, names = [_ranked(part) for part in sets], ("fraction of the rows", *names)
        pairs = list(combinations(range(len(names)), 2))[:MAX_PANELS]
        panels = {f"{names[b]} over {names[a]}": (sets[0][:, [a, b]], None) for a, b in pairs}
        behinds = None if behind is None else [sets[1][:, [a, b]] for a, b in pairs]
        return save_scatter(path, panels, behind=behinds)

    def write(self, stem: Path, samples: Tensor) -> dict[Path, str]:
        """A picture, and a CSV that `--data table` reads."""
        picture, table = stem.with_suffix(".png"), stem.with_suffix(".csv")
        self.draw(picture, samples, num_columns=1)
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows(self.inverse_transform(samples).tolist())
        return {picture: "a picture", table: f"{len(samples)} rows"}


def _ranked(values: Tensor) -> Tensor:
    """Values (N, 1) in ascending order, each after the fraction of them that is not above it, (N, 2)."""
    return torch.cat([torch.linspace(0, 1, len(values)).to(values)[:, None], values.sort(0).values], 1)
