"""Whether samples vary over time as real sequences do: by their autocorrelation and their spectrum."""

from types import MappingProxyType

import torch
from torch import Tensor

from lightning_genae.data.dataset import Dataset
from lightning_genae.data.sequences import values_and_valid
from lightning_genae.evaluation.metrics._metric import SampleMetric, Samples, Value

LITTLE = 1e-12  # of a variance: what does not vary at all is taken for what varies infinitely slowly


class SpectrumMetric(SampleMetric):
    """Distances between two sets of sequences by statistics that do not depend on when something happens.

    `autocorrelation_distance`: mean absolute difference of the autocorrelations of a set, over channels and the lags
    from 1 to half the length; from 0 to 2. `spectrum_distance`: total variation distance (Alvarez-Esteban et al. 2015,
    arXiv 1501.04050) of the mean periodograms of a set, each of sum 1, so half their absolute difference; from 0 to 1,
    the mean over channels. Both are of values minus the mean of their channel over the whole set.
    """

    values = MappingProxyType(
        {
            "autocorrelation_distance": Value("distance of autocorrelations", ".4f", False, is_ratio=True),
            "spectrum_distance": Value("distance of spectra", ".4f", False, is_ratio=True, in_brief=True),
        }
    )
    order = 10

    modalities = ("series", "audio")
    needs_images = True

    def __init__(self, real: Samples, dataset: Dataset | None = None):
        super().__init__(real, dataset)
        assert real.images is not None
        self.of_real = _of_set(real.images, self.modality.has_mask)

    def measure(self, samples: Samples) -> dict[str, float]:
        assert samples.images is not None
        (real, spectrum), (fake, other) = self.of_real, _of_set(samples.images, self.modality.has_mask)
        return {
            "autocorrelation_distance": float((real - fake).abs().mean()),
            "spectrum_distance": float((spectrum - other).abs().sum(1).mean() / 2),
        }


def _of_set(images: Tensor, has_mask: bool) -> tuple[Tensor, Tensor]:
    """Autocorrelations and spectrum of a set of stored sequences (N, C, 1, L)."""
    values, valid = values_and_valid(images, has_mask)
    valid = valid[:, None].double()
    mean = values.double().sum((0, 2), keepdim=True) / valid.sum().clamp(min=1)
    centred = (values - mean) * valid
    return autocorrelations(centred, valid), spectrum(centred)


def autocorrelations(centred: Tensor, valid: Tensor) -> Tensor:
    """Autocorrelations of channels at lags from 1 to L // 2, (C, L // 2), averaged over all pairs of valid positions.

    Args:
        centred: values about their mean (N, C, L), 0 where there are none.
        valid: 1 at positions with a value and 0 at others (N, 1, L).
    """
    covariances = _sums_of_products(centred) / _sums_of_products(valid).clamp(min=1) + LITTLE
    return covariances[:, 1:] / covariances[:, :1]


def spectrum(centred: Tensor) -> Tensor:
    """Mean periodogram (C, L // 2 + 1) of values about their mean (N, C, L), with the sum 1 in every channel."""
    from scipy.signal import periodogram  # slow, and only sequences need it

    powers = torch.from_numpy(periodogram(centred.numpy(), detrend=False)[1]).mean(0)
    powers[:, 0] += LITTLE
    return powers / powers.sum(1, keepdim=True)


def _sums_of_products(x: Tensor) -> Tensor:
    """Sums over sequences and positions of products of x (N, C, L) at lags from 0 to L // 2, (C, L // 2 + 1)."""
    from scipy.fft import next_fast_len  # slow, and only sequences need it

    length = x.shape[2]
    padded = next_fast_len(length + length // 2)  # so that no lag wraps around
    powers = torch.fft.rfft(x, padded).abs().square().sum(0)
    return torch.fft.irfft(powers, padded)[:, : length // 2 + 1]
