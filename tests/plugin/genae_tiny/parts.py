"""One of each of the other kinds."""

import math
from types import MappingProxyType

import torch
from torch import Tensor, nn

from datamodules import ImageDataModule
from lightning_genae.augment import Augmentation
from lightning_genae.cache import hash_weights
from lightning_genae.data.dataset import Dataset, Images
from lightning_genae.data.storage import to_float
from lightning_genae.evaluation.extractors import Extractor
from lightning_genae.evaluation.metrics import SampleMetric, Samples, Value


class Dim(Augmentation):
    """Halves the brightness.

    Args:
        factor: what it is multiplied by.
    """

    def __init__(self, factor: float = 0.5):
        super().__init__()
        self.factor = factor

    def vary(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return (images + 1) * self.factor - 1


class Shuffles(ImageDataModule):
    """4x4 images of the same sixteen greys, in any order: each has a brightness of a half."""

    def load(self) -> tuple[Images, Images, int]:
        generator = torch.Generator().manual_seed(0)
        orders = torch.stack([torch.randperm(16, generator=generator) for _ in range(160)])
        images = Images((17 * orders).to(torch.uint8).view(-1, 1, 4, 4), torch.zeros(160, dtype=torch.int64))
        return images.subset(slice(0, 120)), images.subset(slice(120, None)), 0


class Brightness(SampleMetric):
    """Mean of the pixels, from 0 to 1."""

    values = MappingProxyType(
        {"brightness": Value("mean brightness", ".3f", None), "contrast": Value("contrast", ".3f", True)}
    )
    needs_images = True

    def measure(self, samples: Samples) -> dict[str, float]:
        return {"brightness": float(samples.images.float().mean() / 255)}

    def left_out(self, num_samples: int) -> dict[str, str]:
        return {} if num_samples > 1000 else {"contrast": "it wants 1,000 samples"}


class Waves(Extractor):
    """Three cosines over the pixels."""

    def __init__(self, dataset: Dataset, weights: str | None = None):
        num = math.prod(dataset.image_shape)
        network = nn.Sequential(nn.Flatten(), nn.Linear(num, 3, bias=False))
        network[1].weight.data = torch.outer(torch.arange(1.0, 4), torch.arange(num)).cos()
        description = {"extractor": "waves", "weights": hash_weights(network), "resize": "none"}
        super().__init__(network, 3, to_float, description)
