"""Pixel noise; with as large an error as the ae arm makes it is the control for where that puts the error."""

from typing import Literal

import torch
from jsonargparse.typing import NonNegativeFloat
from torch import Tensor

from lightning_genae.augment._arm import Arm
from lightning_genae.augment.ae import AutoencoderAugment
from lightning_genae.data.dataset import Dataset, Images
from lightning_genae.data.storage import num_at_once, to_float
from lightning_genae.metrics._metric import MAX_IMAGES
from lightning_genae.models._options import warn_unused


class NoiseAugment(Arm):
    """Gaussian noise on every pixel.

    Args:
        deviation: of the noise; images span [-1, 1]. null: 0.1.
        match: ae finds the deviation at which the mean squared error, within [-1, 1], is that of the ae arm with the
            same options.
    """

    def __init__(self, deviation: NonNegativeFloat | None = None, match: Literal["no", "ae"] = "no", **kwargs):
        super().__init__()
        warn_unused("deviation", deviation, match == "no", "--augment.match no", "augment")
        self.deviation = 0.1 if deviation is None else deviation
        # in a list, so that its weights are not this module's: it is asked once
        arm = AutoencoderAugment(**kwargs)
        self.matched = [arm] if match == "ae" else []

    def check(self, dataset: Dataset) -> None:
        for arm in self.matched:
            arm.check(dataset)

    def fit(self, dataset: Dataset, **trainer_options) -> None:
        """Finds the deviation, if it is to match."""
        for arm in self.matched:
            arm.fit(dataset, **trainer_options)
            self.deviation = self._find(arm, dataset.train)

    def vary(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """A variation (B, C, H, W) of every image, which reaches beyond [-1, 1]."""
        return images + self.deviation * torch.randn_like(images)

    def settings(self) -> dict[str, object]:
        return {"deviation": self.deviation}

    @torch.no_grad()
    def _find(self, arm: AutoencoderAugment, train: Images) -> float:
        num = num_at_once(train.images.shape[1:], MAX_IMAGES)
        x, labels = to_float(train.images[:num]), train.labels[:num]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            wanted = (arm.vary(x, labels).clamp(-1, 1) - x).square().mean()
            noise = torch.randn_like(x)
        low, high = 0.0, 4.0
        for _ in range(30):  # bisection: the error rises with the deviation
            middle = (low + high) / 2
            error = ((x + middle * noise).clamp(-1, 1) - x).square().mean()
            low, high = (middle, high) if error < wanted else (low, middle)
        return (low + high) / 2
