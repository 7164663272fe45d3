"""How long a training is, in batches and in time, and how often it is evaluated."""

import copy
from typing import TYPE_CHECKING

from lightning_genae.commands.build import build_model
from lightning_genae.commands.precision import FLOAT32, chosen_precision
from lightning_genae.commands.trainer import new_trainer
from lightning_genae.evaluation import schedule
from lightning_genae.logs import silent

if TYPE_CHECKING:
    from pytorch_lightning import Callback

    from datamodules import ImageDataModule
    from lightning_genae.evaluation.evaluation import Evaluation


def count_steps(config: dict, datamodule: "ImageDataModule") -> int:
    """Length of the training in batches. Raises ValueError if the config sets both steps and epochs."""
    if config["steps"] and config["epochs"]:
        raise ValueError(f"--epochs: expected steps or epochs, got both ({config['steps']} and {config['epochs']})")
    if config["epochs"]:
        # Lightning resolves "auto", -1 and "0,1" to a number of devices
        images_per_batch = datamodule.batch_size * new_trainer(config, FLOAT32, logger=False).world_size
        return config["epochs"] * max(1, len(datamodule.served.train.images) // images_per_batch)
    return config["steps"]


def choose_looks(config: dict, datamodule: "ImageDataModule", evaluation: "Evaluation", steps: int) -> int:
    """The default number of evaluations, chosen by the time of a batch and of an evaluation."""
    return schedule.chosen(config, steps, lambda num_batches: try_out(config, datamodule, num_batches, evaluation))


def try_out(
    config: dict,
    datamodule: "ImageDataModule",
    num_batches: int,
    evaluation: "Evaluation | None" = None,
    compiled: bool = False,
) -> tuple[float, float]:
    """Seconds of a batch without augmentation and of an evaluation, measured with a temporary model."""
    from callbacks.compiled import Compiled
    from callbacks.ema import Ema
    from callbacks.stopwatch import Stopwatch

    stopwatch = Stopwatch(num_batches, evaluation)
    rehearse(config, datamodule, [*([Compiled()] if compiled else []), Ema(), stopwatch])
    return stopwatch.seconds_per_batch, stopwatch.seconds_per_look


def rehearse(config: dict, datamodule: "ImageDataModule", callbacks: "list[Callback]") -> None:
    """Trains a temporary model without augmentation, in a single process, until a callback ends it. The random numbers
    and the data module stay as they were."""
    import torch
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from pytorch_lightning import Trainer

    alone = copy.copy(datamodule)
    alone.augment, alone.batches, alone.trainer = None, 0, None
    trainer = Trainer(
        accelerator=config["accelerator"],
        precision=chosen_precision(config, alone.served),  # type: ignore[arg-type]  # which Lightning checks
        devices=1,
        plugins=LightningEnvironment(),  # a single process, even if this one was launched with others
        callbacks=callbacks,
        max_epochs=-1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with torch.random.fork_rng():
        with silent():  # of what the model of the run has said
            model = build_model(config, alone.served)
        trainer.fit(model, datamodule=alone)
