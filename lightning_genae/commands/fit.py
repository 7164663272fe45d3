"""Trains the augmentation, then the model."""

import logging
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import lightning_genae
from lightning_genae import registry, report
from lightning_genae.cache import digest, hash_weights, plain_values, source
from lightning_genae.config.nested import is_open
from lightning_genae.errors import UserError
from lightning_genae.run_folder import RunFolder

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule, Trainer

    from datamodules import ImageDataModule
    from lightning_genae.augment import Composition
    from lightning_genae.evaluation.extractors import Extractor

log = logging.getLogger("lightning_genae")


def fit_parts(
    augment: "Composition",
    config: dict,
    datamodule: "ImageDataModule",
    model: "LightningModule",
    callbacks: dict,
    resumes: bool = False,
) -> dict:
    """Trains or reads what is ready before the model is trained, and returns the augmentation's quality report.

    Args:
        augment: checked, not yet trained.
        config: of the run.
        datamodule: loaded.
        model: whose critic may want a frozen network.
        callbacks: by name.
        resumes: whether a checkpoint follows, which has the frozen network.
    """
    if not resumes:
        fit_features(config, datamodule, model)
    return fit_augment(augment, config, datamodule, model, callbacks)


def fit_augment(
    augment: "Composition", config: dict, datamodule: "ImageDataModule", model: "LightningModule", callbacks: dict
) -> dict:
    """Trains the augmentation on the training set, attaches it to data and model, and returns its quality report."""
    from callbacks.progress import Progress

    datamodule.keep()
    progress = Progress("autoencoder", config["augment"].get("steps"))
    augment.fit(datamodule.served, accelerator=config["accelerator"], callbacks=[progress])
    quality = measure_quality(augment, config, datamodule, callbacks["evaluate"].evaluation.extractor)
    callbacks["augmented"].quality = quality
    datamodule.augment = augment
    if augment.applied_to("critic"):
        model.critic_transform = augment.critic_transform  # type: ignore[assignment]  # a function, not a tensor
    if augment.applied_to("generator"):
        model.match = augment.matching  # type: ignore[assignment]
    for line in report.quality_lines(quality):
        log.info(line)
    return quality


def take_weights(config: dict, model: "LightningModule", resumes: bool = False) -> None:
    """Gives a frozen network, by whose maps a critic or a reconstruction sees, the weights that lie in a file. Before
    anything is trained, since the file may be the wrong one.

    Args:
        config: of the run.
        model: whose critic may want them.
        resumes: whether a checkpoint follows, which has them.

    Raises:
        UserError: there is no such file, or its weights are of another network.
    """
    frozen = getattr(model, "frozen", None)
    if resumes or frozen is None or frozen.extractor is None:  # a network of ours
        return
    from lightning_genae.evaluation.extractors import efficientnet, given_file, load_state

    name, path = frozen.source, config["model"]["weights"]
    if name == "efficientnet":
        state = efficientnet.published()[0].state_dict()
    elif path:
        state = load_state(given_file(path, "--model.weights"), name, "--model.weights")
    else:
        raise UserError(f"--model.weights: expected the file of the weights of {name}; got none")
    try:
        frozen.take(state)
    except ValueError as error:
        raise UserError(f"--model.weights: '{path}' is not of --model.features {name}: {error}") from error


def fit_features(config: dict, datamodule: "ImageDataModule", model: "LightningModule") -> None:
    """Trains the encoder by whose maps a critic or a reconstruction sees, if it is one."""
    frozen = getattr(model, "frozen", None)
    if frozen is None or frozen.source != "autoencoder":
        return
    from callbacks.progress import Progress
    from lightning_genae.augment.ae import ENCODER_STEPS, trained_encoder

    progress = Progress("autoencoder", ENCODER_STEPS)
    trained = trained_encoder(datamodule.served, accelerator=config["accelerator"], callbacks=[progress])
    frozen.take(trained.state_dict())


def measure_quality(
    augment: "Composition", config: dict, datamodule: "ImageDataModule", extractor: "Extractor"
) -> dict[str, dict]:
    """The quality report, from the cache if the same one was measured there. That of an augmentation from another
    package is measured every time: it may depend on more than is known here."""
    dataset = datamodule.served

    def measured() -> dict[str, dict]:
        return augment.quality(dataset, extractor)

    if any(registry.origin(type(part)) for part in augment.parts.values()) or "package" in extractor.description:
        return measured()
    key = {
        "options": config["augment"],
        "settings": augment.settings(),
        "conditional": augment.conditional,
        "weights": hash_weights(augment),
        "train": dataset.fingerprint,
        "validation": dataset.validation.fingerprint,
        "modality": vars(dataset.modality),
        "classes": dataset.num_classes,
        "extractor": digest(extractor.description),
        "versions": {name: version(name) for name in ("torch", "numpy", "scipy", "scikit-learn")},
        "source": source(lightning_genae),
    }
    return plain_values(config["cache"], "quality", key, measured)


def chosen_options(config: dict, model: "LightningModule", datamodule: "ImageDataModule") -> list[str]:
    """The options that were not given, and what the model took for them; words of a command line."""
    options = {name: model.hparams.get(name) for name, value in config["model"].items() if value is None}
    chosen = [
        f"--model.{name} {value:g}" if isinstance(value, float) else f"--model.{name} {value}"
        for name, value in options.items()
        if value is not None
    ]
    if chosen and is_open(config["data"], "batch_size"):
        chosen.append(f"--data.batch_size {datamodule.batch_size}")
    return chosen


def fit(
    trainer: "Trainer",
    config: dict,
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

    chosen = chosen_options(config, model, datamodule)
    for line in report.chosen_lines(chosen):
        log.info(line)
    if trainer.is_global_zero:
        folder.update(chosen=chosen)
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
