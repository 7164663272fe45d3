"""metrics.csv: a row a logging step, in every run, whatever other logger there is."""

import csv
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lightning_genae.files import replacing, sync

log = logging.getLogger("lightning_genae")


class MetricsCsv(Logger):
    """Writes batches, images, epoch and every logged value; a resumed run drops what it will log again.

    Args:
        path: of the file.
        progress: tells the batches, images and epochs so far.
        resumed_at: batches of the checkpoint that a run goes on from.
    """

    name = version = None

    def __init__(self, path: Path, progress: Callable[[], dict[str, int]], resumed_at: int = 0):
        super().__init__()
        self.path = Path(path)
        self.progress = progress
        self.resumed_at = resumed_at
        self.row: dict | None = None  # the last one; those before it are in the file alone, however many
        self.columns: list[str] = []
        self.row_at: int | None = None  # where the last one begins in the file, once it is there

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        # Lightning adds its own count of epochs, which a resumed run may begin anew
        metrics = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        progress = self.progress()
        if self.row is None and self.path.exists():
            self._resume()
        if self.row is None or int(self.row["batches"]) != progress["batches"]:
            self.row, self.row_at = dict(progress), None
        self.row.update(metrics)
        self._write()

    def log_hyperparams(self, *args, **kwargs) -> None:
        """They are in config.yaml."""

    def sync(self) -> None:
        """Has the disk take all rows, which a checkpoint that is saved next counts on."""
        if self.path.exists():
            sync(self.path)

    @rank_zero_only
    def check(self, batches_between_rows: int) -> None:
        """Says so if rows of what was trained before are missing, which somebody has deleted."""
        num = sum(int(row["batches"]) <= self.resumed_at for row in self._rows())
        if num < self.resumed_at // batches_between_rows:
            log.info(
                f"WARNING: '{self.path}' has {num} rows of the first {self.resumed_at:,} batches; expected "
                f"{self.resumed_at // batches_between_rows:,} or more; what they said is lost, the training is not"
            )

    def _resume(self) -> None:
        """Drops of what an interrupted run wrote all after its checkpoint; the row of it, if there is one, goes on."""
        for row in self._rows():
            if int(row["batches"]) <= self.resumed_at:
                self.row, self.columns = row, list(row)
        self._rewrite()
        if self.row:
            self._write()

    def _write(self) -> None:
        """Writes the last row, over its earlier form, after a new head where there is a new column."""
        columns = list(dict.fromkeys([*self.columns, *self.row]))
        if columns != self.columns:
            self.columns = columns
            self._rewrite()
            self.row_at = None
        with self.path.open("r+", newline="") as file:
            if self.row_at is None:
                self.row_at = file.seek(0, os.SEEK_END)
            file.seek(self.row_at)
            csv.DictWriter(file, columns).writerow(self.row)
            file.truncate()

    def _rows(self) -> Iterator[dict]:
        """What the file holds, without lines that a kill or a full disk cut short: they lack their last columns."""
        if not self.path.exists():
            return
        with self.path.open(newline="") as file:
            for row in csv.DictReader(file):
                if (row.get("batches") or "").isdecimal() and None not in row.values():
                    yield row

    def _rewrite(self) -> None:
        """Writes the file anew, with the columns that there are, but for the row at work."""
        with replacing(self.path) as unfinished, unfinished.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            at_work = int(self.row["batches"]) if self.row else 0
            writer.writerows(row for row in self._rows() if int(row["batches"]) < at_work)
