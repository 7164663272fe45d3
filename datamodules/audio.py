"""Sounds from a folder, one class per subfolder or none; by default 99 short sounds of drums and synthesizers."""

import logging
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jsonargparse.typing import OpenUnitInterval, PositiveFloat, PositiveInt
from torch import Tensor

from datamodules._base import split_off
from datamodules._files import MAX_NAMED, classes, find, stamps
from datamodules._packs import key_of, packed
from datamodules._read_sound import read_sound
from datamodules._sequences import SequenceDataModule
from lightning_genae.data.dataset import Images
from lightning_genae.data.mel import Mel
from lightning_genae.data.modalities.audio import Audio
from lightning_genae.estimates import estimated

log = logging.getLogger("lightning_genae")

SHIPPED = Path(__file__).parent / "sounds"
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
SILENCE = 1e-3  # a window whose samples are all below this, 60 dB below the loudest, is silent
MIN_FRAMES = 8
MAX_SAMPLES = 2**22  # of a window
_PACK_VERSION = 1  # of how sounds are read; a change makes new packs


class AudioDataModule(SequenceDataModule):
    """Windows of sounds, as frames of log-mel bands or as waves.

    Stereo becomes mono, the mean of the channels; other sample rates are converted; samples beyond [-1, 1], which
    files of floats can have, are cut off. A sound shorter than a window is followed by silence, and so is what remains
    at the end of a longer one if it fills half a window or more; windows of silence are left out. All windows are
    packed once into a file in the cache; a changed file makes a new pack.

    Args:
        root: folder with WAV, FLAC, OGG or MP3 files, directly or with one subfolder per class. null: the sounds that
            come with the project (see datamodules/sounds/README.md).
        sample_rate: samples a second, at least 1000; sounds hold frequencies up to half of it.
        seconds: length of a window, rounded to whole frames (of 16 ms at 16 kHz: the default makes 64).
        stride: seconds from one window of a sound to the next; less than a window makes them overlap. null: a window.
        form: mel: frames of log-mel bands from -80 dB to 0 dB, the loudest that a wave can be, scaled to [-1, 1];
            they are heard by way of Griffin and Lim's phases. wave: the samples themselves.
        num_mels: bands of a frame, which are the channels; without effect on waves.
        heldout: fraction of the files that is held out from training, always the same ones, in (0, 1).

    Attributes:
        num_samples: samples in a window.
    """

    modality = Audio()

    def __init__(
        self,
        root: str | None = None,
        sample_rate: PositiveInt = 16_000,
        seconds: PositiveFloat = 1.024,
        stride: PositiveFloat | None = None,
        form: Literal["mel", "wave"] = "mel",
        num_mels: PositiveInt = 64,
        heldout: OpenUnitInterval = 0.2,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if root is not None and not root.strip():
            raise ValueError("--data.root: expected a folder of sounds, got an empty name")
        if sample_rate < 1000:
            raise ValueError(f"--data.sample_rate: expected at least 1000 samples a second; got {sample_rate}")
        self.root = Path(root) if root else SHIPPED
        self.sample_rate = sample_rate
        self.form = form
        self.heldout_fraction = heldout
        self.mel = Mel(sample_rate, num_mels)
        self.modality = Audio(mel=self.mel, is_wave=form == "wave")
        self.num_samples = round(seconds * sample_rate / self.mel.hop) * self.mel.hop
        shortest = self.mel.hop / sample_rate
        if self.num_samples < MIN_FRAMES * self.mel.hop:
            raise ValueError(
                f"--data.seconds: expected at least {MIN_FRAMES * shortest:g}, {MIN_FRAMES} frames; got {seconds:g}"
            )
        if self.num_samples > MAX_SAMPLES:
            raise ValueError(
                f"--data.seconds: expected at most {MAX_SAMPLES / sample_rate:g} at --data.sample_rate {sample_rate}; "
                f"got {seconds:g}"
            )
        if stride and not shortest <= stride <= self.num_samples / sample_rate:
            raise ValueError(
                f"--data.stride: expected {shortest:g}, a frame, to {self.num_samples / sample_rate:g}, a window; "
                f"got {stride:g}"
            )
        self.stride = round(stride * sample_rate) if stride else self.num_samples

    def load(self) -> tuple[Images, Images, int]:
        paths = find(self.root, SUFFIXES, "sounds")
        labels, num_classes = classes(paths, self.root, "sound")
        num_heldout = round(self.heldout_fraction * len(paths))
        if not 2 <= num_heldout <= len(paths) - 2:
            raise ValueError(
                f"--data.heldout: expected at least 2 sounds to hold out and 2 to train on; got a fraction of "
                f"{self.heldout_fraction} of {len(paths)} sounds in '{self.root}'"
            )
        images, counts = _loaded(self._pack(paths))
        # split by file: windows of one sound are too similar to be on both sides
        sides = split_off(Images(torch.arange(len(paths)), labels), num_heldout, seed=0)
        (train, of_train), (heldout, of_heldout) = (_of_files(images, counts, side) for side in sides)
        self.places = {"pool": of_train, "heldout": of_heldout}
        return train, heldout, num_classes

    def _pack(self, paths: list[str]) -> Path:
        """The file with the windows of all sounds, float32 (N, C, 1, L), and how many each sound has."""
        options = [self.sample_rate, self.num_samples, self.stride, self.form, self.form == "mel" and self.mel.num_mels]
        key = key_of(_PACK_VERSION, stamps(paths), options)
        target = Path(self.cache_dir, "sounds", f"{key}.npz")
        return packed(target, lambda unfinished: self._write_pack([Path(path) for path in paths], unfinished))

    def _write_pack(self, paths: list[Path], target: Path) -> None:
        windows = self._read_all(paths)
        np.savez(target, images=np.concatenate(windows), counts=[len(part) for part in windows])

    def _read_all(self, paths: list[Path]) -> list[np.ndarray]:
        self._check_bands()
        windows, rates, silent = [], [], []
        for path in estimated(paths, f"Packing {len(paths):,} sounds, once", len(paths), "sound"):
            wave, rate = read_sound(path, self.sample_rate)
            loud, num_silent = self._cut(wave, path)
            windows.append(self.modality.transform(loud))
            rates.append(rate)
            silent += [path] if num_silent else []
        unusual = sorted({rate for rate in rates if rate != self.sample_rate})
        if unusual:
            log.info(
                f"WARNING: {sum(rate != self.sample_rate for rate in rates)} of {len(rates)} sounds have other sample "
                f"rates ({', '.join(map(str, unusual))}); they were converted to --data.sample_rate {self.sample_rate}"
            )
        if silent:
            named = ", ".join(f"'{path}'" for path in silent[:MAX_NAMED])
            log.info(f"Silent windows of {len(silent):,} of {len(paths):,} sounds are left out, first of {named}")
        return windows

    def _check_bands(self) -> None:
        num_empty = (self.mel.bands.max(1) == 0).sum() if self.form == "mel" else 0
        if num_empty:
            raise ValueError(
                f"--data.num_mels: expected fewer bands, since {num_empty} of {self.mel.num_mels} are narrower than "
                f"the frequencies of a frame are apart at --data.sample_rate {self.sample_rate}"
            )

    def _cut(self, wave: np.ndarray, path: Path) -> tuple[np.ndarray, int]:
        """The windows (N, num_samples) of a sound that are not silent, and how many are."""
        last = max(0, len(wave) - self.num_samples // 2)  # a later window would be mostly silence
        starts = range(0, last + 1, self.stride)
        wave = np.pad(wave, (0, self.num_samples))
        windows = np.stack([wave[start : start + self.num_samples] for start in starts])
        loud = windows[np.abs(windows).max(1) >= SILENCE]
        if not len(loud):
            raise ValueError(f"--data.root: '{path}' is silent; expected a sound above -60 dB; remove it")
        return loud, len(windows) - len(loud)


def _loaded(path: Path) -> tuple[Tensor, np.ndarray]:
    """The windows of all sounds, (N, C, 1, L), and how many each sound has."""
    try:
        with np.load(path) as pack:
            return torch.from_numpy(pack["images"]), pack["counts"]
    except Exception as error:  # numpy and zipfile raise many types for a damaged file
        raise ValueError(f"--cache: '{path}' is damaged; delete it to have it anew") from error


def _of_files(images: Tensor, counts: np.ndarray, files: Images) -> tuple[Images, Tensor]:
    """The windows of files, which are given by index and label, in random order, and their `places`. There, all windows
    of a file count as sharing values, because they are too similar to be on both sides."""
    of_window = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
    labels = torch.full((len(counts),), -1)
    labels[files.images] = files.labels
    chosen = torch.nonzero(torch.isin(of_window, files.images)).flatten()
    chosen = chosen[torch.randperm(len(chosen), generator=torch.Generator().manual_seed(0))]
    file = of_window[chosen]
    places = torch.stack([file, torch.zeros_like(file), torch.ones_like(file)], 1)
    return Images(images[chosen], labels[file]), places
