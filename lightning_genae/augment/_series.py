"""Transformations of whole batches of series (B, C, 1, L) with a draw for each, differentiable in the values.

They are those of Um et al. 2017 (arXiv 1706.00527) and Le Guennec et al. 2016. Jitter and scaling change the values of
masked series, not their mask; windows and warps change both alike.
"""

import torch
from torch import Tensor

from lightning_genae.augment._images import uniform


def jitter(values: Tensor, std: float) -> Tensor:
    """Series (B, C, 1, L) with gaussian noise of a standard deviation at every step."""
    return values + std * torch.randn_like(values)


def scale(values: Tensor, present: Tensor, std: float) -> Tensor:
    """Series (B, C, 1, L) scaled about each channel's mean by a factor each, gaussian about 1.

    Args:
        present: (B, 1, 1, L), 1 where there is a value and 0 beyond the end.
        std: standard deviation of the factor.
    """
    mean = (values * present).sum(3, keepdim=True) / present.sum(3, keepdim=True).clamp(min=1)
    factor = 1 + std * torch.randn(*values.shape[:2], 1, 1, device=values.device, dtype=values.dtype)
    return mean + factor * (values - mean)


def warp(series: Tensor, strength: float, num_knots: int = 4) -> Tensor:
    """Series (B, C, 1, L) whose time runs faster and slower; beginning and end stay.

    The speed at `num_knots` positions is uniform in [1 - strength, 1 + strength), and linear between them.
    """
    length = series.shape[3]
    speed = torch.empty(len(series), 1, num_knots, device=series.device, dtype=series.dtype)
    speed = speed.uniform_(1 - strength, 1 + strength)
    speed = torch.nn.functional.interpolate(speed, length - 1, mode="linear", align_corners=True)[:, 0]
    positions = torch.cat([torch.zeros_like(speed[:, :1]), speed.cumsum(1)], 1)
    return at(series, positions / positions[:, -1:] * (length - 1))


def window(series: Tensor, cut: float) -> Tensor:
    """A random window of each series (B, C, 1, L), stretched to the whole length; it lacks up to a fraction `cut`."""
    last = series.shape[3] - 1
    kept, start = (uniform(series, *limits).reshape(-1, 1) for limits in ((1 - cut, 1), (0, 1)))
    steps = torch.linspace(0, 1, last + 1, device=series.device, dtype=series.dtype)
    return at(series, last * (start * (1 - kept) + kept * steps))


def at(series: Tensor, positions: Tensor) -> Tensor:
    """Values (B, C, 1, M) of series (B, C, 1, L) at positions (B, M) in [0, L - 1], linear between steps."""
    positions = positions.clamp(0, series.shape[3] - 1)
    left = positions.floor().clamp(max=series.shape[3] - 2)
    index = left.long()[:, None, None].expand(-1, series.shape[1], 1, -1)
    return series.gather(3, index).lerp(series.gather(3, index + 1), (positions - left)[:, None, None])
