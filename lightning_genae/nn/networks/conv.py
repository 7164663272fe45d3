"""Convolutions that halve and double the image, in the manner of DCGAN (Radford et al. 2015, arXiv 1511.06434)."""

from itertools import pairwise

from torch import nn

from lightning_genae.nn.networks.pyramid import Shape, activation, from_vector, halving, keeping, pyramid, to_vector


def encoder(image_shape: Shape, num_outputs: int, hidden: list[int] | None, width: int | None) -> list[nn.Module]:
    sizes, channels = pyramid(image_shape, width)
    layers: list[nn.Module] = [nn.Conv2d(image_shape[0], channels[0], **keeping(sizes[0])), *activation(channels[0])]
    for size, (c_in, c_out) in zip(sizes, pairwise(channels)):
        layers += [nn.Conv2d(c_in, c_out, **halving(size)), *activation(c_out)]
    return [*layers, *to_vector(channels[-1], sizes[-1], num_outputs)]


def decoder(
    image_shape: Shape, num_inputs: int, hidden: list[int] | None, width: int | None, batch_norm: bool
) -> list[nn.Module]:
    sizes, channels = pyramid(image_shape, width)
    sizes, channels = sizes[::-1], channels[::-1]
    layers = [*from_vector(num_inputs, channels[0], sizes[0]), *activation(channels[0], batch_norm)]
    for size, (c_in, c_out) in zip(sizes[1:], pairwise(channels)):
        layers += [nn.ConvTranspose2d(c_in, c_out, **halving(size)), *activation(c_out, batch_norm)]
    return [*layers, nn.Conv2d(channels[-1], image_shape[0], **keeping(sizes[-1]))]
