"""Transformations of whole batches of series (B, C, 1, L), each by its own draw, differentiable in the values.

They are those of Um et al. 2017 (arXiv 1706.00527) and Le Guennec et al. 2016. What they do to the values of masked
series they do not do to their mask, but both are warped alike.
"""

import torch
from torch import Tensor

from lightning_genae.augment._images import uniform


def jitter(values: Tensor, deviation: float) -> Tensor:
    """Series with gaussian noise at every step."""
    return values + deviation * torch.randn_like(values)


def scale(values: Tensor, there: Tensor, deviation: float) -> Tensor:
    """Series (B, C, 1, L) stretched about each channel's mean by a factor each, gaussian about 1.

    Args:
        there: (B, 1, 1, L), 1 where there is a value and 0 beyond the end.
    """
    mean = (values * there).sum(3, keepdim=True) / there.sum(3, keepdim=True).clamp(min=1)
    factor = 1 + deviation * torch.randn(*values.shape[:2], 1, 1, device=values.device, dtype=values.dtype)
    return mean + factor * (values - mean)


def warp(series: Tensor, strength: float, num_knots: int = 4) -> Tensor:
    """Series whose time runs faster and slower: its speed at each of some places is even in 1 - strength to
    1 + strength, and linear between them; beginning and end stay."""
    length = series.shape[3]
    speed = torch.empty(len(series), 1, num_knots, device=series.device, dtype=series.dtype)
    speed = speed.uniform_(1 - strength, 1 + strength)
    speed = torch.nn.functional.interpolate(speed, length - 1, mode="linear", align_corners=True)[:, 0]
    places = torch.cat([torch.zeros_like(speed[:, :1]), speed.cumsum(1)], 1)
    return at(series, places / places[:, -1:] * (length - 1))


def window(series: Tensor, cut: float) -> Tensor:
    """A window of each series, without a share of it that is even up to `cut`, stretched to the whole length."""
    last = series.shape[3] - 1
    kept, start = (uniform(series, *limits).reshape(-1, 1) for limits in ((1 - cut, 1), (0, 1)))
    steps = torch.linspace(0, 1, last + 1, device=series.device, dtype=series.dtype)
    return at(series, last * (start * (1 - kept) + kept * steps))


def at(series: Tensor, places: Tensor) -> Tensor:
    """Values of series (B, C, 1, L) at places (B, M) in [0, L - 1], linear between steps."""
    places = places.clamp(0, series.shape[3] - 1)
    left = places.floor().clamp(max=series.shape[3] - 2)
    index = left.long()[:, None, None].expand(-1, series.shape[1], 1, -1)
    return series.gather(3, index).lerp(series.gather(3, index + 1), (places - left)[:, None, None])
