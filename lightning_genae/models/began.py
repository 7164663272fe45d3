"""Boundary-equilibrium GAN (Berthelot, Schumm & Metz 2017, arXiv 1703.10717)."""

from typing import Any

import torch
from jsonargparse.typing import OpenUnitInterval, PositiveFloat
from torch import Tensor

from lightning_genae.models._autoencoder_critic import AutoencoderCritic
from lightning_genae.nn import losses


class BEGAN(AutoencoderCritic):
    """BEGAN: the critic is an autoencoder, and a weight k keeps its errors on generated and real images in balance.

    `train/convergence` is the paper's measure M, which falls as the samples get better.

    Deviations: lambda_k is ten times the paper's 0.001, for trainings of some thousand batches; noise is gaussian, the
    paper's uniform in [-1, 1]; k is updated with the generator, after the critic's update, by the error of the images
    that the generator learns from; networks, latent_dim and lr (paper: 1e-4, decaying) are this project's.

    Args:
        gamma: the ratio of the errors, generated to real, in (0, 1); lower gives better but less diverse images.
        lambda_k: step size of the updates of k, above 0.
        lr: learning rate of Adam for both players, above 0.
    """

    k: Tensor
    error_real: Tensor

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        gamma: OpenUnitInterval = 0.9,
        lambda_k: PositiveFloat = 0.01,
        lr: PositiveFloat = 1e-3,
        **kwargs: Any,
    ):
        super().__init__(image_shape, num_classes, lr=lr, **kwargs)
        self.register_buffer("k", torch.tensor(0.0))
        self.register_buffer("error_real", torch.tensor(0.0))

    def error(self, x: Tensor) -> Tensor:
        """The critic's mean absolute reconstruction error per pixel of images (B, C, H, W) in [-1, 1], a scalar."""
        return losses.reconstruction_error(x, self.critic(x), power=1).mean()

    def loss_critic(self, x: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            fake = self.generate(len(x))
        seen = self.seen(x, fake, labels)
        real, fake = (
            errors.mean() for errors in losses.reconstruction_error(seen, self.critic(seen), power=1).chunk(2)
        )
        self.error_real.copy_(self.over_processes(real))
        self.log_part("error_real", real)
        return real - self.k * fake

    def loss_generator(self, x: Tensor, labels: Tensor) -> Tensor:
        images = self.generate(len(x))
        fake = self.error(self.critic_transform(images, labels))
        # k is part of the loss, so it must be the same in every process
        k, convergence = losses.equilibrium(
            self.k, self.error_real, self.over_processes(fake), self.hparams["gamma"], self.hparams["lambda_k"]
        )
        self.k.copy_(k)
        self.log_part("error_fake", fake)
        self.log_part("k", k)
        self.log_part("convergence", convergence, prog_bar=True)
        return fake + self.matched(images)
