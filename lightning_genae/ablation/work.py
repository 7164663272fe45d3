"""Runs a grid: starts missing runs, watches running ones and keeps finished ones."""

import json
import logging
import time
from pathlib import Path

from filelock import FileLock, Timeout

from lightning_genae.ablation.grid import Cell, Grid
from lightning_genae.ablation.launch import Local, Task
from lightning_genae.ablation.records import GRID, read_grid
from lightning_genae.ablation.slurm import Slurm
from lightning_genae.ablation.watch import State, View, state
from lightning_genae.cache import digest
from lightning_genae.config.words import written
from lightning_genae.files import write_text
from lightning_genae.run_folder import RunFolder, check_writable, flat_identity

log = logging.getLogger("lightning_genae")
ENDED = ("finished", "failed")
SECONDS_BETWEEN_LOOKS = {Local: 0.5, Slurm: 3.0}


def work(grid: Grid, folder: Path, launcher: Local | Slurm, retry: bool, wait: bool, terminal: bool) -> None:
    """Runs a grid as far as possible; the same call continues it.

    Args:
        grid: of the runs.
        folder: of the grid.
        launcher: where they run.
        retry: also run again what failed in an earlier call.
        wait: for the end; otherwise a cluster continues alone.
        terminal: whether lines can change in place.
    """
    try:
        _work(grid, folder, launcher, retry, wait, terminal)
    finally:
        launcher.close()


def _work(grid: Grid, folder: Path, launcher: Local | Slurm, retry: bool, wait: bool, terminal: bool) -> None:
    states = _states(grid.cells, launcher.active())
    again = ("missing", "stopped", "failed") if retry else ("missing", "stopped")
    todo = [cell for cell in grid.cells if states[cell.folder].status in again]
    kept = sum(run.status == "finished" for run in states.values())
    failed = sum(run.status == "failed" for run in states.values())
    log.info(
        f"{kept:,} of {len(grid.cells):,} runs are finished, {len(todo):,} are to be run"
        + (f", {failed:,} failed (--retry runs them again)" if failed and not retry else "")
    )
    for cell in todo:
        Task.of(cell).error.unlink(missing_ok=True)
    if wait:
        _make_shared(todo, folder, launcher)
    for cell in todo:
        RunFolder(cell.folder).set_aside_damage()
    launcher.submit([Task.of(cell) for cell in todo])
    if wait:
        _watch(grid, folder, launcher, states | {cell.folder: State("waiting") for cell in todo}, terminal)


def shared(cells: list[Cell], folder: Path) -> list[Task]:
    """Tasks that make the files that runs share, each with the config of the first run that needs it.

    All runs on one data set share its classifier and reference. Runs with the same training subset and augmentation
    share the autoencoder. Seeds draw subsets, so only one run may need the autoencoder of a seed; it trains it itself.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(_measured_by(cell.config), []).append(cell)
        if "steps" in cell.config["augment"]:  # the augmentation trains an autoencoder
            groups.setdefault(_augmented_by(cell.config), []).append(cell)
    measured = {_measured_by(cell.config) for cell in cells}
    # a task makes all that its cell needs, so groups that begin with the same cell need only one task
    first = {cells[0].folder: cells[0] for name, cells in groups.items() if name in measured or len(cells) > 1}
    return [
        Task(["prefetch", *cell.words], folder / "shared" / f"{digest({'folder': str(path)})}.log")
        for path, cell in first.items()
    ]


def _measured_by(config: dict) -> str:
    """A hash of what the classifier and the reference of a run depend on."""
    data = {name: value for name, value in config["data"].items() if name not in ("num_train", "split_seed")}
    return digest({"data": data, **{key: config[key] for key in ("metrics", "cache")}})


def _augmented_by(config: dict) -> str:
    """A hash of what the autoencoder of a run depends on, and of a few more options."""
    seed = config["data"].get("split_seed")
    return digest(
        {**{key: config[key] for key in ("data", "augment", "cache")}, "seed": config["seed"] if seed is None else seed}
    )


def _make_shared(todo: list[Cell], folder: Path, launcher: Local | Slurm) -> None:
    tasks = shared(todo, folder)
    if len(tasks) == len(todo):
        return  # nothing is shared
    log.info(f"Making what runs share: data, classifier, reference, autoencoder, for {len(tasks):,} kinds of run")
    launcher.submit(tasks)
    logs = {task.log for task in tasks}
    while launcher.active() & logs:
        time.sleep(SECONDS_BETWEEN_LOOKS[type(launcher)])
    for task in tasks:
        if task.error.is_file():  # the runs will fail with the same error
            log.info(f"WARNING: {task.error.read_text().strip()}; see {task.log}")


def _watch(grid: Grid, folder: Path, launcher: Local | Slurm, states: dict[Path, State], terminal: bool) -> None:
    view = View(grid.cells, folder, terminal)
    view.show(states)  # how it begins, because a run may fail before the first look
    try:
        while active := launcher.active():
            # ended runs are not read again: there may be thousands
            ended = {path for path, run in states.items() if run.status in ENDED}
            states |= _states([cell for cell in grid.cells if cell.folder not in ended], active)
            view.show(states)
            time.sleep(SECONDS_BETWEEN_LOOKS[type(launcher)])
        view.show(_states(grid.cells, set()))
    finally:
        view.close()


def _states(cells: list[Cell], active: set[Path]) -> dict[Path, State]:
    return {cell.folder: state(cell, Task.of(cell).log in active) for cell in cells}


class GridFolder:
    """The folder of a grid while a call works on it.

    Args:
        path: of the folder.

    Raises:
        ValueError: another call works on it, or it is not the folder of an ablation.
    """

    def __init__(self, path: Path):
        check_writable("--folder", path)
        self.path = path
        names = {found.name for found in path.iterdir()} if path.is_dir() else set()
        if names - {".lock"} and GRID not in names:
            raise ValueError(f"--folder: expected a new or empty folder or that of an ablation, got '{path}'")
        self.lock = FileLock(path / ".lock")

    def __enter__(self) -> "GridFolder":
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self.lock.acquire(timeout=0)
        except Timeout as error:
            raise ValueError(f"--folder: another ablation is at work in '{self.path}'") from error
        return self

    def __exit__(self, *error: object) -> None:
        self.lock.release()

    def note(self, grid: Grid, command: str) -> None:
        """Adds the grid to what earlier calls wrote to ablation.json.

        Raises:
            ValueError: a run's folder or an arm's name had other options in an earlier call.
        """
        path = self.path / GRID
        known = read_grid(path) or {"commands": [], "cells": []}
        self._check_arms(known, grid)
        arms = known.get("arms", {})
        cells = {cell["folder"]: cell for cell in known["cells"]}
        for cell in grid.cells:
            name = str(cell.folder.relative_to(self.path))
            config = flat_identity(cell.config)
            old = cells.get(name, {}).get("config", config)
            if config.get("precision") == "auto":  # goes on with what the run began with
                config["precision"] = old.get("precision", "auto")
            differing = [key for key in config if old.get(key) != config[key]]
            if differing:
                key = differing[0]
                is_of_arm = key in arms.get(cell.arm, {}) or key in grid.arms.get(cell.arm, {})
                was = f"--arms: '{cell.arm}' is an arm" if is_of_arm else f"--folder: '{cell.folder}' is a run"
                instead = "another name or another folder" if is_of_arm else "another folder"
                raise ValueError(
                    f"{was} with --{key} {written(old.get(key))}, not {written(config[key])}; expected {instead}"
                )
            cells[name] = {"folder": name, "config": config, **({"arm": cell.arm} if cell.arm else {})}
        content: dict = {"commands": list(dict.fromkeys([*known["commands"], command])), "cells": list(cells.values())}
        if grid.arms:  # in the order of the newest file, whose first arm is the reference
            content["arms"] = {**grid.arms, **{arm: old for arm, old in arms.items() if arm not in grid.arms}}
        write_text(path, json.dumps(content))

    def _check_arms(self, known: dict, grid: Grid) -> None:
        """Raises ValueError if only one of the earlier and this call names arms, or if a named arm got another name."""
        if known["cells"] and bool(known.get("arms")) != bool(grid.arms):
            had, has = ("without", "with") if grid.arms else ("with", "without")
            raise ValueError(
                f"--arms: expected another folder; '{self.path}' is an ablation {had} named arms, got one {has}"
            )
        names = {digest(cell["config"]): cell.get("arm", "") for cell in known["cells"]} if grid.arms else {}
        for cell in grid.cells if names else ():
            name = names.get(digest(flat_identity(cell.config)), cell.arm)
            if name != cell.arm:
                raise ValueError(
                    f"--arms: expected other options than those of '{name}', which is in '{self.path}'; got the same "
                    f"ones in '{cell.arm}'"
                )
