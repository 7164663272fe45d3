"""Sequences, images one pixel high: their values, their masks, and the windows that share values."""

import numpy as np
import torch
from torch import Tensor

from lightning_genae.data.storage import to_float


def apart(places: Tensor | None, num: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Splits windows into halves such that no window of the first shares a value with one of the second.

    Whole series go to a half, in a random order; the series in the middle is cut, and its windows across the cut are in
    neither half.

    Args:
        places: positions of the windows, (num, 3), as in `Samples`. None: no windows share values.
        num: number of windows.
        seed: of the order.

    Returns:
        the indices of the halves, (M,) and (N,); the first may be empty.
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
    """The largest number of `num` windows of which no two share a value; `places` as for `apart`."""
    if places is None:
        return num
    chosen = 0
    free: dict[int, int] = {}  # for each series, the first step after the chosen windows
    for series, start, end in sorted(places.tolist(), key=lambda place: place[2]):
        if start >= free.get(series, start):
            free[series], chosen = end, chosen + 1
    return chosen


def valid(x: Tensor) -> Tensor:
    """Whether steps of sequences with a mask (B, C + 1, 1, L) are before the first end, bool (B, L)."""
    return (x[:, -1, 0] > 0).cumprod(1).bool()


def lengths(x: Tensor) -> Tensor:
    """Number of steps (B,) of sequences with a mask (B, C + 1, 1, L) before their end."""
    return valid(x).sum(1)


def values_and_valid(images: Tensor, has_mask: bool) -> tuple[Tensor, Tensor]:
    """Values (N, C, L) in [-1, 1] of stored sequences (N, C, 1, L), and the positions (N, L) with values, bool.

    A mask, the last channel, is removed, and values beyond an end become 0; without a mask all positions are valid.
    """
    x = to_float(images)
    if not has_mask:
        return x[:, :, 0], torch.ones(len(x), x.shape[3], dtype=torch.bool, device=x.device)
    present = valid(x)
    return x[:, :-1, 0] * present[:, None], present


def with_mask(values: Tensor, valid: Tensor, has_mask: bool) -> Tensor:
    """The inverse of `values_and_valid`, without the height: (N, C, L), or (N, C + 1, L) with a mask."""
    return torch.cat([values, 2.0 * valid[:, None] - 1], 1) if has_mask else values
