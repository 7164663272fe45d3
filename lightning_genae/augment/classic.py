"""Classic augmentation: images flipped, shifted, cropped and rotated; series with jitter, scaled and warped."""

import math
from typing import Any

import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat
from torch import Tensor

from lightning_genae.augment import _images, _series
from lightning_genae.augment._augmentation import Augmentation
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.modalities import Modality
from lightning_genae.data.modalities.image import Image
from lightning_genae.options import warn_unused


class ClassicAugment(Augmentation):
    """Flips, shifts, crops, small rotations and contrast of images; crops, jitter, scaling and warped time of series.

    Drawn for every image or series, on the device; 0 switches a transformation off. Applied to the data, a generator
    learns to make the variations too: shifted images, for example.

    Args:
        crop: largest fraction of the sides, or of the length, that is cut off, in [0, 1); the rest is enlarged.
        flip: mirror half of the images left to right; only for data in which a mirrored image is realistic. null: no.
        shift: by whole pixels, at most this fraction of the sides; the border is repeated. null: 0.125.
        rotate: largest angle, in degrees to either side. null: 10.
        contrast: the distance of pixels to the image's mean changes by at most this fraction, in [0, 1]. null:
            0.2.
        jitter: standard deviation of gaussian noise at every step of a series in [-1, 1]. null: 0.03.
        scale: standard deviation of the factor, about 1, by which a series is scaled about its mean. null: 0.1.
        warp: largest fraction by which the time of a series runs faster or slower, in [0, 1). null: 0.2.

    Raises:
        ValueError: crop or warp is 1.
    """

    modalities = ("image", "series", "audio")

    def __init__(
        self,
        crop: ClosedUnitInterval = 0.1,
        flip: bool | None = None,
        shift: ClosedUnitInterval | None = None,
        rotate: NonNegativeFloat | None = None,
        contrast: ClosedUnitInterval | None = None,
        jitter: NonNegativeFloat | None = None,
        scale: NonNegativeFloat | None = None,
        warp: ClosedUnitInterval | None = None,
    ):
        super().__init__()
        if crop == 1:
            raise ValueError("--augment.crop: expected a fraction below 1, so that something is left; got 1")
        if warp == 1:
            raise ValueError("--augment.warp: expected a fraction below 1, so that time does not stand still; got 1")
        self.crop = crop
        self.of_images = {"flip": flip, "shift": shift, "rotate": rotate, "contrast": contrast}
        self.of_series = {"jitter": jitter, "scale": scale, "warp": warp}
        self.modality: Modality = Image()

    def check(self, dataset: Dataset) -> None:
        self.modality = dataset.modality
        unused, needs = (self.of_images, "images") if self.modality.is_sequence else (self.of_series, "series")
        if not self.modality.is_sequence:
            _images.check("classic", dataset)
        for name, value in unused.items():
            warn_unused(name, value, False, needs, "augment")

    def settings(self) -> dict[str, Any]:
        if self.modality.is_sequence:
            return _with_defaults(self.of_series, jitter=0.03, scale=0.1, warp=0.2)
        return _with_defaults(self.of_images, flip=False, shift=0.125, rotate=10, contrast=0.2)

    def vary(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """A variation (B, C, H, W) of every image (B, C, H, W) in [-1, 1]; contrast and jitter may exceed [-1, 1]."""
        return (self._vary_series if self.modality.is_sequence else self._vary_images)(images, **self.settings())

    def _vary_images(self, images: Tensor, flip: bool, shift: float, rotate: float, contrast: float) -> Tensor:
        num = len(images)
        if flip:
            images = _images.flip(images, torch.rand(num, device=images.device) < 0.5)
        images = _images.translate(images, shift)
        if rotate or self.crop:
            draws = torch.rand(4, num, device=images.device)
            angle = (2 * draws[0] - 1) * math.radians(rotate)
            kept = 1 - self.crop * draws[1]
            sides = torch.tensor([[images.shape[3], images.shape[2]]], device=images.device)
            centre = (2 * draws[2:].T - 1) * (1 - kept)[:, None] * sides / 2  # anywhere inside the image
            matrix = torch.cat([_images.rotation(angle) * kept[:, None, None], centre[:, :, None]], 2)
            images = _images.warp(images, matrix, "border")
        if contrast:
            images = _images.contrast(images, _images.uniform(images, 1 - contrast, 1 + contrast))
        return images

    def _vary_series(self, series: Tensor, jitter: float, scale: float, warp: float) -> Tensor:
        if self.crop:
            series = _series.window(series, self.crop)
        if warp:
            series = _series.warp(series, warp)
        num = series.shape[1] - self.modality.has_mask
        values, mask = series[:, :num], series[:, num:]
        present = (mask > 0).to(series.dtype) if self.modality.has_mask else torch.ones_like(series[:, :1])
        if scale:
            values = _series.scale(values, present, scale)
        if jitter:
            values = _series.jitter(values, jitter)
        return torch.cat([values * present, mask], 1)


def _with_defaults(options: dict, **defaults: float) -> dict:
    return {name: defaults[name] if value is None else value for name, value in options.items()}
