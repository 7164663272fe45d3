"""Training images above their variations by the augmentation."""

from pathlib import Path

import torch
from pytorch_lightning import Callback

from callbacks._pictures import pairs, show


class Augmented(Callback):
    """A grid at the start of training, so that one sees what the model will be shown.

    Args:
        folder: the run folder; the picture goes to its augmented/.
        num: images in the picture, a multiple of 8.
    """

    def __init__(self, folder: Path, num: int = 32):
        self.folder = Path(folder) / "augmented"
        self.num = num

    def on_train_start(self, trainer, pl_module) -> None:
        datamodule = trainer.datamodule
        if trainer.is_global_zero and datamodule.augment is not None and datamodule.batches == 0:
            x, labels = datamodule.examples("train", self.num)
            with torch.random.fork_rng(), torch.no_grad():
                torch.manual_seed(0)
                varied = datamodule.augment.vary(x, labels)
            if not torch.equal(varied, x):  # an arm that changes nothing has nothing to show
                show(trainer, self.folder, pairs(x, varied, 8), num_columns=8)
