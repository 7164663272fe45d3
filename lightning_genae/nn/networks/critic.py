"""A critic of images and their classes."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_genae.errors import UserError
from lightning_genae.nn.networks.build import Network, encoder
from lightning_genae.nn.networks.frozen import maps_of
from lightning_genae.nn.networks.pyramid import Shape, activation, halved, keeping
from lightning_genae.nn.networks.reconstruction import Reconstruction
from lightning_genae.nn.networks.weights import normalise

Conditional = Literal["no", "projection", "concatenation"]


class Critic(nn.Module):
    """Scores (B,) of images (B, C, H, W), and of their classes (B,) if conditional.

    `projection` adds the inner product of the image's features and a vector of its class (Miyato & Koyama
    2018, arXiv 1802.05637); `concatenation` adds a one-hot channel for each class to the first layer's input
    (Mirza & Osindero 2014, arXiv 1411.1784).

    Args:
        image_shape: (C, H, W).
        network, hidden, width, spectral_norm: as for the encoder.
        conditional: whether the score depends on the class, and how.
        num_classes: number of classes; for a conditional critic only.
        minibatch_std: tell the critic, by one more channel before a last convolution, how much the images of a group
            of four differ (Karras et al. 2018, arXiv 1710.10196, section 3).

    Raises:
        UserError: a minibatch's deviation for a network that does not halve images.
    """

    score: nn.Linear
    embedding: nn.Embedding | None
    reconstruction: Reconstruction  # a model may add one, which then learns with the critic

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        network: Network,
        hidden: list[int] | None = None,
        width: int | None = None,
        spectral_norm: bool = False,
        conditional: Conditional = "no",
        num_classes: int = 0,
        minibatch_std: bool = False,
    ):
        super().__init__()
        self.num_maps = num_classes if conditional == "concatenation" else 0
        shape = (image_shape[0] + self.num_maps, *image_shape[1:])
        *layers, score = encoder(shape, 1, network, hidden, width, spectral_norm)
        assert isinstance(score, nn.Linear)  # as of every encoder
        self.score = score
        if minibatch_std:
            layers = [*layers[:-1], *_told_the_deviation(layers, score, shape), layers[-1]]
        self.features = nn.Sequential(*layers)
        self.embedding = None
        if conditional == "projection":
            self.embedding = nn.Embedding(num_classes, self.score.in_features)
            if spectral_norm:
                normalise(self.embedding)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.judge(self.features(self._with_classes(x, labels)), labels)

    def judge(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Scores (B,) of features (B, F), what is before the last layer."""
        score = self.score(features).squeeze(1)
        return score if self.embedding is None else score + (self.embedding(labels) * features).sum(1)

    def maps(self, x: Tensor, labels: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """The last maps (B, C, H, W) of each size, from full resolution on, and the features (B, F)."""
        return maps_of(self.features, self._with_classes(x, labels))

    def _with_classes(self, x: Tensor, labels: Tensor | None) -> Tensor:
        if not self.num_maps:
            return x
        assert labels is not None  # who scores with a conditional critic gives it the classes
        maps = F.one_hot(labels, self.num_maps).to(x.dtype)[:, :, None, None]
        return torch.cat([x, maps.expand(-1, -1, *x.shape[2:])], 1)


class MinibatchStd(nn.Module):
    """Adds a channel with the mean deviation of maps (B, C, H, W) over groups of images, the same for a whole group.

    Groups are of four images that follow one another, two or one where four do not divide half of the batch: a batch is
    half real and half generated, and no group may hold both.
    """

    def forward(self, x: Tensor) -> Tensor:
        num = next(size for size in (4, 2, 1) if len(x) % (2 * size) == 0 or size == 1)
        groups = x.reshape(-1, num, *x.shape[1:])
        std = (groups.var(1, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
        channel = std.repeat_interleave(num)[:, None, None, None].expand(-1, 1, *x.shape[2:])
        return torch.cat([x, channel], 1)


def _told_the_deviation(layers: list[nn.Module], score: nn.Linear, shape: Shape) -> list[nn.Module]:
    """What follows the last maps of a critic, before they are flattened."""
    if not (len(layers) > 1 and isinstance(layers[-1], nn.Flatten)):
        raise UserError("--model.minibatch_std: expected a network that halves images, such as conv; got another")
    side = halved(shape)[-1]
    channels = score.in_features // (side[0] * side[1])
    return [MinibatchStd(), nn.Conv2d(channels + 1, channels, **keeping(side)), *activation(channels)]
