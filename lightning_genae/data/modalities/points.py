"""Points in the plane, for which every failure of a model is visible."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from lightning_genae.data.drawing.grids import save_scatter
from lightning_genae.data.modalities._modality import Modality


@dataclass(frozen=True, eq=False)
class Points(Modality):
    """Two numbers in [-1, 1], as images (2, 1, 1), stored as float32.

    Args:
        centres: (K, 2), of the modes of a mixture of equal gaussians that the points are drawn from. None: unknown.
        std: of each gaussian in both directions.
    """

    centres: Tensor | None = None
    std: float = 0.0

    item_name = "points"
    likelihoods = ("bernoulli", "gaussian")
    has_units = False
    is_drawn_together = True
    layout = (32, 8)

    def draw(
        self,
        path: Path,
        images: Tensor,
        num_columns: int,
        rows: tuple[str, ...] = ("",),
        titles: tuple[str, ...] = (),
        behind: Tensor | None = None,
    ) -> Path:
        title, real = ("", None) if behind is None else ("grey: held-out points", [behind.flatten(1)])
        points = images.detach().float().cpu().flatten(1)
        return save_scatter(path, {title: (points, None)}, limits=(-1, 1), behind=real)

    def write(self, stem: Path, samples: Tensor) -> dict[Path, str]:
        picture, numbers = stem.with_suffix(".png"), stem.with_suffix(".npz")
        self.draw(picture, samples, num_columns=1)
        np.savez_compressed(numbers, points=samples.numpy())
        return {picture: "a picture", numbers: f"'points', {samples.dtype} (N, 2, 1, 1)"}
