"""Measures how much work a batch of a model is, and what numbers of threads bring for it."""

import time

import torch
from pytorch_lightning import Callback
from torch import nn

from lightning_genae.estimates import Estimate


class CountOperations(Callback):
    """Ends a training after its first batch.

    Attributes:
        operations: floating-point operations of the batch, which depend on the model and the data alone.
        is_whole: whether they are all of it; those of recurrent networks are not counted.
    """

    def __init__(self) -> None:
        self.operations = 0
        self.is_whole = False

    def on_train_batch_start(self, trainer, pl_module, *args) -> None:
        from torch.utils.flop_counter import FlopCounterMode  # slow, and its result is cached

        self.counter = FlopCounterMode(display=False)
        self.counter.__enter__()

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        self.counter.__exit__(None, None, None)
        self.operations = self.counter.get_total_flops()
        self.is_whole = not any(isinstance(module, nn.RNNBase) for module in pl_module.modules())
        trainer.should_stop = True

    def on_exception(self, trainer, pl_module, exception) -> None:
        self.counter.__exit__(None, None, None)


class TryThreads(Callback):
    """Ends a training after some batches with each of several numbers of threads in turn, so that what else the machine
    does meanwhile meets them all.

    Args:
        numbers: of threads, in ascending order.

    Attributes:
        seconds: of batches by number of threads, without the first batch of each.
    """

    num_rounds, max_seconds = 5, 10.0  # rounds of a batch with each number; none begins later, except for the first

    def __init__(self, numbers: list[int]):
        self.numbers = numbers
        self.seconds: dict[int, list[float]] = {}

    def on_train_start(self, trainer, pl_module) -> None:
        what = f"Timing batches with {', '.join(map(str, self.numbers))} threads"
        self.estimate = Estimate(what, (self.num_rounds + 1) * len(self.numbers), at_most=True)

    def on_train_batch_start(self, trainer, pl_module, *args) -> None:
        batch = trainer.datamodule.batches - 1
        torch.set_num_threads(self.numbers[batch % len(self.numbers)])
        self.start = time.perf_counter()
        if batch == 0:
            self.begin = self.start

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        now = time.perf_counter()
        self.estimate.update()
        rounds, index = divmod(trainer.datamodule.batches - 1, len(self.numbers))
        if rounds:  # the first one warms up
            self.seconds.setdefault(self.numbers[index], []).append(now - self.start)
        if index == len(self.numbers) - 1 and rounds:
            trainer.should_stop = rounds == self.num_rounds or now - self.begin > self.max_seconds
