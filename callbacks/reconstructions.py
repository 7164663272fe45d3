"""Held-out images above their reconstructions."""

from pathlib import Path

import torch
from pytorch_lightning import Callback

from callbacks._pictures import pairs, show


class Reconstructions(Callback):
    """A grid by the model or, where it has no encoder, by the augmentation's autoencoder, if there is one.

    The model's grid is drawn every `every` batches and at the end; that of the augmentation is drawn once, after the
    first batch: what draws it takes seconds to import.

    Args:
        folder: the run folder; pictures go to its reconstructions/.
        every: batches between two pictures.
    """

    def __init__(self, folder: Path, every: int):
        self.folder = Path(folder) / "reconstructions"
        self.every = every

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        batches, augment = trainer.datamodule.batches, trainer.datamodule.augment
        if hasattr(pl_module, "reconstruct"):
            if batches % self.every == 0 and not trainer.should_stop:
                self._show(trainer, pl_module, pl_module.dtype)
        elif batches == 1 and hasattr(augment, "reconstruct"):
            self._show(trainer, augment, torch.float32)

    def on_train_end(self, trainer, pl_module) -> None:
        if hasattr(pl_module, "reconstruct"):
            self._show(trainer, pl_module, pl_module.dtype)

    def _show(self, trainer, source, dtype: torch.dtype) -> None:
        if trainer.is_global_zero:
            num, columns = trainer.datamodule.dataset.modality.layout
            x, _ = trainer.datamodule.examples("heldout", num)
            x = x.to(dtype)
            rows = ("held out", "reconstruction")
            show(trainer, self.folder, pairs(x, source.reconstruct(x), columns), columns, rows)
