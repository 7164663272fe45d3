"""Frechet distance (Heusel et al. 2017, arXiv 1706.08500), and at infinitely many samples (arXiv 1911.07023)."""

import math
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from lightning_genae.data.dataset import Dataset
from lightning_genae.evaluation.metrics._metric import SampleMetric, Samples, Value, jackknife


class FrechetMetric(SampleMetric):
    """`fd`, squared 2-Wasserstein distance of the gaussians with the moments of two sets of features.

    torchmetrics has it too, but computes the reference anew every time and takes the root of a matrix that is not
    symmetric; this one is by the singular values of a product of roots, real at any rank, and remembers the root of the
    reference.

    `fd_infinity` (Chong & Forsyth 2020) is free of the bias by the number of samples, though not of that by the number
    of real images: the distance's line over 1 / number of samples, at 0. It is a line where samples are many times the
    dimensions alone; where the smallest set is less than 8 times, `fd_infinity` is too low and left out (in
    benchmarks/metrics/intervals.md the bias over that number).

    `fd_low`, `fd_high`: 95 % interval of the mean distance that sets of as many samples have to the same real images.
    Other held-out images are not in it, nor other trainings.
    """

    values = MappingProxyType(
        {
            "fd": Value("Frechet distance", ".3f", False, is_ratio=True, in_brief=True),
            "fd_infinity": Value("Frechet distance of infinitely many samples", ".3f", False, in_brief=True),
            "fd_train": Value("Frechet distance of the training images", ".3f", None, is_ratio=True),
            "best_fd": Value(
                "Frechet distance at the look chosen by the validation images",
                ".3f",
                False,
                is_ratio=True,
                is_row=False,
            ),
            "late_fd": Value(
                "Frechet distance, geometric mean of the last three looks", ".3f", False, is_ratio=True, is_row=False
            ),
        }
    )
    order = 0

    num_sizes = 8  # sets of samples of different size that `fd_infinity` is extrapolated from
    largest_over_smallest = 4  # of these sizes
    least_per_dimension = 8  # samples of the smallest, so that the distance is a line over their number's inverse
    num_pairs = 4000  # of samples, that the interval is estimated from

    def __init__(self, real: Samples, dataset: Dataset | None = None):
        super().__init__(real, dataset)
        assert real.features is not None
        features = real.features.double()
        self.mean, centred = features.mean(0), _centred(features)
        self.variance = centred.square().sum()
        self.root = _root(centred.T @ centred)

    def measure(self, samples: Samples) -> dict[str, float]:
        assert samples.features is not None
        return {"fd": self._distance(samples.features)}

    def at_the_end(self, samples: Samples) -> dict[str, float]:
        assert samples.features is not None
        values = self.interval(samples)
        if not self.left_out(len(samples.features)):
            values["fd_infinity"] = self._at_infinity(samples.features)
        return values

    def interval(self, samples: Samples) -> dict[str, float]:
        """The 95 % interval of the mean distance that sets of as many samples have to the same real images.

        By the jackknife. As the distance is nearly quadratic in the samples' moments where it is small, its variance is
        taken to grow with it like that of a noncentral chi-squared variable; the interval holds the means that the
        distance would not be too far from for their own variance, as Wilson's for fractions does.
        """
        assert samples.features is not None
        value = max(self.measure(samples)["fd"], 1e-12)
        variance, of_pairs, reach = jackknife(*self._jackknife(samples.features.double()))
        middle = value + reach**2 * variance / value / 2
        half = math.sqrt(max(0.0, middle**2 - value**2 - reach**2 * of_pairs))
        return {"fd_low": middle - half, "fd_high": middle + half}

    def _jackknife(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Pseudo-values (N,) of the distance by samples and terms of their pairs (at least min(num_pairs, N - 1),), by
        its first and second derivatives in the samples' mean and covariance."""
        num, centred = len(features), features - features.mean(0)
        rotated = centred @ self.root
        values, vectors = torch.linalg.eigh(rotated.T @ rotated / (num - 1))
        there = values > 1e-10 * values.max()
        rotated, root = (rotated @ vectors)[:, there], values[there].sqrt()
        curvature = 1 / (2 * root * root[:, None] * (root + root[:, None]))

        def of_pair(a: Tensor, b: Tensor) -> Tensor:
            both = a * b
            about_mean = (root - (a.square() + b.square()) / root).sum(1) / 4
            return (both / root).sum(1) + (both @ curvature * both).sum(1) + about_mean

        slope = 2 * centred @ (features.mean(0) - self.mean) + centred.square().sum(1)
        pseudo = slope - (rotated.square() / root).sum(1) - of_pair(rotated, rotated) / (num - 1)
        shifts = range(1, min(num - 1, math.ceil(self.num_pairs / num)) + 1)
        return pseudo, torch.cat([of_pair(rotated, rotated.roll(shift, 0)) for shift in shifts])

    def _distance(self, features: Tensor) -> float:
        features = features.double()
        centred = _centred(features)
        product = centred @ self.root
        # the eigenvalues that are not 0 are those of the smaller of its two squares
        square = product @ product.T if len(product) < product.shape[1] else product.T @ product
        covariance = torch.linalg.eigvalsh(square).clamp(min=0).sqrt().sum()
        distance = (features.mean(0) - self.mean).square().sum() + self.variance + centred.square().sum()
        return float(distance - 2 * covariance)

    def left_out(self, num_samples: int) -> dict[str, str]:
        least = self.least_per_dimension * len(self.mean) * self.largest_over_smallest
        if num_samples >= least:
            return {}
        reason = f"{num_samples:,} samples in {len(self.mean)} dimensions; it is biased below {least:,}"
        return {"fd_infinity": reason}

    def _at_infinity(self, features: Tensor) -> float:
        num = len(features)
        order = features[torch.randperm(num, generator=torch.Generator().manual_seed(0))]
        sizes = np.linspace(num / self.largest_over_smallest, num, self.num_sizes).round().astype(int)
        distances = [self._distance(order[:size]) for size in sizes]
        return float(np.polyfit(1 / sizes, distances, 1)[1])


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Frechet distance of two sets of features (N, d)."""
    return FrechetMetric(Samples(real)).measure(Samples(fake))["fd"]


def _root(covariance: Tensor) -> Tensor:
    """A matrix R with R R^T = covariance (d, d): Cholesky's, in a tenth of the time of the symmetric root, which takes
    its place where there are too few images, or features that depend on each other."""
    root, failed = torch.linalg.cholesky_ex(covariance)
    # a nearly singular covariance may pass, but then the errors are in its last rows
    if not failed and root.diagonal().min() > 1e-6 * root.diagonal().max():
        return root
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def _centred(features: Tensor) -> Tensor:
    """Features (N, d) whose square (d, d) is their covariance."""
    return (features - features.mean(0)) / (len(features) - 1) ** 0.5
