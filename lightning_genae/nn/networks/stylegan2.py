"""The networks of StyleGAN2 (Karras et al. 2020, arXiv 1912.04958), by torch's own operations.

The code becomes a style, by which every convolution of the generator is modulated; images of all sizes are added up
(skip connections), and the critic has residual blocks. Weights have equal learning rates: they are standard normal, and
scaled when they are used (arXiv 1710.10196).
"""

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_genae.nn.networks.noise import Noise
from lightning_genae.nn.networks.pyramid import Shape, Side, check_images, keeping, pyramid

NUM_MAPPING = 2  # layers from code to style: 8 in the paper, 2 in StyleGAN2-ADA for small images
LR_MAPPING = 0.01  # their learning rate over that of the others
GAIN = math.sqrt(2)  # of a leaky rectifier, which halves the power


def encoder(image_shape: Shape, num_outputs: int, hidden: list[int] | None, width: int | None) -> list[nn.Module]:
    check_images(image_shape, "stylegan2")
    sizes, channels = pyramid(image_shape, width)
    layers: list[nn.Module] = [EqualConv2d(image_shape[0], channels[0], 1), Rectifier()]
    for (size, smaller), (c_in, c_out) in zip(pairwise(sizes), pairwise(channels)):
        layers.append(Halving(c_in, c_out, size, smaller))
    layers += [EqualConv2d(channels[-1], channels[-1], **keeping(sizes[-1])), Rectifier(), nn.Flatten()]
    return [*layers, EqualLinear(channels[-1] * math.prod(sizes[-1]), num_outputs)]


def decoder(
    image_shape: Shape, num_inputs: int, hidden: list[int] | None, width: int | None, batch_norm: bool
) -> list[nn.Module]:
    """Its layers; `batch_norm` is without effect, since modulation normalises."""
    check_images(image_shape, "stylegan2")
    sizes, channels = pyramid(image_shape, width)
    sizes, channels = sizes[::-1], channels[::-1]
    style = max(channels)
    return [Mapping(num_inputs, style), Synthesis(style, sizes, channels, image_shape[0])]


class EqualLinear(nn.Linear):
    """A dense layer whose weights are scaled when they are used: by 1 / sqrt(inputs), times its learning rate's factor.

    Args:
        n_in, n_out: lengths of vectors.
        bias: what the biases begin at.
        lr: learning rate over that of the others.
    """

    def __init__(self, n_in: int, n_out: int, bias: float = 0.0, lr: float = 1.0):
        super().__init__(n_in, n_out)
        self.lr = lr
        nn.init.normal_(self.weight, std=1 / lr)
        nn.init.constant_(self.bias, bias / lr)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * (self.lr / math.sqrt(self.in_features)), self.bias * self.lr)


class EqualConv2d(nn.Conv2d):
    """A convolution whose weights are scaled by 1 / sqrt(inputs) when they are used."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        nn.init.normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @property
    def scaled(self) -> Tensor:
        """The weights as they are used."""
        return self.weight / math.sqrt(self.weight[0].numel())

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.scaled, self.bias, self.stride, self.padding)


class Rectifier(nn.Module):
    """A leaky rectifier that keeps the variance."""

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, 0.2) * GAIN


class Mapping(nn.Module):
    """Styles (B, num_outputs) of codes (B, num_inputs), each of which is brought to a mean square of 1."""

    def __init__(self, num_inputs: int, num_outputs: int):
        super().__init__()
        sizes = [num_inputs, *[num_outputs] * NUM_MAPPING]
        layers = (nn.Sequential(EqualLinear(*pair, lr=LR_MAPPING), Rectifier()) for pair in pairwise(sizes))
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt())


class Modulated(nn.Module):
    """A convolution whose weights are multiplied, input channel by input channel, by a function of the style.

    With demodulation they are then divided by their norm, so that outputs have the variance of inputs (section 2.2).
    Inputs and outputs are scaled instead of the weights, which is the same.

    Args:
        style: length of a style.
        c_in, c_out: channels.
        form: options of the convolution.
        demodulates: whether the norm is divided by.
    """

    def __init__(self, style: int, c_in: int, c_out: int, form: dict, demodulates: bool = True):
        super().__init__()
        self.scale = EqualLinear(style, c_in, bias=1.0)
        self.conv = EqualConv2d(c_in, c_out, bias=False, **form)
        self.bias = nn.Parameter(torch.zeros(c_out))
        self.demodulates = demodulates

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Maps (B, c_out, H, W) of maps (B, c_in, H, W) and styles (B, style)."""
        scale = self.scale(style)
        x = self.conv(x * scale[:, :, None, None])
        if self.demodulates:
            power = scale.square() @ self.conv.scaled.square().sum((2, 3)).T
            x = x * (power + 1e-8).rsqrt()[:, :, None, None]
        return x + self.bias[:, None, None]


class Synthesis(nn.Module):
    """From styles (B, style) to images (B, num_channels, *sizes[-1]).

    Deviations: no mixing of styles; images are enlarged and reduced without blur, except those that are added up.

    Args:
        style: length of a style.
        sizes: heights and widths of the maps, the last that of the image.
        channels: of the maps of each size.
        num_channels: of the image.
    """

    def __init__(self, style: int, sizes: list[Side], channels: list[int], num_channels: int):
        super().__init__()
        self.start = nn.Parameter(torch.randn(1, channels[0], *sizes[0]))
        before = [channels[0], *channels]
        self.blocks = nn.ModuleList(
            Block(style, c_in, c_out, size, num_channels, num=1 if level == 0 else 2)
            for level, (size, c_in, c_out) in enumerate(zip(sizes, before, channels))
        )

    def forward(self, style: Tensor) -> Tensor:
        first, *others = self.blocks
        x, image = first(self.start.expand(len(style), -1, -1, -1), None, style)
        for block in others:
            x, image = block(x, image, style)
        return image


class Block(nn.Module):
    """The convolutions of one size, and what they add to the image.

    Args:
        style: length of a style.
        c_in, c_out: channels.
        size: height and width.
        num_channels: of the image.
        num: of convolutions.
    """

    def __init__(self, style: int, c_in: int, c_out: int, size: Side, num_channels: int, num: int):
        super().__init__()
        self.size = size
        self.convs = nn.ModuleList(
            Modulated(style, c_in if i == 0 else c_out, c_out, keeping(size)) for i in range(num)
        )
        self.noises = nn.ModuleList(Noise(size) for _ in range(num))
        self.rectifier = Rectifier()
        self.to_image = Modulated(style, c_out, num_channels, {"kernel_size": 1}, demodulates=False)

    def forward(self, x: Tensor, image: Tensor | None, style: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, c_out, *size) and the image of this size, from those of the size before."""
        if x.shape[2:] != self.size:
            x = F.interpolate(x, self.size)
        for conv, noise in zip(self.convs, self.noises):
            x = self.rectifier(noise(conv(x, style)))
        added = self.to_image(x, style)
        if image is None:
            return x, added
        return x, added + F.interpolate(image, self.size, mode="bilinear")


class Halving(nn.Module):
    """A residual block that halves maps."""

    def __init__(self, c_in: int, c_out: int, size: Side, smaller: Side):
        super().__init__()
        reduce = nn.AdaptiveAvgPool2d(smaller)
        self.body = nn.Sequential(
            EqualConv2d(c_in, c_in, **keeping(size)),
            Rectifier(),
            reduce,
            EqualConv2d(c_in, c_out, **keeping(smaller)),
            Rectifier(),
        )
        self.shortcut = nn.Sequential(reduce, EqualConv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return (self.body(x) + self.shortcut(x)) / GAIN
