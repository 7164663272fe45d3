"""Whether samples are copies of training images, by their nearest ones (Meehan et al. 2020, arXiv 2004.05675)."""

import math
from types import MappingProxyType

import torch
from torch import Tensor

from lightning_genae.cache import hash_images, of_many
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.storage import blocks, to_float
from lightning_genae.evaluation.metrics._metric import SampleMetric, Samples, Value

BLOCK = 2**26  # values of images that are compared at once: 256 MB in float32


class MemorisationMetric(SampleMetric):
    """Distances of samples to the nearest image that was trained on, in pixel space, for at most 1,000 samples.

    `distance_to_train` is their mean, as root mean squared difference per pixel of images in [-1, 1]. `copying` is the
    fraction of pairs of a sample and a held-out image in which the sample is nearer to a training image: 1/2 for
    fresh images of the same kind, 1 for copies; also near 1 for blurred images, and near 0 for bad ones.
    """

    values = MappingProxyType(
        {
            "distance_to_train": Value("distance to the nearest of training", ".3f", None, is_ratio=True),
            "copying": Value("copying (1/2: none)", ".3f", None, in_brief=True),
        }
    )
    order = 4

    max_samples = 1000

    def __init__(self, real: Samples, dataset: Dataset | None = None):
        super().__init__(real, dataset)
        self.of_heldout = None if dataset is None else self._of_heldout(real, dataset)

    def measure(self, samples: Samples) -> dict[str, float]:
        if self.trained_on is None or self.of_heldout is None:
            return {}
        from scipy.stats import mannwhitneyu  # slow, and not needed before the first look

        distances = self.distances(samples)
        pairs = len(distances) * len(self.of_heldout)
        nearer = mannwhitneyu(self.of_heldout.numpy(), distances.numpy(), method="asymptotic").statistic
        return {"distance_to_train": float(distances.mean()), "copying": float(nearer / pairs)}

    def floor(self, fresh: Samples) -> dict[str, float]:
        """The values of the held-out images, because the fresh ones may be training images."""
        if self.trained_on is None or self.of_heldout is None:
            return {}
        return {"distance_to_train": float(self.of_heldout.mean()), "copying": 0.5}

    def _of_heldout(self, real: Samples, dataset: Dataset) -> Tensor:
        """Distances of held-out images; from the cache where training images are so many that they stay on disk."""

        def key() -> dict[str, str]:
            assert real.images is not None
            return {"heldout": hash_images(real.images[: self.max_samples])}

        assert self.trained_on is not None
        return of_many(self.trained_on, dataset.cache_dir, "nearest", key, lambda: self.distances(real))

    def distances(self, samples: Samples) -> Tensor:
        """Distance (N,) of each sample to the nearest training image."""
        assert samples.images is not None and self.trained_on is not None
        return nearest(samples.images[: self.max_samples], self.trained_on)[0]


def nearest(images: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Root mean squared difference per pixel (N,) of stored images (N, C, H, W), in [-1, 1], to the nearest of others
    (M, C, H, W), and its index (N,)."""
    best, which = torch.full((len(images),), torch.inf), torch.zeros(len(images), dtype=torch.long)
    done = 0
    for block in blocks(others, 5000, BLOCK):  # not all of them in float32 at once
        y, start = to_float(block).flatten(1), 0
        for part in blocks(images, 1000, BLOCK):
            distances, positions = torch.cdist(to_float(part).flatten(1), y).min(1)
            here = slice(start, start + len(part))
            which[here] = torch.where(distances < best[here], positions + done, which[here])
            best[here] = torch.minimum(distances, best[here])
            start += len(part)
        done += len(block)
    return best / math.prod(images.shape[1:]) ** 0.5, which
