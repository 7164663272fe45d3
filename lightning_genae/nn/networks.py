"""Encoders and decoders sized from `image_shape`, and a critic of images and their classes.

`mlp` is a stack of dense layers, without hidden layers a linear map; `conv` halves (doubles) the image until its
longer side is at most 4, in the manner of DCGAN (Radford et al. 2015, arXiv 1511.06434); `resnet` does so with
residual blocks (Gulrajani et al. 2017, arXiv 1704.00028). For sequences, images one pixel high, both are
one-dimensional convolutions. `recurrent` reads and writes a sequence step by step (Cho et al. 2014, arXiv 1406.1078),
as in TimeGAN (Yoon et al. 2019). A decoder's output is unbounded; the model maps it to [-1, 1].
"""

import math
from itertools import pairwise
from typing import Literal, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as _spectral_norm
from torch.nn.utils.rnn import PackedSequence

from lightning_genae.errors import UserError

Network = Literal["mlp", "conv", "resnet", "recurrent"]
Conditional = Literal["no", "projection", "concatenation"]


class Size(TypedDict):
    """The kind of a network and its size, as for `encoder`."""

    network: Network
    hidden: list[int] | None
    width: int | None


def encoder(
    image_shape: tuple[int, int, int],
    num_outputs: int,
    network: Network,
    hidden: list[int] | None = None,
    width: int | None = None,
    spectral_norm: bool = False,
) -> nn.Sequential:
    """A network from images (B, C, H, W) to vectors (B, num_outputs); its last layer is linear.

    Args:
        image_shape: (C, H, W).
        num_outputs: length of a vector.
        network: "mlp", "conv", "resnet", or "recurrent", for sequences only.
        hidden: sizes of the dense layers of "mlp", from the image on. None: [512, 256]; []: a linear map.
        width: channels of "conv" and "resnet" at full resolution, doubled with every halving, None: 16; or units of
            "recurrent" in each direction, None: 64.
        spectral_norm: bound each layer's Lipschitz constant (Miyato et al. 2018, arXiv 1802.05957).

    Raises:
        ValueError: "recurrent" has no spectral norm.
        UserError: the network does not suit the shape.
    """
    layers: list[nn.Module]
    if network == "mlp":
        layers = [nn.Flatten(), *_dense([math.prod(image_shape), *_hidden(hidden), num_outputs])]
    elif network == "recurrent":
        if spectral_norm:
            raise ValueError("--model.spectral_norm: expected mlp, conv or resnet; got recurrent (--model.network)")
        width = _units(image_shape, width)
        layers = [_Reader(image_shape[0], width), nn.Linear(2 * width, num_outputs)]
    else:
        sizes, channels = _pyramid(image_shape, width)
        layers = [nn.Conv2d(image_shape[0], channels[0], **_keeping(sizes[0]))]
        if network == "conv":
            layers.append(nn.LeakyReLU(0.2))
            for size, c_in, c_out in zip(sizes, channels, channels[1:]):
                layers += [nn.Conv2d(c_in, c_out, **_halving(size)), nn.LeakyReLU(0.2)]
        else:
            for size, c_in, c_out in zip(sizes[1:], channels, channels[1:]):
                layers.append(_Residual(c_in, c_out, _keeping(sizes[0]), after=nn.AdaptiveAvgPool2d(size)))
            layers.append(nn.LeakyReLU(0.2))
        layers += [nn.Flatten(), nn.Linear(channels[-1] * math.prod(sizes[-1]), num_outputs)]
    whole = nn.Sequential(*layers)
    if spectral_norm:
        normalise(whole)
    return _by_channels(whole)


def decoder(
    image_shape: tuple[int, int, int],
    num_inputs: int,
    network: Network,
    hidden: list[int] | None = None,
    width: int | None = None,
    batch_norm: bool = False,
) -> nn.Sequential:
    """A network from vectors (B, num_inputs) to unbounded images (B, C, H, W); it mirrors the encoder.

    Args:
        image_shape: (C, H, W).
        num_inputs: length of a vector.
        network: "mlp", "conv", "resnet", or "recurrent", for sequences only.
        hidden: sizes of the dense layers of "mlp", from the image on, as in the encoder. None: [512, 256].
        width: channels of "conv" and "resnet" at full resolution, units of "recurrent". None: as in the encoder.
        batch_norm: normalise the layers of "conv" and "resnet" over the batch, as generators do.

    Raises:
        UserError: the network does not suit the shape.
    """
    if network == "mlp":
        dense = _dense([num_inputs, *reversed(_hidden(hidden)), math.prod(image_shape)])
        return nn.Sequential(*dense, nn.Unflatten(1, image_shape))
    if network == "recurrent":
        return nn.Sequential(_Writer(num_inputs, image_shape, _units(image_shape, width)))
    sizes, channels = _pyramid(image_shape, width)
    sizes, channels = sizes[::-1], channels[::-1]
    layers: list[nn.Module] = [nn.Linear(num_inputs, channels[0] * math.prod(sizes[0]))]
    layers.append(nn.Unflatten(1, (channels[0], *sizes[0])))
    if network == "conv":
        layers += _activation(channels[0], batch_norm)
        for size, c_in, c_out in zip(sizes[1:], channels, channels[1:]):
            layers += [nn.ConvTranspose2d(c_in, c_out, **_halving(size)), *_activation(c_out, batch_norm)]
    else:
        for size, c_in, c_out in zip(sizes[1:], channels, channels[1:]):
            before = nn.Upsample(size)
            layers.append(_Residual(c_in, c_out, _keeping(sizes[-1]), before=before, batch_norm=batch_norm))
        layers += _activation(channels[-1], batch_norm)
    return _by_channels(nn.Sequential(*layers, nn.Conv2d(channels[-1], image_shape[0], **_keeping(sizes[-1]))))


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
    """

    score: nn.Linear
    embedding: nn.Embedding | None

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        network: Network,
        hidden: list[int] | None = None,
        width: int | None = None,
        spectral_norm: bool = False,
        conditional: Conditional = "no",
        num_classes: int = 0,
    ):
        super().__init__()
        self.num_maps = num_classes if conditional == "concatenation" else 0
        shape = (image_shape[0] + self.num_maps, *image_shape[1:])
        *layers, score = encoder(shape, 1, network, hidden, width, spectral_norm)
        assert isinstance(score, nn.Linear)  # as of every encoder
        self.score = score
        self.features = nn.Sequential(*layers)
        self.embedding = None
        if conditional == "projection":
            self.embedding = nn.Embedding(num_classes, self.score.in_features)
            if spectral_norm:
                normalise(self.embedding)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.num_maps:
            assert labels is not None  # who scores with a conditional critic gives it the classes
            maps = F.one_hot(labels, self.num_maps).to(x.dtype)[:, :, None, None]
            x = torch.cat([x, maps.expand(-1, -1, *x.shape[2:])], 1)
        features = self.features(x)
        score = self.score(features).squeeze(1)
        return score if self.embedding is None else score + (self.embedding(labels) * features).sum(1)


def normalise(network: nn.Module) -> nn.Module:
    """The network with spectral norm in every layer that has a weight matrix."""
    for layer in [layer for layer in network.modules() if _is_weighted(layer)]:
        _spectral_norm(layer)
    return network


def initialise(network: nn.Sequential) -> nn.Sequential:
    """Weights that keep the signal's variance through leaky rectifiers (He et al. 2015, arXiv 1502.01852).

    torch's default shrinks it threefold per layer, so that a deep autoencoder outputs the mean image for many batches.
    The last layer keeps the default, for small initial outputs.
    """
    for layer in [layer for layer in network.modules() if _is_weighted(layer)][:-1]:
        nn.init.kaiming_normal_(layer.get_parameter("weight"), a=0.2)
        nn.init.zeros_(layer.get_parameter("bias"))
    return network


def tie_weights(first: nn.Sequential, second: nn.Sequential, num_layers: int, end: Literal["first", "last"]) -> None:
    """Replaces the first or last layers of the second network by those of the first, of the same architecture.

    Only layers with weights count (a residual block is one layer); the others belong to the layer before them.

    Raises:
        ValueError: there are fewer layers.
    """
    starts = [i for i, layer in enumerate(first) if any(map(_is_weighted, layer.modules()))]
    if num_layers > len(starts):
        raise ValueError(f"--model.num_shared: expected at most {len(starts)}, the layers there are; got {num_layers}")
    starts.append(len(first))
    shared = range(starts[num_layers]) if end == "first" else range(starts[-1 - num_layers], len(first))
    for i in shared if num_layers else ():
        second[i] = first[i]


class _Reader(nn.Module):
    """The last states (B, 2 * width) of a GRU that reads sequences (B, C, 1, L) in both directions."""

    def __init__(self, num_channels: int, width: int):
        super().__init__()
        self.gru = nn.GRU(num_channels, width, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return run(self.gru, as_steps(x), twice=True)[1].transpose(0, 1).flatten(1)


class _Writer(nn.Module):
    """Sequences (B, C, 1, L) from a GRU that gets the latent code and a learned positional embedding at every step."""

    num_marks = 8

    def __init__(self, num_inputs: int, image_shape: tuple[int, int, int], width: int):
        super().__init__()
        self.marks = nn.Parameter(torch.randn(image_shape[2], self.num_marks))
        self.start = nn.Linear(num_inputs, width)
        self.gru = nn.GRU(num_inputs + self.num_marks, width, batch_first=True)
        self.output = nn.Linear(width, image_shape[0])

    def forward(self, z: Tensor) -> Tensor:
        length = len(self.marks)
        marks = self.marks.to(z.dtype).expand(len(z), -1, -1)
        steps = torch.cat([z[:, None].expand(-1, length, -1), marks], 2)
        return as_sequence(self.output(run(self.gru, steps, self.start(z).tanh()[None])[0]))


def run(
    network: nn.RNNBase,
    steps: Tensor | PackedSequence,
    states: Tensor | tuple[Tensor, ...] | None = None,
    twice: bool = False,
) -> tuple:
    """The outputs (B, L, width) of a recurrent network for steps (B, L, C), and its last states.

    On a GPU it runs without cuDNN where cuDNN has no derivative: in evaluation mode, and the second derivative.

    Args:
        network: the recurrent network.
        steps: (B, L, C), or packed.
        states: the initial states. None: 0.
        twice: whether a second derivative may be needed, by penalties on a critic's gradient.
    """
    values = steps.data if isinstance(steps, PackedSequence) else steps
    is_derived = torch.is_grad_enabled() and values.requires_grad
    with torch.backends.cudnn.flags(enabled=not (is_derived and (twice or not network.training))):
        return network(steps, states)


def as_steps(x: Tensor) -> Tensor:
    """Sequences (B, C, 1, L) as recurrent networks take them, (B, L, C)."""
    return x.squeeze(2).transpose(1, 2)


def as_sequence(steps: Tensor) -> Tensor:
    """Steps (B, L, C) as sequences (B, C, 1, L)."""
    return steps.transpose(1, 2).unsqueeze(2)


class _Residual(nn.Module):
    """A block of two convolutions beside a shortcut, resized before them (decoder) or after them (encoder)."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        form: dict,
        before: nn.Module | None = None,
        after: nn.Module | None = None,
        batch_norm: bool = False,
    ):
        super().__init__()
        before, after = before or nn.Identity(), after or nn.Identity()
        first, second = nn.Conv2d(c_in, c_out, **form), nn.Conv2d(c_out, c_out, **form)
        self.body = nn.Sequential(
            *_activation(c_in, batch_norm), before, first, *_activation(c_out, batch_norm), second, after
        )
        self.shortcut = nn.Sequential(before, nn.Conv2d(c_in, c_out, 1), after)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


def _by_channels(network: nn.Sequential) -> nn.Sequential:
    """The network with its convolutions in the memory format in which they take a quarter less time."""
    return network.to(memory_format=torch.channels_last)


def _keeping(size: tuple[int, int]) -> dict:
    """Options of a convolution that keeps the sides; for sequences it is one-dimensional."""
    kernel = tuple(1 if side == 1 else 3 for side in size)
    return {"kernel_size": kernel, "padding": tuple(side // 2 for side in kernel)}


def _halving(size: tuple[int, int]) -> dict:
    """Options of a convolution that halves the sides, rounding up, and of its transpose; sides of 1 stay 1."""
    kernel = tuple(1 if side == 1 else 4 - side % 2 for side in size)
    return {
        "kernel_size": kernel,
        "stride": tuple(1 if side == 1 else 2 for side in size),
        "padding": tuple(0 if side == 1 else 1 for side in size),
    }


def _units(image_shape: tuple[int, int, int], width: int | None) -> int:
    if image_shape[1] > 1 or image_shape[2] == 1:
        raise UserError(
            "network: recurrent expected sequences, got data of shape "
            f"{tuple(image_shape)} (--model.network, --augment.autoencoder)"
        )
    return 64 if width is None else width


def _activation(num_channels: int, batch_norm: bool) -> list[nn.Module]:
    return [nn.BatchNorm2d(num_channels), nn.ReLU()] if batch_norm else [nn.LeakyReLU(0.2)]


def _is_weighted(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding)


def _hidden(hidden: list[int] | None) -> list[int]:
    return [512, 256] if hidden is None else hidden


def _dense(sizes: list[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.LeakyReLU(0.2)]
    return layers[:-1]


def _pyramid(image_shape: tuple[int, int, int], width: int | None) -> tuple[list[tuple[int, int]], list[int]]:
    """Image sizes from full resolution to at most 4 per side, and the number of channels at each."""
    if max(image_shape[1:]) == 1:
        raise UserError("--model.network: expected mlp for points, tables and images of 1x1; got one for larger images")
    sizes = [(image_shape[1], image_shape[2])]
    while max(sizes[-1]) > 4:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    width = 16 if width is None else width
    return sizes, [width * min(2**level, 8) for level in range(len(sizes))]
