"""Metrics of the samples against real images, during training and at its end."""

import time
from typing import Literal

import pytorch_lightning
import torch
import torchmetrics
import torchvision
from jsonargparse.typing import PositiveInt
from pytorch_lightning import Callback, LightningModule

from lightning_genae import metrics


class Evaluate(Callback):
    """Frechet distance and KID of samples, and how well the model knows held-out images.

    Samples are compared with the held-out images (precision, recall, density and coverage with these alone) and with
    the whole training split, and their distance to the nearest image that was trained on is taken. Reconstruction
    error and log-likelihood are of held-out images, where the model has them. The references never depend on the
    training subset, so arms of any size can be compared. What a number depends on is in `protocol`, the last
    values are in `values`.

    Args:
        features: network whose features are compared: a classifier trained here on the data set, the
            Inception network of FID, or the pixels' principal components. null: classifier where the data
            has labels, else pixels.
        weights: path of Inception's weights. null: they are fetched.
        num_samples: generated images that are measured. null: as many as are held out, at most 10,000.
        every: images shown between two evaluations. null: a fifth of the training.
    """

    max_samples = 10_000
    seed = 0  # of the noise of the samples
    num_likelihoods, num_codes = 250, 32  # held-out images, and codes for each, of the log-likelihood

    def __init__(
        self,
        features: Literal["classifier", "inception", "pixels"] | None = None,
        weights: str | None = None,
        num_samples: PositiveInt | None = None,
        every: PositiveInt | None = None,
    ):
        if num_samples == 1:
            raise ValueError("--metrics.num_samples: expected at least 2; got 1")
        self.features = features
        self.weights = weights
        self.num_samples = num_samples
        self.every = every
        self.values: dict[str, float] = {}
        self.seconds = 0.0

    def prepare(self, datamodule) -> None:
        """Makes the extractor and the features of the references, before anything is trained on them."""
        self.extractor = metrics.extractor(self.features, self.weights, datamodule)
        self.measure = datamodule.measure
        self.heldout = datamodule.heldout.images[: self.max_samples]
        real = datamodule.train_split.images[: self.max_samples]
        self.comparison = metrics.Comparison(self.extractor, {"": self.heldout, "_train": real})
        self.num_samples = self.num_samples or len(self.heldout)
        self.trained_on = datamodule.train.images
        # drawn at random: the order of a data set may follow who wrote or photographed it
        drawn = torch.randperm(len(real), generator=torch.Generator().manual_seed(0))[: self.num_samples]
        floor = metrics.frechet_distance(self.comparison.real[""], self.comparison.real["_train"][drawn])
        self.protocol = {
            **self.extractor.description,
            "n_fake": self.num_samples,
            "heldout": datamodule.heldout.fingerprint,
            "n_heldout": len(self.heldout),
            "n_train": len(real),
            "fd_of_real_training_images": floor,
            "distance_of_heldout_to_train": metrics.distance_to_nearest(self.heldout, self.trained_on),
            "seed_of_z": self.seed,
            "versions": {
                module.__name__: module.__version__ for module in (torch, torchvision, torchmetrics, pytorch_lightning)
            },
        }

    def evaluate(self, model: LightningModule) -> dict[str, float]:
        """The metrics of a model; the noise of its samples is always the same."""
        self.protocol["generator"] = "averaged" if hasattr(model, "averaged") else "raw"
        self.extractor.to(model.device)
        samples = metrics.draw(model, self.num_samples, self.seed)
        values = self.comparison(samples) | self.measure(samples)
        values["distance_to_train"] = metrics.distance_to_nearest(samples, self.trained_on)
        if hasattr(model, "reconstruct"):
            values["mse"] = self._reconstruction_error(model)
        if hasattr(model, "log_likelihood"):
            self.protocol |= {"n_log_likelihood": self.num_likelihoods, "importance_samples": self.num_codes}
            values["log_likelihood"] = self._log_likelihood(model)
        return values

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        datamodule = trainer.datamodule
        images_per_batch = datamodule.batch_size * trainer.world_size
        images = datamodule.batches * images_per_batch
        due = images // self.every > (images - images_per_batch) // self.every
        if due and not trainer.should_stop:  # the end is measured once, by on_train_end
            self._run(trainer, pl_module)

    def on_train_end(self, trainer, pl_module) -> None:
        self._run(trainer, pl_module)

    def _run(self, trainer, pl_module) -> None:
        start = time.perf_counter()
        if trainer.is_global_zero:
            self.values = self.evaluate(pl_module)
            for logger in trainer.loggers:
                logger.log_metrics({f"val/{name}": value for name, value in self.values.items()})
        trainer.strategy.barrier("evaluate")
        self.seconds += time.perf_counter() - start

    def _reconstruction_error(self, model: LightningModule) -> float:
        """Mean squared error per pixel of held-out images in [-1, 1]."""
        errors = []
        for part in self.heldout.split(500):
            x = metrics.as_input(model, part)
            errors.append((model.reconstruct(x) - x).square().flatten(1).mean(1))
        return float(torch.cat(errors).mean())

    def _log_likelihood(self, model: LightningModule) -> float:
        """Mean log-likelihood of held-out images in nats, by importance weighting."""
        x = metrics.as_input(model, self.heldout[: self.num_likelihoods])
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return float(model.log_likelihood(x, self.num_codes).mean())
