"""Maximum mean discrepancy of sequences (Gretton et al. 2012), as RGAN has it (arXiv 1706.02633)."""

from types import MappingProxyType

import torch
from torch import Tensor

from lightning_genae.data.dataset import Dataset
from lightning_genae.data.sequences import values_and_valid, with_mask
from lightning_genae.evaluation.metrics._metric import MAX_IMAGES, SampleMetric, Samples, Value


class DiscrepancyMetric(SampleMetric):
    """`mmd`, unbiased squared MMD with a gaussian kernel over whole sequences, of at most MAX_IMAGES a side.

    The kernel's width is the median distance of two real sequences. It is below 0 as often as above for equal
    distributions, and at most 2.
    """

    values = MappingProxyType({"mmd": Value("squared MMD of sequences", ".5f", False)})
    order = 11

    modalities = ("series", "audio")
    needs_images = True

    def __init__(self, real: Samples, dataset: Dataset | None = None):
        super().__init__(real, dataset)
        self.points = self._points(real)
        distances = torch.pdist(self.points)
        self.width = float(distances.median()) or float(distances.mean()) or 1.0  # 0 if most are copies
        self.within = float(_kernel(distances, self.width).mean())

    def measure(self, samples: Samples) -> dict[str, float]:
        points = self._points(samples)
        within = _kernel(torch.pdist(points), self.width).mean()
        between = _kernel(torch.cdist(self.points, points), self.width).mean()
        return {"mmd": float(self.within + within - 2 * between)}

    def _points(self, samples: Samples) -> Tensor:
        """Sequences (N, C L), with their masks."""
        assert samples.images is not None
        values, valid = values_and_valid(samples.images[:MAX_IMAGES], self.modality.has_mask)
        return with_mask(values, valid, self.modality.has_mask).flatten(1).double()


def _kernel(distances: Tensor, width: float) -> Tensor:
    return torch.exp(-(distances**2) / (2 * width**2))
