"""Bidirectional GAN, adversarially learned inference (Donahue et al. 2016, arXiv 1605.09782; 1606.00704)."""

from typing import Any

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from lightning_genae.models._two_players import Transform, TwoPlayers
from lightning_genae.nn import losses


class BiGAN(TwoPlayers):
    """BiGAN: a critic discriminates (image, its latent code) from (generated image, its latent code).

    At the optimum the encoder inverts the generator.

    Deviations: latents are gaussian, BiGAN's uniform in [-1, 1]; the encoder is deterministic, ALI's is a gaussian; the
    encoder and the generator minimise the critic's loss with the sides exchanged (non-saturating, as both papers do in
    practice). The latents enter the critic unchanged, after its layers for the image.

    Args:
        latent_dim: dimensions of the latent code, at least 1.
    """

    has_matching = True
    critic_transform: Transform

    def __init__(
        self, image_shape: tuple[int, int, int], num_classes: int = 0, latent_dim: PositiveInt = 16, **kwargs: Any
    ):
        super().__init__(image_shape, num_classes, latent_dim=latent_dim, **kwargs)
        self.encoder = self.new_encoder(latent_dim)
        self.generator = self.new_decoder(latent_dim, batch_norm=True)
        self.critic = _JointCritic(self.new_encoder(256), 256, latent_dim)
        self.watch(torch.zeros(1))
        self.average_generator()

    def encode(self, x: Tensor) -> Tensor:
        """Latents (B, latent_dim) of images (B, C, H, W) in [-1, 1]."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] of latents (B, latent_dim), by the averaged generator."""
        return self.averaged.eval()(z).tanh()

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1], each encoded and decoded."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def sample(self, num: int, labels: Tensor | None = None) -> Tensor:
        """Images (num, C, H, W) in [-1, 1] of the averaged generator; labels are ignored."""
        return self.decode(self.noise(num))

    def loss_critic(self, x: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            z = self.noise(len(x))
            pairs = self._pairs(x, self.generator(z).tanh(), z, labels)
        output_encoded, output_generated = self.critic(*pairs).chunk(2)
        self.watch(output_encoded)
        self.score(output_encoded, output_generated)
        return losses.critic("ns", output_encoded, output_generated)

    def loss_generator(self, x: Tensor, labels: Tensor) -> Tensor:
        z = self.noise(len(x))
        fake = self.generator(z).tanh()
        output_encoded, output_generated = self.critic(*self._pairs(x, fake, z, labels)).chunk(2)
        # both pairs are scored, with the roles exchanged: the encoder's pair should pass for the generator's
        return losses.critic("ns", output_generated, output_encoded) + self.matched(fake)

    def _pairs(self, x: Tensor, fake: Tensor, z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images (2B, C, H, W), as the critic sees them, and latents (2B, d): encoded pairs, then generated ones."""
        images = self.seen(x, fake, labels)
        return images, torch.cat([self.encoder(x), z])


class _JointCritic(nn.Module):
    """Scores (B,) of images (B, C, H, W) together with latents (B, d)."""

    def __init__(self, features: nn.Sequential, num_features: int, latent_dim: int):
        super().__init__()
        self.features = features
        self.score = nn.Sequential(
            nn.LeakyReLU(0.2), nn.Linear(num_features + latent_dim, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1)
        )

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.score(torch.cat([self.features(x), z], 1)).squeeze(1)
