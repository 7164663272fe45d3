"""Log-mel spectrograms in [-1, 1] and the way back, by librosa (McFee et al. 2015, doi 10.25080/Majora-7b98e3ed-003).

Frames are about 64 ms long, a quarter of that apart; at 16 kHz 1024 and 256 samples.
"""

import warnings
from functools import cached_property
from math import log2
from types import ModuleType
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

FLOOR = -80.0  # dB relative to the loudest possible wave in [-1, 1]; quieter sounds count as silence

_Frames = TypeVar("_Frames", np.ndarray, Tensor)


def sound_libraries() -> tuple[ModuleType, ModuleType]:
    """librosa and soundfile, imported only when sounds are read or generated, because it takes seconds.

    Raises:
        ImportError: they are not installed.
    """
    try:
        import librosa
        import soundfile
    except ImportError as error:
        raise ImportError('--data: audio needs librosa and soundfile; pip install -e ".[sequences]"') from error
    return librosa, soundfile


class Mel:
    """Converts between waves and the loudness of their bands in dB, scaled so that FLOOR is -1 and 0 dB is 1.

    Args:
        sample_rate: samples per second.
        num_mels: bands, evenly spaced on the mel scale from 0 to half the sample rate.
    """

    num_iterations = 32  # of Griffin and Lim

    def __init__(self, sample_rate: int, num_mels: int):
        self.sample_rate = sample_rate
        self.num_mels = num_mels
        self.n_fft = 2 ** round(log2(0.064 * sample_rate))
        self.hop = self.n_fft // 4
        # by Parseval's theorem, the power over all bands of a wave that is 1 or -1 everywhere, with a Hann window
        self.loudest = self.n_fft**2 * 3 / 16

    @cached_property
    def bands(self) -> np.ndarray:
        """Weights (num_mels, n_fft / 2 + 1) of the frequencies of each band; they sum to at most 1 over the bands."""
        librosa, _ = sound_libraries()
        with warnings.catch_warnings(action="ignore"):  # about bands without frequencies, which the data set rejects
            return librosa.filters.mel(sr=self.sample_rate, n_fft=self.n_fft, n_mels=self.num_mels, norm=None)

    @cached_property
    def frequencies(self) -> np.ndarray:
        return np.linalg.pinv(self.bands)

    def encode(self, waves: np.ndarray) -> np.ndarray:
        """Waves (N, L * hop) in [-1, 1] to frames (N, num_mels, L) in [-1, 1], float32.

        Raises:
            ImportError: librosa is not installed.
        """
        librosa, _ = sound_libraries()
        spectra = librosa.stft(waves, n_fft=self.n_fft, hop_length=self.hop)[..., :-1]  # the last starts after the end
        power = self.bands @ np.abs(spectra) ** 2 / self.loudest
        return (librosa.power_to_db(power, amin=1e-12, top_db=None).clip(FLOOR, 0) * (-2 / FLOOR) + 1).astype(
            np.float32
        )

    def decode(self, frames: np.ndarray) -> np.ndarray:
        """Frames (num_mels, L) in [-1, 1] to a wave (L * hop,) in [-1, 1], float32, deterministically.

        The power of the frequencies is from the pseudo-inverse of the bands, the phase from the fast Griffin-Lim
        algorithm (Perraudin et al. 2013).

        Raises:
            ImportError: librosa is not installed.
        """
        librosa, _ = sound_libraries()
        frames = np.pad(frames, ((0, 0), (0, 1)), mode="edge")  # the frame that encode drops
        power = np.where(frames > -1, 10 ** (_to_db(frames) / 10), 0) * self.loudest
        spectrum = (self.frequencies @ power).clip(0) ** 0.5
        wave = librosa.griffinlim(
            spectrum.astype(np.float32),
            n_iter=self.num_iterations,
            hop_length=self.hop,
            length=(frames.shape[1] - 1) * self.hop,
            random_state=0,
        )
        return wave.clip(-1, 1)

    def magnitudes(self, frames: Tensor) -> Tensor:
        """Frames (N, num_mels, L) in [-1, 1] to the root of their power, in (0, 1]."""
        return 10 ** (_to_db(frames) / 20)

    def magnitudes_of_waves(self, waves: Tensor) -> Tensor:
        """Waves (N, num_samples) to magnitudes (N, n_fft / 2 + 1, frames)."""
        window = torch.hann_window(self.n_fft, device=waves.device)
        return torch.stft(waves, self.n_fft, self.hop, window=window, return_complex=True).abs() / self.loudest**0.5


def _to_db(frames: _Frames) -> _Frames:
    return (frames - 1) * (-FLOOR / 2)
