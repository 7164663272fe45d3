"""Principal components of stored images, also of images that are too many values to be held as floats."""

from typing import NamedTuple

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from lightning_genae.data.storage import blocks, num_at_once, to_float

MAX_VALUES = 2**26  # of images that are decomposed whole: 256 MB in float32, and some copies of that
MAX_STORED = 2**30  # bytes of images that are looked at: of larger ones than 256x256 in colour fewer than 5,000


class Components(NamedTuple):
    """Principal components of images with D values.

    Attributes:
        mean: (D,), float32 as all of them.
        rows: the components (K, D), orthonormal, the one with the largest variance first.
        variances: of the images along each, (K,).
    """

    mean: np.ndarray
    rows: np.ndarray
    variances: np.ndarray

    def mean_squared_error(self, images: Tensor) -> float:
        """Of stored images (N, C, H, W), in [-1, 1], less what the components tell of them."""
        errors = []
        for part in blocks(images, len(images)):
            flat = to_float(part).flatten(1).numpy()
            latents = flat @ self.rows.T - self.mean[None] @ self.rows.T
            errors.append((len(part), float(((latents @ self.rows + self.mean - flat) ** 2).mean())))
        return errors[0][1] if len(errors) == 1 else sum(num * error for num, error in errors) / len(images)


def first(images, most: int) -> Tensor:
    """The first stored images (N, C, H, W), at most so many and no more than can be looked at together."""
    return images[: num_at_once(images.shape[1:], most, MAX_STORED)]


def components(images: Tensor, num: int) -> Components:
    """At most `num` principal components of stored images (N, C, H, W), as sklearn's PCA gives them.

    Many values are decomposed by the images' products with each other, (N, N), to which blocks of pixels add: exact
    too, but for rounding, in float64.
    """
    if images.numel() <= MAX_VALUES:
        flat = to_float(images).flatten(1).numpy()
        with np.errstate(invalid="ignore"):  # shares of a variance of 0: of images that are all the same
            pca = PCA(min(num, *flat.shape), svd_solver="full").fit(flat)
        return Components(pca.mean_, pca.components_, pca.explained_variance_)
    flat, total = images.flatten(1), images[0].numel()
    num = min(num, len(flat) - 1, total)
    width = num_at_once((len(flat),), total)
    pixels = [slice(start, start + width) for start in range(0, total, width)]

    def centred(chosen: slice) -> tuple[Tensor, Tensor]:
        values = to_float(flat[:, chosen]).double()
        mean = values.mean(0)
        return values - mean, mean

    products = sum((values @ values.T for values, _ in map(centred, pixels)), torch.zeros(()))
    variances, vectors = torch.linalg.eigh(products)
    variances, vectors = variances.flip(0)[:num].clamp_min(1e-300), vectors.flip(1)[:, :num]
    parts = [((vectors / variances.sqrt()).T @ values, mean) for values, mean in map(centred, pixels)]
    rows, mean = torch.cat([part for part, _ in parts], 1), torch.cat([part for _, part in parts])
    return Components(*(part.float().numpy() for part in (mean, rows, variances / (len(flat) - 1))))
