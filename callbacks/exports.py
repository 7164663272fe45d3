"""Samples as files that other programs read, in the data's own units, and codes as a picture."""

import csv
from pathlib import Path

import numpy as np
from torch import Tensor

from callbacks._grids import save_grid, save_scatter
from callbacks._pictures import save_picture
from callbacks._sounds import MAX_HEARD, save_spectrograms, save_waves
from lightning_genae.images import to_float


def export_images(stem: Path, samples: Tensor) -> dict[Path, str]:
    """Writes stored images (N, C, H, W) as a picture and as numbers; returns the paths and what they are.

    Args:
        stem: path of the files without their endings.
    """
    picture, numbers = stem.with_suffix(".png"), stem.with_suffix(".npz")
    save_grid(picture, to_float(samples), num_columns=max(1, round(len(samples) ** 0.5)))
    np.savez_compressed(numbers, images=samples.numpy())
    return {picture: "a picture", numbers: f"'images', {samples.dtype} (N, C, H, W)"}


def export_sequences(stem: Path, samples: Tensor, datamodule) -> dict[Path, str]:
    """Writes stored sequences (N, C, 1, L) as a picture and as what they are; returns the paths and what they are.

    Args:
        stem: path of the files without their endings.
        datamodule: that knows what they are.
    """
    picture, kind = stem.with_suffix(".png"), datamodule.kind
    values, numbers = datamodule.natural(samples), stem.with_suffix(".npz")
    if kind == "audio" and len(samples) <= MAX_HEARD:  # the waves are made once: that takes its time
        save_spectrograms(picture, values, datamodule.sample_rate)
    else:
        num_columns = {"text": len(samples), "audio": 4}.get(kind, max(1, round(len(samples) ** 0.5)))
        save_picture(picture, to_float(samples), num_columns, datamodule)
    files = {picture: "a picture"}
    if kind == "text":
        return files | {stem.with_suffix(".txt"): f"{len(samples)} texts, a line each"}
    np.savez_compressed(numbers, **{datamodule.noun: values})
    if kind == "audio":
        save_waves(stem, values, datamodule.sample_rate, "sample")
        files[stem] = f"WAV files of {datamodule.sample_rate} Hz"
        return files | {numbers: f"'{datamodule.noun}', {values.dtype} (N, samples)"}
    table = _save_table(stem.with_suffix(".csv"), values, datamodule.channels)
    return files | {table: "a row a step", numbers: f"'{datamodule.noun}', {values.dtype} (N, L, C)"}


def export_codes(path: Path, planes: dict[str, Tensor], labels: Tensor | None) -> Path:
    """Writes codes in the plane, (N, 2) by title, as a picture, coloured by their classes (N,) if there are some."""
    return save_scatter(path, {title: (points, labels) for title, points in planes.items()})


def _save_table(path: Path, series: np.ndarray, channels: list[str]) -> Path:
    """Writes series (N, L, C) as a CSV that `--data timeseries` reads."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["series", "step", *channels])
        for i, one in enumerate(series):
            writer.writerows([i, step, *row] for step, row in enumerate(one) if not np.isnan(row).any())
    return path
