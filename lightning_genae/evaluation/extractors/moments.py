"""Mean and standard deviation of each channel over time: for log-mel frames a Frechet audio distance without VGGish.

Kilgour et al. 2018 (arXiv 1812.08466) take the features of VGGish, a network trained on sounds, instead.
"""

import torch
from torch import Tensor, nn

from lightning_genae.cache import hash_weights
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.storage import to_float
from lightning_genae.evaluation.extractors._extractor import Extractor


class MomentFeatures(Extractor):
    """The moments of C channels, (N, 2 C), minus their means over the training split, divided by their mean standard
    deviation there.

    A sound's wave, which is one channel, is first split into `num_bands` bands, whose logarithmic power over time
    becomes the channels.

    Args:
        dataset: of sequences; of its `pool` at most the first 5,000 are used.
        weights: not used.
        num_bands: of a wave, each wider than the one below by a constant factor.
    """

    modalities = ("series", "text", "audio")

    def __init__(self, dataset: Dataset, weights: str | None = None, num_bands: int = 32):
        num_channels, _, length = dataset.image_shape
        is_wave = dataset.modality.is_wave
        channels = _Bands(num_bands, length) if is_wave else nn.Flatten(2)
        moments = _Moments(num_bands if is_wave else num_channels)
        network = nn.Sequential(channels, moments)
        with torch.no_grad():
            parts = [network(to_float(part)) for part in dataset.pool.images[:5000].split(250)]
        features = torch.cat(parts)
        moments.centre.copy_(features.mean(0))
        moments.scale.copy_(features.std(0).mean().clamp_min(1e-12))
        description = {
            "extractor": f"moments of {num_bands} bands" if is_wave else "moments",
            "weights": hash_weights(network),
            "resize": "none",
        }
        super().__init__(network, features.shape[1], to_float, description)


class _Moments(nn.Module):
    centre: Tensor
    scale: Tensor

    def __init__(self, num_channels: int):
        super().__init__()
        self.register_buffer("centre", torch.zeros(2 * num_channels))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Channels over time (N, C, L) to (N, 2 C)."""
        mean = x.mean(2, keepdim=True)
        std = (x - mean).square().mean(2).sqrt()
        return (torch.cat([mean.squeeze(2), std], 1) - self.centre) / self.scale


class _Bands(nn.Module):
    """Waves (N, 1, 1, L) to the decimal logarithm of their power in bands over time, (N, num_bands, frames)."""

    bands: Tensor
    window: Tensor

    floor = 1e-8  # 80 dB below a power of 1: silence

    def __init__(self, num_bands: int, length: int):
        super().__init__()
        self.n_fft = min(1024, length)
        num_frequencies = self.n_fft // 2 + 1
        # without the constant; the lowest bands, which would share a frequency, have one each
        edges = torch.logspace(0, torch.log10(torch.tensor(float(num_frequencies))), num_bands + 1).long()
        edges = torch.maximum(edges, torch.arange(1, num_bands + 2)).clamp_max(num_frequencies)
        frequencies = torch.arange(num_frequencies)
        inside = (frequencies >= edges[:-1, None]) & (frequencies < edges[1:, None])
        self.register_buffer("bands", inside.float())
        self.register_buffer("window", torch.hann_window(self.n_fft))

    def forward(self, x: Tensor) -> Tensor:
        waves = x.flatten(1).to(self.window.dtype)
        spectrum = torch.stft(waves, self.n_fft, self.n_fft // 4, window=self.window, return_complex=True)
        power = self.bands @ spectrum.abs().square() / self.window.sum().square()
        return power.clamp_min(self.floor).log10()
