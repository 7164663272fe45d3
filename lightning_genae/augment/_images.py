"""Transformations of whole batches with a draw for each image, differentiable in the pixels.

torchvision's v2 transforms draw once for a whole batch; an augmentation needs a draw for every image.
kornia 0.9 takes 1.5 to 2.1 times as long (warp and contrast of 64x1x28x28 0.75 ms, here 0.36; of 64x3x64x64 7.1 ms,
here 4.0; one thread), and calls torch's own grid_sample, through which R1 has no second derivative on torch 2.11.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_genae.data.dataset import Dataset


def check(name: str, dataset: Dataset) -> None:
    """Raises ValueError if the images are neither grey nor RGB."""
    if dataset.image_shape[0] not in (1, 3):
        raise ValueError(f"--augment: {name} expected grey or RGB images; got data of shape {dataset.image_shape}")


def uniform(images: Tensor, low: float, high: float) -> Tensor:
    """A number for every image, (B, 1, 1, 1), uniform in [low, high)."""
    return low + (high - low) * torch.rand(len(images), 1, 1, 1, device=images.device, dtype=images.dtype)


def flip(images: Tensor, flipped: Tensor) -> Tensor:
    """Images (B, C, H, W), mirrored left to right where `flipped`, bool (B,), is true."""
    return torch.where(flipped[:, None, None, None], images.flip(3), images)


def translate(images: Tensor, largest: float, fill: float | None = None) -> Tensor:
    """Images (B, C, H, W) shifted by whole pixels, uniformly up to a fraction of their sides.

    Args:
        largest: shift, as a fraction of the height and of the width.
        fill: value beyond the border. None: the border is repeated.
    """
    for dim in (2, 3):
        side = images.shape[dim]
        reach = int(side * largest + 0.5)
        shift = torch.randint(-reach, reach + 1, (len(images), 1), device=images.device)
        index = torch.arange(side, device=images.device) - shift
        moved = images.gather(dim, _along(dim, index.clamp(0, side - 1)).expand_as(images))
        if fill is not None:
            moved = torch.where(_along(dim, (index >= 0) & (index < side)), moved, fill)
        images = moved
    return images


def cut_out(images: Tensor, side: float, fill: float = 0.0) -> Tensor:
    """Images (B, C, H, W) with a filled rectangle at a random position; `side` is its fraction of height and width."""
    inside = torch.ones((), dtype=torch.bool, device=images.device)
    for dim in (2, 3):
        length = images.shape[dim]
        extent = int(length * side + 0.5)
        start = torch.randint(0, length + (1 - extent % 2), (len(images), 1), device=images.device) - extent // 2
        position = torch.arange(length, device=images.device)
        inside = inside & _along(dim, (position >= start) & (position < start + extent))
    return torch.where(inside, fill, images)


def _along(dim: int, rows: Tensor) -> Tensor:
    """Rows (B, L) as (B, 1, L, 1) or (B, 1, 1, L): along dimension 2 or 3 of images."""
    return rows[:, None, :, None] if dim == 2 else rows[:, None, None, :]


def warp(images: Tensor, matrix: Tensor, padding: str) -> Tensor:
    """Images (B, C, H, W) in float32 under affine maps of the plane, interpolated bilinearly.

    Args:
        matrix: (B, 2, 3), from positions in the result to positions in the image, in pixels from its centre (x, y).
        padding: values beyond the border, as in torch's grid_sample: zeros, border or reflection.
    """
    half = torch.tensor([images.shape[3], images.shape[2]], device=images.device, dtype=torch.float32) / 2
    # grid_sample has coordinates from -1 to 1 along both sides
    linear = matrix[:, :, :2] * half[None, None] / half[None, :, None]
    normalised = torch.cat([linear, matrix[:, :, 2:] / half[None, :, None]], 2).to(images.dtype)
    # not in half precision, which cannot tell the pixels of a large image apart
    with torch.autocast(images.device.type, enabled=False):
        grid = F.affine_grid(normalised, list(images.shape), align_corners=False)
        return _Sampled.apply(images, grid, padding)


class _Sampled(torch.autograd.Function):
    """torch's bilinear grid_sample of images, which is linear in them, with derivatives of every order.

    R1 needs the second derivative through an augmentation; torch 2.11 has none for grid_sample.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor, padding: str) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.padding, ctx.shape = padding, images.shape
        return _grid_sample(images, grid, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Adjoint.apply(gradient, *ctx.saved_tensors, ctx.padding, ctx.shape), None, None


class _Adjoint(torch.autograd.Function):
    """The adjoint of `_Sampled`, from gradients with respect to the result to those with respect to the images."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, grid: Tensor, padding: str, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.padding = padding
        with torch.enable_grad():
            images = gradient.new_zeros(shape).requires_grad_()
            sampled = _grid_sample(images, grid, padding)
        return torch.autograd.grad(sampled, images, gradient)[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return _Sampled.apply(gradient, *ctx.saved_tensors, ctx.padding), None, None, None


def _grid_sample(images: Tensor, grid: Tensor, padding: str) -> Tensor:
    return F.grid_sample(images, grid, padding_mode=padding, align_corners=False)


def rotation(angle: Tensor) -> Tensor:
    """Rotation matrices (B, 2, 2) of angles (B,) in radians."""
    return torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).reshape(-1, 2, 2)


def brightness(images: Tensor, added: Tensor) -> Tensor:
    """Images (B, C, H, W) plus a number each, (B, 1, 1, 1)."""
    return images + added


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Images (B, C, H, W) scaled about their mean by a factor each, (B, 1, 1, 1)."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return (images - mean) * factor + mean


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Images (B, C, H, W) scaled about the grey values of their pixels by a factor each, (B, 1, 1, 1)."""
    mean = images.mean(1, keepdim=True)
    return (images - mean) * factor + mean
