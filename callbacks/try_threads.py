"""Measures what numbers of threads bring for the batches of a model."""

import time

import torch
from pytorch_lightning import Callback
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lightning_genae.threads import SMALL


class TryThreads(Callback):
    """Ends a training after its first batch if that is little work, else after some batches with each of several
    numbers of threads in turn, so that what else the machine does meanwhile meets them all.

    Args:
        numbers: of threads, in ascending order.

    Attributes:
        operations: floating-point operations of the first batch, which depend on the model and the data alone.
        seconds: of batches by number of threads, without the first batch of each; empty if a batch is little work.
    """

    num_rounds, max_seconds = 5, 10.0  # rounds of a batch with each number; none begins later, except for the first

    def __init__(self, numbers: list[int]):
        self.numbers = numbers
        self.operations = 0
        self.seconds: dict[int, list[float]] = {}

    def on_train_batch_start(self, trainer, pl_module, *args) -> None:
        batch = trainer.datamodule.batches - 1
        if batch == 0:
            self.begin = time.perf_counter()
            self.counter = FlopCounterMode(display=False)
            self.counter.__enter__()
            return
        torch.set_num_threads(self.numbers[(batch - 1) % len(self.numbers)])
        self.start = time.perf_counter()

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        now, batch = time.perf_counter(), trainer.datamodule.batches - 1
        if batch == 0:
            self.counter.__exit__(None, None, None)
            self.operations = self.counter.get_total_flops()
            trainer.should_stop = self.is_small(pl_module)
            return
        rounds, index = divmod(batch - 1, len(self.numbers))
        if rounds:  # the first one warms up
            self.seconds.setdefault(self.numbers[index], []).append(now - self.start)
        if index == len(self.numbers) - 1 and rounds:
            trainer.should_stop = rounds == self.num_rounds or now - self.begin > self.max_seconds

    def on_exception(self, trainer, pl_module, exception) -> None:
        if not self.operations:
            self.counter.__exit__(None, None, None)

    def is_small(self, model: nn.Module) -> bool:
        """Whether it is certain, without measuring, that a batch is not worth a second thread. Those of recurrent
        networks are not counted."""
        return self.operations < SMALL and not any(isinstance(module, nn.RNNBase) for module in model.modules())
