"""Trains the augmentation, then the model."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_genae import report
from lightning_genae.run_folder import RunFolder

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule, Trainer

    from datamodules import ImageDataModule
    from lightning_genae.augment import Composition

log = logging.getLogger("lightning_genae")


def fit_augment(
    augment: "Composition", config: dict, datamodule: "ImageDataModule", model: "LightningModule", callbacks: dict
) -> dict:
    """Trains the augmentation on the training set, attaches it to data and model, and returns its quality report."""
    from callbacks.progress import Progress

    progress = Progress("autoencoder", config["augment"].get("steps"))
    augment.fit(datamodule.served, accelerator=config["accelerator"], callbacks=[progress])
    quality = augment.quality(datamodule.served, callbacks["evaluate"].evaluation.extractor)
    callbacks["augmented"].quality = quality
    datamodule.augment = augment
    if augment.applied_to("critic"):
        model.critic_transform = augment.critic_transform  # type: ignore[assignment]  # a function, not a tensor
    for line in report.quality_lines(quality):
        log.info(line)
    return quality


def fit(
    trainer: "Trainer",
    model: "LightningModule",
    datamodule: "ImageDataModule",
    folder: RunFolder,
    callbacks: dict,
    checkpoint: Path | None,
) -> None:
    """Trains the model and records the results in the run folder.

    Raises:
        RuntimeError: the training failed.
    """
    from lightning_genae import weights

    try:
        trainer.fit(model, datamodule=datamodule, ckpt_path=checkpoint)
    except Exception as error:
        raise RuntimeError(f"the training failed: {error}; '{folder.path}' keeps what there is of it") from error
    if trainer.is_global_zero:
        weights.save(model, datamodule, folder.weights)
        evaluate, record = callbacks["evaluate"], callbacks["record"]
        timing = {
            "seconds": record.seconds_at_end,
            "evaluation_seconds": evaluate.seconds,
            "images_per_second": datamodule.progress["images"] / (record.seconds_at_end - evaluate.seconds),
            **datamodule.progress,
        }
        folder.update(
            status="finished",
            metrics=evaluate.values,
            best=evaluate.best,
            protocol=evaluate.protocol,
            timing=timing,
            rewinds=callbacks["finite"].rewinds,
            warnings=callbacks["health"].warnings,
        )
