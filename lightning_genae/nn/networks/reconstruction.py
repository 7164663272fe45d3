"""A critic that is an autoencoder too: its maps are decoded to the image and to a part of it (FastGAN, Liu et al. 2021,
arXiv 2101.04775, section 3.2)."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_genae.errors import UserError
from lightning_genae.nn.networks.fastgan import gated
from lightning_genae.nn.networks.frozen import FrozenMaps, perceptual_distance
from lightning_genae.nn.networks.pyramid import Side, keeping

MOST_CHANNELS = 64  # of a decoder's layers


class Reconstruction(nn.Module):
    """The error of what two decoders make of a critic's maps: the image in half its size, and a quarter of it in full.

    The smallest maps are decoded to the whole image, a random corner of the maps before them to that of the image.

    Args:
        maps: of an image, (1, C, H, W) each, from full resolution on, as `Critic.maps` gives them.
        num_channels: of the images.
        bound: from a decoder's output to images in [-1, 1].
        seen_by: the network in whose maps images are compared, which does not learn. None: pixels are.

    Raises:
        UserError: the maps have one size only.
    """

    def __init__(
        self,
        maps: Sequence[Tensor],
        num_channels: int,
        bound: Callable[[Tensor], Tensor],
        seen_by: FrozenMaps | None = None,
    ):
        super().__init__()
        if len(maps) < 2:
            raise UserError(
                "--model.reconstruct: expected --model.network conv, resnet, fastgan or stylegan2, and images of more "
                "than 4 pixels a side; got a critic that does not halve them"
            )
        sizes: list[Side] = [(one.shape[2], one.shape[3]) for one in maps]
        self.small = sizes[1]
        self.bound = bound
        self.seen_by = None if seen_by is None else seen_by.eval().requires_grad_(False)
        self.whole = _decoder(maps[-1].shape[1], sizes[:0:-1], num_channels)
        self.part = _decoder(maps[-2].shape[1], [(_most(h), _most(w)) for h, w in sizes[-2::-1]], num_channels)

    def forward(self, maps: Sequence[Tensor], images: Tensor) -> Tensor:
        """The mean error of both, a scalar, of images (B, C, H, W) in [-1, 1] from their maps (B, C, H, W)."""
        at_end = [bool(choice) for choice in torch.randint(2, (2,))]
        whole, part = self.bound(self.whole(maps[-1])), self.bound(self.part(corner(maps[-2], *at_end)))
        wanted = F.adaptive_avg_pool2d(images, self.small), corner(images, *at_end)
        return (self.error(whole, wanted[0]) + self.error(part, wanted[1])) / 2

    def error(self, decoded: Tensor, wanted: Tensor) -> Tensor:
        """The mean absolute or the perceptual error, a scalar, of images (B, C, H, W)."""
        if self.seen_by is None:
            return F.l1_loss(decoded, wanted)
        with torch.no_grad():
            maps = self.seen_by.maps(wanted)
        return perceptual_distance(self.seen_by.maps(decoded), maps)


def corner(maps: Tensor, is_lower: bool, is_right: bool) -> Tensor:
    """A quarter of maps (B, C, H, W), rounded up: (B, C, ceil(H / 2), ceil(W / 2))."""
    height, width = _most(maps.shape[2]), _most(maps.shape[3])
    maps = maps[:, :, -height:] if is_lower else maps[:, :, :height]
    return maps[..., -width:] if is_right else maps[..., :width]


def _most(side: int) -> int:
    return (side + 1) // 2


def _decoder(c_in: int, sizes: list[Side], num_channels: int) -> nn.Sequential:
    """From maps (B, c_in, *sizes[0]) to the outputs (B, num_channels, *sizes[-1]) of convolutions, size by size."""
    layers: list[nn.Module] = []
    for size in sizes[1:]:
        c_out = min(MOST_CHANNELS, max(1, c_in // 2))
        layers += [nn.Upsample(size), nn.Conv2d(c_in, 2 * c_out, **keeping(size)), *gated(c_out, batch_norm=True)]
        c_in = c_out
    return nn.Sequential(*layers, nn.Conv2d(c_in, num_channels, **keeping(sizes[-1])))
