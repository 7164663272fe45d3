"""What the callbacks that make pictures share."""

from pathlib import Path

import torch
from pytorch_lightning import Trainer
from torch import Tensor

from callbacks._grids import add_header, are_points, save_grid
from callbacks._lines import save_lines
from callbacks._sounds import save_sounds
from callbacks._texts import save_page
from lightning_genae.images import Kind


def show(trainer: Trainer, folder: Path, images: Tensor, num_columns: int, rows: tuple[str, ...] = ("",)) -> Path:
    """Writes a picture of images to `folder`, named by the batches trained so far, and to every logger.

    Args:
        folder: in the run folder; its name is the picture's name in the loggers.
        images: (N, C, H, W) in [-1, 1], shown row by row.
        num_columns: images in a row.
        rows: what the rows show, by turns; for sequences.
    """
    path = folder / f"{trainer.datamodule.batches:08d}.png"
    save_picture(path, images, num_columns, trainer.datamodule, rows)
    publish(trainer, folder.name, path)
    return path


def save_picture(
    path: Path,
    images: Tensor,
    num_columns: int,
    datamodule,
    rows: tuple[str, ...] = ("",),
    titles: tuple[str, ...] = (),
) -> Path:
    """Writes images (N, C, H, W) in [-1, 1], or what else the data are, as one PNG, and beside it what a PNG cannot
    hold: texts as .txt, sounds as .wav files in a folder of the same name.

    Args:
        rows: what the rows show, by turns; for sequences.
        titles: of the columns.
    """
    if datamodule.kind in ("series", "masked"):
        return save_lines(path, datamodule.natural(images), num_columns, datamodule.channels, rows, titles)
    if datamodule.kind == "text":
        return save_page(path, datamodule.natural(images), num_columns, rows)
    if datamodule.kind == "audio":
        return save_sounds(path, images, num_columns, datamodule, rows, titles)
    save_grid(path, images, num_columns, datamodule.heldout.images)
    if titles:
        add_header(path, titles)
    return path


def publish(trainer: Trainer, name: str, path: Path) -> None:
    """Gives a picture, and the texts or sounds that lie beside it, to every logger that takes pictures."""
    text, sounds = path.with_suffix(".txt"), sorted(path.with_suffix("").glob("*.wav"))
    for logger in trainer.loggers:
        if not hasattr(logger, "log_image"):
            continue
        logger.log_image(name, [str(path)])
        if text.is_file():
            lines = text.read_text(encoding="utf-8").splitlines()
            logger.log_table(f"{name}-texts", columns=["text"], data=[[line] for line in lines])
        if sounds:
            logger.log_audio(f"{name}-sounds", [str(sound) for sound in sounds], caption=[one.stem for one in sounds])


def for_codes(trainer: Trainer, model, num: int) -> Tensor | None:
    """Held-out images whose codes a picture can show, in the model's precision; None where there is nothing to show:
    without an encoder, of points, and on all processes but the first."""
    if not trainer.is_global_zero or not hasattr(model, "encode"):
        return None
    x, _ = trainer.datamodule.examples("heldout", num)
    return None if are_points(x) else x.to(model.dtype)


def pairs(above: Tensor, below: Tensor, num_columns: int) -> Tensor:
    """Two sets of images (N, C, H, W), N a multiple of the columns, as alternating rows of a grid."""
    rows = zip(above.cpu().split(num_columns), below.cpu().split(num_columns))
    return torch.cat([images for row in rows for images in row])


def layout(kind: Kind) -> tuple[int, int]:
    """How many pairs of originals and what became of them a picture shows, and in how many columns."""
    return {"image": (32, 8), "text": (16, 1), "audio": (4, 4)}.get(kind, (16, 8))
