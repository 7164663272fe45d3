"""Images as stored (uint8 or float32) and as modules see them (float32 in [-1, 1]).

A sequence is an image one pixel high, (channels, 1, length), whose rows are its channels over time.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

AT_ONCE = 2**25  # values of images that are processed at once: 128 MB in float32


class Placed(Protocol):
    """What is on a device and has a precision, such as a model."""

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...


def to_uint8(images: Tensor) -> Tensor:
    """Images of any shape in [-1, 1], clamped, to uint8."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def to_float(images: Tensor) -> Tensor:
    """Stored images of any shape to float32 in [-1, 1]: uint8 is scaled, float32 is unchanged."""
    # in place, because memory for an intermediate result takes longer to get than its values to compute
    return images if images.is_floating_point() else images.float().div_(127.5).sub_(1)


def as_input(model: Placed, images: Tensor) -> Tensor:
    """Stored images on a model's device and in its precision, in [-1, 1]."""
    return to_float(images.to(model.device)).to(model.dtype)


def num_at_once(image_shape: Sequence[int], most: int, values: int = AT_ONCE) -> int:
    """The number of images of a shape (C, H, W) that are processed at once: `most`, or fewer if they are large."""
    return max(1, min(most, values // math.prod(image_shape)))


def blocks(images: Tensor, most: int, values: int = AT_ONCE) -> Iterator[Tensor]:
    """Stored images (N, C, H, W), in memory or on disk, `most` at a time, or fewer if they are large."""
    yield from images.split(num_at_once(images.shape[1:], most, values))


def chosen_of(images: Tensor, index: Tensor) -> Tensor:
    """The stored images (M, C, H, W) of indices (M,); images on disk stay there."""
    return images[index] if isinstance(images, Tensor) else images.subset(index)
