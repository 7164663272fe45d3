"""Chooses the number of threads of a run, before anything is computed with more than one."""

import logging
import os
from statistics import median
from typing import TYPE_CHECKING

import lightning_genae
from lightning_genae import threads
from lightning_genae.cache import plain_values, source
from lightning_genae.commands.length import rehearse
from lightning_genae.commands.precision import FLOAT32
from lightning_genae.commands.trainer import new_trainer

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

    from datamodules import ImageDataModule
    from lightning_genae.run_folder import RunFolder

log = logging.getLogger("lightning_genae")
OPTION = "--threads"


def choose_threads(config: dict, datamodule: "ImageDataModule", state: dict | None = None) -> int:
    """Sets and returns the number of threads of a run, and says in one line why, if there was a choice.

    Sums are taken in another order with another number, so that it stays the same over the whole run.

    Args:
        config: of the run.
        datamodule: with the data set.
        state: content of the checkpoint from which the run resumes, with its number.
    """
    trainer = new_trainer(config, FLOAT32, logger=False)
    most = threads.limit(trainer.num_devices)
    # runs of before this was recorded took all of them
    before = None if state is None else state["callbacks"]["Record"].get("depends_on", {}).get("threads", most)
    if config["threads"] == "auto":
        number = before or _chosen(config, datamodule, trainer, most)
        threads.use(number, max(number, most))
    else:
        number = config["threads"]
        if before not in (None, number):
            log.info(
                f"WARNING: {OPTION}: this run began with {before}; with {number} the last digits of its results differ"
            )
        threads.use(number)
    if trainer.world_size > 1:
        os.environ.setdefault("OMP_NUM_THREADS", str(number))  # Lightning would set another one for its processes
    return number


def choose_threads_again(option: int | str, folder: "RunFolder") -> None:
    """Sets the number of threads for what is done with a run: as many as it had, if there are so many here."""
    most = threads.limit()
    number = min(most, folder.results.get("threads") or most)
    threads.use(*((number, most) if option == "auto" else (int(option), None)))


def _chosen(config: dict, datamodule: "ImageDataModule", trainer: "Trainer", most: int) -> int:
    from pytorch_lightning.accelerators import CPUAccelerator

    from callbacks.try_threads import TryThreads

    # several processes would have to agree, and a GPU leaves little to the CPU
    if most == 1 or trainer.world_size > 1 or not isinstance(trainer.accelerator, CPUAccelerator):
        return most
    trial = TryThreads(threads.candidates(most))
    try:
        work = _work(config, datamodule)
        if work["is_whole"] and work["operations"] < threads.LITTLE:
            size = f"{work['operations'] / 1e9:.2g} GFLOP"
            log.info(f"1 thread: a batch is too little work for more ({size}); {OPTION} sets the number")
            return 1
        rehearse(config, datamodule, [trial])
    except Exception:  # of the model; its training says what is wrong, and where
        return 1
    number = threads.best(trial.seconds)
    times = ", ".join(f"{1000 * median(times):.3g} ms with {n}" for n, times in trial.seconds.items())
    chosen = "1 thread" if number == 1 else f"{number} threads"
    log.info(f"{chosen}: a batch takes {times}; {OPTION} {number} gives the same numbers again")
    return number


def _work(config: dict, datamodule: "ImageDataModule") -> dict:
    """How much work a batch is, see `CountOperations`; from the cache if it was counted for such a run."""

    def count() -> dict:
        from callbacks.try_threads import CountOperations

        counted = CountOperations()
        rehearse(config, datamodule, [counted])
        return {"operations": counted.operations, "is_whole": counted.is_whole}

    dataset = datamodule.served
    key = {"model": config["model"], "batch_size": datamodule.batch_size, "precision": config["precision"]}
    key |= {"shape": dataset.image_shape, "classes": dataset.num_classes, "modality": dataset.modality.name}
    return plain_values(config["cache"], "work", key | {"source": source(lightning_genae)}, count)
