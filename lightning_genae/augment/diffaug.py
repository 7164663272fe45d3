"""DiffAugment: colour, translation and cutout, applied to the critic (Zhao et al. 2020, arXiv 2006.10738)."""

from jsonargparse.typing import ClosedUnitInterval
from torch import Tensor

from lightning_genae.augment import _images
from lightning_genae.augment._augmentation import Augmentation
from lightning_genae.data.dataset import Dataset


class DiffAugment(Augmentation):
    """Differentiable augmentation of what the critic sees, with the transformations and ranges of the paper's code.

    Images are in [-1, 1] there too, and pixels beyond the border are grey (0). Unlike in the paper, only a fraction of
    the images, `--augment.fraction`, is varied, by default 0.7 as for every augmentation on the critic; the paper
    varies all of them, which is `--augment.fraction 1`.

    Args:
        colour: brightness by up to 0.5, a quarter of [-1, 1]; the distance to the pixel's mean over the channels
            (saturation) times 0 to 2; that to the image's mean (contrast) times 0.5 to 1.5.
        translation: at most this fraction of each side, by whole pixels. 0: none.
        cutout: a rectangle of this fraction of the sides, centred anywhere in the image, becomes grey. 0: none.
    """

    apply_to = "critic"
    modalities = ("image",)

    def __init__(self, colour: bool = True, translation: ClosedUnitInterval = 0.125, cutout: ClosedUnitInterval = 0.5):
        super().__init__()
        self.colour = colour
        self.translation = translation
        self.cutout = cutout

    def check(self, dataset: Dataset) -> None:
        _images.check("diffaug", dataset)

    def vary(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """A variation (B, C, H, W) of every image in [-1, 1]; colours may exceed [-1, 1]."""
        if self.colour:
            images = _images.brightness(images, _images.uniform(images, -0.5, 0.5))
            images = _images.saturation(images, _images.uniform(images, 0, 2))
            images = _images.contrast(images, _images.uniform(images, 0.5, 1.5))
        if self.translation:
            images = _images.translate(images, self.translation, fill=0.0)
        return _images.cut_out(images, self.cutout) if self.cutout else images
