"""What the callbacks that make pictures share."""

from pathlib import Path

import torch
from pytorch_lightning import Trainer
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.utils import make_grid, save_image


def show(trainer: Trainer, folder: Path, images: Tensor, num_columns: int) -> Path:
    """Writes a grid of images to `folder`, named by the batches trained so far, and to every logger.

    Args:
        folder: in the run folder; its name is the picture's name in the loggers.
        images: (N, C, H, W) in [-1, 1], shown row by row.
        num_columns: images in a row.
    """
    batches = trainer.datamodule.batches
    path = save_grid(folder / f"{batches:08d}.png", images, num_columns)
    for logger in trainer.loggers:
        if hasattr(logger, "log_image"):
            logger.log_image(folder.name, [str(path)])
    return path


def save_grid(path: Path, images: Tensor, num_columns: int) -> Path:
    """Writes images (N, C, H, W) in [-1, 1] as one PNG, small ones enlarged without smoothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = ((images.detach().float().cpu() + 1) / 2).clamp(0, 1)
    enlargement = max(1, round(48 / images.shape[-1]))
    images = interpolate(images, scale_factor=enlargement, mode="nearest")
    save_image(make_grid(images, nrow=num_columns, padding=2, pad_value=0.5), path)
    return path


def pairs(above: Tensor, below: Tensor, num_columns: int) -> Tensor:
    """Two sets of images (N, C, H, W), N a multiple of the columns, as alternating rows of a grid."""
    rows = zip(above.cpu().split(num_columns), below.cpu().split(num_columns))
    return torch.cat([images for row in rows for images in row])
