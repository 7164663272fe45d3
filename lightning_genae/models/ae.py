"""Autoencoder, dense or convolutional (Hinton & Salakhutdinov 2006, doi 10.1126/science.1127647)."""

from typing import Literal

import torch
from jsonargparse.typing import PositiveFloat, PositiveInt
from pytorch_lightning import LightningModule
from torch import Tensor

from lightning_genae import losses, networks


class Autoencoder(LightningModule):
    """Autoencoder: an encoder to a code of few dimensions and a decoder back to the image.

    It generates by decoding codes drawn from a gaussian fitted to the latest training codes. The classic
    784-64-32-64-784 autoencoder is `--model.network mlp --model.hidden [64] --model.latent_dim 32` on 28x28
    images.

    Args:
        image_shape: (C, H, W) of the images.
        num_classes: number of classes in the data; not used by this model.
        network: dense layers or convolutions.
        latent_dim: dimensions of the code, at least 1.
        hidden: sizes of the dense layers between image and code; mlp only. null: [512, 256].
        width: channels at full resolution, doubled with every halving of the image; conv only. null: 16.
        loss: reconstruction error per pixel: squared, binary cross-entropy or absolute.
        lr: learning rate of Adam, above 0.
    """

    num_kept_codes = 1024  # the latest training codes, to which the gaussian of `sample` is fitted

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        network: networks.Network = "conv",
        latent_dim: PositiveInt = 16,
        hidden: list[PositiveInt] | None = None,
        width: PositiveInt | None = None,
        loss: Literal["mse", "bce", "l1"] = "mse",
        lr: PositiveFloat = 2e-3,
    ):
        super().__init__()
        self.save_hyperparameters()
        networks.warn_unused(network, hidden, width)
        self.encoder = networks.initialise(networks.encoder(image_shape, latent_dim, network, hidden, width))
        self.decoder = networks.initialise(networks.decoder(image_shape, latent_dim, network, hidden, width))
        self.register_buffer("kept_codes", torch.zeros(self.num_kept_codes, latent_dim))
        self.register_buffer("num_codes_seen", torch.tensor(0))

    def encode(self, x: Tensor) -> Tensor:
        """Codes (B, latent_dim) of images (B, C, H, W) in [-1, 1]."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] of codes (B, latent_dim)."""
        return losses.to_image(self.hparams.loss, self.decoder(z))

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1], each encoded and decoded."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def sample(self, num: int, labels: Tensor | None = None) -> Tensor:
        """Images (num, C, H, W) in [-1, 1] decoded from codes of a gaussian fitted to training codes."""
        codes = self.kept_codes[: max(2, int(self.num_codes_seen))]
        codes = codes.double()  # the covariance of nearly collinear codes is singular in float32
        ridge = 1e-6 * torch.eye(codes.shape[1], dtype=codes.dtype, device=codes.device)
        cholesky = torch.linalg.cholesky(torch.cov(codes.T).reshape(ridge.shape) + ridge)
        noise = torch.randn(num, codes.shape[1], device=codes.device, dtype=codes.dtype)
        return self.decode((codes.mean(0) + noise @ cholesky.T).to(self.dtype))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, _ = batch
        z = self.encode(x)
        loss = losses.reconstruction(self.hparams.loss, self.decoder(z), x)
        self._keep(z.detach())
        self.log("train/loss", loss, prog_bar=True, batch_size=len(x))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)

    def _keep(self, codes: Tensor) -> None:
        self.kept_codes.copy_(torch.cat([codes.to(self.kept_codes.dtype), self.kept_codes])[: self.num_kept_codes])
        self.num_codes_seen += len(codes)
