"""Noise in the maps of a generator of images."""

import torch
from torch import Tensor, nn

from lightning_genae.nn.networks.pyramid import Side


class Noise(nn.Module):
    """Adds one map of noise to all channels, with a weight that is learned and begins at 0.

    In evaluation it is always the same map, so that an image is a function of its code.

    Args:
        size: height and width of the maps.
    """

    fixed: Tensor

    def __init__(self, size: Side):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("fixed", torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.randn_like(x[:, :1]) if self.training else self.fixed
        return x + self.weight * noise
