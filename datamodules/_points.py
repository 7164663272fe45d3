"""Points in the plane, mixtures of gaussians whose modes a generator may miss; the modes are known to the metrics."""

import torch
from torch import Tensor

from datamodules._base import ImageDataModule
from lightning_genae.data.dataset import Images
from lightning_genae.data.modalities.points import Points


class PointsDataModule(ImageDataModule):
    """Points drawn from equal gaussians, as images of shape (2, 1, 1) in [-1, 1]: x and y are their channels.

    A subclass sets the modes, `centres` (K, 2), and their standard deviation `sigma`. The mode is the label.
    """

    num_points = 50_000
    num_heldout = 2_500  # as in PacGAN (Lin et al. 2017, arXiv 1712.04086)
    modality = Points()
    centres: Tensor
    sigma: float

    def load(self) -> tuple[Images, Images, int]:
        self.modality = Points(centres=self.centres, std=self.sigma)
        generator = torch.Generator().manual_seed(0)
        num_modes = len(self.centres)
        labels = torch.randint(num_modes, (self.num_points + self.num_heldout,), generator=generator)
        points = self.centres[labels] + self.sigma * torch.randn(len(labels), 2, generator=generator)
        points = points[:, :, None, None]
        train, heldout = zip(points.split(self.num_points), labels.split(self.num_points))
        return Images(*train), Images(*heldout), num_modes
