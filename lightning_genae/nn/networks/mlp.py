"""Dense layers; without hidden ones a linear map."""

import math
from itertools import pairwise

from torch import nn

Shape = tuple[int, int, int]


def encoder(image_shape: Shape, num_outputs: int, hidden: list[int] | None, width: int | None) -> list[nn.Module]:
    return [nn.Flatten(), *_dense([math.prod(image_shape), *_hidden(hidden), num_outputs])]


def decoder(
    image_shape: Shape, num_inputs: int, hidden: list[int] | None, width: int | None, batch_norm: bool
) -> list[nn.Module]:
    dense = _dense([num_inputs, *reversed(_hidden(hidden)), math.prod(image_shape)])
    return [*dense, nn.Unflatten(1, image_shape)]


def _hidden(hidden: list[int] | None) -> list[int]:
    return [512, 256] if hidden is None else hidden


def _dense(sizes: list[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.LeakyReLU(0.2)]
    return layers[:-1]
