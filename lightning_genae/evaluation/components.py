"""Principal components of stored images, also of images with too many values to hold as floats."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_genae.data.storage import blocks, num_at_once, to_float

MAX_VALUES = 2**26  # of images that are decomposed at once: 256 MB in float32, and some copies of that
FEW = 500  # images whose singular values are found quickly enough whatever they are
MAX_STORED = 2**30  # bytes of images that are used: fewer than 5,000 RGB images above 256x256


class Components(NamedTuple):
    """Principal components of images with D values.

    Attributes:
        mean: (D,), float32 like the others.
        rows: the components (K, D), orthonormal, by descending variance.
        variances: of the images along each component, (K,).
    """

    mean: np.ndarray
    rows: np.ndarray
    variances: np.ndarray

    def mean_squared_error(self, images: Tensor) -> float:
        """The error per pixel of stored images (N, C, H, W), in [-1, 1], reconstructed from the components."""
        errors = []
        for part in blocks(images, len(images)):
            flat = to_float(part).flatten(1).numpy()
            latents = flat @ self.rows.T - self.mean[None] @ self.rows.T
            errors.append((len(part), float(((latents @ self.rows + self.mean - flat) ** 2).mean())))
        return errors[0][1] if len(errors) == 1 else sum(num * error for num, error in errors) / len(images)


def first(images: Tensor, most: int) -> Tensor:
    """The first stored images (N, C, H, W): at most `most`, and no more than MAX_STORED bytes."""
    return images[: num_at_once(images.shape[1:], most, MAX_STORED)]


def components(images: Tensor, num: int) -> Components:
    """At most `num` principal components of stored images (N, C, H, W), as sklearn's PCA computes them.

    With many values, or fewer images than values of one, they come from the Gram matrix (N, N) of the images, summed
    over blocks of pixels in float64, which is exact except for rounding, and quicker.
    """
    total = images[0].numel()
    if images.numel() <= MAX_VALUES and (len(images) >= total or len(images) <= FEW):
        from sklearn.decomposition import PCA  # slow, and most runs find its results in the cache

        values = to_float(images).flatten(1).numpy()
        with np.errstate(invalid="ignore"):  # variance ratios are 0 / 0 if all images are the same
            pca = PCA(min(num, *values.shape), svd_solver="full").fit(values)
        return Components(pca.mean_, pca.components_, pca.explained_variance_)
    flat = images.flatten(1)
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
    rows, mean = torch.cat([block for block, _ in parts], 1), torch.cat([block for _, block in parts])
    return Components(*(tensor.float().numpy() for tensor in (mean, rows, variances / (len(flat) - 1))))
