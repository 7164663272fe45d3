"""Checks of what a data set loads, before anything is made of it."""

import torch
from torch import Tensor

from lightning_genae import registry
from lightning_genae.data.dataset import Images
from lightning_genae.data.storage import blocks
from lightning_genae.errors import UserError


def check_loaded(datamodule: type, loaded: object) -> None:
    """Checks what `load` of a data module returned.

    Raises:
        UserError: it is not (pool, held-out, number of classes), or an item or a label is not as `Images` says.
    """
    about = f"{registry.described(datamodule)}: expected load() to return"
    if not isinstance(loaded, tuple) or len(loaded) != 3 or not isinstance(loaded[2], int):
        raise UserError(f"{about} (Images, Images, number of classes); got {_types(loaded)}")
    *parts, num_classes = loaded
    for name, part in zip(("the training split", "the held-out split"), parts):
        if not isinstance(part, Images):
            raise UserError(f"{about} Images(images, labels) as {name}; got {_types(part)}")
        _check_images(f"{about} {name}", part.images, bounded=part is parts[0])
        _check_labels(f"{about} {name}", part, num_classes)
    pool, heldout = (part.images for part in parts)
    if pool is heldout:
        raise UserError(f"{about} held-out items that are not trained on; got those of the training split")
    first, second = (tuple(part.images.shape[1:]) for part in parts)
    if first != second:
        raise UserError(
            f"{about} items of one shape; got {first} in the training split and {second} in the held-out one"
        )


def check_split(about: str, part: Images) -> None:
    """Checks that images have as many labels, as `split_off` needs them.

    Raises:
        UserError: labels are not int64 (N,), or negative.
    """
    labels, num = part.labels, len(part.images)
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or tuple(labels.shape) != (num,):
        got = f"{tuple(labels.shape)} {labels.dtype}" if isinstance(labels, Tensor) else type(labels).__name__
        raise UserError(f"{about} with labels ({num},) {torch.int64}, one for each of its images; got {got}")
    if num and labels.min() < 0:
        raise UserError(f"{about} with labels from 0; got {int(labels.min())}")


def _check_images(about: str, images: Tensor, bounded: bool) -> None:
    shape, dtype = tuple(images.shape), getattr(images, "dtype", torch.uint8)  # those on disk are uint8
    if len(shape) != 4 or 0 in shape[1:] or dtype not in (torch.uint8, torch.float32):
        raise UserError(f"{about} with images (N, C, H, W), uint8, or float32 in [-1, 1]; got {shape} {dtype}")
    if dtype != torch.float32:
        return
    for part in blocks(images, 10_000):
        # series and tables are scaled by the training split, beyond which held-out ones may lie; 0.001 is for rounding
        if not part.isfinite().all() or (bounded and part.abs().max() > 1.001):
            low, high = float(part.min()), float(part.max())
            raise UserError(f"{about} with finite images in [-1, 1]; got values from {low:.3g} to {high:.3g}")


def _check_labels(about: str, part: Images, num_classes: int) -> None:
    check_split(about, part)
    labels = part.labels
    if len(labels) and not (labels.min() >= 0 and labels.max() < max(1, num_classes)):
        low, high = int(labels.min()), int(labels.max())
        expected = f"from 0 to {num_classes - 1}" if num_classes else "that are all 0, because there are no classes"
        raise UserError(f"{about} with labels {expected}; got them from {low} to {high}")


def _types(values: object) -> str:
    if isinstance(values, tuple | list):
        return f"({', '.join(type(value).__name__ for value in values)})"
    return type(values).__name__
