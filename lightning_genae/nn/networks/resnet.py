"""Residual blocks that halve and double the image (Gulrajani et al. 2017, arXiv 1704.00028)."""

from itertools import pairwise

from torch import Tensor, nn

from lightning_genae.nn.networks.pyramid import Shape, activation, from_vector, keeping, pyramid, to_vector


def encoder(image_shape: Shape, num_outputs: int, hidden: list[int] | None, width: int | None) -> list[nn.Module]:
    sizes, channels = pyramid(image_shape, width)
    layers: list[nn.Module] = [nn.Conv2d(image_shape[0], channels[0], **keeping(sizes[0]))]
    for size, (c_in, c_out) in zip(sizes[1:], pairwise(channels)):
        layers.append(Residual(c_in, c_out, keeping(sizes[0]), after=nn.AdaptiveAvgPool2d(size)))
    layers += activation(channels[-1])
    return [*layers, *to_vector(channels[-1], sizes[-1], num_outputs)]


def decoder(
    image_shape: Shape, num_inputs: int, hidden: list[int] | None, width: int | None, batch_norm: bool
) -> list[nn.Module]:
    sizes, channels = pyramid(image_shape, width)
    sizes, channels = sizes[::-1], channels[::-1]
    layers = from_vector(num_inputs, channels[0], sizes[0])
    for size, (c_in, c_out) in zip(sizes[1:], pairwise(channels)):
        layers.append(Residual(c_in, c_out, keeping(sizes[-1]), before=nn.Upsample(size), batch_norm=batch_norm))
    layers += activation(channels[-1], batch_norm)
    return [*layers, nn.Conv2d(channels[-1], image_shape[0], **keeping(sizes[-1]))]


class Residual(nn.Module):
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
            *activation(c_in, batch_norm), before, first, *activation(c_out, batch_norm), second, after
        )
        self.shortcut = nn.Sequential(before, nn.Conv2d(c_in, c_out, 1), after)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)
