"""What is done to the weights of a network once it is built."""

from typing import Literal

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm as _spectral_norm

from lightning_genae.nn.networks.stylegan2 import EqualConv2d, EqualLinear


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
        if isinstance(layer, EqualLinear | EqualConv2d):  # which scale their weights themselves
            continue
        nn.init.kaiming_normal_(layer.get_parameter("weight"), a=0.2)
        if layer.bias is not None:
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


def _is_weighted(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding)
