"""Functions for the callbacks that make pictures."""

from pathlib import Path

import torch
from pytorch_lightning import Trainer
from torch import Tensor

from lightning_genae.data.dataset import Dataset


def show(trainer: Trainer, folder: Path, images: Tensor, num_columns: int, rows: tuple[str, ...] = ("",)) -> Path:
    """Writes a picture of images to `folder`, named by the batches trained so far, and to every logger.

    Args:
        folder: in the run folder; its name is the picture's name in the loggers.
        images: (N, C, H, W) in [-1, 1], shown row by row.
        num_columns: images in a row.
        rows: titles of the rows, repeated in turn; for sequences.
    """
    datamodule = trainer.datamodule  # type: ignore[attr-defined]  # set, not declared
    dataset: Dataset = datamodule.dataset
    path = folder / f"{datamodule.batches:08d}.png"
    dataset.modality.draw(path, images, num_columns, rows, behind=dataset.heldout.images)
    publish(trainer, folder.name, path)
    return path


def publish(trainer: Trainer, name: str, path: Path) -> None:
    """Sends a picture or a film, and the texts or sounds beside it, to every logger that accepts it."""
    if path.suffix == ".gif":
        for logger in trainer.loggers:
            if hasattr(logger, "log_video"):
                logger.log_video(name, [str(path)])
        return
    text, sounds = path.with_suffix(".txt"), sorted(path.with_suffix("").glob("*.wav"))
    for logger in trainer.loggers:
        if not hasattr(logger, "log_image"):
            continue
        logger.log_image(name, [str(path)])
        if text.is_file() and hasattr(logger, "log_table"):
            lines = text.read_text(encoding="utf-8").splitlines()
            logger.log_table(f"{name}-texts", columns=["text"], data=[[line] for line in lines])
        if sounds and hasattr(logger, "log_audio"):
            logger.log_audio(
                f"{name}-sounds", [str(sound) for sound in sounds], caption=[sound.stem for sound in sounds]
            )


def for_latents(trainer: Trainer, model, num: int) -> Tensor | None:
    """Held-out images whose latents a picture can show, in the model's precision; None if there is nothing to show:
    without an encoder, for data drawn in a single plot, and on all processes except the first."""
    datamodule = trainer.datamodule  # type: ignore[attr-defined]  # set, not declared
    dataset: Dataset = datamodule.dataset
    is_drawn_alone = not dataset.modality.is_drawn_together
    if not (trainer.is_global_zero and hasattr(model, "encode") and is_drawn_alone):
        return None
    x, _ = datamodule.examples("heldout", num)
    return x.to(model.dtype)


def pairs(above: Tensor, below: Tensor, num_columns: int) -> Tensor:
    """Two sets of images (N, C, H, W), N a multiple of the columns, as alternating rows of a grid."""
    rows = zip(above.cpu().split(num_columns), below.cpu().split(num_columns))
    return torch.cat([images for row in rows for images in row])
