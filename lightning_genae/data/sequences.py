"""Sequences, images one pixel high: their values and their masks, and which of them share values."""

import numpy as np
import torch
from torch import Tensor

from lightning_genae.data.storage import to_float


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


def valid(x: Tensor) -> Tensor:
    """Where sequences with a mask (B, C + 1, 1, L) have values, bool (B, L): before their end, and one ends once."""
    return (x[:, -1, 0] > 0).cumprod(1).bool()


def lengths(x: Tensor) -> Tensor:
    """Steps (B,) of sequences with a mask (B, C + 1, 1, L) before their end."""
    return valid(x).sum(1)


def values_and_valid(images: Tensor, has_mask: bool) -> tuple[Tensor, Tensor]:
    """Values (N, C, L) in [-1, 1] of stored sequences (N, C, 1, L), and at which places (N, L) there are any.

    Where the last channel is a mask it goes, and what a model put beyond an end is 0; else all places are valid.
    """
    x = to_float(images)
    if not has_mask:
        return x[:, :, 0], torch.ones(len(x), x.shape[3], dtype=torch.bool, device=x.device)
    there = valid(x)
    return x[:, :-1, 0] * there[:, None], there


def with_mask(values: Tensor, valid: Tensor, has_mask: bool) -> Tensor:
    """The inverse of `values_and_valid`, without the pixel of height: (N, C, L), one channel more with a mask."""
    return torch.cat([values, 2.0 * valid[:, None] - 1], 1) if has_mask else values
