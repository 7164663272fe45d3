"""Generative adversarial network (Goodfellow et al. 2014, arXiv 1406.2661; DCGAN, arXiv 1511.06434)."""

import torch
from jsonargparse.typing import NonNegativeFloat, PositiveFloat, PositiveInt, restricted_number_type
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lightning_genae import losses, networks

_Decay = restricted_number_type("Decay", float, [(">=", 0), ("<", 1)])


class GAN(LightningModule):
    """GAN: a generator against a critic, with the non-saturating logistic loss on logits.

    Args:
        image_shape: (C, H, W) of the images.
        num_classes: number of classes in the data; not used by this model.
        network: dense layers or convolutions (DCGAN without batch norm in the critic).
        latent_dim: dimensions of the noise z ~ N(0, I), at least 1.
        hidden: sizes of the dense layers between image and z; mlp only. null: [512, 256].
        width: channels at full resolution, doubled with every halving of the image; conv only. null: 16.
        spectral_norm: bound the Lipschitz constant of the critic's layers (arXiv 1802.05957).
        n_critic: batches that the critic learns from for each update of the generator, at least 1.
        lr: learning rate of Adam for both players, above 0.
        beta1: Adam's decay of the first moment, in [0, 1).
        ema: decay of the generator's average per batch, in [0, 1); the average makes the samples. 0: no average.
        gradient_clip: largest norm of each player's gradient. 0: no clipping.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        network: networks.Network = "conv",
        latent_dim: PositiveInt = 32,
        hidden: list[PositiveInt] | None = None,
        width: PositiveInt | None = None,
        spectral_norm: bool = False,
        n_critic: PositiveInt = 1,
        lr: PositiveFloat = 4e-4,
        beta1: _Decay = 0.5,
        ema: _Decay = 0.995,
        gradient_clip: NonNegativeFloat = 0.0,
    ):
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False  # two optimizers
        networks.warn_unused(network, hidden, width)
        self.generator = networks.decoder(image_shape, latent_dim, network, hidden, width, batch_norm=True)
        self.critic = networks.encoder(image_shape, 1, network, hidden, width, spectral_norm)
        # averages the parameters and copies the buffers
        self.averaged = AveragedModel(self.generator, multi_avg_fn=get_ema_multi_avg_fn(ema)).requires_grad_(False)

    @torch.no_grad()
    def sample(self, num: int, labels: Tensor | None = None) -> Tensor:
        """Images (num, C, H, W) in [-1, 1] of the averaged generator."""
        return self.averaged.eval()(self._noise(num)).tanh()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, _ = batch
        optimizer_critic, optimizer_generator = self.optimizers()
        with self.toggled_optimizer(optimizer_critic):
            self._step_critic(optimizer_critic, x)
        # counted over epochs, which may be shorter than n_critic batches
        if (self.trainer.fit_loop.total_batch_idx + 1) % self.hparams.n_critic == 0:
            with self.toggled_optimizer(optimizer_generator):
                self._step_generator(optimizer_generator, len(x))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        betas = (self.hparams.beta1, 0.999)
        return [
            torch.optim.Adam(self.critic.parameters(), lr=self.hparams.lr, betas=betas),
            torch.optim.Adam(self.generator.parameters(), lr=self.hparams.lr, betas=betas),
        ]

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        # here, not after manual_backward, because in fp16 gradients are scaled until now
        if self.hparams.gradient_clip > 0:
            self.clip_gradients(optimizer, gradient_clip_val=self.hparams.gradient_clip)

    def _step_critic(self, optimizer: torch.optim.Optimizer, x: Tensor) -> None:
        with torch.no_grad():
            fake = self._generate(len(x))
        logits_real, logits_fake = self.critic(x), self.critic(fake)
        loss_real, loss_fake = losses.logistic_critic(logits_real, logits_fake)
        self._update(optimizer, loss_real + loss_fake)
        self._log("train/loss_critic", loss_real + loss_fake, len(x), prog_bar=True)
        self._log("train/logit_real", logits_real.mean(), len(x))
        self._log("train/logit_fake", logits_fake.mean(), len(x))

    def _step_generator(self, optimizer: torch.optim.Optimizer, num: int) -> None:
        loss = losses.logistic_generator(self.critic(self._generate(num)))
        self._update(optimizer, loss)
        self._log("train/loss_generator", loss, num, prog_bar=True)

    def _update(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        self.manual_backward(loss)
        optimizer.step()
        optimizer.zero_grad()

    def _generate(self, num: int) -> Tensor:
        return self.generator(self._noise(num)).tanh()

    def _noise(self, num: int) -> Tensor:
        return torch.randn(num, self.hparams.latent_dim, device=self.device, dtype=self.dtype)

    def _log(self, name: str, value: Tensor, batch_size: int, prog_bar: bool = False) -> None:
        self.log(name, value.detach(), prog_bar=prog_bar, batch_size=batch_size)
