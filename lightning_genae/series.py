"""Sequences, images one pixel high, as what there is at each place, and at which places there is anything."""

import torch
from torch import Tensor

from lightning_genae.images import Kind, to_float


def values_and_valid(images: Tensor, kind: Kind) -> tuple[Tensor, Tensor]:
    """Values (N, C, L) in [-1, 1] of stored sequences (N, C, 1, L), and at which places (N, L) there are any.

    Of masked sequences the last channel goes, and what a model put beyond an end is 0; others are valid everywhere.
    """
    x = to_float(images)[:, :, 0]
    if kind != "masked":
        return x, torch.ones(len(x), x.shape[2], dtype=torch.bool, device=x.device)
    valid = (x[:, -1] > 0).cumprod(1).bool()  # a sequence ends once
    return x[:, :-1] * valid[:, None], valid


def with_mask(values: Tensor, valid: Tensor, kind: Kind) -> Tensor:
    """The inverse of `values_and_valid`, without the pixel of height: (N, C, L), C one more for masked sequences."""
    return torch.cat([values, 2.0 * valid[:, None] - 1], 1) if kind == "masked" else values
