"""Reads a sound file as a wave at a sample rate; refuses damaged files and those that are cut short."""

from pathlib import Path

import numpy as np

from lightning_genae.data.mel import sound_libraries

MIN_RATE, MAX_RATE = 1000, 1_000_000  # plausible samples per second of a file
OPEN_END = (0, 0x7FFFFFFF, 0xFFFFFFFF)  # sizes in WAVs of programs that did not know the length at the start


def read_sound(path: Path, sample_rate: int) -> tuple[np.ndarray, int]:
    """A file's sound, float32 (num_samples,) in [-1, 1] at the sample rate, and the sample rate of the file.

    Raises:
        ValueError: the file is not a sound, damaged, cut short, empty or not finite.
        OSError: the file cannot be read.
    """
    librosa, soundfile = sound_libraries()
    try:
        with path.open("rb") as file:
            _check_length(file.read(8), path)
        channels, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise ValueError(f"--data.root: '{path}' is a broken sound, or none; mend or remove it") from error
    except OSError as error:
        raise OSError(f"--data.root: '{path}' cannot be read: {error.strerror}") from error
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ValueError(
            f"--data.root: '{path}' has {rate} samples a second; expected {MIN_RATE:,} to {MAX_RATE:,}; mend or "
            "remove it"
        )
    if not len(channels):
        raise ValueError(f"--data.root: '{path}' is empty; expected a sound of one sample or more")
    if not np.isfinite(channels).all():
        raise ValueError(f"--data.root: '{path}' holds samples that are not finite")
    wave = librosa.resample(channels.mean(1), orig_sr=rate, target_sr=sample_rate, res_type="soxr_hq")
    return wave.clip(-1, 1), rate


def _check_length(start: bytes, path: Path) -> None:
    """Raises ValueError if a WAV is shorter than its first 8 bytes say; libsndfile would read it without an error."""
    size = int.from_bytes(start[4:8], "little")
    if start[:4] == b"RIFF" and size not in OPEN_END and size + 8 > path.stat().st_size + 1:  # one padding byte
        raise ValueError(
            f"--data.root: '{path}' is cut short: it says that it has {size + 8:,} bytes and has "
            f"{path.stat().st_size:,}; copy it anew"
        )
