"""Loads the config and the model of an existing run. Its folder may come from somebody else and is not trusted."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_genae import registry
from lightning_genae.commands.parse import PACKAGES
from lightning_genae.errors import Damaged
from lightning_genae.received import check_links, is_within
from lightning_genae.run_folder import RunFolder

if TYPE_CHECKING:
    from lightning_genae.evaluation.models import Generative

log = logging.getLogger("lightning_genae")


def open_run(path: str) -> tuple[RunFolder, dict]:
    """A finished or interrupted run's folder and config.

    Raises:
        ValueError: the folder is damaged, or has links that lead out of it.
        FileNotFoundError: it is not the folder of a run.
    """
    folder = RunFolder(path)
    config = folder.config
    check_links("RUN", folder.path)
    if missing := {"model", "data", "metrics", "cache"} - config.keys():
        raise ValueError(f"RUN: expected a run of this project; the config.yaml of '{path}' lacks {', '.join(missing)}")
    if not is_within(config["cache"], Path(), folder.path):
        config["cache"] = "runs/cache"
    config["data"].pop("download", None)  # nothing is downloaded for an existing run
    if not (folder.checkpoint.is_file() or folder.weights.is_file()):
        raise FileNotFoundError(
            f"RUN: expected a run with a checkpoint, got '{path}', which has no {folder.checkpoint}; "
            "the command that trained it, with --overwrite, starts it anew"
        )
    for name, package in PACKAGES.items():
        section = config.get(name)
        if isinstance(section, dict) and isinstance(section.get("name"), str):
            section["name"] = registry.RENAMED.get(section["name"], section["name"])
        if not isinstance(section, dict) or not isinstance(section.get("name"), str):
            raise ValueError(f"--folder: '{folder.path / 'config.yaml'}' is damaged; expected --{name} in it")
        for part in section["name"].split("+") if name == "augment" else [section["name"]]:
            registry.check(f"--{name}", package, part)
    if folder.results.get("status") != "finished" and folder.checkpoint.is_file():
        log.info(f"'{path}' is not finished; this is the model of its last checkpoint")
    return folder, config


@contextmanager
def report_config_damage(folder: RunFolder) -> Iterator[None]:
    """Turns a TypeError about unknown options or wrong types into a ValueError about the config."""
    try:
        yield
    except TypeError as error:
        path = folder.path / "config.yaml"
        raise ValueError(f"--folder: '{path}' is damaged, or of another version of this project: {error}") from error


def read_model(folder: RunFolder) -> dict:
    """The content of a run's checkpoint, or of its model.safetensors if there is no checkpoint."""
    from lightning_genae.checkpoints import newest, read

    try:
        found = newest(folder.checkpoints)
    except Damaged as error:
        if not folder.weights.is_file():
            raise
        log.info(f"WARNING: {error.damage}; '{folder.weights}', of the end, is taken")
        found = None
    remedy = "the command that trained the run, with --overwrite, starts it anew"
    return found[1] if found else read("--folder", folder.weights, remedy)


def load_model(folder: RunFolder, config: dict, state: dict | None = None) -> "Generative":
    """The run's model, on a GPU if there is one.

    Args:
        folder: of the run.
        config: of the run.
        state: result of `read_model`. None: it is read.
    """
    import torch

    from lightning_genae.checkpoints import restored

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model_class = registry.load(PACKAGES["model"], config["model"]["name"])
    return restored("--folder", folder.path, model_class, state or read_model(folder)).to(device)
