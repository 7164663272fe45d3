"""Whether a batch fits into the memory, before anything is trained. Otherwise the system kills the run, or the machine
stands still."""

import copy
import math
from typing import TYPE_CHECKING

import lightning_genae
from lightning_genae import memory
from lightning_genae.cache import source
from lightning_genae.commands.length import rehearse
from lightning_genae.commands.precision import FLOAT32
from lightning_genae.commands.trainer import new_trainer
from lightning_genae.errors import UserError

if TYPE_CHECKING:
    from datamodules import ImageDataModule

SMALL, LARGER = 2, 4  # images of the batches that are counted; batch norm needs two
MOST = 20_000  # times the bytes of an image is more than any network here takes for it; below that nothing is counted
SPARED = 0.9  # of what is available, for what is not counted, such as the workspace of convolutions


def check_memory(config: dict, datamodule: "ImageDataModule") -> None:
    """Counts the memory of two small batches without augmentation, from which that of a batch follows.

    Raises:
        UserError: it is more than is available, with the batch size that fits.
    """
    size, shape = datamodule.batch_size, datamodule.served.image_shape
    if size <= LARGER:
        return
    free, where = _available(config)
    if free is None or MOST * 4 * size * math.prod(shape) < free:
        return
    try:
        lines = counted(config, datamodule)
    except Exception:  # of the model; its training says what is wrong, and where
        return
    taken = max(fixed + size * each for fixed, each in lines)
    if taken <= free:
        return
    fits = min(math.floor((SPARED * free - fixed) / each) for fixed, each in lines if each)
    advice = f"at most {fits}" if fits >= SMALL else "a smaller --model.width or more memory"
    items = f"{size} {datamodule.modality.item_name} of {'x'.join(map(str, shape[1:]))}"
    raise UserError(
        f"--data.batch_size: expected {advice}, since a batch of {items} takes {taken / 1e9:.3g} GB and "
        f"{free / 1e9:.3g} GB {where} are free; got {size}"
    )


def _available(config: dict) -> tuple[int | None, str]:
    """Free bytes where the model is trained, None if that is not known, and the name of the place."""
    import torch
    from pytorch_lightning.accelerators import CPUAccelerator, CUDAAccelerator

    trainer = new_trainer(config, FLOAT32, logger=False)
    if isinstance(trainer.accelerator, CUDAAccelerator):
        return torch.cuda.mem_get_info(trainer.strategy.root_device)[0], "of the GPU"
    if not isinstance(trainer.accelerator, CPUAccelerator):
        return None, ""
    free = memory.available()
    return (None if free is None else free // trainer.num_devices), "of memory"


def counted(config: dict, datamodule: "ImageDataModule") -> list[tuple[float, float]]:
    """What is taken, as lines in the number of images, of which it is the highest: the bytes that do not depend on
    them, and those of an image. From the cache if they were counted for such a run."""
    import torch

    def count() -> "list[torch.Tensor]":
        from callbacks.count_memory import CountMemory

        counters = []
        for size in (SMALL, LARGER):
            part = copy.copy(datamodule)
            part.batch_size = size
            counters.append(CountMemory())
            rehearse(config, part, [counters[-1]])
        lines = lines_through(*(counter.bytes for counter in counters))
        return [torch.tensor(lines, dtype=torch.float64)]

    dataset = datamodule.served
    key = {"model": config["model"], "precision": config["precision"], "shape": dataset.image_shape}
    key |= {"classes": dataset.num_classes, "modality": dataset.modality.name, "source": source(lightning_genae)}
    (lines,) = datamodule.kept("memory", key, count)
    return [(fixed, each) for fixed, each in lines.tolist()]


def lines_through(small: list[int], larger: list[int]) -> list[tuple[float, float]]:
    """Straight lines (value at 0, slope) in the number of images through the bytes after each operation, of which none
    is below another one everywhere.

    Args:
        small: bytes after each operation of a batch of `SMALL` images.
        larger: of `LARGER`. Where its operations are others, a single line is drawn through the two peaks.
    """
    pairs = list(zip(small, larger)) if len(small) == len(larger) else [(max(small), max(larger))]
    slopes = [(few, max(0.0, (many - few) / (LARGER - SMALL))) for few, many in pairs]
    lines = {(max(0.0, few - SMALL * slope), slope) for few, slope in slopes}
    highest: list[tuple[float, float]] = []
    for fixed, slope in sorted(lines, reverse=True):
        if not highest or slope > highest[-1][1]:
            highest.append((fixed, slope))
    return highest
