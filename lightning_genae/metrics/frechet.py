"""Frechet distance (Heusel et al. 2017, arXiv 1706.08500), and at infinitely many samples (arXiv 1911.07023)."""

import numpy as np
import torch
from torch import Tensor

from lightning_genae.metrics._metric import SampleMetric, Samples


class FrechetMetric(SampleMetric):
    """`fd`, squared 2-Wasserstein distance of the gaussians with the moments of two sets of features.

    torchmetrics has it too, but computes the reference anew every time and takes the root of a matrix that is not
    symmetric; this one is by a symmetric one, real at any rank, and remembers the root of the reference.

    `fd_infinity` (Chong & Forsyth 2020) is free of the bias by the number of samples, though not of that by the number
    of real images: the distance's line over 1 / number of samples, at 0.
    """

    num_resamples = 20
    num_sizes = 8  # sets of samples of different size that `fd_infinity` is extrapolated from

    def __init__(self, real: Samples, *given):
        super().__init__(real, *given)
        features = real.features.double()
        self.mean, centred = features.mean(0), _centred(features)
        self.variance = centred.square().sum()
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        self.root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T

    def measure(self, samples: Samples) -> dict[str, float]:
        return {"fd": self._distance(samples.features)}

    def at_the_end(self, samples: Samples) -> dict[str, float]:
        return super().at_the_end(samples) | {"fd_infinity": self._at_infinity(samples.features)}

    def _distance(self, features: Tensor) -> float:
        features = features.double()
        centred = _centred(features)
        product = centred @ self.root
        # the eigenvalues that are not 0 are those of the smaller of its two squares
        square = product @ product.T if len(product) < product.shape[1] else product.T @ product
        covariance = torch.linalg.eigvalsh(square).clamp(min=0).sqrt().sum()
        distance = (features.mean(0) - self.mean).square().sum() + self.variance + centred.square().sum()
        return float(distance - 2 * covariance)

    def _at_infinity(self, features: Tensor) -> float:
        order = features[torch.randperm(len(features), generator=torch.Generator().manual_seed(0))]
        sizes = np.unique(np.linspace(max(2, len(features) // 4), len(features), self.num_sizes).round().astype(int))
        if len(sizes) < 2:
            return self._distance(features)
        distances = [self._distance(order[:size]) for size in sizes]
        return float(np.polyfit(1 / sizes, distances, 1)[1])


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Frechet distance of two sets of features (N, d)."""
    return FrechetMetric(Samples(real)).measure(Samples(fake))["fd"]


def _centred(features: Tensor) -> Tensor:
    """Features (N, d) whose square (d, d) is their covariance."""
    return (features - features.mean(0)) / (len(features) - 1) ** 0.5
