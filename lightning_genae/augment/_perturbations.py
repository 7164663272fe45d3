"""Perturbations of latents, one function each; strength 0 is the identity for all of them.

Where they take labels (B,) and those of the training latents (N,), only training latents of the same class count;
without labels all do.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Classes(NamedTuple):
    """The distribution of the latents of each class: a gaussian with its own mean and a shared covariance.

    Attributes:
        labels: the classes, (K,).
        means: of the latents of each, (K, d).
        cholesky: L, the Cholesky factor of the covariance within classes, (d, d).
        precision: the inverse of that covariance minus the inverse of the covariance of all latents, (d, d).
        pull: the means times the first of these inverses, minus the mean of all latents times the second, (K, d).
    """

    labels: Tensor
    means: Tensor
    cholesky: Tensor
    precision: Tensor
    pull: Tensor

    def of(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The index (B,) among the K classes of labels (B,), and whether they are among them, bool (B, 1)."""
        is_class = labels[:, None] == self.labels
        return is_class.byte().argmax(1), is_class.any(1, keepdim=True)


def gaussian(z: Tensor, mean: Tensor, cholesky: Tensor, strength: float) -> Tensor:
    """Latents (B, d) with gaussian noise, such that latents of covariance L L' keep it at every strength.

    z' = mean + sqrt(1 - s^2) (z - mean) + s L e with e ~ N(0, I).

    Args:
        z: latents, (B, d).
        mean: of the training latents, (d,), or for each latent code that of its class, (B, d).
        cholesky: L, the Cholesky factor of their covariance, (d, d).
        strength: s in [0, 1]; 1 discards the latent code altogether.
    """
    kept = (1 - strength**2) ** 0.5  # exactly 1 for strength 0, which thus is the identity
    noise = torch.randn_like(z) @ cholesky.T
    return kept * z + ((1 - kept) * mean + strength * noise)  # few of these operations have a gradient


def gaussian_of_class(z: Tensor, labels: Tensor, classes: Classes, strength: float) -> Tensor:
    """Latents (B, d) with gaussian noise that keeps the mean of each class and the covariance that the classes share.

    As `gaussian`, about the mean of the class and with the covariance within classes; with a single class it is the
    same. Latents of a class without training latents stay unchanged.
    """
    index, known = classes.of(labels)
    return torch.where(known, gaussian(z, classes.means[index], classes.cholesky, strength), z)


def posterior(mean: Tensor, log_variance: Tensor, strength: float) -> Tensor:
    """Latents (B, d) drawn from an encoder's gaussians of mean and log variance (B, d): mean + s sigma e."""
    return mean + strength * (log_variance / 2).exp() * torch.randn_like(mean)


def posterior_of_class(mean: Tensor, log_variance: Tensor, labels: Tensor, classes: Classes, strength: float) -> Tensor:
    """Latents (B, d) drawn from an encoder's posterior conditioned on the classes of the images too.

    By Bayes' rule p(z | x, c) is proportional to q(z | x) p(z | c) / p(z). As the three are gaussians, so is the
    result, N(m, C): its precision is that of q, plus that of the class, minus that of all latents. The latent code is
    mean + s (m + C^(1/2) e - mean). With a single class, and for a class without training latents, it is `posterior`.

    Args:
        mean: of q, (B, d).
        log_variance: of q, (B, d).
        labels: the classes, (B,).
        classes: fitted to the latents of the training images under q.
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
        strength: fraction of the way; 0 stays, 1 arrives; below 0 extrapolates, away from the neighbour.

    Returns:
        latents (B, d); unchanged where the class has no other latent code.
    """
    distances = torch.cdist(z.detach().to(bank.dtype), bank, compute_mode="donot_use_mm_for_euclid_dist")
    # the latent code itself, which the bank may contain, is not a neighbour
    excluded = distances <= 1e-5 * z.detach().norm(dim=1, keepdim=True)
    if labels is not None:
        excluded = excluded | (labels[:, None] != bank_labels)
    nearest, index = distances.masked_fill(excluded, torch.inf).topk(min(num_neighbours, len(bank)), largest=False)
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
    """Latents moved within a gaussian of a mixture, such that latents of the mixture stay distributed as it.

    The gaussian k is drawn from its posterior given the latent code, then z' = m_k + sqrt(1 - s^2) (z - m_k) + s d_k e:
    one step of a Markov chain whose stationary distribution is the mixture of the class.

    Args:
        z: latents, (B, d).
        labels: their classes, (B,), or None.
        components: weights (K,), means (K, d) and standard deviations (K, d), of the mixtures of all classes.
        component_labels: the classes (K,) of the components.
        strength: s in [0, 1]; 1 draws a new latent code from the gaussian.

    Returns:
        latents (B, d); unchanged where the class has no gaussian.
    """
    weights, means, stds = components
    distance = (z.detach()[:, None] - means).div(stds).square().sum(2) / 2
    log_probability = weights.log() - distance - stds.log().sum(1)
    exists = torch.ones_like(z[:, :1], dtype=torch.bool)
    if labels is not None:
        is_class = labels[:, None] == component_labels
        exists = is_class.any(1, keepdim=True)
        log_probability = log_probability.masked_fill(~is_class & exists, -torch.inf)
    k = torch.multinomial(log_probability.softmax(1), 1).squeeze(1)
    moved = ((1 - strength**2) ** 0.5 - 1) * (z - means[k]) + strength * stds[k] * torch.randn_like(z)
    return z + torch.where(exists, moved, 0.0)


def fit_classes(latents: Tensor, labels: Tensor, variance: Tensor | float = 0.0) -> Classes:
    """The gaussian of each class; almost without extent if every class has a single latent code.

    Args:
        latents: (N, d).
        labels: their classes, (N,).
        variance: (d,), of a latent code about its mean, added to the covariance; for a VAE the mean posterior variance.
    """
    present, index = labels.unique(return_inverse=True)
    z, dim = latents.double(), latents.shape[1]
    means = torch.stack([group.mean(0) for group in _of_classes(z, index)])
    # pooled over the classes; every latent code counts the same, whatever the size of its class
    centred = z - means[index]
    within = centred.T @ centred / max(1, len(z) - len(present)) + torch.diag(torch.zeros(dim).to(z) + variance)
    # a ridge: few latents span fewer than d dimensions, and a single one per class spans none
    within = within + (1e-9 * within.trace() + 1e-12) * torch.eye(dim).to(z)
    mean, fractions = z.mean(0), index.bincount().to(z)[:, None] / len(z)
    between = (means - mean).T @ (fractions * (means - mean))
    inverse, inverse_of_all = torch.linalg.inv(within), torch.linalg.inv(within + between)
    pull = means @ inverse - mean @ inverse_of_all
    learned = means, torch.linalg.cholesky(within), inverse - inverse_of_all, pull
    return Classes(present, *(tensor.to(latents) for tensor in learned))


def _of_classes(latents: Tensor, index: Tensor) -> tuple[Tensor, ...]:
    """The latents of each class, from the index (N,) of each latent's class, in one pass for any number of classes."""
    return latents[index.argsort(stable=True)].split(index.bincount().tolist())


def fit_mixtures(
    latents: Tensor, labels: Tensor, max_components: int = 3
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """A mixture of axis-parallel gaussians for each class: weights, means and standard deviations, and their classes.

    A class has one gaussian for every twenty latents, at least one and at most `max_components`; a class with a single
    latent code has none. The weights sum to 1 over all classes.

    Args:
        latents: (N, d).
        labels: their classes, (N,).
        max_components: of a class.

    Returns:
        weights (K,), means (K, d) and standard deviations (K, d), and the classes (K,).
    """
    from sklearn.mixture import GaussianMixture  # slow, and few augmentations need it

    empty = torch.zeros(0, latents.shape[1])
    parts = [[torch.zeros(0), empty, empty, labels[:0]]]
    present, index = labels.unique(return_inverse=True)
    for label, group in zip(present, _of_classes(latents.double(), index)):
        if len(group) < 2:
            continue
        num_components = max(1, min(max_components, len(group) // 20))
        mixture = GaussianMixture(num_components, covariance_type="diag", reg_covar=1e-6, random_state=0).fit(group)
        fitted = mixture.weights_ * len(group), mixture.means_, mixture.covariances_**0.5
        parts.append([*(torch.from_numpy(part) for part in fitted), label.repeat(num_components)])
    weights, means, stds, component_labels = (torch.cat(part) for part in zip(*parts))
    components = (weights / weights.sum()).to(latents), means.to(latents), stds.to(latents)
    return components, component_labels
