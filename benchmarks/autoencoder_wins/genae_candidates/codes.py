"""Whitened codes of images, by an autoencoder that was trained on the training images alone, or by its controls."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_genae import registry
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.storage import blocks, to_float

Encoder = Literal["ae", "pca", "untrained"]
Layer = Literal["code", "hidden"]
# a denoising one: its hidden features know more of what a classifier sees than those of one without noise (gates.py)
NETWORK = {"network": "conv", "width": 16, "latent_dim": 32, "noise": "gaussian"}
RIDGE = 1e-3  # of the mean variance of a direction: what varies less is not enlarged to variance 1


class Codes:
    """u(x) of images x, whose mean over the training images is 0 and whose covariance is the identity.

    Args:
        encoder: an autoencoder of this project, principal components, or the autoencoder before any training.
        layer: its code, or the layer before it. For principal components the number of them alone differs.
        num: directions kept of it, those of the most variance; all if there are fewer.
        dataset: only its training images are used.

    Attributes:
        bank: codes (N, num) of the training images.
        reconstruct: from images (B, C, H, W) to images, by encoding and decoding.
    """

    def __init__(self, encoder: Encoder, layer: Layer, num: int, dataset: Dataset):
        self.encoder = encoder
        network: Any = _network(encoder, num, dataset)
        self.reconstruct: Callable[[Tensor], Tensor] = lambda x: network.decode(network.encode(x))
        self.encode: Callable[[Tensor], Tensor] = network.encode
        if layer == "hidden" and encoder != "pca":
            self.encode = lambda x: network.encoder[:-1](x)
        with torch.no_grad():
            codes = torch.cat([self.encode(to_float(part)) for part in blocks(dataset.train.images, 500)]).double()
        self.mean = codes.mean(0)
        variances, directions = torch.linalg.eigh(torch.cov(codes.T))
        variances = variances.clamp(min=float(RIDGE * variances.mean()))
        self.whitening = (directions * variances.rsqrt())[:, -num:].float()
        self.mean = self.mean.float()
        self.bank = ((codes.float() - self.mean) @ self.whitening).float()

    @torch.no_grad()
    def of(self, images: Tensor) -> Tensor:
        """Codes (N, num) of stored images (N, C, H, W)."""
        return torch.cat([self(to_float(part)) for part in blocks(images, 500)])

    def __call__(self, x: Tensor) -> Tensor:
        """Codes (B, num) of images (B, C, H, W) in [-1, 1]."""
        with torch.autocast(x.device.type, enabled=False):
            return (self.encode(x.float()) - self.mean) @ self.whitening


def _network(encoder: Encoder, num: int, dataset: Dataset) -> torch.nn.Module:
    if encoder == "untrained":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = registry.load("lightning_genae.models", "ae")(dataset.image_shape, **NETWORK)
        return network.eval().requires_grad_(False)
    options = {"latent_dim": num} if encoder == "pca" else {"autoencoder": {"name": "ae", **NETWORK}, "reduce": 1}
    return fitted(encoder, options, dataset).autoencoder


def fitted(name: str, options: dict[str, Any], dataset: Dataset) -> Any:
    """An augmentation of the library that learned from the training images."""
    augmentation = registry.load("lightning_genae.augment", name)(**options)
    augmentation.check(dataset)
    augmentation.fit(dataset, accelerator="cpu", enable_progress_bar=False)
    return augmentation
