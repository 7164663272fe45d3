"""Pictures, grey or in colour."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from lightning_genae.data.drawing.grids import add_header, save_grid
from lightning_genae.data.modalities._modality import Modality
from lightning_genae.data.storage import to_float, to_uint8

# values of an image up to which a classifier of them is trained in a minute on two cores
MAX_CLASSIFIED = 3 * 64 * 64


@dataclass(frozen=True, eq=False)
class Image(Modality):
    """Pixels (C, H, W), stored as uint8; they are their own unit."""

    item_name = "images"
    likelihoods = ("bernoulli", "gaussian")
    has_units = False
    layout = (32, 8)

    def default_features(self, num_classes: int, num_values: int) -> tuple[str, ...]:
        pretrained = ("efficientnet", "pixels")
        return ("classifier", *pretrained) if num_classes and num_values <= MAX_CLASSIFIED else pretrained

    def as_stored(self, x: Tensor) -> Tensor:
        return to_uint8(x)

    def draw(
        self,
        path: Path,
        images: Tensor,
        num_columns: int,
        rows: tuple[str, ...] = ("",),
        titles: tuple[str, ...] = (),
        behind: Tensor | None = None,
    ) -> Path:
        save_grid(path, images, num_columns)
        if titles:
            add_header(path, titles)
        return path

    def write(self, stem: Path, samples: Tensor) -> dict[Path, str]:
        picture, numbers = stem.with_suffix(".png"), stem.with_suffix(".npz")
        save_grid(picture, to_float(samples), num_columns=max(1, round(len(samples) ** 0.5)))
        np.savez_compressed(numbers, images=samples.numpy())
        return {picture: "a picture", numbers: f"'images', {samples.dtype} (N, C, H, W)"}
