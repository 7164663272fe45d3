"""Adversarial autoencoder (Makhzani et al. 2015, arXiv 1511.05644)."""

from typing import Any

import torch
from jsonargparse.typing import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from lightning_genae.models._two_players import TwoPlayers
from lightning_genae.nn import losses, networks
from lightning_genae.nn.latents import Prior, draw_prior


class AdversarialAutoencoder(TwoPlayers):
    """AAE: an autoencoder whose latents match a prior by adversarial training; it generates from the prior.

    Deviations: the paper updates encoder and decoder for the reconstruction and then the encoder against the critic,
    with separate optimizers; here a single update does both, with a weight between them. The encoder is deterministic,
    the generator averaged, and the mixture and the roll are used without labels.

    Args:
        latent_dim: dimensions of the latent code, at least 1.
        prior: of the latents: N(0, I); or a mixture of ten gaussians or a swiss roll in the first two dimensions, and
            N(0, I) in the others. With latent_dim 2 `evaluate` shows the latents without a projection.
        adversarial: weight of the adversarial loss relative to the squared reconstruction error per pixel.
        lr: learning rate of Adam for both players, above 0.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        latent_dim: PositiveInt = 8,
        prior: Prior = "gaussian",
        adversarial: NonNegativeFloat = 0.02,
        lr: PositiveFloat = 1e-3,
        **kwargs: Any,
    ):
        super().__init__(image_shape, num_classes, latent_dim=latent_dim, lr=lr, **kwargs)
        self.encoder = networks.initialise(self.new_encoder(latent_dim))
        self.generator = networks.initialise(self.new_decoder(latent_dim))
        self.critic = nn.Sequential(
            nn.Linear(latent_dim, 256), nn.LeakyReLU(0.2), nn.Linear(256, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1)
        )
        self.critic_transform = None
        self.average_generator()
        self._draw(1)  # raises at once if the prior needs more dimensions

    def encode(self, x: Tensor) -> Tensor:
        """Latents (B, latent_dim) of images (B, C, H, W) in [-1, 1]."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] of latents (B, latent_dim)."""
        return losses.to_image("mse", self.generator(z))

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1], each encoded and decoded."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def sample(self, num: int, labels: Tensor | None = None) -> Tensor:
        """Images (num, C, H, W) in [-1, 1] decoded by the averaged decoder from the prior; labels are ignored."""
        return losses.to_image("mse", self.averaged.eval()(self._draw(num)))

    def loss_critic(self, x: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            z = self.encode(x)
        output_prior, output_latents = self.critic(torch.cat([self._draw(len(x)), z])).chunk(2)
        self.score(output_prior, output_latents)
        return losses.critic("ns", output_prior, output_latents)

    def loss_generator(self, x: Tensor, labels: Tensor) -> Tensor:
        z = self.encode(x)
        reconstruction = losses.reconstruction("mse", self.generator(z), x)
        adversarial = losses.generator("ns", self.critic(z))
        self.log_part("reconstruction", reconstruction)
        self.log_part("adversarial", adversarial)
        return reconstruction + self.hparams["adversarial"] * adversarial

    def _draw(self, num: int) -> Tensor:
        like = next(self.encoder.parameters())
        return draw_prior(self.hparams["prior"], num, self.hparams["latent_dim"], like)
