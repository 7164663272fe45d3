"""metrics.csv: a row a logging step, in every run, whatever other logger there is."""

import csv
import math
import os
from collections.abc import Callable
from pathlib import Path

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only


class MetricsCsv(Logger):
    """Writes batches, images, epoch and every logged value; a resumed run drops what it will log again.

    Args:
        path: of the file.
        progress: tells the batches, images and epochs so far.

    Raises:
        FloatingPointError: a value is not finite; it is written first.
    """

    name = version = None

    def __init__(self, path: Path, progress: Callable[[], dict[str, int]]):
        super().__init__()
        self.path = Path(path)
        self.progress = progress
        self.rows: list[dict] = []
        self.columns: list[str] = []
        self.num_written = self.last_row_at = 0

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        # Lightning adds its own count of epochs, which a resumed run may begin anew
        metrics = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        progress = self.progress()
        if not self.rows and self.path.exists():
            self._resume(progress["batches"])
        if not self.rows or int(self.rows[-1]["batches"]) != progress["batches"]:
            self.rows.append(progress)
        self.rows[-1].update(metrics)
        self._write()
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise FloatingPointError(f"{name} is {value} after {progress['batches']} batches")

    def log_hyperparams(self, *args, **kwargs) -> None:
        """They are in config.yaml."""

    def _resume(self, batches: int) -> None:
        """Reads what an interrupted run wrote, up to where this one begins to log."""
        with self.path.open(newline="") as file:
            reader = csv.DictReader(file)
            self.rows = [row for row in reader if int(row["batches"]) < batches]
            self.columns = list(reader.fieldnames)
        self._write_all(self.rows)

    def _write(self) -> None:
        """Writes the last row, over its earlier form, or the whole file where there is a new column."""
        columns = list(dict.fromkeys([*self.columns, *self.rows[-1]]))
        if columns != self.columns:
            self.columns = columns
            self._write_all(self.rows[:-1])
        with self.path.open("r+", newline="") as file:
            if len(self.rows) != self.num_written:
                self.last_row_at, self.num_written = file.seek(0, os.SEEK_END), len(self.rows)
            file.seek(self.last_row_at)
            csv.DictWriter(file, columns).writerow(self.rows[-1])
            file.truncate()

    def _write_all(self, rows: list[dict]) -> None:
        unfinished = self.path.with_suffix(".unfinished")
        with unfinished.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(unfinished, self.path)
        self.num_written = len(rows)
