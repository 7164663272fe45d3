"""Samples that turn into others, and samples of truncated noise, for loggers that show both."""

from contextlib import suppress
from pathlib import Path

import torch
from pytorch_lightning import Callback

from callbacks._pictures import publish, show
from lightning_genae.data.drawing.grids import save_film
from lightning_genae.data.modalities.image import Image
from lightning_genae.data.storage import to_float
from lightning_genae.errors import UserError
from lightning_genae.evaluation.sampling import draw, film, made_of, truncated


class Film(Callback):
    """A GIF and a grid at the end of training, by a model of images that makes its samples of noise, if a logger shows
    films; `run.py sample RUN` makes both of any run.

    Args:
        folder: the run folder; they go to its film/ and truncated/.
    """

    num, num_keys, num_between = 9, 6, 12  # images in a frame, draws of noise, and frames from one to the next
    limit, num_truncated = 0.7, 64

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    def on_train_end(self, trainer, pl_module) -> None:
        is_shown = any(hasattr(logger, "log_video") for logger in trainer.loggers)
        is_of_images = isinstance(trainer.datamodule.dataset.modality, Image)
        if trainer.is_global_zero and is_shown and is_of_images and hasattr(pl_module, "sample"):
            with suppress(UserError), torch.random.fork_rng():  # samples are made of something else
                self._show(trainer, pl_module)

    def _show(self, trainer, model) -> None:
        with made_of(model, truncated(model, self.limit)):
            samples = draw(model, self.num_truncated, seed=0)
        show(trainer, self.folder / "truncated", to_float(samples), num_columns=8)
        frames = film(model, self.num, 0, None, self.num_keys, self.num_between)
        path = self.folder / "film" / f"{trainer.datamodule.batches:08d}.gif"
        publish(trainer, "film", save_film(path, map(to_float, frames), round(self.num**0.5)))
