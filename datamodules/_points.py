"""Points in the plane, mixtures of gaussians whose modes a generator may miss; what is known of them is measured."""

import torch
from torch import Tensor

from datamodules._base import ImageDataModule, Images


class PointsDataModule(ImageDataModule):
    """Points drawn from equal gaussians, as images of shape (2, 1, 1) in [-1, 1]: x and y are their channels.

    A subclass says where the modes lie, `centres` (K, 2), and their deviation `sigma`; the mode is the label.
    """

    num_points = 50_000
    num_heldout = 2_500  # as many as PacGAN (Lin et al. 2017, arXiv 1712.04086) measures
    centres: Tensor
    sigma: float

    def load(self) -> tuple[Images, Images, int]:
        generator = torch.Generator().manual_seed(0)
        num_modes = len(self.centres)
        labels = torch.randint(num_modes, (self.num_points + self.num_heldout,), generator=generator)
        points = self.centres[labels] + self.sigma * torch.randn(len(labels), 2, generator=generator)
        points = points[:, :, None, None]
        train, heldout = zip(points.split(self.num_points), labels.split(self.num_points))
        return Images(*train), Images(*heldout), num_modes

    def measure(self, samples: Tensor) -> dict[str, float]:
        """Modes found and share of good samples of points (N, 2, 1, 1), as in VEEGAN (Srivastava et al. 2017,
        arXiv 1705.07761): a good one lies within three deviations of a mode, a mode is found if one does.
        """
        distances = torch.cdist(samples.flatten(1).double(), self.centres.double())
        nearest, mode = distances.min(1)
        good = nearest <= 3 * self.sigma
        return {"modes": float(mode[good].unique().numel()), "good": float(good.double().mean())}
