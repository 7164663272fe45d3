"""Perturbations of latents, one function each; 0 is the identity for all of them.

Where they take labels (B,) and the latents' own (N,), only latents of the same class count; without labels all do.
"""

from typing import NamedTuple

import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor


class Classes(NamedTuple):
    """Where the latents of each class lie: a gaussian of its own mean, and of a covariance that all classes share.

    Attributes:
        labels: the classes, (K,).
        means: of the latents of each, (K, d).
        cholesky: L, the Cholesky factor of the covariance within classes, (d, d).
        precision: the inverse of that covariance less that of the covariance of all latents, (d, d).
        pull: the means, each by the first of these inverses, less the mean of all latents by the second, (K, d).
    """

    labels: Tensor
    means: Tensor
    cholesky: Tensor
    precision: Tensor
    pull: Tensor

    def of(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """For latents of classes (B,), which of the K theirs is, (B,), and whether it is one of them, bool (B, 1)."""
        own = labels[:, None] == self.labels
        return own.byte().argmax(1), own.any(1, keepdim=True)


def gaussian(z: Tensor, mean: Tensor, cholesky: Tensor, strength: float) -> Tensor:
    """Latents with gaussian noise, such that latents of covariance L L' keep it at every strength.

    z' = mean + sqrt(1 - s^2) (z - mean) + s L e with e ~ N(0, I), written so that s = 0 is the identity.

    Args:
        z: latents, (B, d).
        mean: the training latents' mean, (d,), or for each code that of its class, (B, d).
        cholesky: L, the Cholesky factor of their covariance, (d, d).
        strength: s in [0, 1]; 1 forgets the code altogether.
    """
    noise = torch.randn_like(z) @ cholesky.T
    return z + ((1 - strength**2) ** 0.5 - 1) * (z - mean) + strength * noise


def gaussian_of_class(z: Tensor, labels: Tensor, classes: Classes, strength: float) -> Tensor:
    """Latents with gaussian noise, such that each class keeps its mean and the classes the covariance that they share.

    As `gaussian`, about the mean of the class and with the covariance within classes; with a single class it is the
    same. Latents (B, d) of a class without training latents stay where they are.
    """
    index, known = classes.of(labels)
    return torch.where(known, gaussian(z, classes.means[index], classes.cholesky, strength), z)


def posterior(mean: Tensor, log_variance: Tensor, strength: float) -> Tensor:
    """Latents (B, d) of an encoder's gaussians, whose means and log variances are (B, d): mean + s sigma e."""
    return mean + strength * (log_variance / 2).exp() * torch.randn_like(mean)


def posterior_of_class(mean: Tensor, log_variance: Tensor, labels: Tensor, classes: Classes, strength: float) -> Tensor:
    """Latents (B, d) of what an encoder says of images, given their classes besides.

    By Bayes' rule p(z given x, c) is proportional to q(z given x) p(z given c) / p(z), and as the three are gaussians
    it is one, N(m, C): its precision is that of q, plus that of the class, less that of all latents. The code is
    mean + s (m + C^(1/2) e - mean). With a single class it is `posterior`, as it is for a class without training
    latents.

    Args:
        mean: of q, (B, d).
        log_variance: of q, (B, d).
        labels: the classes, (B,).
        classes: of the latents that q gives for the training images.
        strength: s in [0, 1]; 1 is a sample.
    """
    index, known = classes.of(labels)
    with torch.autocast(mean.device.type, enabled=False):
        mean, sigma = mean.float(), (log_variance.float() / 2).exp()
        # in units of sigma, in which the precision is at least 1: well-conditioned in float32
        precision = torch.diag_embed(sigma) @ classes.precision @ torch.diag_embed(sigma)
        pull = sigma * (classes.pull[index] - mean @ classes.precision)
        cholesky = torch.linalg.cholesky(torch.eye(mean.shape[1]).to(mean) + known[:, :, None] * precision)
        noise = torch.linalg.solve_triangular(cholesky.mT, torch.randn_like(mean)[:, :, None], upper=True)
        moved = torch.cholesky_solve((known * pull)[:, :, None], cholesky) + noise
        return mean + strength * sigma * moved.squeeze(2)


def interpolate(
    z: Tensor, labels: Tensor | None, bank: Tensor, bank_labels: Tensor, num_neighbours: int, strength: float
) -> Tensor:
    """Latents moved towards one of their nearest neighbours, drawn at random (DeVries & Taylor 2017, arXiv 1702.05538).

    Args:
        z: latents, (B, d).
        labels: their classes, (B,), or None.
        bank: training latents, (N, d).
        bank_labels: their classes, (N,).
        num_neighbours: how many of the nearest can be drawn.
        strength: share of the way; 0 stays, 1 arrives; below 0 it is an extrapolation, away from the neighbour.

    Returns:
        latents (B, d); one whose class has no other code stays where it is.
    """
    distances = torch.cdist(z.detach().to(bank.dtype), bank, compute_mode="donot_use_mm_for_euclid_dist")
    # the code itself, which the bank may hold, is no neighbour
    refused = distances <= 1e-5 * z.detach().norm(dim=1, keepdim=True)
    if labels is not None:
        refused = refused | (labels[:, None] != bank_labels)
    nearest, index = distances.masked_fill(refused, torch.inf).topk(min(num_neighbours, len(bank)), largest=False)
    drawn = torch.rand_like(nearest).masked_fill(nearest.isinf(), -1).argmax(1, keepdim=True)
    exists = ~nearest.gather(1, drawn).isinf()
    neighbour = bank[index.gather(1, drawn).squeeze(1)]
    return z + strength * torch.where(exists, neighbour - z, 0.0)


def resample(
    z: Tensor,
    labels: Tensor | None,
    components: tuple[Tensor, Tensor, Tensor],
    component_labels: Tensor,
    strength: float,
) -> Tensor:
    """Latents moved within a gaussian of a mixture that they may come from, such that the mixture is kept.

    The gaussian k is drawn by its probability given the code, then z' = m_k + sqrt(1 - s^2) (z - m_k) + s d_k e:
    one step of a Markov chain whose stationary distribution is the mixture of the code's class.

    Args:
        z: latents, (B, d).
        labels: their classes, (B,), or None.
        components: weights (K,), means (K, d) and deviations (K, d), of the mixtures of all classes.
        component_labels: the classes (K,) of the components.
        strength: s in [0, 1]; 1 draws a new code from the gaussian.

    Returns:
        latents (B, d); one whose class has no gaussian stays where it is.
    """
    weights, means, deviations = components
    far = (z.detach()[:, None] - means).div(deviations).square().sum(2) / 2
    log_probability = weights.log() - far - deviations.log().sum(1)
    exists = torch.ones_like(z[:, :1], dtype=torch.bool)
    if labels is not None:
        own = labels[:, None] == component_labels
        exists = own.any(1, keepdim=True)
        log_probability = log_probability.masked_fill(~own & exists, -torch.inf)
    k = torch.multinomial(log_probability.softmax(1), 1).squeeze(1)
    moved = ((1 - strength**2) ** 0.5 - 1) * (z - means[k]) + strength * deviations[k] * torch.randn_like(z)
    return z + torch.where(exists, moved, 0.0)


def fit_classes(latents: Tensor, labels: Tensor, variance: Tensor | float = 0.0) -> Classes:
    """The gaussian of each class; where every class has one code alone, one without extent.

    Args:
        latents: (N, d).
        labels: their classes, (N,).
        variance: (d,), of each code about the one that stands for it; a VAE's.
    """
    present, index = labels.unique(return_inverse=True)
    z, dim = latents.double(), latents.shape[1]
    means = torch.stack([own.mean(0) for own in _of_classes(z, index)])
    # pooled over the classes; each code of a small class counts as one of a large one
    apart = z - means[index]
    within = apart.T @ apart / max(1, len(z) - len(present)) + torch.diag(torch.zeros(dim).to(z) + variance)
    # few latents lie in fewer dimensions than there are; those of one code a class in none
    within = within + (1e-9 * within.trace() + 1e-12) * torch.eye(dim).to(z)
    mean, shares = z.mean(0), index.bincount().to(z)[:, None] / len(z)
    between = (means - mean).T @ (shares * (means - mean))
    inverse, inverse_of_all = torch.linalg.inv(within), torch.linalg.inv(within + between)
    pull = means @ inverse - mean @ inverse_of_all
    learned = means, torch.linalg.cholesky(within), inverse - inverse_of_all, pull
    return Classes(present, *(part.to(latents) for part in learned))


def _of_classes(latents: Tensor, index: Tensor) -> tuple[Tensor, ...]:
    """The latents of each class, by the number (N,) of each code's, in one pass for however many classes."""
    return latents[index.argsort(stable=True)].split(index.bincount().tolist())


def fit_mixtures(
    latents: Tensor, labels: Tensor, max_components: int = 3
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """A mixture of axis-parallel gaussians for each class: weights, means and deviations, and their classes.

    A gaussian more for every twenty latents, none for a class of one; the weights sum to 1 over all classes.
    """
    nothing = torch.zeros(0, latents.shape[1])
    parts = [[torch.zeros(0), nothing, nothing, labels[:0]]]
    present, index = labels.unique(return_inverse=True)
    for label, own in zip(present, _of_classes(latents.double(), index)):
        if len(own) < 2:
            continue
        num_components = max(1, min(max_components, len(own) // 20))
        mixture = GaussianMixture(num_components, covariance_type="diag", reg_covar=1e-6, random_state=0).fit(own)
        fitted = mixture.weights_ * len(own), mixture.means_, mixture.covariances_**0.5
        parts.append([*(torch.from_numpy(part) for part in fitted), label.repeat(num_components)])
    weights, means, deviations, component_labels = (torch.cat(part) for part in zip(*parts))
    components = (weights / weights.sum()).to(latents), means.to(latents), deviations.to(latents)
    return components, component_labels
