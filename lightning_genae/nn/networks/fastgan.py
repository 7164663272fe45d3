"""The networks of FastGAN, for few images of high resolution (Liu et al. 2021, arXiv 2101.04775).

Images of low resolution gate the channels of those of high resolution (skip-layer excitation), and gated linear units
follow batch norm. The critic has the paper's residual blocks that halve the image.
"""

import math
from itertools import pairwise

from torch import Tensor, nn

from lightning_genae.nn.networks.noise import Noise
from lightning_genae.nn.networks.pyramid import (
    Shape,
    Side,
    activation,
    check_images,
    halved,
    halving,
    keeping,
    to_vector,
)

SKIPPED = 4  # doublings between a map and that which it gates: from 4x4 to 64x64, as in the paper
# channels over the width where the longer side is at most as many pixels, as in the paper with a width of 64
MULTIPLES = {4: 16.0, 8: 8.0, 16: 4.0, 64: 2.0, 128: 1.0, 256: 0.5, 512: 0.25}


def encoder(image_shape: Shape, num_outputs: int, hidden: list[int] | None, width: int | None) -> list[nn.Module]:
    sizes, channels = _pyramid(image_shape, width)
    layers: list[nn.Module] = [nn.Conv2d(image_shape[0], channels[0], **keeping(sizes[0])), *activation(channels[0])]
    for (size, smaller), (c_in, c_out) in zip(pairwise(sizes), pairwise(channels)):
        layers.append(Halving(c_in, c_out, size, smaller))
    return [*layers, *to_vector(channels[-1], sizes[-1], num_outputs)]


def decoder(
    image_shape: Shape, num_inputs: int, hidden: list[int] | None, width: int | None, batch_norm: bool
) -> list[nn.Module]:
    sizes, channels = _pyramid(image_shape, width)
    sizes, channels = sizes[::-1], channels[::-1]
    first = (2 * channels[0], *sizes[0])
    dense = nn.Linear(num_inputs, math.prod(first), bias=False)
    start = nn.Sequential(dense, nn.Unflatten(1, first), *gated(channels[0], batch_norm))
    body = Doubling(sizes, channels, batch_norm)
    return [start, body, nn.Conv2d(channels[-1], image_shape[0], **keeping(sizes[-1]))]


class Doubling(nn.Module):
    """From maps (B, channels[0], *sizes[0]) to maps (B, channels[-1], *sizes[-1]), doubled from size to size.

    Deviations: the first map comes from a dense layer, which is the paper's transposed convolution of a single pixel;
    there is no spectral norm, which the authors' code has in every layer, and one image, without the smaller copy.

    Args:
        sizes: heights and widths of the maps.
        channels: of each of them.
        batch_norm: before the gated linear units.
    """

    def __init__(self, sizes: list[Side], channels: list[int], batch_norm: bool):
        super().__init__()
        steps = enumerate(zip(sizes[1:], pairwise(channels)))
        # the authors' code has two convolutions at 8x8, 32x32 and 128x128, one at the others
        self.blocks = nn.ModuleList(
            _doubled(size, c_in, c_out, batch_norm, twice=level % 2 == 0) for level, (size, (c_in, c_out)) in steps
        )
        self.skipped = max(1, min(SKIPPED, len(self.blocks)))
        self.excitations = nn.ModuleList(map(Excitation, channels, channels[self.skipped :]))

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for block in self.blocks:
            maps.append(block(maps[-1]))
            gating = len(maps) - 1 - self.skipped
            if gating >= 0:
                maps[-1] = self.excitations[gating](maps[gating], maps[-1])
        return maps[-1]


class Excitation(nn.Module):
    """Skip-layer excitation: maps of high resolution, each channel times what low resolution says of it, 0 to 1.

    Args:
        c_in: channels of the maps of low resolution.
        c_out: channels of those of high resolution.
    """

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(4),
            nn.Conv2d(c_in, c_out, 4, bias=False),
            nn.LeakyReLU(0.1),
            nn.Conv2d(c_out, c_out, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """Maps (B, c_out, H, W), from maps of low (B, c_in, h, w) and of high resolution (B, c_out, H, W)."""
        return high * self.gate(low)


class Halving(nn.Module):
    """The mean of two paths of half the size: two convolutions, and a mean of pixels with one of 1x1.

    Deviation: no batch norm, since real and generated images pass the critic in one batch.
    """

    def __init__(self, c_in: int, c_out: int, size: Side, smaller: Side):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(c_in, c_out, **halving(size)),
            *activation(c_out),
            nn.Conv2d(c_out, c_out, **keeping(smaller)),
            *activation(c_out),
        )
        self.shortcut = nn.Sequential(nn.AdaptiveAvgPool2d(smaller), nn.Conv2d(c_in, c_out, 1), *activation(c_out))

    def forward(self, x: Tensor) -> Tensor:
        return (self.body(x) + self.shortcut(x)) / 2


def _doubled(size: Side, c_in: int, c_out: int, batch_norm: bool, twice: bool) -> nn.Sequential:
    """A block that enlarges maps to a size; of two convolutions, each with noise, or of one without."""
    layers: list[nn.Module] = [nn.Upsample(size)]
    for channels in (c_in, c_out) if twice else (c_in,):
        layers.append(nn.Conv2d(channels, 2 * c_out, **keeping(size), bias=False))
        layers += [Noise(size)] if twice else []
        layers += gated(c_out, batch_norm)
    return nn.Sequential(*layers)


def gated(num_channels: int, batch_norm: bool) -> list[nn.Module]:
    """A gated linear unit, which halves the channels to as many as are given (GLU, arXiv 1612.08083)."""
    return [*([nn.BatchNorm2d(2 * num_channels)] if batch_norm else []), nn.GLU(1)]


def _pyramid(image_shape: Shape, width: int | None) -> tuple[list[Side], list[int]]:
    """Image sizes from full resolution to at most 4 per side, and the number of channels at each."""
    check_images(image_shape, "fastgan")
    sizes, width = halved(image_shape), 16 if width is None else width
    multiples = (next((m for side, m in MULTIPLES.items() if max(size) <= side), 0.125) for size in sizes)
    return sizes, [max(1, round(width * multiple)) for multiple in multiples]
