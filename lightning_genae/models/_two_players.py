"""What all models with a critic share: alternating updates, two optimizers, the average of the generator."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, cast

import torch
from jsonargparse.typing import NonNegativeFloat, PositiveFloat, PositiveInt
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lightning_genae.data import modalities
from lightning_genae.models._model import Model
from lightning_genae.nn import networks
from lightning_genae.options import Decay, warn_unused_size

Transform = Callable[[Tensor, Tensor], Tensor]


class TwoPlayers(Model, ABC):
    """A critic and the networks that play against it.

    A model builds `critic` and `generator` (from noise or latents to the output that becomes an image), calls
    `average_generator`, and defines the two losses; all trainable parameters except the critic's are the second
    player's.

    Attributes:
        modalities: names of the modalities that it supports.
        critic_transform: images (B, C, H, W) and classes (B,) to the images as the critic sees them; the losses apply
            it to everything that the critic scores. None: the critic does not see images.
        of_augmented: names of the options that have no effect without an augmentation before the critic.
        has_matching: whether the second player's loss has `matched` in it.
        match: what an augmentation on the generator adds to its loss, a scalar of generated images (B, C, H, W). None:
            nothing.
        overfitting: fraction of the last real images that the critic took for real, minus that of the others; only
            for models that call `watch`.
        critic_accuracy: see `score`; only for models that call it, after their first batch.

    Args:
        image_shape: (C, H, W) of the images.
        num_classes: number of classes in the data, 0 without labels.
        modality: of the data; see lightning_genae/data/modalities.
        has_mask: whether the last channel says where items end.
        network: dense layers, convolutions (DCGAN without batch norm in the critic), residual blocks, for images
            FastGAN's (arXiv 2101.04775) or StyleGAN2's (1912.04958), or, for sequences, recurrent networks.
        latent_dim: dimensions of the noise or latent code z, at least 1.
        hidden: sizes of the dense layers between image and z; mlp only. null: [512, 256].
        width: channels at full resolution, doubled with every halving of the image, conv, resnet and stylegan2, or at
            128 pixels a side, fastgan (the paper's: 64). null: 16.
        n_critic: batches that the critic learns from for each update of the other player, at least 1.
        lr: learning rate of Adam for both players, above 0.
        lr_critic: that of the critic, if it is another one (two time scales, arXiv 1706.08500). null: lr.
        beta1: Adam's decay of the first moment, in [0, 1).
        beta2: Adam's decay of the second moment, in [0, 1).
        ema: decay of the generator's average per batch, in [0, 1); the average generates the samples. 0: no average.
        gradient_clip: largest norm of each player's gradient. 0: no clipping.
    """

    of_augmented: ClassVar[tuple[str, ...]] = ()
    has_matching: ClassVar[bool] = False
    match: Callable[[Tensor], Tensor] | None = None
    modalities: ClassVar[tuple[str, ...] | None] = ("image", "points", "series", "audio", "table")
    critic_transform: Transform | None
    critic: nn.Module
    generator: nn.Module

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        modality: str = "image",
        has_mask: bool = False,
        network: networks.Network = "conv",
        latent_dim: PositiveInt = 32,
        hidden: list[PositiveInt] | None = None,
        width: PositiveInt | None = None,
        n_critic: PositiveInt = 1,
        lr: PositiveFloat = 4e-4,
        lr_critic: PositiveFloat | None = None,
        beta1: Decay = 0.5,
        beta2: Decay = 0.999,
        ema: Decay = 0.995,
        gradient_clip: NonNegativeFloat = 0.0,
    ):
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False  # two optimizers
        warn_unused_size(network, hidden, width)
        self.modality = modalities.new(modality, has_mask)
        self.critic_transform = _as_they_are
        self.size: networks.Size = {"network": network, "hidden": hidden, "width": width}

    @abstractmethod
    def loss_critic(self, x: Tensor, labels: Tensor) -> Tensor:
        """The critic's loss, a scalar, on images (B, C, H, W) in [-1, 1] of classes (B,)."""

    @abstractmethod
    def loss_generator(self, x: Tensor, labels: Tensor) -> Tensor:
        """The other player's loss, a scalar, on the same batch."""

    def after_critic_step(self) -> None:
        """Called after each update of the critic."""

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        optimizer_critic, optimizer_generator = cast(list[LightningOptimizer], self.optimizers())
        with self.toggled_optimizer(optimizer_critic):
            self._update(optimizer_critic, "critic", self.loss_critic(*batch))
        self.after_critic_step()
        if (self.batches + 1) % self.hparams["n_critic"] == 0:
            with self.toggled_optimizer(optimizer_generator):
                self._update(optimizer_generator, "generator", self.loss_generator(*batch))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        critics = set(self.critic.parameters())
        others = [weight for weight in self.parameters() if weight.requires_grad and weight not in critics]
        critic = [weight for weight in self.critic.parameters() if weight.requires_grad]
        betas, lr = (self.hparams["beta1"], self.hparams["beta2"]), self.hparams["lr"]
        lr_critic = lr if self.hparams["lr_critic"] is None else self.hparams["lr_critic"]
        return [self.adam(critic, lr=lr_critic, betas=betas), self.adam(others, lr=lr, betas=betas)]

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        # here, not after manual_backward, because in fp16 gradients are scaled until now
        if self.hparams["gradient_clip"] > 0:
            self.clip_gradients(optimizer, gradient_clip_val=self.hparams["gradient_clip"])

    def average_generator(self) -> None:
        """Builds `averaged`, whose parameters follow the generator's and whose buffers are separate."""
        average = get_ema_multi_avg_fn(self.hparams["ema"])
        self.averaged = AveragedModel(self.generator, multi_avg_fn=average).requires_grad_(False)

    def new_encoder(self, num_outputs: int, **options: Any) -> nn.Sequential:
        """A network from images (B, C, H, W) to vectors (B, num_outputs), sized by the options."""
        return networks.encoder(self.hparams["image_shape"], num_outputs, **self.size, **options)

    def new_decoder(self, num_inputs: int, **options: Any) -> nn.Sequential:
        """A network from vectors (B, num_inputs) to images (B, C, H, W), sized by the options."""
        return networks.decoder(self.hparams["image_shape"], num_inputs, **self.size, **options)

    def noise(self, num: int) -> Tensor:
        """z ~ N(0, I), (num, latent_dim)."""
        return torch.randn(num, self.hparams["latent_dim"], device=self.device, dtype=self.dtype)

    def seen(self, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        """Real (B, C, H, W) and then generated images, B or a multiple of it, of classes (B,), as the critic sees them.

        They stay together, because one pass of a network takes less time than two.
        """
        assert self.critic_transform is not None  # the critic sees images
        both = torch.cat([real, fake])
        return self.critic_transform(both, labels.repeat(len(both) // len(labels)))

    def matched(self, fake: Tensor) -> Tensor:
        """What an augmentation on the generator adds to its loss, a scalar, of generated images (B, C, H, W)."""
        if self.match is None:
            return fake.new_zeros(())
        term = self.match(fake)
        self.log_part("matching", term)
        return term

    def watch(self, output_real: Tensor, decision_threshold: float = 0.0) -> None:
        """Sets the overfitting signal r_t = E[sign of the critic's outputs on real images (B,)] (arXiv 2006.06676)."""
        self.overfitting = (output_real.detach() - decision_threshold).sign().mean()

    def score(self, output_real: Tensor, output_fake: Tensor, decision_threshold: float = 0.0) -> None:
        """Sets `critic_accuracy`: the fraction of a batch, half real, half generated, that the critic gets right.

        Its outputs are (B,) each.
        """
        correct = (output_real.detach() > decision_threshold).float().mean() + (
            output_fake.detach() < decision_threshold
        ).float().mean()
        self.critic_accuracy = correct / 2

    def over_processes(self, value: Tensor) -> Tensor:
        """The mean of a value over all processes, for what is to be the same in each."""
        return self.trainer.strategy.reduce(value.detach().clone(), reduce_op="mean")

    def _update(self, optimizer: LightningOptimizer, player: str, loss: Tensor) -> None:
        # Lightning's context for mixed precision spans the whole step, but autocast is for forward passes: here it
        # would cast what was computed in float32
        with torch.autocast(self.device.type, enabled=False), self._mean_over_processes(optimizer):
            self.manual_backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        self.log_part(f"loss_{player}", loss, prog_bar=True)

    @contextmanager
    def _mean_over_processes(self, optimizer: LightningOptimizer) -> Iterator[None]:
        """A context for a backward pass, after which all processes have the mean of their gradients of one player.

        DistributedDataParallel would sum up both players' gradients after each of the two passes.
        """
        strategy = self.trainer.strategy
        if not isinstance(strategy, DDPStrategy):
            yield
            return
        with strategy.block_backward_sync():
            yield
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        total = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(total)  # not strategy.reduce, which waits at a barrier before it
        means = (total / self.trainer.world_size).split([gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, means):
            gradient.copy_(mean.view_as(gradient))


def _as_they_are(images: Tensor, labels: Tensor) -> Tensor:
    return images
