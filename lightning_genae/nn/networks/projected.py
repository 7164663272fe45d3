"""A critic of what a frozen network knows of images (Projected GAN, Sauer et al. 2021, arXiv 2111.01007).

The maps of several sizes are mixed by random convolutions that do not learn, across channels (1x1) and then from the
smallest size up (3x3), so that the critic cannot look at a part of them alone; a small head scores each size.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_genae.errors import UserError
from lightning_genae.nn.networks.frozen import FrozenMaps
from lightning_genae.nn.networks.pyramid import Shape, Side, halving, keeping
from lightning_genae.nn.networks.weights import normalise

NUM_SCALES = 4  # at most; the smallest
LAST_SIDE = 4  # of a head's map of scores, at most


class ProjectedCritic(nn.Module):
    """Scores (B, S) of images (B, C, H, W), S of them for every image: of its places at each size.

    Deviations: heads have no batch norm, since real and generated images pass them in one batch, and score 4x4 places;
    images are enlarged to 64 pixels a side at least for a pretrained network, to 224 in the paper.

    Args:
        features: what does not learn here.
        image_shape: (C, H, W).
        width: channels of the mixed maps (the paper's: 64); doubled with every halving in a head, up to eight times.
    """

    def __init__(self, features: FrozenMaps, image_shape: Shape, width: int):
        super().__init__()
        self.features = features
        try:
            with torch.no_grad():
                maps = features.maps(torch.zeros(1, *image_shape))[-NUM_SCALES:]
        except (AssertionError, RuntimeError) as error:  # such as a transformer, of one size alone
            raise UserError(f"--model.features: expected a network that takes such images; {error}") from error
        if len(maps) == 1:
            raise UserError(
                "--model.critic: expected images of which --model.features has maps of several sizes for projected; "
                f"got {image_shape[1]}x{image_shape[2]}"
            )
        sizes = [(one.shape[2], one.shape[3]) for one in maps]
        self.across_channels = nn.ModuleList(nn.Conv2d(one.shape[1], width, 1) for one in maps)
        self.across_scales = nn.ModuleList(nn.Conv2d(width, width, **keeping(size)) for size in sizes)
        for layer in (*self.across_channels, *self.across_scales):
            nn.init.kaiming_normal_(layer.get_parameter("weight"))
            nn.init.zeros_(layer.get_parameter("bias"))
        for frozen in (self.features, self.across_channels, self.across_scales):
            frozen.requires_grad_(False)
        self.heads = nn.ModuleList(normalise(_head(width, size)) for size in sizes)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        maps = self.features.maps(x)[-len(self.heads) :]
        return torch.cat([head(one).flatten(1) for head, one in zip(self.heads, self.mixed(maps))], 1)

    def mixed(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, width, H, W) of each size, from the largest on, of the frozen network's (B, C, H, W)."""
        found: list[Tensor] = []
        for one, channels, scales in reversed(list(zip(maps, self.across_channels, self.across_scales))):
            mixed = channels(one)
            if found:
                mixed = mixed + F.interpolate(found[-1], mixed.shape[2:], mode="bilinear")
            found.append(scales(mixed))
        return found[::-1]


def _head(width: int, size: Side) -> nn.Sequential:
    """From maps (B, width, *size) to scores (B, 1, h, w) of places."""
    layers: list[nn.Module] = []
    channels = width
    while max(size) > LAST_SIDE:
        wider = min(2 * channels, 8 * width)
        layers += [nn.Conv2d(channels, wider, **halving(size)), nn.LeakyReLU(0.2)]
        size, channels = ((size[0] + 1) // 2, (size[1] + 1) // 2), wider
    layers += [nn.Conv2d(channels, channels, **keeping(size)), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(channels, 1, **keeping(size)))
