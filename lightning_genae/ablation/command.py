"""The verbs `ablate` and `compare`: from arguments to grids, launchers and reports."""

import logging
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from jsonargparse.typing import PositiveInt

from lightning_genae.ablation import grid as grids
from lightning_genae.ablation.arms import check_differ, check_written, read_arms
from lightning_genae.ablation.compare import compare as side_by_side
from lightning_genae.ablation.grid import Grid
from lightning_genae.ablation.launch import Local, Task
from lightning_genae.ablation.records import LOOKS, Record, read
from lightning_genae.ablation.records import compare as by_arm
from lightning_genae.ablation.report import FILES, Report
from lightning_genae.ablation.slurm import Slurm, check_cluster, write_sbatch
from lightning_genae.ablation.tables import value_of
from lightning_genae.ablation.watch import duration, state
from lightning_genae.ablation.work import GridFolder, work
from lightning_genae.cache import digest
from lightning_genae.config.command_line import CommandLine
from lightning_genae.config.nested import flatten
from lightning_genae.config.parser import new_parser, parse_arguments, parse_verb
from lightning_genae.errors import UserError
from lightning_genae.received import check_links
from lightning_genae.run_folder import RunFolder
from lightning_genae.threads import num_cores

STARTING = 3.0  # seconds of a run before and after its training, without the imports that runs share
MAX_SHOWN = 12  # tables in a terminal
log = logging.getLogger("lightning_genae")


def ablate_options(
    arms: str | None = None,
    folder: str | None = None,
    launcher: Literal["local", "slurm", "print"] = "local",
    workers: PositiveInt | None = None,
    dry_run: bool = False,
    retry: bool = False,
    wait: bool = True,
    metric: str = "fd",
    factor: str | None = None,
    baseline: str | None = None,
) -> None:
    """Options of ablate; all others are those of a run, each with one or several values: a,b or 0..4.

    Args:
        arms: YAML file of named arms, such as `ae, decoded: {augment: ae, augment.detail: decode}`; each is combined
            with all options of the command line. null: the values of the options are the arms.
        folder: of the grid. null: runs/ablations/HASH.
        launcher: this machine, a Slurm cluster (--slurm.partition, --slurm.time in minutes, --slurm.limit jobs at a
            time, --slurm.KEY VALUE for any other option of sbatch), or files for sbatch.
        workers: runs at a time on this machine. null: one for each GPU, or for each core (for every N cores with
            --threads N).
        dry_run: only say how many runs there are and how long they take.
        retry: run again what failed.
        wait: for the end, and report. false: leave a cluster to its work; the same command looks after it.
        metric: that arms are compared by, at the end of training; best_fd is fd at the look that the validation images
            choose, late_fd its geometric mean over the last three looks.
        factor: the option whose values are compared, or a part with all its options. null: arms if they have names,
            else augment if it varies.
        baseline: the arm that others are compared to. null: the first of --arms; without them none if there is one,
            else the first.
    """


def ablate(
    arguments: list[str],
    command_line: CommandLine,
    complete: Callable[[dict], dict],
    time_of: Callable[[dict], tuple[float, int]],
    publish: Callable[[Path, dict, Path], None],
) -> int:
    """Completes a grid of runs and writes its report; returns the exit status, 1 if runs failed.

    Args:
        arguments: after the verb.
        command_line: of runs.
        complete: fills in defaults that depend on the config.
        time_of: from a config, the seconds per batch and the number of batches.
        publish: takes the grid's folder, tables by title (columns, rows) and the path of the report's page.

    Raises:
        ValueError: an argument is wrong, or does not fit what is in the folder.
        OSError: the launcher is slurm, and there is none here.
    """
    parser = new_parser("python run.py ablate [--OPTION VALUE,VALUE ...]")
    parser.add_function_arguments(ablate_options, as_group=True)
    if {"-h", "--help"} & set(arguments):
        parser.print_help()
        return 0
    ablate_words, slurm, words = _sort(grids.pair(arguments), set(vars(parser.get_defaults())))
    options = parse_arguments(parser, ablate_words)
    if slurm and options["launcher"] == "local":
        raise UserError(f"--slurm.{next(iter(slurm))}: expected it with --launcher slurm or print; got local")
    arms = read_arms(options["arms"], set(vars(parser.get_defaults()))) if options["arms"] else {}
    key = {"words": sorted(words), **({"arms": arms} if arms else {})}
    folder = Path(options["folder"] or Path("runs", "ablations", digest(key)[:8]))
    grid = grids.expand(words, command_line, folder, arms)
    grid = grid._replace(cells=[cell._replace(config=complete(cell.config)) for cell in grid.cells])
    check_differ(grid.cells)
    check_written(options["arms"], arms, grid.cells)
    workers = options["workers"] or torch.cuda.device_count() or max(1, num_cores() // _threads(grid))
    log.info("\n".join(grids.describe(grid)))
    grid_folder = GridFolder(folder)
    check_links("--folder", folder)
    _check(grid, options)
    if options["dry_run"] or options["launcher"] == "local":  # a cluster's nodes differ from this machine
        log.info(_estimate(grid, workers, time_of))
    if options["dry_run"]:
        return 0
    if options["launcher"] == "slurm":
        check_cluster()
    with grid_folder:
        grid_folder.note(grid, f"python run.py ablate {shlex.join(arguments)}")
        if options["launcher"] == "print":
            paths = write_sbatch(folder / "sbatch", [Task.of(cell) for cell in grid.cells], slurm, _devices(grid))
            commands = "; ".join(f"sbatch {shlex.quote(str(path))}" for path in paths)
            log.info(f"To be submitted by: {commands}\nAfterwards: python run.py compare {shlex.quote(str(folder))}")
            return 0
        launcher = _launcher(options["launcher"], folder, slurm, workers, _devices(grid))
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that SIGTERM stops the runs too
        try:
            work(grid, folder, launcher, options["retry"], options["wait"], sys.stderr.isatty())
        except KeyboardInterrupt:
            log.info(f"What is finished so far is reported by: python run.py compare {shlex.quote(str(folder))}")
            raise
        return _finish(grid, folder, options, publish) if options["wait"] else 0


def _finish(grid: Grid, folder: Path, options: dict, publish: Callable[[Path, dict, Path], None]) -> int:
    """Reports on a completed grid; returns the exit status."""
    report = _report([folder], folder / "report", options)
    if any(cell.config["logger"] == "wandb" for cell in grid.cells):
        tables = {table.title: (table.header, table.rows) for table in report.all_tables() if table.rows}
        publish(folder, tables, folder / "report" / FILES[0])
    failed = sum(not record.results for record in report.records)
    if failed:
        log.info(f"{failed} of {len(report.records)} runs have no results, as said above; --retry runs them again")
    return int(failed > 0)


def _sort(options: dict[str, str], names: set[str]) -> tuple[list[str], dict[str, str], list[str]]:
    """Splits options into those of ablate, those of Slurm without their prefix, and those of runs."""
    ablate_words = [f"--{name}={value}" for name, value in options.items() if name in names]
    slurm = {name.removeprefix("slurm."): value for name, value in options.items() if name.startswith("slurm.")}
    rest = [name for name in options if name not in names and not name.startswith("slurm.")]
    return ablate_words, slurm, [f"--{name}={options[name]}" for name in rest]


def _check(grid: Grid, options: dict) -> None:
    """Raises ValueError now for a metric, factor or baseline that the report would refuse at the end."""
    value_of(options["metric"])
    records = [Record(cell.folder, flatten(cell.config), arm=cell.arm) for cell in grid.cells]
    by_arm(records, options["factor"], options["baseline"])


def _devices(grid: Grid) -> int:
    """The largest number of processes of a run."""
    return max([1, *(cell.config["devices"] for cell in grid.cells if isinstance(cell.config["devices"], int))])


def _threads(grid: Grid) -> int:
    """The largest number of threads of a run; 1 if each chooses its own."""
    return max([1, *(cell.config["threads"] for cell in grid.cells if cell.config["threads"] != "auto")])


def _launcher(name: str, folder: Path, slurm: dict[str, str], workers: int, devices: int) -> Local | Slurm:
    if name == "slurm":
        return Slurm(folder, slurm, devices)
    return Local(workers, torch.cuda.device_count(), devices)


def _estimate(grid: Grid, workers: int, time_of: Callable[[dict], tuple[float, int]]) -> str:
    """The time left, estimated from a few batches of every pair of a model and data."""
    known: dict[tuple, tuple[float, int]] = {}
    total = 0.0
    for cell in grid.cells:
        if state(cell, is_active=False).status != "finished":
            key = (cell.config["model"]["name"], cell.config["data"]["name"], cell.config["steps"])
            known[key] = known.get(key) or time_of(cell.config)
            total += STARTING + known[key][0] * known[key][1]
    return (
        f"about {duration(total / workers)} with {workers} at a time, by some batches of each model and "
        f"{STARTING:.0f} s for the start of a run; augmentation and evaluation come on top"
    )


def _report(paths: list[Path], out: Path, options: dict) -> Report:
    """Writes the report of runs and prints its main tables."""
    records, commands = read(paths)
    report = Report(records, commands, options["metric"], options["factor"], options["baseline"])
    report.write(out)
    for record in records:
        if not record.results:
            log.info(f"WARNING: '{record.folder}': {record.problem}")
    shown = report.main_tables()
    log.info("\n\n".join(table.to_text() for table in shown[:MAX_SHOWN]))
    if len(shown) > MAX_SHOWN:
        log.info(f"\n{len(shown) - MAX_SHOWN} more tables are in the report")
    log.info("\nReport:\n" + "\n".join(f"  {out / name}" for name in FILES))
    return report


def compare_options(
    metric: str = "fd",
    best: bool = False,
    factor: str | None = None,
    baseline: str | None = None,
    out: str | None = None,
) -> None:
    """Runs side by side.

    Args:
        metric: that arms are compared by, at the end of training; best_fd is fd at the look that the validation images
            choose, late_fd its geometric mean over the last three looks.
        best: the Frechet distance at the look chosen by the validation images.
        factor: the option whose values are compared, or a part with all its options. null: arms if they have names,
            else augment if it varies.
        baseline: the arm that others are compared to. null: the first of --arms; without them none if there is one,
            else the first.
        out: folder of the report. null: report/ in the first folder; none of single runs.
    """


def compare(arguments: list[str]) -> None:
    """Finished runs side by side; ablations and folders of runs with statistics and a report.

    Raises:
        ValueError: an argument is wrong, or a folder holds no run or a damaged one.
    """
    parser = new_parser("python run.py compare FOLDER ... [--OPTION VALUE ...]")
    parser.add_argument("folders", nargs="+", help="run folders, those of ablations, or folders that hold run folders")
    parser.add_function_arguments(compare_options, as_group=True)
    options = parse_verb(parser, arguments)
    if options is None:
        return
    folders = [Path(path) for path in options["folders"]]
    if not options["out"]:
        check_links("FOLDER", folders[0])
    if options["best"]:
        options["metric"] = "best_fd"
    if all((path / "config.yaml").is_file() for path in folders) and not options["out"]:
        _check_no_arms(options)
        log.info("\n".join(side_by_side([RunFolder(path) for path in folders], options["best"])))
    else:
        _report(folders, Path(options["out"] or folders[0] / "report"), options)


def _check_no_arms(options: dict) -> None:
    """Raises ValueError for options of arms, which have no effect when single runs are shown side by side."""
    has_metric = options["metric"] not in ("fd", *LOOKS)
    for name, is_given in (("metric", has_metric), ("factor", options["factor"]), ("baseline", options["baseline"])):
        if is_given:
            raise ValueError(
                f"--{name}: expected a folder with runs of several arms; got single runs, which stand side by side "
                "with all their metrics; --out FOLDER makes a report of them"
            )
