"""Interpolations between the latents of held-out images."""

from pathlib import Path

import torch
from pytorch_lightning import Callback

from callbacks._pictures import for_latents, show


class Interpolations(Callback):
    """A grid at the end of training, by a model with an encoder.

    A row begins and ends with a held-out image; between them are the decoded latents on the line from the code of the
    first image to that of the last, including both ends.

    Args:
        folder: the run folder; the picture goes to its interpolations/.
        num_rows: pairs of images.
        num_steps: latents on the line.
    """

    def __init__(self, folder: Path, num_rows: int = 8, num_steps: int = 7):
        self.folder = Path(folder) / "interpolations"
        self.num_rows = num_rows
        self.num_steps = num_steps

    @torch.no_grad()
    def on_train_end(self, trainer, pl_module) -> None:
        x = for_latents(trainer, pl_module, 2 * self.num_rows)
        if x is not None:
            show(trainer, self.folder, self._rows(pl_module, x), self.num_steps + 2)

    def _rows(self, model, x: torch.Tensor) -> torch.Tensor:
        x = x[: len(x) // 2 * 2]  # there may be fewer than asked for, and an odd number of them
        first, last = x.chunk(2)
        z_first, z_last = model.encode(x).chunk(2)
        weights = torch.linspace(0, 1, self.num_steps, device=x.device)
        between = [model.decode(z_first.lerp(z_last, weight)) for weight in weights]
        return torch.stack([first, *between, last], 1).flatten(0, 1)
