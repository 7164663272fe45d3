"""Energy-based GAN, whose critic is an autoencoder (Zhao, Mathieu & LeCun 2016, arXiv 1609.03126)."""

from typing import Any

import torch
from jsonargparse.typing import NonNegativeFloat, PositiveFloat
from torch import Tensor

from lightning_genae.models._autoencoder_critic import AutoencoderCritic
from lightning_genae.nn import losses


class EBGAN(AutoencoderCritic):
    """EBGAN: the energy of an image is the critic's squared reconstruction error per pixel.

    Deviations: the paper's energy is the norm of the error, not its mean square per pixel, so that its margins (10 and
    more) and its weight of pulling_away (0.1) are on another scale; lr and latent_dim are this project's.

    Args:
        margin: energy up to which the critic raises that of generated images.
        pulling_away: weight of the term that makes the latents of generated images orthogonal. 0: none.
        noise: standard deviation of the noise on the images that the critic reconstructs, which makes it a denoising
            autoencoder. 0: none.
        lr: learning rate of Adam for both players, above 0.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        margin: PositiveFloat = 0.3,
        pulling_away: NonNegativeFloat = 0.02,
        noise: NonNegativeFloat = 0.0,
        lr: PositiveFloat = 1e-3,
        **kwargs: Any,
    ):
        super().__init__(image_shape, num_classes, lr=lr, **kwargs)

    def energy(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energies (B,) of images (B, C, H, W) in [-1, 1], and their latents (B, latent_dim)."""
        z = self.encode(x + self.hparams["noise"] * torch.randn_like(x) if self.hparams["noise"] else x)
        return losses.reconstruction_error(x, self.critic[1](z), power=2), z

    def loss_critic(self, x: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            fake = self.generate(len(x))
        real, fake = self.energy(self.seen(x, fake, labels))[0].chunk(2)
        self.log_part("energy_real", real.mean())
        self.log_part("energy_fake", fake.mean())
        return losses.energy_critic(real, fake, self.hparams["margin"])

    def loss_generator(self, x: Tensor, labels: Tensor) -> Tensor:
        fake = self.generate(len(x))
        energy, z = self.energy(self.critic_transform(fake, labels))
        pulling_away = losses.pulling_away(z)
        self.log_part("pulling_away", pulling_away)
        return energy.mean() + self.hparams["pulling_away"] * pulling_away + self.matched(fake)
