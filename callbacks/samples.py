"""Samples over time, always from the same noise."""

from pathlib import Path

import torch
from pytorch_lightning import Callback

from callbacks._pictures import pairs, show
from lightning_genae.data.modalities import Modality


class Samples(Callback):
    """A grid of samples every `every` batches and at the end; one class per row if the model is conditional.

    A model of two domains shows pairs, one above the other. For sequences, held-out ones are shown above samples.

    Args:
        folder: the run folder; pictures go to its samples/.
        every: batches between two pictures.
        num: images in a picture, a multiple of 8.
    """

    num_points = 2_000  # in a picture of data drawn in a single plot
    max_classes = 20

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
                if trainer.datamodule.dataset.modality.is_sequence:
                    self._show_sequences(trainer, pl_module)
                else:
                    images = self._draw(pl_module, trainer.datamodule.dataset.modality)
                    show(trainer, self.folder, images, num_columns=8)

    def _show_sequences(self, trainer, model) -> None:
        """Held-out sequences above samples; for texts, all held-out ones above all samples."""
        num, columns = trainer.datamodule.dataset.modality.layout
        x, _ = trainer.datamodule.examples("heldout", num)
        columns = len(x) if columns == 1 else columns
        show(trainer, self.folder, pairs(x, model.sample(len(x)), columns), columns, rows=("held out", "samples"))

    def _draw(self, model, modality: Modality) -> torch.Tensor:
        if modality.is_drawn_together:
            return model.sample(self.num_points)
        if hasattr(model, "sample_pairs"):
            above, below = model.sample_pairs(self.num // 2)
            return pairs(above, below, num_columns=8)
        num_classes = min(getattr(model, "num_conditions", 0), self.max_classes)
        if num_classes:
            labels = torch.arange(num_classes, device=model.device).repeat_interleave(8)
            return model.sample(len(labels), labels)
        return model.sample(self.num)
