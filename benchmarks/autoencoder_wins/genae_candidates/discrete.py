"""Variations by an autoencoder with discrete codes (VQ-VAE, van den Oord et al. 2017, arXiv 1711.00937)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genae_candidates.candidates import Candidate
from genae_candidates.codes import Codes
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.storage import to_float


class VQAutoencoder(nn.Module):
    """A grid of codes at half the sides of the image, each an entry of a codebook.

    Args:
        channels: of the images.
        width: channels of the hidden layers.
        num_entries: of the codebook.
        length: of an entry.
    """

    commitment = 0.25  # the paper's beta

    def __init__(self, channels: int, width: int = 32, num_entries: int = 64, length: int = 8):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 4, 2, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1), nn.ReLU()
        ).append(nn.Conv2d(width, length, 1))
        self.decoder = nn.Sequential(
            nn.Conv2d(length, width, 3, 1, 1), nn.ReLU(), nn.ConvTranspose2d(width, width, 4, 2, 1), nn.ReLU()
        ).append(nn.Conv2d(width, channels, 3, 1, 1))
        self.entries = nn.Parameter(torch.randn(num_entries, length))

    def encode(self, x: Tensor) -> Tensor:
        """The nearest entries (B, H/2, W/2) of images (B, C, H, W) in [-1, 1]."""
        return self.nearest(self.encoder(x))

    def nearest(self, codes: Tensor) -> Tensor:
        """The nearest entries (B, H, W) of codes (B, length, H, W)."""
        return torch.cdist(codes.movedim(1, -1).flatten(0, 2), self.entries).argmin(1).view(codes[:, 0].shape)

    def look_up(self, indices: Tensor) -> Tensor:
        """Codes (B, length, H, W) that are entries (B, H, W)."""
        return self.entries[indices].movedim(-1, 1)

    def decode(self, indices: Tensor) -> Tensor:
        """Images (B, C, 2H, 2W) in [-1, 1] of entries (B, H, W)."""
        return self.decoder(self.look_up(indices)).tanh()

    def loss(self, x: Tensor) -> Tensor:
        """Squared error of the images, of the codebook, and the commitment; the gradient passes straight through."""
        codes = self.encoder(x)
        entries = self.look_up(self.nearest(codes.detach()))
        error = F.mse_loss(self.decoder(codes + (entries - codes).detach()).tanh(), x)
        return error + F.mse_loss(entries, codes.detach()) + self.commitment * F.mse_loss(codes, entries.detach())

    def train_on(self, images: Tensor, steps: int, batch_size: int = 32, lr: float = 2e-3) -> None:
        """Learns stored images (N, C, H, W); the codebook begins with codes of theirs, that no entry lies fallow."""
        with torch.no_grad():
            codes = self.encoder(to_float(images[:200])).movedim(1, -1).flatten(0, 2)
            self.entries.copy_(codes[torch.randperm(len(codes))[: len(self.entries)]])
        optimizer = torch.optim.Adam(self.parameters(), lr, fused=True)
        for _ in range(steps):
            loss = self.loss(to_float(images[torch.randint(len(images), (batch_size,))]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


class Discrete(Candidate):
    """Half of the images, real and generated, come decoded from their codes, a fifth of which became another entry, one
    of the four nearest to it. Permuted: any entry."""

    needs_codes = False
    fraction, exchanged, num_near, steps = 0.5, 0.2, 4, 2000

    def fit(self, codes: Codes | None, dataset: Dataset) -> None:
        super().fit(codes, dataset)
        with torch.random.fork_rng():
            torch.manual_seed(0)  # of its initialisation, too
            network = VQAutoencoder(dataset.image_shape[0])
            network.train_on(dataset.train.images, self.steps)
        self.__dict__["network"] = network.eval().requires_grad_(False)
        distances = torch.cdist(network.entries, network.entries).fill_diagonal_(torch.inf)
        num = len(distances) - 1 if self.permuted else self.num_near
        self.__dict__["near"] = distances.topk(num, largest=False).indices

    def transform(self, images: Tensor) -> Tensor:
        # generated images get the gradient straight through: entries have none
        indices = self.network.encode(images.detach().float())
        other = self.near[indices, torch.randint(self.near.shape[1], indices.shape)]
        varied = self.network.decode(torch.where(torch.rand(indices.shape) < self.exchanged, other, indices))
        varied = images + (varied - images).detach()
        return torch.where(torch.rand(len(images), 1, 1, 1) < self.fraction, varied, images)
