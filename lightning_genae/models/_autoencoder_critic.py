"""The base class of GANs whose critic is an autoencoder."""

from typing import Any

import torch
from torch import Tensor, nn

from lightning_genae.models._two_players import Transform, TwoPlayers
from lightning_genae.nn import losses, networks


class AutoencoderCritic(TwoPlayers):
    """A generator against an autoencoder, which scores images by how well it reconstructs them."""

    has_matching = True
    critic_transform: Transform
    critic: nn.Sequential

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int = 0, **kwargs: Any):
        super().__init__(image_shape, num_classes, **kwargs)
        latent_dim = self.hparams["latent_dim"]
        self.generator = self.new_decoder(latent_dim, batch_norm=True)
        critic = self.new_encoder(latent_dim), self.new_decoder(latent_dim)
        self.critic = nn.Sequential(*map(networks.initialise, critic))
        self.average_generator()

    @torch.no_grad()
    def sample(self, num: int, labels: Tensor | None = None) -> Tensor:
        """Images (num, C, H, W) in [-1, 1] of the averaged generator; labels are ignored."""
        return self.averaged.eval()(self.noise(num)).tanh()

    def encode(self, x: Tensor) -> Tensor:
        """The critic's latents (B, latent_dim) of images (B, C, H, W) in [-1, 1]."""
        return self.critic[0](x)

    def decode(self, z: Tensor) -> Tensor:
        """The critic's images (B, C, H, W) in [-1, 1] of latents (B, latent_dim)."""
        return losses.to_image("mse", self.critic[1](z))

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1], each encoded and decoded by the critic."""
        return self.decode(self.encode(x))

    def generate(self, num: int) -> Tensor:
        """Images (num, C, H, W) in [-1, 1] of the generator itself."""
        return self.generator(self.noise(num)).tanh()
