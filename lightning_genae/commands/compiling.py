"""`--compile`: whether torch.compile makes a run quicker. It is measured once and cached, like the number of looks."""

import json
import logging
import os
import shutil
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_genae.cache import cached, report_damage
from lightning_genae.commands.length import try_out
from lightning_genae.run_folder import without_free

if TYPE_CHECKING:
    from datamodules import ImageDataModule

NUM_TIMED = 20  # batches, with and without
MIN_SECONDS = 1200  # of a training that is measured; measuring takes a minute, more on a busy machine
log = logging.getLogger("lightning_genae")


class CompilerError(Exception):
    """torch cannot compile the networks; says why."""


def is_compiled(config: dict, datamodule: "ImageDataModule", steps: int, resume: tuple[Path, dict] | None) -> bool:
    """Whether the networks of a run are to be compiled; says why not, if it was asked for.

    An interrupted run goes on as it began. Otherwise a temporary model is timed with and without, unless the training
    is too short for it; all runs that differ only in their augmentation and seeds share the result.

    Args:
        config: of the run.
        datamodule: its data.
        steps: batches of the training.
        resume: the checkpoint that the run goes on from, and its content.
    """
    if not config["compile"]:
        return False
    reason = no_compiler(config["accelerator"])
    if resume and not reason:
        return bool(resume[1]["callbacks"]["Record"]["depends_on"].get("compiled"))
    try:
        plan = {} if reason else _measured(config, datamodule, steps)
    except CompilerError as error:
        reason = str(error)
    if reason:
        log.info(f"WARNING: --compile: expected a compiler that torch can use; the run goes on without ({reason})")
        return False
    is_won, words = verdict(steps, **plan)
    log.info(f"--compile: {words}")
    return is_won


def _measured(config: dict, datamodule: "ImageDataModule", steps: int) -> dict[str, float]:
    """What `measure` returns, from the cache if runs like this one have been measured."""
    import torch

    on_gpu = _on_gpu(config["accelerator"])
    key = {name: value for name, value in without_free(config).items() if name != "augment"}
    key |= {"steps": steps, "data": {name: value for name, value in config["data"].items() if name != "split_seed"}}
    key |= {"torch": torch.__version__, "threads": torch.get_num_threads()}
    key |= {"device": torch.cuda.get_device_name() if on_gpu else "cpu"}

    def build(path: Path) -> None:
        path.write_text(json.dumps(measure(config, datamodule, steps)))

    path = cached(config["cache"], "compiled", key, build)
    with report_damage("--cache", path):
        return {name: float(value) for name, value in json.loads(path.read_text()).items()}


def measure(config: dict, datamodule: "ImageDataModule", steps: int) -> dict[str, float]:
    """Seconds of a batch as it is (`eager`) and compiled, and of compiling; the first alone of a short training."""
    eager, _ = try_out(config, datamodule, NUM_TIMED)
    if eager * steps < MIN_SECONDS:
        return {"eager": eager}
    log.info("--compile: timing a temporary model, compiled")
    start = time.perf_counter()
    try:
        compiled, _ = try_out(config, datamodule, NUM_TIMED, compiled=True)
    except Exception as error:  # torch raises many types
        raise CompilerError(f"{type(error).__name__}: {' '.join(str(error).split())[:150]}") from error
    return {"eager": eager, "compiled": compiled, "compiling": time.perf_counter() - start - NUM_TIMED * compiled}


def verdict(steps: int, eager: float, compiled: float | None = None, compiling: float = 0.0) -> tuple[bool, str]:
    """Whether compiling pays in a training of so many batches, and the reason in words.

    Args:
        steps: batches of the training.
        eager: seconds of a batch without.
        compiled: seconds of a batch with it. None: not measured, because the training is too short.
        compiling: seconds that compiling takes.
    """
    if compiled is None:
        return False, f"off; the whole training takes about {eager * steps:.0f} s, too short for it to pay"
    words = f"a batch takes {1000 * compiled:.3g} ms instead of {1000 * eager:.3g}, compiling {compiling:.0f} s"
    is_won = compiling + compiled * steps < eager * steps
    return is_won, f"{'on' if is_won else 'off'}; compiled, {words}"


def no_compiler(accelerator: str) -> str:
    """What torch would compile with and is not there, in words; empty if it is.

    Args:
        accelerator: Lightning's name of it, or auto.
    """
    if _on_gpu(accelerator):
        return "" if find_spec("triton") else "there is no package triton"
    name = os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    return "" if shutil.which(name) else f"there is no {name}"


def _on_gpu(accelerator: str) -> bool:
    import torch

    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
