"""The `ae` augmentation with principal components instead of the autoencoder: a control for its non-linearity."""

from typing import Any

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from lightning_genae.augment._perturbing import PerturbingAugmentation
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.storage import AT_ONCE, to_float
from lightning_genae.evaluation.components import components, first


class PCAAugment(PerturbingAugmentation):
    """Variations of images by the linear autoencoder with the least error.

    Args:
        latent_dim: number of principal components; all of them, if there are fewer.
    """

    def __init__(self, latent_dim: PositiveInt = 16, **kwargs: Any):
        super().__init__(**kwargs)
        self.latent_dim = latent_dim

    def fit(self, dataset: Dataset, **trainer_options: Any) -> None:
        """Finds the components of the training images and the distribution of their latents."""
        self.autoencoder = _Linear(first(dataset.train.images, 5000), self.latent_dim)
        self.trained_on = dataset.fingerprint
        self.learn_latents(dataset.train, dataset.cache_dir)


class _Linear(nn.Module):
    mean: Tensor
    components: Tensor

    def __init__(self, images: Tensor, num_components: int):
        super().__init__()
        self.shape = images.shape[1:]
        num_components = min(num_components, len(images) - 1)
        if images.numel() <= AT_ONCE:
            flat = to_float(images).flatten(1).double()
            mean, rows = flat.mean(0), torch.linalg.svd(flat - flat.mean(0), full_matrices=False).Vh[:num_components]
        else:
            mean, rows = map(torch.from_numpy, components(images, num_components)[:2])
        self.register_buffer("mean", mean.float())
        self.register_buffer("components", rows.float())

    def encode(self, x: Tensor) -> Tensor:
        """Latents (B, num_components) of images (B, C, H, W) in [-1, 1]."""
        return (x.flatten(1) - self.mean) @ self.components.T

    def decode(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W), which may exceed [-1, 1], of latents (B, num_components)."""
        return (z @ self.components + self.mean).reshape(-1, *self.shape)
