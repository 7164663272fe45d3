"""Grid: points of 25 gaussians on a square grid, the test of mode collapse of VEEGAN and PacGAN (arXiv 1705.07761)."""

import torch

from datamodules._points import PointsDataModule


class Grid(PointsDataModule):
    """25 gaussians on a square grid, with a standard deviation of 1/40 of their distance; use `--model.network mlp`."""

    centres = 0.2 * torch.cartesian_prod(*2 * [torch.arange(-4.0, 5.0, 2.0)])
    sigma = 0.01
