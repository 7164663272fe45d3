"""Precision, recall (arXiv 1904.06991), density and coverage (arXiv 2002.09797), by nearest neighbours."""

import math
from types import MappingProxyType

import torch
from torch import Tensor

from lightning_genae.data.dataset import Dataset
from lightning_genae.evaluation.metrics._metric import MAX_IMAGES, SampleMetric, Samples, Value


class NeighbourMetric(SampleMetric):
    """Fractions by k nearest neighbours among features, of at most MAX_IMAGES per side.

    `precision`: of samples in the neighbourhood of a real image (Kynkaanniemi et al. 2019); `recall`: of real images in
    the neighbourhood of a sample; `density`: the number of real neighbourhoods that a sample is in, over k; `coverage`:
    of real images with a sample in their neighbourhood (Naeem et al. 2020). Precision and density reward noise: they
    mean nothing without recall and coverage.

    k is 5 for all four, as in Naeem et al. and their package prdc; Kynkaanniemi et al. take 3 for precision and recall,
    which are lower by it.
    """

    values = MappingProxyType(
        {name: Value(name, ".3f", True, in_brief=True) for name in ("precision", "recall", "density", "coverage")}
    )
    order = 2

    num_neighbours = 5

    def __init__(self, real: Samples, dataset: Dataset | None = None):
        super().__init__(real, dataset)
        assert real.features is not None
        self.points = real.features[:MAX_IMAGES]
        self.radii = radii(self.points, self.num_neighbours)

    def measure(self, samples: Samples) -> dict[str, float]:
        assert samples.features is not None
        fake = samples.features[:MAX_IMAGES]
        distances = _distances(self.points, fake)
        in_real = distances < self.radii[:, None]
        in_fake = distances < radii(fake, self.num_neighbours)
        fractions = {
            "precision": in_real.any(0),
            "recall": in_fake.any(1),
            "density": in_real.sum(0) / self.num_neighbours,
            "coverage": in_real.any(1),
        }
        return {name: float(values.double().mean()) for name, values in fractions.items()}


def prdc(real: Tensor, fake: Tensor) -> dict[str, float]:
    """Precision, recall, density and coverage of features (M, d) against real ones (N, d), by name, at k = 5; the
    paper of precision and recall has k = 3."""
    return NeighbourMetric(Samples(real)).measure(Samples(fake))


def radii(x: Tensor, num_neighbours: int) -> Tensor:
    """Distance (N,) of each of the points (N, d) to its k-th neighbour among them."""
    # the first neighbour is the point itself
    return _distances(x, x).kthvalue(min(num_neighbours + 1, len(x)), dim=1).values


def _distances(x: Tensor, y: Tensor) -> Tensor:
    # by differences the distance of a point to itself would be 0, by products it is only nearly so
    return torch.cdist(x.double(), y.double())


def curve(real: Tensor, fake: Tensor, num_clusters: int = 20, num_slopes: int = 201) -> tuple[Tensor, Tensor]:
    """Recall and precision (num_slopes,) of features (N, d) along the curve of Sajjadi et al. 2018 (arXiv 1806.00035).

    Both sets are cut to the smaller one's size, of at most MAX_IMAGES, put into common clusters by k-means, and the two
    histograms are compared at all trade-offs between precision and recall.
    """
    from sklearn.cluster import KMeans  # slow, and not needed before the end

    num = min(len(real), len(fake), MAX_IMAGES)
    num_clusters = min(num_clusters, num)
    together = torch.cat([real[:num], fake[:num]]).numpy()
    clusters = torch.from_numpy(KMeans(num_clusters, n_init=3, random_state=0).fit_predict(together))
    p, q = (part.bincount(minlength=num_clusters) / num for part in clusters.split(num))
    slopes = torch.linspace(1e-3, math.pi / 2 - 1e-3, num_slopes).tan()[:, None]
    precision = torch.minimum(slopes * p, q).sum(1)
    return precision / slopes[:, 0], precision
