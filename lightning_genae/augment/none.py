"""No augmentation: the control that every other augmentation is compared with."""

from types import MappingProxyType

from torch import Tensor

from lightning_genae.augment._augmentation import Augmentation


class NoAugment(Augmentation):
    """The identity."""

    fractions = MappingProxyType(dict.fromkeys(Augmentation.fractions, 0.0))
    shows = False

    def vary(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """The images (B, C, H, W) themselves."""
        return images
