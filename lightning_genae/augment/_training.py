"""Autoencoders for augmentation: trained on the model's training images alone and cached, or loaded and checked."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from lightning_genae import checkpoints, data, nn
from lightning_genae.cache import cached, source
from lightning_genae.data.batches import Batches
from lightning_genae.data.dataset import Dataset, Images
from lightning_genae.data.storage import blocks, num_at_once, to_float
from lightning_genae.estimates import Estimate
from lightning_genae.profiling import NoProfiler
from lightning_genae.run_folder import checkpoint_of

BATCH_VALUES = 32 * 3 * 128 * 128  # of a batch: 32 RGB images of up to 128x128, fewer if they are larger
MAX_ASIDE = 10_000  # images that decide when training stops; more would decide the same


def trained(
    model_class: type, options: dict, steps: int, dataset: Dataset, trainer_options: dict
) -> tuple[LightningModule, str]:
    """An autoencoder trained on the training images, or from the cache, and the fingerprint of these images.

    All runs with the same images share it. A tenth of the images is set aside: training stops when the error on it no
    longer falls.

    Args:
        model_class: a LightningModule with `reconstruct`.
        options: of the model.
        steps: maximum number of batches, each of 32 images, or fewer if they are larger than 128x128.
        dataset: only `dataset.train` is used.
        trainer_options: options of Lightning's Trainer.

    Raises:
        ValueError: training diverged.
    """
    train, aside = _split(dataset.train)
    batch_size = min(num_at_once(dataset.image_shape, 32, BATCH_VALUES), len(train.images))
    about = {"modality": dataset.modality.name, "has_mask": dataset.modality.has_mask}
    key = {"data": dataset.fingerprint, "steps": steps, "batch_size": batch_size, **about, **options}
    key |= {"model": model_class.__name__, "source": source(*_modules_of(model_class), data, nn)}

    def build(path: Path) -> None:
        num = len(dataset.train.images)
        what = f"Training the autoencoder, on the {num:,} training {dataset.item_name}"
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = _built(model_class, dataset, about | options).to(memory_format=torch.channels_last)
            if not steps:
                return torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, path)
            stop = _Stop(steps, aside.images, model, f"{what} in at most {steps:,} batches")
            trainer = _new_trainer(trainer_options, stop)
            trainer.fit(model, datamodule=Batches(replace(dataset, train=train), batch_size))
        stop.restore(model)
        if not all(weight.isfinite().all() for weight in model.parameters()):
            raise ValueError(
                "--augment.autoencoder.lr: expected one at which the autoencoder learns; it diverged; try a smaller one"
            )
        trainer.save_checkpoint(path, weights_only=True)

    assert dataset.cache_dir is not None  # every data module has one
    path = cached(dataset.cache_dir, "autoencoder", key, build)
    state = checkpoints.read("--cache", path, "delete it to have it anew")
    return _open("--cache", path, model_class, state), dataset.fingerprint


def _new_trainer(options: dict, stop: "_Stop") -> Trainer:
    return Trainer(
        **{**options, "callbacks": [*options.get("callbacks", []), stop]},
        devices=1,
        # a single process, whatever launched this one
        plugins=[LightningEnvironment(), checkpoints.WholeCheckpoints()],
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        profiler=NoProfiler(),
        limit_val_batches=0,
    )


def loaded(
    model_classes: Mapping[str, type], checkpoint: str, foreign: bool, dataset: Dataset
) -> tuple[LightningModule, str]:
    """The autoencoder of a checkpoint or a run folder, and the fingerprint of the images it was trained on.

    Args:
        model_classes: the accepted models, by their names on the command line.
        checkpoint: path.
        foreign: whether it may have been trained on other images than `dataset.train`.
        dataset: of the run.

    Raises:
        ValueError: it is of another model, of images of another shape, or was trained on other images.
        FileNotFoundError: there is no checkpoint.
    """
    path = checkpoint_of("--augment.checkpoint", checkpoint)
    wanted = f"--model {' or '.join(model_classes)}"
    state = checkpoints.read("--augment.checkpoint", path, f"give one of {wanted}")
    autoencoder, reason = None, ""
    for model_class in model_classes.values():
        try:
            autoencoder = autoencoder or _open("--augment.checkpoint", path, model_class, state)
        except ValueError as error:
            is_other = isinstance(error.__cause__, TypeError)  # with options that this model has not
            reason = "it is of another model" if is_other else " ".join(str(error.__cause__).split())[:200]
    if autoencoder is None:
        raise ValueError(f"--augment.checkpoint: expected a checkpoint of {wanted}, got '{path}' ({reason})")
    shape = tuple(autoencoder.hparams["image_shape"])
    if shape != dataset.image_shape:
        raise ValueError(
            f"--augment.checkpoint: expected an autoencoder of images {dataset.image_shape}, got one of {shape}"
        )
    fingerprint = trained_on(state)
    if fingerprint != dataset.fingerprint and not foreign:
        raise ValueError(
            "--augment.checkpoint: expected an autoencoder that was trained on exactly this run's training images; "
            f"got one of others ('{path}'), which may know held-out ones; --augment.foreign true says that it is meant"
        )
    return autoencoder, fingerprint


def trained_on(state: dict) -> str:
    """The fingerprint of the images that a checkpoint was trained on; "unknown" if it has none."""
    entries = (entry for entry in state.values() if isinstance(entry, dict))
    return next((entry["fingerprint"] for entry in entries if "fingerprint" in entry), "unknown")


def _average(averaged: Tensor, weight: Tensor, num: Tensor | int) -> Tensor:
    """The moving average of a weight, of which `num` batches were averaged. The first ones count less than later ones,
    so that a training of few batches is averaged too."""
    return averaged.lerp(weight, max(0.02, 2 / (float(num) + 2)))


class _Stop(Callback):
    """Stops training when the error on images set aside hardly falls any more, and keeps the best weights.

    The weights are averages over the later batches, about the last 50 at most: with them batches of 32 come at least as
    near as twice as many batches of 64 without.

    Args:
        steps: maximum number of batches.
        images: set aside, stored images (N, C, H, W); may be empty.
        model: that will be trained.
        what: is trained, to say beforehand how long it takes.
    """

    every, patience = 50, 4  # batches between measurements, and measurements without improvement
    least = 0.01  # of the error, that it falls by to have improved

    def __init__(self, steps: int, images: torch.Tensor, model: LightningModule, what: str = "Training"):
        self.steps = steps
        self.images = images
        self.averaged = AveragedModel(model, avg_fn=_average).eval()
        self.what = what
        self.best, self.looks_since = float("inf"), 0
        self.state: dict | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.averaged.to(pl_module.device)
        self.estimate = Estimate(self.what, self.steps, at_most=True, always=True)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        batches = trainer.datamodule.batches  # type: ignore[attr-defined]  # set dynamically
        self.averaged.update_parameters(pl_module)
        self.estimate.update()
        if len(self.images) and batches % self.every == 0:
            self._look(self.averaged.module)
        if batches >= self.steps or self.looks_since >= self.patience:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.estimate.close()

    def restore(self, model: LightningModule) -> None:
        """Gives the model the best weights; those of the end if there was no look."""
        if self.state is not None:
            model.load_state_dict(self.state)
        elif self.averaged.n_averaged:
            model.load_state_dict(self.averaged.module.state_dict())

    @torch.no_grad()
    def _look(self, model: Any) -> None:
        errors = []
        for part in blocks(self.images, len(self.images)):
            x = to_float(part.to(model.device))
            errors.append((model.reconstruct(x) - x).square().mean() * (len(part) / len(self.images)))
        error = float(sum(errors))
        self.looks_since = 0 if error < (1 - self.least) * self.best else self.looks_since + 1
        if error < self.best:
            self.best = error
            self.state = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def _split(train: Images) -> tuple[Images, Images]:
    """The images to learn from, and a random tenth, at most MAX_ASIDE, set aside (empty if they are fewer than ten)."""
    order = torch.randperm(len(train.images), generator=torch.Generator().manual_seed(0))
    num = min(len(order) // 10, MAX_ASIDE)
    return train.subset(order[num:]), train.subset(order[:num])


def _modules_of(model_class: type) -> list[ModuleType]:
    """The modules of a class and of those of this project that it is derived from."""
    names = [base.__module__ for base in model_class.__mro__]
    return [sys.modules[name] for name in names if name == names[0] or name.startswith("lightning_genae.")]


def _built(model_class: type, dataset: Dataset, options: dict) -> LightningModule:
    try:
        return model_class(dataset.image_shape, dataset.num_classes, **options)
    except ValueError as error:  # a model names its options as if it were the run's
        raise ValueError(str(error).replace("--model.", "--augment.autoencoder.")) from error


def _open(option: str, path: Path, model_class: type[LightningModule], state: dict) -> LightningModule:
    autoencoder = checkpoints.restored(option, path, model_class, state)
    # makes the backward pass on a CPU a third faster
    return autoencoder.to(memory_format=torch.channels_last).eval().requires_grad_(False)
