"""metrics.csv: one row per logging step, in every run, in addition to any other logger."""

import csv
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from lightning_genae.files import replacing, sync

log = logging.getLogger("lightning_genae")


class MetricsCsv(Logger):
    """Writes batches, images, epoch and every logged value; a resumed run drops the rows that it will log again.

    Args:
        path: of the file.
        progress: returns the batches, images and epochs so far.
        resumed_at: batches of the checkpoint that a run goes on from.
    """

    name = version = None

    def __init__(self, path: Path, progress: Callable[[], dict[str, int]], resumed_at: int = 0):
        super().__init__()
        self.path = Path(path)
        self.progress = progress
        self.resumed_at = resumed_at
        self.row: dict | None = None  # the last row; earlier rows are only in the file
        self.columns: list[str] = []
        self.row_at: int | None = None  # offset of the last row in the file; None: it is not written yet

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        # Lightning adds its count of epochs, which may restart in a resumed run
        metrics = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        progress = self.progress()
        if self.row is None and self.path.exists():
            self._resume()
        if self.row is None or int(self.row["batches"]) != progress["batches"]:
            self.row, self.row_at = dict(progress), None
        self.row.update(metrics)
        self._write(self.row)

    def log_hyperparams(self, *args, **kwargs) -> None:
        """They are in config.yaml."""

    def sync(self) -> None:
        """Flushes all rows to the disk; a checkpoint saved afterwards relies on them."""
        if self.path.exists():
            sync(self.path)

    @rank_zero_only
    def check(self, batches_between_rows: int) -> None:
        """Warns if rows of the training so far are missing."""
        num = sum(int(row["batches"]) <= self.resumed_at for row in self._rows())
        if num < self.resumed_at // batches_between_rows:
            log.info(
                f"WARNING: '{self.path}' has {num} rows of the first {self.resumed_at:,} batches; expected "
                f"{self.resumed_at // batches_between_rows:,} or more; what they said is lost, the training is not"
            )

    def _resume(self) -> None:
        """Drops the rows after the checkpoint of an interrupted run; the row of the checkpoint is continued."""
        for row in self._rows():
            if int(row["batches"]) <= self.resumed_at:
                self.row, self.columns = row, list(row)
        self._rewrite()
        if self.row:
            self._write(self.row)

    def _write(self, row: dict) -> None:
        """Writes the last row over its earlier version; rewrites the file first if there is a new column."""
        columns = list(dict.fromkeys([*self.columns, *row]))
        if columns != self.columns:
            self.columns = columns
            self._rewrite()
            self.row_at = None
        with self.path.open("r+", newline="") as file:
            if self.row_at is None:
                self.row_at = file.seek(0, os.SEEK_END)
            file.seek(self.row_at)
            csv.DictWriter(file, columns).writerow(row)
            file.truncate()

    def _rows(self) -> Iterator[dict]:
        """The rows of the file, except those cut short by a kill or a full disk, which lack their last columns."""
        if not self.path.exists():
            return
        with self.path.open(newline="") as file:
            for row in csv.DictReader(file):
                if (row.get("batches") or "").isdecimal() and None not in row.values():
                    yield row

    def _rewrite(self) -> None:
        """Rewrites the file with the current columns, except for the current row."""
        with replacing(self.path) as unfinished, unfinished.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            current = int(self.row["batches"]) if self.row else 0
            writer.writerows(row for row in self._rows() if int(row["batches"]) < current)
