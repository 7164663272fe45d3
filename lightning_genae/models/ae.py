"""Autoencoder, dense or convolutional, also denoising (Hinton & Salakhutdinov 2006, doi 10.1126/science.1127647)."""

from typing import Literal

import torch
from jsonargparse.typing import PositiveFloat, PositiveInt
from torch import Tensor

from lightning_genae.data import modalities
from lightning_genae.data.modalities import Loss
from lightning_genae.data.modalities.image import Image
from lightning_genae.models._model import Model
from lightning_genae.nn import losses, networks
from lightning_genae.nn.latents import Sampler, TrainingLatents
from lightning_genae.options import chosen_of, warn_unused, warn_unused_size


class Autoencoder(Model):
    """Autoencoder: an encoder to a latent code of few dimensions and a decoder back to the image.

    It generates by decoding latents drawn from a distribution fitted to the latest training latents. The classic
    784-64-32-64-784 autoencoder is `--model.network mlp --model.hidden [64] --model.latent_dim 32` on 28x28
    images; `--model.hidden []` is linear.

    Args:
        image_shape: (C, H, W) of the images.
        num_classes: number of classes in the data; not used by this model.
        modality: of the data; see lightning_genae/data/modalities.
        has_mask: whether the last channel says where items end.
        network: dense layers, convolutions, residual blocks, for images FastGAN's (arXiv 2101.04775) or StyleGAN2's
            (1912.04958), or, for sequences, a recurrent network.
        latent_dim: dimensions of the latent code, at least 1.
        hidden: sizes of the dense layers between image and latent code; mlp only. null: [512, 256].
        width: channels at full resolution, doubled with every halving of the image, conv, resnet and stylegan2, or at
            128 pixels a side, fastgan (the paper's: 64). null: 16.
        loss: reconstruction error per pixel: squared, binary cross-entropy or absolute; for text cross-entropy of the
            tokens. null: ce for text, otherwise mse.
        noise: added to the images before they are encoded, while the clean images remain the target (Vincent et
            al. 2008, doi 10.1145/1390156.1390294): gaussian noise, masking, which blackens pixels, or diffaug, for
            images: DiffAugment's colours, translation and cutout, so that the layer before the code knows more of what
            is in an image.
        noise_level: standard deviation of the gaussian noise (images span [-1, 1]) or fraction of masked pixels. null:
            0.3.
        sampler: distribution of the latents that samples are decoded from: one gaussian or a mixture of ten
            fitted to training latents, or the standard normal.
        lr: learning rate of Adam, above 0.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        modality: str = "image",
        has_mask: bool = False,
        network: networks.Network = "conv",
        latent_dim: PositiveInt = 16,
        hidden: list[PositiveInt] | None = None,
        width: PositiveInt | None = None,
        loss: Loss | None = None,
        noise: Literal["no", "gaussian", "masking", "diffaug"] = "no",
        noise_level: PositiveFloat | None = None,
        sampler: Sampler = "gaussian",
        lr: PositiveFloat = 2e-3,
    ):
        super().__init__()
        self.save_hyperparameters()
        warn_unused_size(network, hidden, width)
        self.modality = modalities.new(modality, has_mask)
        self.loss = chosen_of("loss", loss, self.modality.losses, modality)
        warn_unused("noise_level", noise_level, noise in ("gaussian", "masking"), "--model.noise gaussian or masking")
        if noise == "diffaug" and not (isinstance(self.modality, Image) and image_shape[0] in (1, 3)):
            expected = "no, gaussian or masking for what is neither a grey nor an RGB image"
            raise ValueError(f"--model.noise: expected {expected}; got diffaug for {modality} {image_shape}")
        if noise == "masking" and (noise_level or 0) > 1:
            raise ValueError(f"--model.noise_level: expected a fraction of pixels, at most 1; got {noise_level}")
        self.noise_level = noise_level or 0.3
        self.encoder = networks.initialise(networks.encoder(image_shape, latent_dim, network, hidden, width))
        self.decoder = networks.initialise(networks.decoder(image_shape, latent_dim, network, hidden, width))
        self.latents = TrainingLatents(latent_dim)

    def encode(self, x: Tensor) -> Tensor:
        """Latents (B, latent_dim) of images (B, C, H, W) in [-1, 1]."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] of latents (B, latent_dim)."""
        return losses.to_image(self.loss, self.decoder(z))

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1], each encoded and decoded."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def sample(self, num: int, labels: Tensor | None = None) -> Tensor:
        """Images (num, C, H, W) in [-1, 1] decoded from drawn latents; labels are ignored."""
        return self.modality.project(self.decode(self.latents.draw(num, self.hparams["sampler"]).to(self.dtype)))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, _ = batch
        z = self.encode(self._corrupt(x))
        loss = losses.reconstruction(self.loss, self.decoder(z), x)
        self.latents.keep(z if self.hparams["noise"] == "no" else self.encode(x))
        self.log_part("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.adam(self.parameters(), lr=self.hparams["lr"])

    def _corrupt(self, x: Tensor) -> Tensor:
        if self.hparams["noise"] == "gaussian":
            return x + self.noise_level * torch.randn_like(x)
        if self.hparams["noise"] == "masking":
            return x.masked_fill(torch.rand_like(x) < self.noise_level, -1.0)
        if self.hparams["noise"] == "diffaug":
            from lightning_genae.augment.diffaug import DiffAugment  # which imports what imports models

            return DiffAugment().vary(x, None)
        return x
