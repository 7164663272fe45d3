"""Sounds, as frames of log-mel bands over time or as waves."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_genae.data.mel import Mel
from lightning_genae.data.modalities._modality import Modality
from lightning_genae.data.storage import to_float


@dataclass(frozen=True, eq=False)
class Audio(Modality):
    """Frames (bands, 1, L), scaled so that -80 dB is -1 and the loudest possible is 1, or waves (1, 1, L); stored
    as float32.

    Args:
        mel: converts between waves and frames; it has the sample rate.
        is_wave: whether items are waves.
    """

    mel: Mel | None = None
    is_wave: bool = False

    item_name = "sounds"
    is_sequence = True
    layout = (4, 4)

    @property
    def sample_rate(self) -> int:
        """Samples per second."""
        return self._converter.sample_rate

    @property
    def _converter(self) -> Mel:
        assert self.mel is not None  # a data set gives it; a model's modality, without units, converts nothing
        return self.mel

    def default_features(self, num_classes: int, num_values: int) -> tuple[str, ...]:
        return ("moments",)

    def transform(self, waves: np.ndarray) -> np.ndarray:
        """Waves (N, num_samples) in [-1, 1] as items (N, C, 1, L), float32."""
        return (waves[:, None] if self.is_wave else self._converter.encode(waves))[:, :, None]

    def inverse_transform(self, images: Tensor) -> np.ndarray:
        """Waves (N, num_samples) in [-1, 1], float32."""
        x = images.detach().float().cpu().clamp(-1, 1).squeeze(2)
        if self.is_wave:
            return x.squeeze(1).numpy()
        waves = [self._converter.decode(frames) for frames in x.numpy()]
        return np.array(waves, np.float32).reshape(len(x), x.shape[2] * self._converter.hop)

    def magnitudes(self, x: Tensor) -> Tensor:
        """Items (N, C, 1, L) in [-1, 1] as magnitudes (N, bands or frequencies, frames), no longer in dB."""
        x = x.float().squeeze(2)
        return self._converter.magnitudes_of_waves(x.squeeze(1)) if self.is_wave else self._converter.magnitudes(x)

    def fidelity(self, x: Tensor, x_hat: Tensor) -> dict[str, float]:
        """`spectral_convergence`, the mean over the sounds."""
        pairs = zip(x.split(100), x_hat.split(100))
        errors = [spectral_convergence(self.magnitudes(a), self.magnitudes(b)) for a, b in pairs]
        return {"spectral_convergence": float(torch.cat(errors).mean())}

    def draw(
        self,
        path: Path,
        images: Tensor,
        num_columns: int,
        rows: tuple[str, ...] = ("",),
        titles: tuple[str, ...] = (),
        behind: Tensor | None = None,
    ) -> Path:
        from lightning_genae.data.drawing.sounds import save_sounds

        return save_sounds(path, images, num_columns, self, rows, titles)

    def write(self, stem: Path, samples: Tensor) -> dict[Path, str]:
        """A picture, the waves in an .npz, and a WAV file each in a folder."""
        from lightning_genae.data.drawing.sounds import MAX_HEARD, save_spectrograms, save_waves

        picture, numbers, waves = stem.with_suffix(".png"), stem.with_suffix(".npz"), self.inverse_transform(samples)
        if len(samples) <= MAX_HEARD:  # the waves are computed once, because that is slow
            save_spectrograms(picture, waves, self.sample_rate)
        else:
            self.draw(picture, to_float(samples), num_columns=4)
        np.savez_compressed(numbers, sounds=waves)
        save_waves(stem, waves, self.sample_rate, "sample")
        files = {picture: "a picture", stem: f"WAV files of {self.sample_rate} Hz"}
        return files | {numbers: f"'sounds', {waves.dtype} (N, samples)"}


def spectral_convergence(magnitudes: Tensor, magnitudes_hat: Tensor) -> Tensor:
    """The norm of the error of magnitudes (N, F, T) over their norm, (N,); 0 is the best (arXiv 1808.06719)."""
    error = (magnitudes_hat - magnitudes).flatten(1).norm(dim=1)
    return error / magnitudes.flatten(1).norm(dim=1).clamp_min(1e-12)
