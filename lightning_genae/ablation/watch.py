"""The state of the runs of a grid, read from their folders while they run."""

import csv
import time
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from lightning_genae.ablation.grid import Cell
from lightning_genae.ablation.launch import Task
from lightning_genae.run_folder import RunFolder

SHOWN = 12  # most runs that have a line at a time


class State(NamedTuple):
    """State of a run.

    Attributes:
        status: finished, failed, running, waiting (for its turn), stopped (begun, but not active) or missing.
        words: details, such as progress or an error.
    """

    status: str
    words: str = ""


def state(cell: Cell, is_active: bool) -> State:
    """The state of a run; `is_active` says whether a launcher has queued or started it."""
    try:
        results = RunFolder(cell.folder).results
    except ValueError as error:
        return State("running" if is_active else "failed", str(error))
    if results.get("status") == "finished":
        return State("finished", f"FD {results['metrics']['fd']:.3f}")
    noted = Task.of(cell).error
    if not is_active and noted.is_file():
        return State("failed", noted.read_text().strip())
    if not is_active:
        return State("stopped" if results else "missing")
    return State("running", _progress(cell)) if cell.folder.is_dir() else State("waiting")


def _progress(cell: Cell) -> str:
    """The progress of a run, its last Frechet distance and the time left."""
    path = cell.folder / "metrics.csv"
    steps = cell.config["steps"]
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        batches = int(rows[-1]["batches"])
        started = (cell.folder / "config.yaml").stat().st_mtime
    except (OSError, LookupError, ValueError, TypeError):  # not there yet, or half written
        return "begins"
    distances = [row["val/fd"] for row in rows if row.get("val/fd")]
    words = [f"{batches:,} batches"]
    if steps:
        left = (path.stat().st_mtime - started) * (steps - batches) / max(1, batches)
        words = [f"{batches / steps:.0%}", f"{duration(left)} left"]
    return ", ".join(words + [f"FD {float(value):.3f}" for value in distances[-1:]])


def duration(seconds: float) -> str:
    """Seconds in the largest units that fit."""
    minutes, hours = round(seconds / 60), seconds / 3600
    return f"{hours:.1f} h" if hours >= 1.5 else f"{minutes} min" if minutes else f"{seconds:.0f} s"


class View:
    """Lines on a terminal that change in place; without a terminal, a line for every change and one per minute.

    Args:
        cells: of the grid.
        terminal: whether lines can change in place.
    """

    def __init__(self, cells: list[Cell], folder: Path, terminal: bool):
        self.names = {cell.folder: str(cell.folder.relative_to(folder)) for cell in cells}
        self.statuses: dict[Path, str] = {}
        self.last_report = time.monotonic()
        num_lines = min(SHOWN, len(cells)) if terminal else 0
        self.total = tqdm(total=len(cells), desc="runs", unit="run", disable=not terminal)
        self.lines = [tqdm(bar_format="{desc}", position=i + 1, leave=False) for i in range(num_lines)]

    def show(self, states: dict[Path, State]) -> None:
        """Shows states by run folder."""
        ended = sum(run.status in ("finished", "failed") for run in states.values())
        self.total.update(ended - self.total.n)
        running = [folder for folder, run in states.items() if run.status == "running"]
        for i, line in enumerate(self.lines):
            folder = running[i] if i < len(running) else None
            line.set_description_str(f"  {self.names[folder]}: {states[folder].words}" if folder else "")
        for folder, run in states.items():
            self._tell(folder, run, f"{ended}/{len(states)}")
        self.statuses = {folder: run.status for folder, run in states.items()}
        if running and not self.lines and time.monotonic() - self.last_report > 60:
            words = "; ".join(f"{self.names[folder]} {states[folder].words}" for folder in running[:SHOWN])
            tqdm.write(f"{ended}/{len(states)}  {len(running)} running: {words}")
            self.last_report = time.monotonic()

    def _tell(self, folder: Path, run: State, count: str) -> None:
        """A line for a change; on a terminal, whose lines show the rest, only for a failure."""
        news = run.status != self.statuses.get(folder, run.status)
        if news and run.status in (("failed",) if self.lines else ("running", "finished", "failed")):
            tqdm.write(f"{count}  {self.names[folder]} {run.status}{f': {run.words}' if run.words else ''}")

    def close(self) -> None:
        for bar in [*self.lines, self.total]:
            bar.close()
