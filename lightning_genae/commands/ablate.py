"""`python run.py ablate`: a grid of runs and its report."""

import logging
from pathlib import Path

from lightning_genae.commands.build import build_datamodule
from lightning_genae.commands.length import count_steps, try_out
from lightning_genae.commands.parse import with_length
from lightning_genae.config.command_line import CommandLine
from lightning_genae.logs import configure_logging
from lightning_genae.threads import using

log = logging.getLogger("lightning_genae")


def ablate(command_line: CommandLine, arguments: list[str]) -> int:
    """Completes a grid of runs and writes its report; returns the exit status."""
    from lightning_genae.ablation import command

    return command.ablate(arguments, command_line, with_length, time_of, publish)


def time_of(config: dict) -> tuple[float, int]:
    """Seconds per batch, measured on a few batches, and the number of batches of a run."""
    datamodule = build_datamodule(config)
    configure_logging(config["debug"])  # again, because the import of Lightning sets its own levels
    with using(1 if config["threads"] == "auto" else config["threads"]):  # as the runs, one for each core
        seconds, _ = try_out(config, datamodule, 20)
    return seconds, count_steps(config, datamodule)


def publish(folder: Path, tables: dict, page: Path) -> None:
    """Uploads the report of an ablation to W&B."""
    import wandb

    from callbacks.wandb_run import publish_report, without_passwords

    try:
        publish_report(folder, tables, page)
    except wandb.errors.Error as error:
        log.warning(f"W&B is out of reach ({without_passwords(error)}); the report is in {page.parent}")
