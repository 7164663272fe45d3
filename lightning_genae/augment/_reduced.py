"""Autoencoders of images that are reduced: what a code of few dimensions changes in an image is coarse anyway, and a
quarter of the pixels takes a quarter of the time."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from lightning_genae.data.dataset import Dataset
from lightning_genae.data.modalities.image import Image
from lightning_genae.data.storage import blocks, to_float

LEAST = 14  # pixels of a reduced side


class Reduced(nn.Module):
    """An autoencoder of reduced images that takes and gives whole ones.

    Args:
        autoencoder: with `encode` (B, C, H / factor, W / factor) to (B, d) and `decode` back.
        factor: by which the sides are divided.
        sides: of the whole images, (H, W).
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, autoencoder: Any, factor: int, sides: tuple[int, int]):
        super().__init__()
        self.autoencoder = autoencoder
        self.hparams = getattr(autoencoder, "hparams", None)  # as of an autoencoder of whole images
        self.factor = factor
        height, width = sides
        self.register_buffer("rows", _enlarging(height // factor, factor).T, persistent=False)
        self.register_buffer("columns", _enlarging(width // factor, factor), persistent=False)

    @property
    def encoder(self) -> nn.Sequential:
        """The layers from images to codes; none where the autoencoder is not made of layers."""
        encoder = getattr(self.autoencoder, "encoder", None)
        layers = list(encoder) if isinstance(encoder, nn.Sequential) else []
        return nn.Sequential(nn.AvgPool2d(self.factor), *layers) if layers else nn.Sequential()

    def encode(self, images: Tensor) -> Tensor:
        """Codes (B, d) of images (B, C, H, W) in [-1, 1], by the means of their squares of pixels."""
        return self.autoencoder.encode(avg_pool2d(images, self.factor))

    def decode(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W), of what is decoded from codes (B, d) and enlarged bilinearly."""
        # enlarging is linear: two products of matrices, which take a tenth of the time that interpolate takes
        return self.rows @ self.autoencoder.decode(z) @ self.columns


def _enlarging(num: int, factor: int) -> Tensor:
    """The matrix (num, num * factor) whose product with a row (num) is that row, enlarged linearly."""
    return interpolate(torch.eye(num)[None], scale_factor=float(factor), mode="linear")[0]


def default_factor(dataset: Dataset) -> int:
    """The largest divisor of both sides that leaves at least 14 pixels of each; 1 for what is no image."""
    if not isinstance(dataset.modality, Image):
        return 1
    _, height, width = dataset.image_shape
    factors = range(1, max(1, min(height, width) // LEAST) + 1)
    return max(factor for factor in factors if height % factor == width % factor == 0)


def reduced(dataset: Dataset, factor: int) -> Dataset:
    """The data set with training images (N, C, H / factor, W / factor), stored as before, and nothing else."""
    train = dataset.train
    parts = [dataset.modality.as_stored(avg_pool2d(to_float(part), factor)) for part in blocks(train.images, 1000)]
    small = train._replace(images=torch.cat(parts))
    return replace(dataset, train=small, fingerprint=f"{dataset.fingerprint}, sides divided by {factor}")
