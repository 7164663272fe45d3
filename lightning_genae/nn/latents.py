"""Distributions of latents: fitted to training latents, from which an autoencoder generates, and priors."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torchmetrics.utilities.distributed import gather_all_tensors

Sampler = Literal["gaussian", "mixture", "standard"]
Prior = Literal["gaussian", "mixture", "swiss-roll"]


class TrainingLatents(nn.Module):
    """The latest latents of training, and latents drawn from a distribution that is fitted to them.

    Args:
        latent_dim: dimensions of a latent code.
        num_kept: number of latents that are kept.
    """

    num_components = 10  # of the mixture, as in the RAE paper (Ghosh et al. 2019, arXiv 1903.12436)
    latents: Tensor
    num_seen: Tensor

    def __init__(self, latent_dim: int, num_kept: int = 1024):
        super().__init__()
        self.register_buffer("latents", torch.zeros(num_kept, latent_dim))
        self.register_buffer("num_seen", torch.tensor(0))
        self._fitted: tuple[Tensor, tuple[Tensor, Tensor, Tensor]] | None = None  # latents and their mixture

    def keep(self, z: Tensor) -> None:
        """Replaces the oldest latents by those (B, d) of a batch, of all processes."""
        num_kept, z = len(self.latents), z.detach()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # in the order in which one process would have had the images
            z = torch.stack(gather_all_tensors(z), dim=1).flatten(0, 1)
        self.latents.copy_(torch.cat([z.to(self.latents.dtype), self.latents])[:num_kept])
        self.num_seen += len(z)

    def draw(self, num: int, sampler: Sampler) -> Tensor:
        """Latents (num, d) from a gaussian or a mixture of ten, fitted to the kept latents, or from N(0, I)."""
        latent_dim = self.latents.shape[1]
        # in float64, because the covariance of nearly collinear latents is singular in float32
        noise = torch.randn(num, latent_dim, device=self.latents.device, dtype=torch.float64)
        if sampler == "standard":
            return noise.to(self.latents.dtype)
        latents = self.latents[: max(2, int(self.num_seen))].double()
        if sampler == "mixture":
            weights, means, covariances = self._mixture(latents)
        else:
            weights, means, covariances = torch.ones(1), latents.mean(0, keepdim=True), torch.cov(latents.T)
        covariances = covariances.reshape(-1, latent_dim, latent_dim).to(noise)
        cholesky = torch.linalg.cholesky(covariances + 1e-6 * torch.eye(latent_dim).to(noise))
        chosen = torch.multinomial(weights, num, replacement=True).to(noise.device)
        drawn = means.to(noise)[chosen] + (cholesky[chosen] @ noise[:, :, None]).squeeze(2)
        return drawn.to(self.latents.dtype)

    def _mixture(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights (K,), means (K, d) and covariances (K, d, d), fitted once for the same latents (N, d)."""
        latents = latents.cpu()
        if self._fitted is None or not torch.equal(self._fitted[0], latents):
            from sklearn.mixture import GaussianMixture  # slow, and not needed before samples are drawn

            num_components = min(self.num_components, len(latents))
            mixture = GaussianMixture(num_components, reg_covar=1e-5, random_state=0).fit(latents.numpy())
            parts = mixture.weights_, mixture.means_, mixture.covariances_
            weights, means, covariances = map(torch.from_numpy, parts)
            self._fitted = latents.clone(), (weights, means, covariances)
        return self._fitted[1]


def reparameterise(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Differentiable draws (B, d) from gaussians of mean and log variance (B, d) (arXiv 1312.6114)."""
    return mean + (log_variance / 2).exp() * torch.randn_like(mean)


def draw_prior(prior: Prior, num: int, latent_dim: int, like: Tensor) -> Tensor:
    """Latents (num, latent_dim) of a prior, on the device and in the precision of another tensor.

    `gaussian` is N(0, I); `mixture` and `swiss-roll` are the priors of the adversarial autoencoder (Makhzani et al.
    2015, arXiv 1511.05644) in the first two dimensions, N(0, I) in the others: ten gaussians that point away
    from the centre, and a roll of one and a half turns.

    Raises:
        ValueError: the prior needs at least two dimensions.
    """
    noise = torch.randn(num, latent_dim, device=like.device, dtype=like.dtype)
    if prior == "gaussian":
        return noise
    if latent_dim < 2:
        raise ValueError(f"--model.latent_dim: expected at least 2 for --model.prior {prior}; got {latent_dim}")
    position = torch.rand(num, device=like.device, dtype=like.dtype)
    if prior == "mixture":
        angle = (10 * position).floor() * (2 * math.pi / 10)
        along, across = 2 + 0.7 * noise[:, 0], 0.2 * noise[:, 1]
        first = along * angle.cos() - across * angle.sin()
        second = along * angle.sin() + across * angle.cos()
    else:
        angle = 3 * math.pi * position.sqrt()  # uniform along the roll
        first, second = (
            0.3 * angle * turn(angle) + 0.05 * noise[:, i] for i, turn in enumerate((torch.cos, torch.sin))
        )
    return torch.cat([torch.stack([first, second], 1), noise[:, 2:]], 1)
