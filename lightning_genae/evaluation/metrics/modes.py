"""The modes of a known mixture that samples cover, as in VEEGAN (Srivastava et al. 2017, arXiv 1705.07761)."""

from types import MappingProxyType

import torch

from lightning_genae.data.modalities.points import Points
from lightning_genae.evaluation.metrics._metric import SampleMetric, Samples, Value


class ModeMetric(SampleMetric):
    """`modes`, the number of the mixture's modes that are found, and `good`, the fraction of good samples.

    A good sample lies within three standard deviations of a mode; a mode is found if one sample does.
    """

    values = MappingProxyType(
        {
            "modes": Value(
                "modes found",
                ".0f",
                True,
                is_row=False,
                note="modes found {modes:.0f}; {good:.1%} of the samples are good ones",
            ),
            "good": Value("fraction of good samples", ".3f", True, is_row=False),
        }
    )
    order = 92

    modalities = ("points",)
    needs_images = True
    modality: Points

    def measure(self, samples: Samples) -> dict[str, float]:
        if self.modality.centres is None:
            return {}
        assert samples.images is not None
        distances = torch.cdist(samples.images.flatten(1).double(), self.modality.centres.double())
        nearest, mode = distances.min(1)
        good = nearest <= 3 * self.modality.std
        return {"modes": float(mode[good].unique().numel()), "good": float(good.double().mean())}
