"""StyleGAN2-ADA's adaptive augmentations, applied to the critic (Karras et al. 2020, arXiv 2006.06676)."""

import math

import torch
from torch import Tensor

from lightning_genae.augment import _images
from lightning_genae.augment._augmentation import Augmentation
from lightning_genae.data.dataset import Dataset


class AdaptiveAugment(Augmentation):
    """The paper's pixel blits, general geometry and colours, each of them with the same probability for every image.

    `--augment.fraction` is the probability p of each transformation, not a fraction of the images; it starts at 0 and
    adapts to `--augment.target`. Transformations, their order, ranges and probabilities are those of the default of
    the published code (`bgc`); filtering, noise and cutout, which are not in it, are not implemented.
    Deviations: p goes from 0 to 1 in 50,000 images and not in 500,000, because runs are short here
    (`--augment.adapt_images 500000` is the paper's speed); and geometry is a single bilinear interpolation with a
    mirrored border, without the paper's wavelet filters at twice the resolution, which are meant for large images.

    Args:
        blits: mirror, turn by quarters, shift by whole pixels of up to 1/8 of each side.
        geometry: scale by 2^n with n of standard deviation 0.2, turn by any angle, stretch as much, shift by 1/8 of
            each side (standard deviation).
        colour: brightness (standard deviation 0.2 in [-1, 1]), contrast 2^n with n of standard deviation 0.5, inverted
            luma and, for colour images, any hue and saturation 2^n with n of standard deviation 1.
    """

    apply_to = "critic"
    modalities = ("image",)
    target = 0.6

    def __init__(self, blits: bool = True, geometry: bool = True, colour: bool = True):
        super().__init__()
        self.blits = blits
        self.geometry = geometry
        self.colour = colour

    def check(self, dataset: Dataset) -> None:
        _images.check("ada", dataset)

    def vary(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """A variation (B, C, H, W) of every image, by all transformations; colours may exceed [-1, 1]."""
        return self(images, labels, 1.0)

    def forward(self, images: Tensor, labels: Tensor | None, fraction: float) -> Tensor:
        """The images (B, C, H, W) in [-1, 1], each transformed by every transformation with probability `fraction`."""
        if fraction == 0:
            return images
        varied, draw = images.float(), _Draws(images, fraction)
        if self.blits or self.geometry:
            varied = _images.warp(varied, self._positions(draw, images.shape[3], images.shape[2]), "reflection")
        if self.colour:
            varied = _recolour(varied, _colours(draw, images.shape[1]))
        return varied.to(images.dtype)

    def _positions(self, draw: "_Draws", width: int, height: int) -> Tensor:
        """Maps (B, 2, 3) from the pixels of the result to positions in the image."""
        sides = torch.tensor([width, height], device=draw.device)
        matrix = torch.eye(3, device=draw.device).repeat(draw.num, 1, 1)
        if self.blits:
            matrix = matrix @ _affine(scale=torch.stack([1 - 2 * draw.bits(), torch.ones_like(draw.bits())], 1))
            matrix = matrix @ _affine(angle=draw.integers(4) * (math.pi / 2))
            matrix = matrix @ _affine(shift=(draw.uniform(2, 0.125) * sides).round())
        if self.geometry:
            # two rotations, before and after stretching; at least one of them happens with the probability
            rare = 1 - (1 - draw.probability) ** 0.5
            stretch = 2 ** draw.normal(1, 0.2)
            matrix = matrix @ _affine(scale=(2 ** draw.normal(1, 0.2)).expand(-1, 2))
            matrix = matrix @ _affine(angle=draw.uniform(1, math.pi, rare)[:, 0])
            matrix = matrix @ _affine(scale=torch.cat([stretch, 1 / stretch], 1))
            matrix = matrix @ _affine(angle=draw.uniform(1, math.pi, rare)[:, 0])
            matrix = matrix @ _affine(shift=draw.normal(2, 0.125) * sides)
        return matrix[:, :2]


class _Draws:
    """Random numbers for every image, nonzero only with a probability; 0 leaves the image unchanged."""

    def __init__(self, images: Tensor, probability: float):
        self.num, self.device, self.probability = len(images), images.device, probability

    def normal(self, columns: int, std: float) -> Tensor:
        """(B, columns)"""
        return self._sometimes(std * torch.randn(self.num, columns, device=self.device))

    def uniform(self, columns: int, largest: float, probability: float | None = None) -> Tensor:
        """(B, columns)"""
        return self._sometimes((2 * torch.rand(self.num, columns, device=self.device) - 1) * largest, probability)

    def integers(self, below: int) -> Tensor:
        """(B,)"""
        return self._sometimes(torch.randint(below, (self.num, 1), device=self.device).float())[:, 0]

    def bits(self) -> Tensor:
        """(B,) of 0 and 1"""
        return self.integers(2)

    def _sometimes(self, values: Tensor, probability: float | None = None) -> Tensor:
        done = torch.rand(self.num, 1, device=self.device) < (self.probability if probability is None else probability)
        return values * done


def _affine(scale: Tensor | None = None, angle: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
    """Homogeneous matrices (B, 3, 3) of either scales (B, 2), angles (B,) or shifts (B, 2) in pixels."""
    parameter = next(value for value in (scale, angle, shift) if value is not None)
    matrix = torch.eye(3, device=parameter.device).repeat(len(parameter), 1, 1)
    if scale is not None:
        matrix[:, :2, :2] = torch.diag_embed(scale)
    elif angle is not None:
        matrix[:, :2, :2] = _images.rotation(angle)
    elif shift is not None:
        matrix[:, :2, 2] = shift
    return matrix


def _colours(draw: _Draws, channels: int) -> Tensor:
    """Maps (B, 3, 4) of a pixel's colour (R, G, B, 1) to a colour."""
    grey = torch.full((3, 3), 1 / 3, device=draw.device)  # projects onto the axis of greys
    identity = torch.eye(3, device=draw.device)
    brightness, contrast = draw.normal(1, 0.2), 2 ** draw.normal(1, 0.5)
    linear = contrast[:, :, None] * identity
    linear = (identity - 2 * grey * draw.bits()[:, None, None]) @ linear  # the luma's sign
    if channels == 3:
        angle, saturation = draw.uniform(1, math.pi)[:, :, None], (2 ** draw.normal(1, 1.0))[:, :, None]
        cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=draw.device) / 3**0.5
        hue = angle.cos() * identity + angle.sin() * cross + (1 - angle.cos()) * grey  # a rotation about that axis
        linear = (grey + (identity - grey) * saturation) @ hue @ linear
    shift = (linear @ torch.ones(3, 1, device=draw.device)) * brightness[:, :, None]
    return torch.cat([linear, shift], 2)


def _recolour(images: Tensor, colours: Tensor) -> Tensor:
    colours = colours.to(images.dtype)
    if images.shape[1] == 1:  # a grey image stands for three equal channels
        factor, shift = colours[:, :, :3].sum(2).mean(1), colours[:, :, 3].mean(1)
        return images * factor[:, None, None, None] + shift[:, None, None, None]
    return torch.einsum("bij,bjhw->bihw", colours[:, :, :3], images) + colours[:, :, 3, None, None]
