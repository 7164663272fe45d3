"""Coupled GANs, which learn pairs of images without training pairs (Liu & Tuzel 2016, arXiv 1606.07536)."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jsonargparse.typing import NonNegativeInt
from torch import Tensor, nn
from torch.nn.functional import conv2d

from lightning_genae.models._two_players import Transform, TwoPlayers
from lightning_genae.nn import losses, networks


class CoGAN(TwoPlayers):
    """CoGAN: two GANs of two domains, whose generators share their first and whose critics share their last layers.

    The images are the first domain; the second is made from images of the same batch, and the pairing stays unknown.

    Deviations: noise is gaussian, the paper's uniform; both domains' losses are added; the number of shared layers is
    an option, and the networks are this project's. Negatives are a domain of this project.

    Args:
        second: the second domain: negatives or edges of the images.
        num_shared: number of layers with weights that the generators share, and that the critics share. 0: two
            independent GANs.
    """

    modalities = ("image", "points")
    has_matching = True
    critic_transform: Transform

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        second: Literal["negatives", "edges"] = "negatives",
        num_shared: NonNegativeInt = 2,
        **kwargs: Any,
    ):
        super().__init__(image_shape, num_classes, **kwargs)
        generators = [self.new_decoder(self.hparams["latent_dim"], batch_norm=True) for _ in range(2)]
        critics = [self.new_encoder(1) for _ in range(2)]
        networks.tie_weights(generators[0], generators[1], num_shared, "first")
        networks.tie_weights(critics[0], critics[1], num_shared, "last")
        self.generator, self.critic = _Pair(generators), _Pair(critics)
        self.watch(torch.zeros(1))
        self.average_generator()

    @torch.no_grad()
    def sample(self, num: int, labels: Tensor | None = None) -> Tensor:
        """Images (num, C, H, W) in [-1, 1] of the first domain; labels are ignored."""
        return self.sample_pairs(num)[0]

    @torch.no_grad()
    def sample_pairs(self, num: int) -> tuple[Tensor, Tensor]:
        """Images (num, C, H, W) in [-1, 1] of both domains, made of the same noise by the averaged generators."""
        return self._generate(self.averaged.eval(), num)

    def loss_critic(self, x: Tensor, labels: Tensor) -> Tensor:
        # the second domain's images come from the other end of the batch, so that nothing depends on the pairing
        with torch.no_grad():
            first, second = self._generate(self.generator, len(x))
        first = self.critic_transform(torch.cat([x, first]), labels.repeat(2))
        second = torch.cat([self.to_second(x.flip(0)), second])
        second = self.critic_transform(second, torch.cat([labels.flip(0), labels]))
        domains = [outputs.chunk(2) for outputs in self.critic(first, second)]
        real, fake = (torch.cat(outputs) for outputs in zip(*domains))
        self.watch(real)
        self.score(real, fake)
        return sum((losses.critic("ns", *outputs) for outputs in domains), start=x.new_zeros(()))

    def loss_generator(self, x: Tensor, labels: Tensor) -> Tensor:
        fake = self._generate(self.generator, len(x))
        outputs = self.critic(*(self.critic_transform(images, labels) for images in fake))
        # the training images are of the first domain
        return sum((losses.generator("ns", output) for output in outputs), start=self.matched(fake[0]))

    def to_second(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] to their counterparts in the second domain."""
        return -x if self.hparams["second"] == "negatives" else edges(x)

    def _generate(self, generator: nn.Module, num: int) -> tuple[Tensor, Tensor]:
        z = self.noise(num)
        first, second = generator(z, z)
        return first.tanh(), second.tanh()


def edges(x: Tensor) -> Tensor:
    """Strength of the edges (Sobel's gradient) of images (B, C, H, W), both in [-1, 1]: 1 is a step over the range."""
    sobel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]], device=x.device, dtype=x.dtype) / 8
    padded = nn.functional.pad(x.flatten(0, 1).unsqueeze(1), (1, 1, 1, 1), mode="replicate")
    gradient = conv2d(padded, torch.stack([sobel, sobel.T]).unsqueeze(1))
    return (gradient.norm(dim=1).reshape(x.shape) * 2 - 1).clamp(-1, 1)


class _Pair(nn.Module):
    """Two networks, one for each domain."""

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        self.first, self.second = networks

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        return self.first(first), self.second(second)
