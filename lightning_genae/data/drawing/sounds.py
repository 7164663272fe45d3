"""Sounds as pictures and as files."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lightning_genae.data.drawing.grids import add_header, save_grid

if TYPE_CHECKING:
    from lightning_genae.data.modalities.audio import Audio

RANGE = 80  # dB below the loudest moment of a picture that are shown
MAX_HEARD = 16  # sounds of a picture that are written as files and drawn with axes; more are a grid of their frames


def save_sounds(
    path: Path,
    images: Tensor,
    num_columns: int,
    modality: "Audio",
    rows: tuple[str, ...] = ("",),
    titles: tuple[str, ...] = (),
) -> Path:
    """Writes a picture of sounds (N, C, 1, L) in [-1, 1] and, if they are few, WAV files in a folder of its name.

    Args:
        path: of the PNG.
        num_columns: sounds in a row.
        modality: Audio, which knows their waves, magnitudes and sample rate.
        rows: what the rows show, by turns.
        titles: of the columns, of many sounds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if len(images) > MAX_HEARD:
        return _save_frames(path, modality.magnitudes(images.detach().cpu()), num_columns, titles)
    waves = modality.inverse_transform(images)
    names = [rows[i // num_columns % len(rows)] for i in range(len(waves))]
    for name in dict.fromkeys(names):
        chosen = waves[[i for i in range(len(waves)) if names[i] == name]]
        save_waves(path.with_suffix(""), chosen, modality.sample_rate, name.replace(" ", "-") or "sound")
    return save_spectrograms(path, waves, modality.sample_rate, names)


def _save_frames(path: Path, magnitudes: Tensor, num_columns: int, titles: tuple[str, ...]) -> Path:
    """Writes magnitudes (N, F, T) as one grid, with frequencies rising upwards in each row."""
    from matplotlib import colormaps

    decibels = 20 * (magnitudes / magnitudes.max().clamp_min(1e-12)).clamp_min(1e-6).log10()
    fractions = (1 + decibels / RANGE).clamp(0, 1).flip(1)
    colours = torch.from_numpy(colormaps["magma"](fractions.numpy())[..., :3]).movedim(3, 1)
    save_grid(path, 2 * colours - 1, num_columns)
    if titles:
        add_header(path, titles)
    return path


def save_spectrograms(path: Path, waves: np.ndarray, sample_rate: int, titles: list[str] | None = None) -> Path:
    """Writes the spectrograms of sounds as one PNG, up to four beside each other, with one scale of loudness.

    The frequency axis is linear up to 1 kHz and logarithmic above, like hearing.

    Args:
        path: of the PNG.
        waves: (N, num_samples) in [-1, 1].
        sample_rate: samples a second.
        titles: one a sound. None: without.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    loudness = _loudness(waves, sample_rate)
    num_columns = min(4, len(waves))
    num_rows = -(-len(waves) // num_columns)
    figure = Figure(figsize=(3 * num_columns + 0.8, 2.2 * num_rows + 0.3), layout="constrained")
    grid = figure.subplots(num_rows, num_columns, squeeze=False, sharex=True, sharey=True)
    seconds = np.linspace(0, waves.shape[1] / sample_rate, loudness.shape[2])
    kilohertz = np.linspace(0, sample_rate / 2000, loudness.shape[1])
    for axes, decibels in zip(grid.flat, loudness):
        drawn = axes.pcolormesh(seconds, kilohertz, decibels, cmap="magma", vmin=-RANGE, vmax=0, shading="nearest")
    # as the ear hears: evenly up to 1 kHz, beyond by octaves
    ticks = [0, 0.5, *(2**i for i in range(7) if 2**i <= kilohertz[-1])]
    grid[0, 0].set_yscale("symlog", base=2, linthresh=1, linscale=1.5)
    grid[0, 0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    grid[0, 0].set(xlim=(0, seconds[-1]), ylim=(0, kilohertz[-1]))
    for axes, title in zip(grid.flat, titles or []):
        axes.set_title(title, fontsize="small")
    for axes in grid.flat[max(0, len(waves) - num_columns) : len(waves)]:
        axes.tick_params(labelbottom=True)
    for axes in grid.flat[len(waves) :]:
        axes.set_axis_off()
    figure.supxlabel("seconds", fontsize="medium")
    figure.supylabel("kHz", fontsize="medium")
    figure.colorbar(drawn, ax=grid, label="dB", aspect=10 * num_rows, pad=0.01)
    FigureCanvasAgg(figure).print_png(path)
    return path


def save_waves(folder: Path, waves: np.ndarray, sample_rate: int, stem: str) -> list[Path]:
    """Writes sounds as WAV files of 16 bits, one channel: stem-0.wav, stem-1.wav ...

    Args:
        folder: of the files; it is made if it is missing.
        waves: (N, num_samples) in [-1, 1]; what is beyond is cut off.
        sample_rate: samples a second.
        stem: how their names begin.
    """
    from scipy.io import wavfile

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}-{i}.wav" for i in range(len(waves))]
    for path, wave in zip(paths, np.asarray(waves)):
        wavfile.write(path, sample_rate, (wave.clip(-1, 1) * 32767).round().astype(np.int16))
    return paths


def _loudness(waves: np.ndarray, sample_rate: int) -> np.ndarray:
    """dB below the loudest of all, (N, frequencies, frames)."""
    from scipy.signal import ShortTimeFFT, get_window

    size = 2 ** round(np.log2(0.064 * sample_rate))
    transform = ShortTimeFFT(get_window("hann", size), hop=size // 4, fs=sample_rate)
    # from the first moment to the last: the frames that mostly lie outside would shift the picture
    power = transform.spectrogram(np.asarray(waves), p0=0, p1=waves.shape[1] // (size // 4) + 1)
    return 10 * np.log10(power / max(power.max(), 1e-20) + 1e-12)
