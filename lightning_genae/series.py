"""Sequences, images one pixel high, as what there is at each place, and at which places there is anything."""

import numpy as np
import torch
from torch import Tensor

from lightning_genae.images import Kind, to_float, valid


def apart(places: Tensor | None, num: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two halves of windows such that no window of one shares a value with one of the other.

    Whole series go to a half, in an order that the seed draws; the one in the middle is cut there, and its windows
    across the border are in neither half.

    Args:
        places: of the windows, as `Samples` has them, or None: none shares a value with another.
        num: how many windows there are.

    Returns:
        the indices of the halves; the first one may be empty.
    """
    places = torch.arange(num)[:, None].expand(-1, 3) if places is None else places
    _, series = places[:, 0].unique(return_inverse=True)
    drawn = torch.randperm(int(series.max()) + 1, generator=torch.Generator().manual_seed(seed))[series]
    order = torch.from_numpy(np.lexsort((places[:, 1], drawn)))
    middle = order[num // 2]
    first = drawn[order] < drawn[middle]
    first |= (drawn[order] == drawn[middle]) & (places[order, 2] <= places[middle, 1]) & (order != middle)
    return order[first], order[num // 2 :]


def num_independent(places: Tensor | None, num: int) -> int:
    """How many of `num` windows can be chosen such that no two share a value; `places` as `apart` takes them."""
    if places is None:
        return num
    free, chosen = {}, 0  # the first step of a series after the windows that were chosen
    for series, start, end in sorted(places.tolist(), key=lambda place: place[2]):
        if start >= free.get(series, start):
            free[series], chosen = end, chosen + 1
    return chosen


def values_and_valid(images: Tensor, kind: Kind) -> tuple[Tensor, Tensor]:
    """Values (N, C, L) in [-1, 1] of stored sequences (N, C, 1, L), and at which places (N, L) there are any.

    Of masked sequences the last channel goes, and what a model put beyond an end is 0; others are valid everywhere.
    """
    x = to_float(images)
    if kind != "masked":
        return x[:, :, 0], torch.ones(len(x), x.shape[3], dtype=torch.bool, device=x.device)
    there = valid(x)
    return x[:, :-1, 0] * there[:, None], there


def with_mask(values: Tensor, valid: Tensor, kind: Kind) -> Tensor:
    """The inverse of `values_and_valid`, without the pixel of height: (N, C, L), C one more for masked sequences."""
    return torch.cat([values, 2.0 * valid[:, None] - 1], 1) if kind == "masked" else values
