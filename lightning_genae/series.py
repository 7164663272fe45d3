"""Sequences, images one pixel high, as what there is at each place, and at which places there is anything."""

import torch
from torch import Tensor

from lightning_genae.images import Kind, to_float, valid


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
