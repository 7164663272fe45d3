"""Encoders and decoders by name.

A file of a network has two functions, `encoder(image_shape, num_outputs, hidden, width)` and `decoder(image_shape,
num_inputs, hidden, width, batch_norm)`, which give its layers. To add one: a file, its name in `Network`, and a line in
`NETWORKS`.
"""

from types import MappingProxyType, ModuleType
from typing import Literal, TypedDict

import torch
from torch import nn

from lightning_genae.nn.networks import conv, fastgan, mlp, recurrent, resnet, stylegan2
from lightning_genae.nn.networks.weights import normalise

Network = Literal["mlp", "conv", "resnet", "fastgan", "stylegan2", "recurrent"]
NETWORKS: MappingProxyType[str, ModuleType] = MappingProxyType(
    {
        "mlp": mlp,
        "conv": conv,
        "resnet": resnet,
        "fastgan": fastgan,
        "stylegan2": stylegan2,
        "recurrent": recurrent,
    }
)


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
        network: "mlp", "conv", "resnet", "fastgan" or "stylegan2" for images only, or "recurrent" for sequences only.
        hidden: sizes of the dense layers of "mlp", from the image on. None: [512, 256]; []: a linear map.
        width: channels of "conv", "resnet" and "stylegan2" at full resolution, doubled with every halving, of "fastgan"
            where the image has 128 pixels a side, None: 16; or units of "recurrent" in each direction, None: 64.
        spectral_norm: bound each layer's Lipschitz constant (Miyato et al. 2018, arXiv 1802.05957).

    Raises:
        ValueError: "recurrent" has no spectral norm.
        UserError: the network does not suit the shape.
    """
    if network == "recurrent" and spectral_norm:
        raise ValueError("--model.spectral_norm: expected mlp, conv or resnet; got recurrent (--model.network)")
    whole = nn.Sequential(*NETWORKS[network].encoder(image_shape, num_outputs, hidden, width))
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

    The model maps its output to [-1, 1].

    Args:
        image_shape: (C, H, W).
        num_inputs: length of a vector.
        network, hidden, width: as in the encoder.
        batch_norm: normalise the layers of "conv", "resnet" and "fastgan" over the batch, as generators do.

    Raises:
        UserError: the network does not suit the shape.
    """
    layers = NETWORKS[network].decoder(image_shape, num_inputs, hidden, width, batch_norm)
    return _by_channels(nn.Sequential(*layers))


def _by_channels(network: nn.Sequential) -> nn.Sequential:
    """The network with its convolutions in the memory format in which they take a quarter less time."""
    return network.to(memory_format=torch.channels_last)
