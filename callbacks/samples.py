"""Samples over time, always from the same noise."""

from pathlib import Path

import torch
from pytorch_lightning import Callback

from callbacks._pictures import show


class Samples(Callback):
    """A grid of samples every `every` batches and at the end.

    Args:
        folder: the run folder; pictures go to its samples/.
        every: batches between two pictures.
        num: images in a picture.
    """

    def __init__(self, folder: Path, every: int, num: int = 64):
        self.folder = Path(folder) / "samples"
        self.every = every
        self.num = num

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        if trainer.datamodule.batches % self.every == 0 and not trainer.should_stop:
            self._show(trainer, pl_module)

    def on_train_end(self, trainer, pl_module) -> None:
        self._show(trainer, pl_module)

    def _show(self, trainer, pl_module) -> None:
        if trainer.is_global_zero:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                images = pl_module.sample(self.num)
            show(trainer, self.folder, images, num_columns=8)
