"""Rows of a table from a CSV: columns of numbers without an order, and classes from a column."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse.typing import OpenUnitInterval

from datamodules._base import ImageDataModule, split_off
from datamodules._read_series import LARGEST, column, numbers, read_rows
from lightning_genae.data.dataset import Images
from lightning_genae.data.modalities.table import Table

MARGIN = 1.25  # the training data span this part of [-1, 1]: what is held out, or generated, may reach beyond


class TableDataModule(ImageDataModule):
    """Rows of numbers, each column scaled to [-1, 1] by what the training data span, undone in all that is shown.

    Use `--model.network mlp`: columns have no order that a convolution could use.

    Args:
        root: a CSV in UTF-8, with or without a header.
        columns: to be modelled, by name, or by number from 0: `width,height`. null: all except the label.
        label: the column with the class of a row, as any text. null: rows have no classes.
        heldout: fraction of the rows that is held out, always the same ones, in (0, 1).
    """

    modality = Table()

    def __init__(
        self,
        root: str,
        columns: list[str] | str | None = None,
        label: str | None = None,
        heldout: OpenUnitInterval = 0.2,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.root = root
        self.columns = columns.split(",") if isinstance(columns, str) else columns
        self.label = label
        self.heldout_fraction = heldout

    def load(self) -> tuple[Images, Images, int]:
        path = Path(self.root)
        if not path.is_file():
            raise FileNotFoundError(f"--data.root: expected a CSV, got '{path}', which is no file")
        names, rows = read_rows(path)
        by = None if self.label is None else column(names, self.label, "--data.label")
        chosen = [i for i in range(len(names)) if i != by]
        if self.columns is not None:
            chosen = [column(names, name, "--data.columns") for name in self.columns]
        self._check_label(by, chosen, names, rows)
        values = numbers(path, names, rows, chosen)
        self._check(values, [names[i] for i in chosen], rows)
        of_rows = [] if by is None else [row[by] for _, row in rows]
        classes = sorted(set(of_rows))
        labels = torch.tensor([classes.index(name) for name in of_rows] or [0] * len(rows))
        num_heldout = round(len(rows) * self.heldout_fraction)
        if not 2 <= num_heldout <= len(rows) - 2:
            raise ValueError(
                f"--data.heldout: expected at least 2 rows to hold out and 2 to train on; got a fraction of "
                f"{self.heldout_fraction} of {len(rows)} rows in '{path}'"
            )
        sides = split_off(Images(torch.arange(len(rows)), labels), num_heldout, seed=0)
        low, high = (of(values[sides[0].images.numpy()], 0) for of in (np.min, np.max))
        half = (high - low) / 2
        self.modality = Table(
            columns=tuple(names[i] for i in chosen),
            centre=(low + high) / 2,
            half_range=np.where(half > 0, half, 1) * MARGIN,
        )
        images = torch.from_numpy(self.modality.transform(values)).float()[:, :, None, None]
        train, heldout = (Images(images[side.images], side.labels) for side in sides)
        return train, heldout, len(classes)

    def _check_label(
        self, by: int | None, chosen: list[int], names: list[str], rows: list[tuple[int, list[str]]]
    ) -> None:
        """Raises ValueError if the label is also a column to be modelled, or a row has none."""
        if by in chosen:
            raise ValueError(
                f"--data.columns: expected other columns than the label (--data.label); got '{names[by]}' as both"
            )
        empty = [] if by is None else [line for line, row in rows if not row[by].strip()]
        if empty:
            raise ValueError(
                f"--data.root: '{self.root}', line {empty[0]}: expected a class in column '{self.label}', got an empty "
                f"cell ({len(empty)} such rows in all); fill them or drop their rows"
            )

    def _check(self, values: np.ndarray, names: list[str], rows: list[tuple[int, list[str]]]) -> None:
        """Raises ValueError for cells without a finite number, and for constant columns."""
        wrong = np.argwhere(~(np.abs(values) <= LARGEST))
        if len(wrong):
            row, i = wrong[0]
            raise ValueError(
                f"--data.root: '{self.root}', line {rows[row][0]}: expected a finite number in column '{names[i]}', "
                f"got {values[row, i]} ({len(wrong)} such cells in all); fill them, drop their rows, or choose other "
                "--data.columns"
            )
        constant = np.flatnonzero(values.min(0) == values.max(0))
        if len(constant):
            raise ValueError(
                f"--data.root: expected columns that vary, got {values[0, constant[0]]} in every row of column "
                f"'{names[constant[0]]}'; choose others by --data.columns"
            )
