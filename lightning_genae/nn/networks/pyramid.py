"""What networks share that halve the image until its longer side is at most 4, and double it again.

For sequences, images one pixel high, they are one-dimensional convolutions.
"""

import math

from torch import nn

from lightning_genae.errors import UserError

Shape = tuple[int, int, int]  # (C, H, W)
Side = tuple[int, int]  # height and width of a level
SMALLEST = 4  # longer side of the smallest maps, at most


def pyramid(image_shape: Shape, width: int | None) -> tuple[list[Side], list[int]]:
    """Image sizes from full resolution to at most 4 per side, and the number of channels at each."""
    sizes = halved(image_shape)
    width = 16 if width is None else width
    return sizes, [width * min(2**level, 8) for level in range(len(sizes))]


def halved(image_shape: Shape) -> list[Side]:
    """Image sizes from full resolution to at most 4 per side."""
    if max(image_shape[1:]) == 1:
        raise UserError("--model.network: expected mlp for points, tables and images of 1x1; got one for larger images")
    sizes = [(image_shape[1], image_shape[2])]
    while max(sizes[-1]) > SMALLEST:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


def check_images(image_shape: Shape, network: str) -> None:
    """Raises UserError for data of one row or column, and for images that are not halved."""
    height, width = image_shape[1:]
    if min(height, width) == 1 < max(height, width):
        raise UserError(
            f"--model.network: expected mlp, conv, resnet or recurrent for data that are no images; got {network}"
        )
    if 1 < max(height, width) <= SMALLEST:
        raise UserError(
            f"--model.network: expected images of more than {SMALLEST} pixels for {network}; got {height}x{width}"
        )


def keeping(size: Side) -> dict:
    """Options of a convolution that keeps the sides; for sequences it is one-dimensional."""
    kernel = tuple(1 if side == 1 else 3 for side in size)
    return {"kernel_size": kernel, "padding": tuple(side // 2 for side in kernel)}


def halving(size: Side) -> dict:
    """Options of a convolution that halves the sides, rounding up, and of its transpose; sides of 1 stay 1."""
    kernel = tuple(1 if side == 1 else 4 - side % 2 for side in size)
    return {
        "kernel_size": kernel,
        "stride": tuple(1 if side == 1 else 2 for side in size),
        "padding": tuple(0 if side == 1 else 1 for side in size),
    }


def activation(num_channels: int, batch_norm: bool = False) -> list[nn.Module]:
    """A leaky rectifier, or a batch norm and a rectifier."""
    return [nn.BatchNorm2d(num_channels), nn.ReLU()] if batch_norm else [nn.LeakyReLU(0.2)]


def to_vector(num_channels: int, size: Side, num_outputs: int) -> list[nn.Module]:
    """The end of an encoder: from maps (B, num_channels, *size) to vectors (B, num_outputs)."""
    return [nn.Flatten(), nn.Linear(num_channels * math.prod(size), num_outputs)]


def from_vector(num_inputs: int, num_channels: int, size: Side) -> list[nn.Module]:
    """The beginning of a decoder: from vectors (B, num_inputs) to maps (B, num_channels, *size)."""
    return [nn.Linear(num_inputs, num_channels * math.prod(size)), nn.Unflatten(1, (num_channels, *size))]
