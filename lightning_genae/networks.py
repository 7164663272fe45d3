"""Encoders and decoders sized from `image_shape`; a critic is an encoder to one number, a generator a decoder.

`mlp` is a stack of dense layers; `conv` halves (doubles) the image until its longer side is at most 4, in
the manner of DCGAN (Radford et al. 2015, arXiv 1511.06434). A decoder's output has no bound;
the model maps it to [-1, 1].
"""

import logging
import math
from itertools import pairwise
from typing import Literal

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm as _spectral_norm

log = logging.getLogger("lightning_genae")

Network = Literal["mlp", "conv"]


def encoder(
    image_shape: tuple[int, int, int],
    num_outputs: int,
    network: Network,
    hidden: list[int] | None = None,
    width: int | None = None,
    spectral_norm: bool = False,
) -> nn.Sequential:
    """A network from images (B, C, H, W) to vectors (B, num_outputs).

    Args:
        image_shape: (C, H, W).
        num_outputs: length of a vector.
        network: "mlp" or "conv".
        hidden: sizes of the dense layers of "mlp", from the image on. None: [512, 256].
        width: channels of "conv" at full resolution, doubled with every halving. None: 16.
        spectral_norm: bound each layer's Lipschitz constant (Miyato et al. 2018, arXiv 1802.05957).
    """
    if network == "mlp":
        sizes = [math.prod(image_shape), *_hidden(hidden), num_outputs]
        layers = [nn.Flatten(), *_dense(sizes)]
    else:
        sizes, channels = _pyramid(image_shape, width)
        layers = [nn.Conv2d(image_shape[0], channels[0], 3, padding=1), nn.LeakyReLU(0.2)]
        for (height, wide), c_in, c_out in zip(sizes, channels, channels[1:]):
            kernel = (4 - height % 2, 4 - wide % 2)  # either halves the side, rounding up
            layers += [nn.Conv2d(c_in, c_out, kernel, stride=2, padding=1), nn.LeakyReLU(0.2)]
        layers += [nn.Flatten(), nn.Linear(channels[-1] * math.prod(sizes[-1]), num_outputs)]
    if spectral_norm:
        layers = [_spectral_norm(layer) if hasattr(layer, "weight") else layer for layer in layers]
    return nn.Sequential(*layers)


def decoder(
    image_shape: tuple[int, int, int],
    num_inputs: int,
    network: Network,
    hidden: list[int] | None = None,
    width: int | None = None,
    batch_norm: bool = False,
) -> nn.Sequential:
    """A network from vectors (B, num_inputs) to images without a bound (B, C, H, W); the encoder's mirror.

    Args:
        image_shape: (C, H, W).
        num_inputs: length of a vector.
        network: "mlp" or "conv".
        hidden: sizes of the dense layers of "mlp", from the image on, as in the encoder. None: [512, 256].
        width: channels of "conv" at full resolution. None: as in the encoder.
        batch_norm: normalise the layers of "conv" over the batch, as generators do.
    """
    if network == "mlp":
        sizes = [num_inputs, *reversed(_hidden(hidden)), math.prod(image_shape)]
        return nn.Sequential(*_dense(sizes), nn.Unflatten(1, image_shape))
    sizes, channels = _pyramid(image_shape, width)
    sizes, channels = sizes[::-1], channels[::-1]

    def activation(num_channels: int) -> list[nn.Module]:
        return [nn.BatchNorm2d(num_channels), nn.ReLU()] if batch_norm else [nn.LeakyReLU(0.2)]

    layers = [nn.Linear(num_inputs, channels[0] * math.prod(sizes[0])), nn.Unflatten(1, (channels[0], *sizes[0]))]
    layers += activation(channels[0])
    for (height, wide), c_in, c_out in zip(sizes[1:], channels, channels[1:]):
        kernel = (4 - height % 2, 4 - wide % 2)  # gives just this size, odd sides too
        layers += [nn.ConvTranspose2d(c_in, c_out, kernel, stride=2, padding=1), *activation(c_out)]
    return nn.Sequential(*layers, nn.Conv2d(channels[-1], image_shape[0], 3, padding=1))


def initialise(network: nn.Sequential) -> nn.Sequential:
    """Weights that keep the signal's variance through leaky rectifiers (He et al. 2015, arXiv 1502.01852).

    torch's own shrink it threefold a layer, so that a deep autoencoder draws the mean image for long. The last
    layer keeps them, for small first outputs.
    """
    weighted = [layer for layer in network if hasattr(layer, "weight")]
    for layer in weighted[:-1]:
        nn.init.kaiming_normal_(layer.weight, a=0.2)
        nn.init.zeros_(layer.bias)
    return network


def warn_unused(network: Network, hidden: list[int] | None, width: int | None) -> None:
    """Warns of a size that this kind of network does not have."""
    if network == "conv" and hidden is not None:
        log.warning("--model.hidden has no effect with --model.network conv, whose size is --model.width")
    if network == "mlp" and width is not None:
        log.warning("--model.width has no effect with --model.network mlp, whose size is --model.hidden")


def _hidden(hidden: list[int] | None) -> list[int]:
    return [512, 256] if hidden is None else hidden


def _dense(sizes: list[int]) -> list[nn.Module]:
    layers = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.LeakyReLU(0.2)]
    return layers[:-1]


def _pyramid(image_shape: tuple[int, int, int], width: int | None) -> tuple[list[tuple[int, int]], list[int]]:
    """Image sizes from full resolution to at most 4 a side, and the number of channels at each."""
    sizes = [tuple(image_shape[1:])]
    while max(sizes[-1]) > 4:
        sizes.append(tuple((side + 1) // 2 for side in sizes[-1]))
    width = 16 if width is None else width
    return sizes, [width * min(2**level, 8) for level in range(len(sizes))]
