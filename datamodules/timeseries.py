"""Time series from a CSV, .npy or .npz: many, or one long series cut into windows; by default El Nino temperatures."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse.typing import OpenUnitInterval, PositiveInt
from torch import Tensor

from datamodules._base import split_off
from datamodules._read_series import check, read_arrays, read_csv
from datamodules._sequences import SequenceDataModule
from lightning_genae.data.dataset import Images
from lightning_genae.data.modalities.series import Series

log = logging.getLogger("lightning_genae")
MARGIN = 1.25  # the training data span this part of [-1, 1]: what is held out, or generated, may reach beyond
Window = tuple[np.ndarray, tuple[int, int, int]]  # values (L, C), and where they were cut from, a row of `places`


class TimeSeriesDataModule(SequenceDataModule):
    """Series with one or more channels, scaled to [-1, 1] by what the training data span, undone in all that is shown.

    A file holds one long series, whose windows are the data and whose last part is held out, or many series, of which
    some are held out. Series of different lengths are padded, and a mask shows where they end.

    Args:
        root: a file, .csv, .npy or .npz. An array of one or two dimensions, (length, channels), is a long series, an
            array of three, (num, length, channels), holds many. NaN at the end of a series are cut off. Several arrays
            in an .npz are one series each. A CSV in UTF-8 has one column per channel, with or without a header. null:
            monthly sea surface temperatures of El Nino, 1950 to 2010, in degrees Celsius (from statsmodels).
        columns: those of a CSV that are channels, by name, or by number from 0: `up,down`. null: all except `series`.
        series: the column of a CSV that identifies the series. null: `series` if it exists, as in the samples that this
            project writes, and then `step` is not a channel either; otherwise all rows are one long series.
        window: steps of a sequence; longer ones of many are cut. null: 24 for a long series, and as many as the longest
            has for many.
        stride: steps from one window to the next.
        heldout: fraction that is held out: the last part of a long series, or some of many, drawn at random.
    """

    modality: Series

    def __init__(
        self,
        root: str | None = None,
        columns: list[str] | str | None = None,
        series: str | None = None,
        window: PositiveInt | None = None,
        stride: PositiveInt = 1,
        heldout: OpenUnitInterval = 0.3,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if window == 1:
            raise ValueError("--data.window: expected at least 2 steps; got 1")
        self.root = root
        self.columns = columns.split(",") if isinstance(columns, str) else columns
        self.series = series
        self.window = window
        self.stride = stride
        self.heldout_fraction = heldout

    def load(self) -> tuple[Images, Images, int]:
        many, channels = self._read()
        check(many, self.root or "")
        sides = self._split_long(many[0]) if len(many) == 1 else self._split_many(many)
        train, heldout = ([values for values, _ in side] for side in sides)
        values = np.concatenate(train)
        low, high = values.min(0), values.max(0)
        half = (high - low) / 2
        length = max(len(series) for series in [*train, *heldout])
        self.modality = Series(
            has_mask=any(len(series) < length for series in [*train, *heldout]),
            channels=tuple(channels),
            centre=(low + high) / 2,
            half_range=np.where(half > 0, half, 1) * MARGIN,
        )
        places = [torch.tensor([origin for _, origin in side]) for side in sides]
        if any(len(part[:, 0].unique()) < len(part) for part in places):
            self.places = dict(zip(("pool", "heldout"), (part[_order(len(part))] for part in places)))
        return self._images(train, length), self._images(heldout, length), 0

    def _images(self, many: list[np.ndarray], length: int) -> Images:
        """Series (length_i, C) as they are stored, (N, C, 1, L), with a mask if they are of different lengths."""
        num_channels = len(self.modality.channels)
        stored = np.zeros((len(many), length, num_channels + self.modality.has_mask), np.float32)
        for series, row in zip(many, stored):
            row[: len(series), :num_channels] = self.modality.transform(series)
            if self.modality.has_mask:
                row[:, -1] = np.where(np.arange(length) < len(series), 1, -1)
        images = torch.from_numpy(stored).transpose(1, 2).unsqueeze(2)[_order(len(many))].contiguous()
        return Images(images, torch.zeros(len(many), dtype=torch.long))

    def _split_long(self, values: np.ndarray) -> tuple[list[Window], list[Window]]:
        """Windows of the first and of the last part of a series (length, C), which have no step in common."""
        window = self.window or 24
        border = round(len(values) * (1 - self.heldout_fraction))
        if min(border, len(values) - border) < window:
            raise ValueError(
                f"--data.window: expected at most the steps of the part that is held out and of the rest, "
                f"{len(values) - border} and {border}; got {window}"
            )
        return _cut(values[:border], window, self.stride), _cut(values[border:], window, self.stride)

    def _split_many(self, many: list[np.ndarray]) -> tuple[list[Window], list[Window]]:
        """The series, of which some are held out, those that are longer than the window cut into windows."""
        num = round(len(many) * self.heldout_fraction)
        if not 0 < num < len(many):
            raise ValueError(
                f"--data.heldout: expected a fraction that leaves some of {len(many)} series on either side"
            )
        index = Images(torch.arange(len(many)), torch.zeros(len(many), dtype=torch.long))
        window = self.window or max(map(len, many))
        longer = sum(len(series) > window for series in many)
        if longer:
            log.info(f"{longer} of {len(many)} series are longer than --data.window {window}: cut into windows")
        train, heldout = (
            [part for i in split.images.tolist() for part in _cut(many[i], window, self.stride, i)]
            for split in split_off(index, num, seed=0)
        )
        return train, heldout

    def _read(self) -> tuple[list[np.ndarray], list[str]]:
        """Series (length_i, C) in float64, and the names of their channels."""
        for option in ("columns", "series"):
            if getattr(self, option) is not None and not (self.root or "").lower().endswith(".csv"):
                raise ValueError(f"--data.{option}: expected with a .csv; got '{self.root or 'no --data.root'}'")
        if self.root is None:
            return [_el_nino()], ["temperature in °C"]
        path = Path(self.root)
        if not path.is_file():
            raise FileNotFoundError(f"--data.root: expected a file of series, got '{path}', which is none")
        suffix = path.suffix.lower()
        if suffix == ".csv":
            return read_csv(path, self.columns, self.series)
        if suffix not in (".npy", ".npz"):
            raise ValueError(f"--data.root: expected .csv, .npy or .npz; got '{path}'")
        many = read_arrays(path)
        return many, [f"channel {i}" for i in range(many[0].shape[1])]


def _cut(values: np.ndarray, window: int, stride: int, series: int = 0) -> list[Window]:
    """The windows of a series with this index; a series shorter than a window is one window."""
    starts = range(0, max(1, len(values) - window + 1), stride)
    return [(values[i : i + window], (series, i, min(i + window, len(values)))) for i in starts]


def _order(num: int) -> Tensor:
    """A random order, so that the first windows are not all from the same time."""
    return torch.randperm(num, generator=torch.Generator().manual_seed(0))


def _el_nino() -> np.ndarray:
    try:
        from statsmodels.datasets import elnino
    except ImportError as error:
        raise ImportError(
            '--data.root: the default series comes with statsmodels: pip install -e ".[sequences]", or give a file'
        ) from error
    return elnino.load_pandas().data.iloc[:, 1:].to_numpy(np.float64).reshape(-1, 1)
