"""What each dimension of the code does to an image."""

from pathlib import Path

import torch
from pytorch_lightning import Callback

from callbacks._pictures import for_latents, show


class Traversals(Callback):
    """A grid at the end of training, by a model with an encoder: a row moves one dimension of a held-out image's code.

    The dimensions are those with the largest standard deviation of held-out latents. The steps go from two standard
    deviations below the mean to two above.

    Args:
        folder: the run folder; the picture goes to its traversals/.
        num_rows: dimensions at most.
        num_steps: images in a row.
    """

    num_latents = 500  # held-out images for the mean and the standard deviation

    def __init__(self, folder: Path, num_rows: int = 8, num_steps: int = 9):
        self.folder = Path(folder) / "traversals"
        self.num_rows = num_rows
        self.num_steps = num_steps

    @torch.no_grad()
    def on_train_end(self, trainer, pl_module) -> None:
        x = for_latents(trainer, pl_module, self.num_latents)
        if x is not None:
            show(trainer, self.folder, pl_module.decode(self._latents(pl_module.encode(x))), self.num_steps)

    def _latents(self, latents: torch.Tensor) -> torch.Tensor:
        std, mean = torch.std_mean(latents, 0)
        rows = []
        for dimension in std.argsort(descending=True)[: self.num_rows]:
            row = latents[:1].repeat(self.num_steps, 1)
            steps = torch.linspace(-2, 2, self.num_steps, device=latents.device)
            row[:, dimension] = mean[dimension] + steps * std[dimension]
            rows.append(row)
        return torch.cat(rows)
