"""Time series: numbers over time, in the units of the data."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from lightning_genae.data.modalities._modality import Modality
from lightning_genae.data.storage import to_float


@dataclass(frozen=True, eq=False)
class Series(Modality):
    """Series (C, 1, L), scaled to [-1, 1] by the range of the training data, stored as float32.

    Args:
        channels: names of the C channels, without the mask.
        centre: (C,), in the data's units, which becomes 0.
        half_range: (C,), in the data's units; centre + half_range becomes 1.
    """

    channels: tuple[str, ...] = ()
    centre: np.ndarray | float = 0.0
    half_range: np.ndarray | float = 1.0

    item_name = "sequences"
    is_sequence = True

    def default_features(self, num_classes: int, num_values: int) -> tuple[str, ...]:
        return ("rocket",)

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Values (..., C) in the data's units, scaled."""
        return (values - self.centre) / self.half_range

    def inverse_transform(self, images: Tensor) -> np.ndarray:
        """Series (N, L, C) in the data's units, with NaN beyond an end."""
        values = images.detach().float().cpu().squeeze(2).transpose(1, 2).numpy()
        if not self.has_mask:
            return values * self.half_range + self.centre
        present = np.cumprod(values[..., -1:] > 0, axis=1).astype(bool)
        return np.where(present, values[..., :-1] * self.half_range + self.centre, np.nan)

    def draw(
        self,
        path: Path,
        images: Tensor,
        num_columns: int,
        rows: tuple[str, ...] = ("",),
        titles: tuple[str, ...] = (),
        behind: Tensor | None = None,
    ) -> Path:
        from lightning_genae.data.drawing.lines import save_lines

        return save_lines(path, self.inverse_transform(images), num_columns, self.channels, rows, titles)

    def write(self, stem: Path, samples: Tensor) -> dict[Path, str]:
        """A picture, the series (N, L, C) in an .npz and, as `--data timeseries` reads them, in a CSV."""
        picture, table, numbers = (stem.with_suffix(suffix) for suffix in (".png", ".csv", ".npz"))
        self.draw(picture, to_float(samples), num_columns=max(1, round(len(samples) ** 0.5)))
        series = self.inverse_transform(samples)
        np.savez_compressed(numbers, sequences=series)
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["series", "step", *self.channels])
            for i, steps in enumerate(series):
                writer.writerows([i, step, *row] for step, row in enumerate(steps) if not np.isnan(row).any())
        return {picture: "a picture", table: "a row a step", numbers: f"'sequences', {series.dtype} (N, L, C)"}
