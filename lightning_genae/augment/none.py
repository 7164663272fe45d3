"""No augmentation: the control that every other arm is compared with."""

from torch import Tensor, nn


class NoAugment(nn.Module):
    """The identity."""

    def check(self, datamodule) -> None:
        """Nothing can be wrong."""

    def fit(self, datamodule, **trainer_options) -> None:
        """Needs nothing."""

    def quality(self, datamodule, extractor) -> dict[str, float]:
        """Nothing to measure."""
        return {}

    def vary(self, images: Tensor, labels: Tensor) -> Tensor:
        """The images (B, C, H, W) themselves."""
        return images

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return images
