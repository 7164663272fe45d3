"""Ring: points of eight gaussians on a circle, the test of mode collapse of VEEGAN and PacGAN (arXiv 1705.07761)."""

import math

import torch

from datamodules._points import PointsDataModule


class Ring(PointsDataModule):
    """Eight gaussians on a circle, with a standard deviation of 1/100 of its radius; use `--model.network mlp`."""

    _angles = torch.arange(8) * (2 * math.pi / 8)
    centres = 0.8 * torch.stack([_angles.cos(), _angles.sin()], 1)
    sigma = 0.008
