"""Autoencoder of two matrices."""

import math

import torch
from jsonargparse.typing import PositiveFloat, PositiveInt
from pytorch_lightning import LightningModule
from torch import Tensor, nn


class Linear(LightningModule):
    """A linear autoencoder; its samples are decoded normal latents.

    Args:
        image_shape: (C, H, W) of the images.
        num_classes: not used.
        latent_dim: dimensions of the code.
        lr: learning rate of Adam.
        others: what else the data say of themselves.
    """

    modalities = ("image",)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        latent_dim: PositiveInt = 4,
        lr: PositiveFloat = 0.1,
        **others,
    ):
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Linear(math.prod(image_shape), latent_dim)
        self.decoder = nn.Linear(latent_dim, math.prod(image_shape))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.flatten(1))

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).tanh().unflatten(1, self.hparams.image_shape)

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))

    @torch.no_grad()
    def sample(self, num: int, labels: Tensor | None = None) -> Tensor:
        return self.decode(torch.randn(num, self.hparams.latent_dim, device=self.device))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = (self.decode(self.encode(batch[0])) - batch[0]).square().mean()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
