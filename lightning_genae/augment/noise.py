"""Pixel noise; at the same error as the ae augmentation it is the control for how that error is distributed."""

from typing import Any, Literal

import torch
from jsonargparse.typing import NonNegativeFloat
from torch import Tensor

from lightning_genae.augment._augmentation import Augmentation
from lightning_genae.augment.ae import AutoencoderAugment
from lightning_genae.data.dataset import Dataset, Images
from lightning_genae.data.storage import num_at_once, to_float
from lightning_genae.evaluation.metrics import MAX_IMAGES
from lightning_genae.options import warn_unused


class NoiseAugment(Augmentation):
    """Gaussian noise on every pixel.

    Args:
        std: standard deviation of the noise; images span [-1, 1]. null: 0.1.
        match: ae finds the standard deviation at which the mean squared error, within [-1, 1], is that of the
            augmentation ae with the same options.
    """

    choices = AutoencoderAugment.choices

    def __init__(self, std: NonNegativeFloat | None = None, match: Literal["no", "ae"] = "no", **kwargs: Any):
        super().__init__()
        warn_unused("std", std, match == "no", "--augment.match no", "augment")
        self.std = 0.1 if std is None else std
        # in a list, so that its weights are not registered in this module: it is used only to fit
        augmentation = AutoencoderAugment(**kwargs)
        self.matched = [augmentation] if match == "ae" else []

    def check(self, dataset: Dataset) -> None:
        for augmentation in self.matched:
            augmentation.check(dataset)

    def fit(self, dataset: Dataset, **trainer_options: Any) -> None:
        """Finds the standard deviation, if it has to match that of ae."""
        for augmentation in self.matched:
            augmentation.fit(dataset, **trainer_options)
            self.std = self._find(augmentation, dataset.train)

    def vary(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """A variation (B, C, H, W) of every image in [-1, 1]; noise may exceed [-1, 1]."""
        return images + self.std * torch.randn_like(images)

    def settings(self) -> dict[str, object]:
        return {"std": self.std}

    @torch.no_grad()
    def _find(self, augmentation: AutoencoderAugment, train: Images) -> float:
        num = num_at_once(train.images.shape[1:], MAX_IMAGES)
        x, labels = to_float(train.images[:num]), train.labels[:num]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            wanted = (augmentation.vary(x, labels).clamp(-1, 1) - x).square().mean()
            noise = torch.randn_like(x)
        low, high = 0.0, 4.0
        for _ in range(30):  # bisection: the error rises with the standard deviation
            middle = (low + high) / 2
            error = ((x + middle * noise).clamp(-1, 1) - x).square().mean()
            low, high = (middle, high) if error < wanted else (low, middle)
        return (low + high) / 2
