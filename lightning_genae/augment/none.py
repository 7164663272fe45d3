"""No augmentation: the control that every other arm is compared with."""

from types import MappingProxyType

from torch import Tensor

from lightning_genae.augment._arm import Arm


class NoAugment(Arm):
    """The identity."""

    fractions = MappingProxyType(dict.fromkeys(Arm.fractions, 0.0))
    shows = False

    def vary(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """The images (B, C, H, W) themselves."""
        return images
