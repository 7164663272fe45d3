"""Perturbed codes against the closed forms of their moments, and what a linear autoencoder makes of them."""

import pytest
import torch

from lightning_genae import perturb
from lightning_genae.augment.pca import PCAAugment
from lightning_genae.metrics.frechet import frechet_distance

COVARIANCE = torch.tensor([[1.0, 0.5, 0.0], [0.5, 2.0, -0.3], [0.0, -0.3, 0.5]])
MEAN = torch.tensor([1.0, -2.0, 0.5])


def codes(num: int) -> torch.Tensor:
    return MEAN + torch.randn(num, 3) @ torch.linalg.cholesky(COVARIANCE).T


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.7, 1.0])
def test_gaussian_keeps_mean_and_covariance(strength):
    z = codes(60_000)
    varied = perturb.gaussian(z, MEAN, torch.linalg.cholesky(COVARIANCE), strength)
    assert torch.allclose(torch.cov(varied.T), COVARIANCE, atol=0.05)
    assert torch.allclose(varied.mean(0), MEAN, atol=0.02)
    correlation = torch.corrcoef(torch.stack([z[:, 0], varied[:, 0]]))[0, 1]
    assert correlation == pytest.approx((1 - strength**2) ** 0.5, abs=0.02)
    if strength == 0:
        assert torch.equal(varied, z)


@pytest.mark.parametrize("step, factor", [(0.5, 0.5), (0.25, 0.625), (-0.5, 2.5), (-0.25, 1.625), (1.0, 1.0)])
def test_steps_between_random_pairs_scale_the_covariance(step, factor):
    """(1 - s)^2 + s^2: halfway halves it, an extrapolation by a half makes it 2.5 times as large."""
    z, bank = codes(20_000), codes(2000)
    # all of the bank are neighbours: the pairs are random
    varied = perturb.interpolate(z, None, bank, torch.zeros(len(bank)), len(bank), step)
    assert torch.allclose(torch.cov(varied.T), factor * COVARIANCE, atol=0.1 * factor)


def test_interpolation_goes_towards_a_near_one_of_the_same_class():
    bank = torch.tensor([[0.0, 0], [1, 0], [0, 3], [0.1, 0.1]])
    labels = torch.tensor([0, 0, 0, 1])
    for _ in range(10):
        moved = perturb.interpolate(bank[:1], labels[:1], bank, labels, num_neighbours=1, strength=0.5)
        assert torch.equal(moved, torch.tensor([[0.5, 0]]))
        away = perturb.interpolate(bank[:1], labels[:1], bank, labels, num_neighbours=1, strength=-0.5)
        assert torch.equal(away, torch.tensor([[-0.5, 0]]))
        any_class = perturb.interpolate(bank[:1], None, bank, labels, num_neighbours=1, strength=1.0)
        assert torch.equal(any_class, bank[3:])
    many = torch.cat([perturb.interpolate(bank[:1], labels[:1], bank, labels, 2, 1.0) for _ in range(40)])
    assert {tuple(row) for row in many.tolist()} == {(1.0, 0.0), (0.0, 3.0)}
    # a class of one image has no neighbour
    assert torch.equal(perturb.interpolate(bank[3:], labels[3:], bank, labels, 2, 0.5), bank[3:])


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_resampling_keeps_the_mixture(strength):
    num = 40_000
    weights, means = torch.tensor([0.3, 0.7]), torch.tensor([[-2.0, 0], [1, 1]])
    deviations = torch.tensor([[0.5, 1.0], [1.0, 0.3]])
    drawn = torch.multinomial(weights, num, replacement=True)
    z = means[drawn] + deviations[drawn] * torch.randn(num, 2)
    labels = torch.zeros(num, dtype=torch.long)
    varied = perturb.resample(z, labels, (weights, means, deviations), torch.zeros(2, dtype=torch.long), strength)
    quantiles = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    for old, new in zip(z.T, varied.T):
        assert torch.allclose(old.quantile(quantiles), new.quantile(quantiles), atol=0.06)
    assert torch.equal(varied, z) == (strength == 0)


def test_resampling_stays_in_the_class():
    z = torch.cat([torch.randn(200, 2) - 20, torch.randn(100, 2) + 20])
    labels = torch.cat([torch.zeros(200), torch.ones(100)]).long()
    components, component_labels = perturb.fit_mixtures(z, labels)
    assert component_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert components[0].sum() == pytest.approx(1)
    # an image of class 1 that looks like one of class 0 is moved to where its class is
    varied = perturb.resample(z[:50], torch.ones(50).long(), components, component_labels, 1.0)
    assert varied.mean() > 15
    # one of a class without a mixture stays
    assert torch.equal(perturb.resample(z[:50], torch.full((50,), 7), components, component_labels, 1.0), z[:50])
    assert len(perturb.fit_mixtures(z[:3], torch.arange(3))[1]) == 0


class _Gaussian:
    """Training images of 6 pixels from a gaussian with known eigenvalues."""

    def __init__(self):
        torch.manual_seed(0)
        self.eigenvalues = torch.tensor([0.09, 0.04, 0.02, 0.01, 0.004, 0.001])
        basis = torch.linalg.qr(torch.randn(6, 6)).Q
        x = (torch.randn(20_000, 6) * self.eigenvalues.sqrt()) @ basis.T
        self.images, self.labels = x.reshape(-1, 1, 2, 3), torch.zeros(len(x), dtype=torch.long)
        self.train, self.fingerprint = self, "gaussian"


@pytest.mark.parametrize(
    "how, strength, factor",
    [("gaussian", 0.6, 1.0), ("interpolate", 0.5, 0.5), ("extrapolate", 0.5, 2.5)],
)
@pytest.mark.parametrize("detail", ["decode", "residual"])
def test_frechet_distance_of_a_linear_autoencoders_variations(how, strength, factor, detail):
    """The sum of lambda_i (sqrt(f) - 1)^2 over the kept dimensions; decoding loses the discarded ones besides."""
    data = _Gaussian()
    arm = PCAAugment(latent_dim=3, perturb=how, strength=strength, detail=detail, neighbours=10**6)
    arm.max_bank = 2000
    arm.fit(data)
    arm.bank = arm.bank[torch.randperm(len(arm.bank))]
    varied = arm.vary(data.images, data.labels)
    distance = frechet_distance(data.images.flatten(1), varied.flatten(1))
    kept = float((data.eigenvalues[:3] * (factor**0.5 - 1) ** 2).sum())
    discarded = float(data.eigenvalues[3:].sum()) if detail == "decode" else 0.0
    assert distance == pytest.approx(kept + discarded, abs=1.5e-3)
