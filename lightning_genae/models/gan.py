"""Generative adversarial network (Goodfellow et al. 2014, arXiv 1406.2661), with later losses."""

from typing import Any, Literal

import torch
from jsonargparse.typing import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import one_hot

from lightning_genae.models._two_players import Transform, TwoPlayers
from lightning_genae.nn import losses, networks
from lightning_genae.options import warn_unused

Loss = Literal["ns", "minimax", "lsgan", "hinge", "wgan", "wgan-gp", "kl", "reverse-kl", "pearson", "js"]


class GAN(TwoPlayers):
    """GAN: a generator against a critic.

    For text the generator outputs probabilities, and the critic discriminates them from tokens (arXiv 1704.00028,
    section 5.5). Without labels, a conditional GAN samples classes in the proportions of the training images.

    WGAN-GP with its paper's settings is `--model.loss wgan-gp --model.n_critic 5 --model.lr 1e-4 --model.beta1 0
    --model.beta2 0.9`.

    Deviations: all losses use this project's networks, Adam, alternating updates and an averaged generator unless
    options say otherwise; WGAN's paper has RMSprop, five updates of the critic and no average. lsgan lacks the paper's
    factor 1/2, so that a penalty added to it weighs half as much as it would there. The generator of an f-divergence
    has the loss of the paper's section 3.2, not that of the minimax game. With an augmentation on the critic r1 takes,
    as in StyleGAN2-ADA, the gradient with respect to the real image before augmentation; gradient_penalty, whose paper
    has no augmentation, takes it with respect to the input of the critic, between augmented images, because the critic
    has to be 1-Lipschitz.

    Args:
        loss: non-saturating or minimax logistic (arXiv 1406.2661), least squares (1611.04076), hinge
            (1705.02894), Wasserstein with clipped weights (1701.07875) or a gradient penalty (1704.00028), or
            the f-divergences Kullback-Leibler, reverse KL, Pearson chi^2 and Jensen-Shannon (1606.00709).
        r1: gamma; half of it is the weight of the mean squared norm of the critic's gradient at real images
            (arXiv 1801.04406). 0: none.
        r1_every: batches between those in which r1 is computed, with as many times its weight (StyleGAN2: 16).
        lecam: weight of the regularisation that keeps the critic's outputs on real images near its average output on
            generated ones, and the other way round (LeCam, arXiv 2104.03310). 0: none.
        gradient_penalty: weight of WGAN-GP's penalty. null: 10 for wgan-gp, 0 for the others.
        clip: largest absolute weight of the critic; wgan only. null: 0.01.
        spectral_norm: bound the Lipschitz constant of the critic's layers (arXiv 1802.05957).
        conditional: give both players the classes, the critic by projection (arXiv 1802.05637) or by
            concatenation (arXiv 1411.1784); sample then takes labels.
    """

    modalities = None  # all
    has_matching = True
    critic_transform: Transform
    class_fractions: Tensor
    mean_outputs: Tensor  # see `_lecam`

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        loss: Loss = "ns",
        r1: NonNegativeFloat = 0.0,
        r1_every: PositiveInt = 1,
        lecam: NonNegativeFloat = 0.0,
        gradient_penalty: NonNegativeFloat | None = None,
        clip: PositiveFloat | None = None,
        spectral_norm: bool = False,
        conditional: networks.Conditional = "no",
        **kwargs: Any,
    ):
        super().__init__(image_shape, num_classes, **kwargs)
        warn_unused("clip", clip, loss == "wgan", "--model.loss wgan")
        warn_unused("r1_every", r1_every if r1_every > 1 else None, r1 > 0, "--model.r1")
        if loss == "wgan-gp" and gradient_penalty == 0:
            raise ValueError(
                "--model.gradient_penalty: expected a weight above 0 for wgan-gp; got 0; see --model.loss wgan"
            )
        if conditional != "no" and num_classes == 0:
            raise ValueError(f"--model.conditional: expected data with labels for {conditional}; got none")
        self.num_conditions = 0 if conditional == "no" else num_classes
        self.game = "wgan" if loss == "wgan-gp" else loss
        self.clip = (clip or 0.01) if loss == "wgan" else None
        self.penalty = (10.0 if loss == "wgan-gp" else 0.0) if gradient_penalty is None else gradient_penalty
        self.generator = self.new_decoder(self.hparams["latent_dim"] + self.num_conditions, batch_norm=True)
        self.critic = networks.Critic(
            image_shape, **self.size, spectral_norm=spectral_norm, conditional=conditional, num_classes=num_classes
        )
        self.decision_threshold = losses.GAMES[self.game].decision_threshold
        if self.decision_threshold is not None:
            self.watch(torch.zeros(1), self.decision_threshold)
        self.average_generator()
        if lecam > 0:
            self.register_buffer("mean_outputs", torch.zeros(3))  # on real and generated images, and of how many
        if self.num_conditions:
            self.register_buffer("class_fractions", torch.full((num_classes,), 1 / num_classes))

    def on_fit_start(self) -> None:
        dataset = getattr(self.trainer.datamodule, "dataset", None)  # type: ignore[attr-defined]  # set dynamically
        if self.num_conditions and dataset is not None:
            counts = torch.bincount(dataset.train.labels, minlength=self.num_conditions)
            self.class_fractions.copy_(counts / counts.sum())

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        if self.num_conditions:  # older checkpoints do not have the fractions
            checkpoint["state_dict"].setdefault("class_fractions", self.class_fractions)

    @torch.no_grad()
    def sample(self, num: int, labels: Tensor | None = None) -> Tensor:
        """Images (num, C, H, W) in [-1, 1] of the averaged generator; labels (num,) are the classes if conditional.

        Without labels a conditional model draws classes in the proportions of the training images.
        """
        if self.num_conditions and labels is None:
            labels = torch.multinomial(self.class_fractions.float(), num, replacement=True)
        output = self.averaged.eval()(self._input(num, labels))
        return self.modality.project(self.modality.bound(output))

    def loss_critic(self, x: Tensor, labels: Tensor) -> Tensor:
        has_r1 = self.hparams["r1"] > 0 and self.is_due(self.hparams["r1_every"])
        original = x.detach().requires_grad_(has_r1)
        with torch.no_grad():
            fake = self.generate(labels)
        with torch.set_grad_enabled(has_r1):
            seen = self.seen(original, fake, labels)
        x, fake = seen.chunk(2)
        output_real, output_fake = self.critic(seen.detach(), labels.repeat(2)).chunk(2)
        self.log_part("output_real", output_real.mean())
        self.log_part("output_fake", output_fake.mean())
        if self.decision_threshold is not None:
            self.watch(output_real, self.decision_threshold)
            self.score(output_real, output_fake, self.decision_threshold)
        loss = losses.critic(self.game, output_real, output_fake)
        if self.hparams["lecam"] > 0:
            loss = loss + self.hparams["lecam"] * self._lecam(output_real, output_fake)
        if has_r1:
            r1 = losses.r1(lambda images: self.critic(images, labels), original, seen=x)
            self.log_part("r1", r1)
            loss = loss + self.hparams["r1"] * self.hparams["r1_every"] * r1
        if self.penalty > 0:
            penalty = losses.gradient_penalty(lambda images: self.critic(images, labels), x.detach(), fake.detach())
            self.log_part("gradient_penalty", penalty)
            loss = loss + self.penalty * penalty
        return loss

    def _lecam(self, output_real: Tensor, output_fake: Tensor) -> Tensor:
        """LeCam's regularisation, a scalar, after the moving averages took in the critic's outputs (B,) each."""
        with torch.no_grad():
            means, num = self.mean_outputs[:2], self.mean_outputs[2].add_(1)
            now = torch.stack([output_real.mean(), output_fake.mean()]).to(means)
            means.lerp_(now, torch.clamp(1 / num, min=0.01))  # the first outputs count alike, as without a start at 0
        value = losses.lecam(output_real, output_fake, *self.mean_outputs[:2].clone())
        self.log_part("lecam", value)
        return value

    def loss_generator(self, x: Tensor, labels: Tensor) -> Tensor:
        fake = self.generate(labels)
        output = self.critic(self.critic_transform(fake, labels), labels)
        return losses.generator(self.game, output) + self.matched(fake)

    @torch.no_grad()
    def after_critic_step(self) -> None:
        if self.clip is not None:
            for weight in self.critic.parameters():
                weight.clamp_(-self.clip, self.clip)

    def generate(self, labels: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] of random noise, of classes (B,) if the model is conditional."""
        return self.modality.bound(self.generator(self._input(len(labels), labels)))

    def _input(self, num: int, labels: Tensor | None) -> Tensor:
        if not self.num_conditions:
            return self.noise(num)
        assert labels is not None  # `sample` draws them
        return torch.cat([self.noise(num), one_hot(labels, self.num_conditions).to(self.dtype)], 1)
