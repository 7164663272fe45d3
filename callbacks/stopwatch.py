"""Measures the time of a batch and of an evaluation of a model."""

import time

import torch
from pytorch_lightning import Callback

from lightning_genae.estimates import Estimate
from lightning_genae.evaluation.evaluation import Evaluation
from lightning_genae.evaluation.sampling import draw

FEW = 20  # samples
ENOUGH = 2.0  # seconds of timed batches


class Stopwatch(Callback):
    """Ends a training after some batches and measures the mean time of a batch, without the first ones.

    Args:
        num_batches: of the training, at least 3; fewer if they take more than 2 s.
        evaluation: timed before the first batch. None: no evaluation is timed.

    Attributes:
        seconds_per_batch: mean over all batches except the first two.
        seconds_per_look: of an evaluation during training.
    """

    num_warming = 2  # batches

    def __init__(self, num_batches: int, evaluation: Evaluation | None = None):
        self.num_batches = num_batches
        self.evaluation = evaluation
        self.seconds_per_batch = self.seconds_per_look = 0.0

    def on_train_start(self, trainer, pl_module) -> None:
        if self.evaluation is not None:
            # what metrics import at their first use must not count
            import torchmetrics.functional.text
            import torchmetrics.image  # noqa: F401

            self._announce(pl_module, self.evaluation)
            start = _now(pl_module)
            self.evaluation.measure(pl_module, at_the_end=False)
            self.seconds_per_look = _now(pl_module) - start
            self.evaluation.extractor.cpu()  # back to where it was, so that timing does not affect the run

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        batches = trainer.datamodule.batches
        if batches == self.num_warming:
            self.start = _now(pl_module)
        if batches > self.num_warming and (batches == self.num_batches or _now(pl_module) - self.start > ENOUGH):
            self.seconds_per_batch = (_now(pl_module) - self.start) / (batches - self.num_warming)
            trainer.should_stop = True

    @staticmethod
    def _announce(model, evaluation: Evaluation) -> None:
        """Says how long an evaluation takes, by a few samples; the first ones warm up the extractor."""
        extractor, num = evaluation.extractor.to(model.device), evaluation.num_samples
        for _ in range(2):
            start = _now(model)
            extractor(draw(model, FEW, seed=0))
        seconds = (_now(model) - start) / FEW * num
        Estimate(f"Timing an evaluation of {num:,} samples, to plan as many as are affordable", 1, seconds=seconds)


def _now(model) -> float:
    """Current time in seconds, after all queued work of a GPU is done."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()
