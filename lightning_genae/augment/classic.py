"""Classic augmentation by hand: mirrored, shifted, cropped, turned images, and their contrast."""

import math

import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat
from torch import Tensor

from lightning_genae.augment import _images
from lightning_genae.augment._arm import Arm


class ClassicAugment(Arm):
    """Flips, shifts, crops, small rotations and contrast, drawn for every image, on the device.

    On the data a generator learns to make what these do to images: shifted ones, for example.

    Args:
        flip: mirror half of the images left to right; only where a mirrored image is a real one.
        shift: by whole pixels, at most this share of the sides; the border is repeated.
        crop: share of the sides that is cut off at most, in [0, 1); the rest is enlarged.
        rotate: at most, in degrees to either side.
        contrast: the distance of pixels to the image's mean changes by at most this share, in [0, 1].
    """

    def __init__(
        self,
        flip: bool = False,
        shift: ClosedUnitInterval = 0.125,
        crop: ClosedUnitInterval = 0.1,
        rotate: NonNegativeFloat = 10.0,
        contrast: ClosedUnitInterval = 0.2,
    ):
        super().__init__()
        if crop == 1:
            raise ValueError("--augment.crop: expected a share below 1, so that something is left; got 1")
        self.flip = flip
        self.shift = shift
        self.crop = crop
        self.rotate = rotate
        self.contrast = contrast

    def check(self, datamodule) -> None:
        _images.check("classic", datamodule)

    def vary(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """A variation (B, C, H, W) of every image."""
        num = len(images)
        if self.flip:
            images = _images.flip(images, torch.rand(num, device=images.device) < 0.5)
        images = _images.translate(images, self.shift)
        if self.rotate or self.crop:
            draws = torch.rand(4, num, device=images.device)
            angle = (2 * draws[0] - 1) * math.radians(self.rotate)
            kept = 1 - self.crop * draws[1]
            sides = torch.tensor([[images.shape[3], images.shape[2]]], device=images.device)
            centre = (2 * draws[2:].T - 1) * (1 - kept)[:, None] * sides / 2  # anywhere inside the image
            matrix = torch.cat([_images.rotation(angle) * kept[:, None, None], centre[:, :, None]], 2)
            images = _images.warp(images, matrix, "border")
        if self.contrast:
            images = _images.contrast(images, _images.uniform(images, 1 - self.contrast, 1 + self.contrast))
        return images
