"""Perturbed latents against the closed forms of their moments, and what a linear autoencoder makes of them."""

import math
from unittest.mock import patch

import pytest
import torch
from sklearn.mixture import GaussianMixture

from lightning_genae.augment import _perturbations
from lightning_genae.augment.pca import PCAAugment
from lightning_genae.evaluation.metrics.frechet import frechet_distance

COVARIANCE = torch.tensor([[1.0, 0.5, 0.0], [0.5, 2.0, -0.3], [0.0, -0.3, 0.5]])
MEAN = torch.tensor([1.0, -2.0, 0.5])


def exact(num: int, mean: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    """Gaussian latents (num, d) whose mean and covariance are these, not only on average."""
    noise = torch.randn(num, len(mean))
    noise = torch.linalg.solve_triangular(
        torch.linalg.cholesky(torch.cov(noise.T)), (noise - noise.mean(0)).T, upper=False
    )
    return mean + noise.T @ torch.linalg.cholesky(covariance).T


def latents(num: int) -> torch.Tensor:
    return exact(num, MEAN, COVARIANCE)


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.7, 1.0])
def test_gaussian_keeps_mean_and_covariance(strength):
    z = latents(60_000)
    varied = _perturbations.gaussian(z, MEAN, torch.linalg.cholesky(COVARIANCE), strength)
    assert torch.allclose(torch.cov(varied.T), COVARIANCE, atol=0.05)
    assert torch.allclose(varied.mean(0), MEAN, atol=0.02)
    correlation = torch.corrcoef(torch.stack([z[:, 0], varied[:, 0]]))[0, 1]
    assert correlation == pytest.approx((1 - strength**2) ** 0.5, abs=0.02)
    if strength == 0:
        assert torch.equal(varied, z)


def two_classes(num: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents of class 3 about MEAN, and as many of class 7 about its opposite, both of covariance COVARIANCE."""
    z = torch.cat([exact(num, MEAN, COVARIANCE), exact(num, -MEAN, COVARIANCE)])
    return z, torch.tensor([3, 7]).repeat_interleave(num)


@pytest.mark.parametrize("strength", [0.0, 0.6, 1.0])
def test_gaussian_of_a_class_keeps_its_mean_and_the_covariance_within_classes(strength):
    z, labels = two_classes(20_000)
    classes = _perturbations.fit_classes(z, labels)
    assert classes.labels.tolist() == [3, 7]
    assert torch.allclose(classes.means, torch.stack([MEAN, -MEAN]), atol=1e-4)
    assert torch.allclose(classes.cholesky @ classes.cholesky.T, COVARIANCE, atol=1e-3)
    varied = _perturbations.gaussian_of_class(z, labels, classes, strength)
    for label, mean in ((3, MEAN), (7, -MEAN)):
        assert torch.allclose(varied[labels == label].mean(0), mean, atol=0.03)
        assert torch.allclose(torch.cov(varied[labels == label].T), COVARIANCE, atol=0.06)
    own, moved = ((part - classes.means[(labels == 7).long()])[:, 0] for part in (z, varied))
    assert torch.corrcoef(torch.stack([own, moved]))[0, 1] == pytest.approx((1 - strength**2) ** 0.5, abs=0.02)


def test_gaussian_of_a_single_class_is_that_of_all_latents():
    z = latents(50)
    covariance = torch.cov(z.T)
    varied = []
    for draw in (
        lambda: _perturbations.gaussian(z, z.mean(0), torch.linalg.cholesky(covariance), 0.6),
        lambda: _perturbations.gaussian_of_class(
            z, torch.full((50,), 4), _perturbations.fit_classes(z, torch.full((50,), 4)), 0.6
        ),
    ):
        torch.manual_seed(0)
        varied.append(draw())
    assert torch.allclose(*varied, atol=1e-5)


def test_few_latents_of_a_class():
    """A class of one counts for the means, not for the covariance; without a class of two nothing is known."""
    z = torch.tensor([[0.0, 0.0], [2.0, 0.0], [5.0, 9.0]])
    classes = _perturbations.fit_classes(z, torch.tensor([0, 0, 1]))
    assert torch.equal(classes.means, torch.tensor([[1.0, 0.0], [5.0, 9.0]]))
    # ((0 - 1)^2 + (2 - 1)^2) / (3 latents - 2 classes)
    assert torch.allclose(classes.cholesky @ classes.cholesky.T, torch.tensor([[2.0, 0.0], [0.0, 0.0]]), atol=1e-6)
    stranger = torch.tensor([[3.0, 3.0]])
    assert torch.equal(_perturbations.gaussian_of_class(stranger, torch.tensor([6]), classes, 1.0), stranger)
    alone = _perturbations.fit_classes(z, torch.arange(3))
    assert torch.allclose(_perturbations.gaussian_of_class(z, torch.arange(3), alone, 0.7), z, atol=1e-4)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_posterior_has_the_mean_and_the_deviations_of_the_encoder(strength):
    mean, deviation = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 2.0])
    z = mean.repeat(40_000, 1)
    drawn = _perturbations.posterior(z, (2 * deviation.log()).expand_as(z), strength)
    assert torch.allclose(drawn.mean(0), mean, atol=0.04)
    assert torch.allclose(drawn.std(0), strength * deviation, atol=0.03)


def test_posterior_of_a_class_is_bayes_rule_on_a_grid():
    """In one dimension: q(z given x) p(z given c) / p(z), normalised over a grid, for classes of known gaussians."""
    labels = torch.tensor([0, 0, 1, 1, 1, 1])
    latents_, variance = torch.tensor([[-1.2], [-0.8], [0.9], [1.1], [1.0], [1.3]]), torch.tensor([0.2])
    classes = _perturbations.fit_classes(latents_, labels, variance)
    within = (2 * 0.2**2 + 0.175**2 + 0.025**2 + 0.075**2 + 0.225**2) / 4 + 0.2  # about -1 and 1.075, over 6 - 2
    mean_of_all = float(latents_.mean())
    between = (2 * (-1 - mean_of_all) ** 2 + 4 * (1.075 - mean_of_all) ** 2) / 6
    m, sigma = 0.3, 0.8

    def log_normal(z, mean, variance):
        return -((z - mean) ** 2) / (2 * variance)

    grid = torch.linspace(-8, 8, 4001, dtype=torch.double)
    log_p = log_normal(grid, m, sigma**2) + log_normal(grid, -1.0, within)
    p = (log_p - log_normal(grid, mean_of_all, within + between)).softmax(0)
    mean = float((p * grid).sum())
    deviation = float((p * (grid - mean) ** 2).sum() ** 0.5)
    given = torch.full((40_000, 1), m), torch.full((40_000, 1), 2 * math.log(sigma))
    drawn = _perturbations.posterior_of_class(*given, torch.zeros(40_000).long(), classes, 1.0)
    assert float(drawn.mean()) == pytest.approx(mean, abs=0.015)
    assert float(drawn.std()) == pytest.approx(deviation, abs=0.015)
    half = _perturbations.posterior_of_class(*given, torch.zeros(40_000).long(), classes, 0.5)
    assert float(half.mean()) == pytest.approx((m + mean) / 2, abs=0.015)
    assert float(half.std()) == pytest.approx(deviation / 2, abs=0.015)


def test_posterior_of_a_single_or_an_unknown_class_is_that_of_the_image():
    z, log_variance = torch.randn(6, 3), torch.randn(6, 3)
    one = _perturbations.fit_classes(latents(20), torch.zeros(20).long(), torch.ones(3))
    two = _perturbations.fit_classes(*two_classes(20), torch.ones(3))
    for classes, label, same in ((one, 0, True), (two, 5, True), (two, 7, False)):
        drawn = []
        for draw in (_perturbations.posterior, _perturbations.posterior_of_class):
            torch.manual_seed(0)
            more = () if draw is _perturbations.posterior else (torch.full((6,), label), classes)
            drawn.append(draw(z, log_variance, *more, 0.8))
        assert torch.allclose(*drawn, atol=1e-4) == same


def test_posterior_of_a_class_in_several_dimensions_keeps_to_the_equation():
    """Its precision is D^-1 + W^-1 - T^-1 and its mean solves the same for the means, by plain inverses."""
    z, labels = two_classes(60)
    variance = torch.tensor([0.03, 0.05, 0.02])
    classes = _perturbations.fit_classes(z, labels, variance)
    within = COVARIANCE * 59 * 2 / 118 + torch.diag(variance)
    inverse, inverse_of_all = torch.linalg.inv(within), torch.linalg.inv(within + torch.outer(MEAN, MEAN))
    m, sigma = torch.tensor([0.5, 1.0, -1.0]), torch.tensor([3.0, 2.0, 1.0])
    covariance = torch.linalg.inv(torch.diag(sigma**-2) + inverse - inverse_of_all)
    mean = covariance @ (m / sigma**2 + inverse @ -MEAN)  # the mean of all latents is 0
    num = 40_000
    drawn = _perturbations.posterior_of_class(
        m.repeat(num, 1), (2 * sigma.log()).repeat(num, 1), torch.full((num,), 7), classes, 1.0
    )
    assert torch.allclose(drawn.mean(0), mean, atol=0.04)
    assert torch.allclose(torch.cov(drawn.T), covariance, atol=0.08)


@pytest.mark.parametrize("step, factor", [(0.5, 0.5), (0.25, 0.625), (-0.5, 2.5), (-0.25, 1.625), (1.0, 1.0)])
def test_steps_between_random_pairs_scale_the_covariance(step, factor):
    """(1 - s)^2 + s^2: halfway halves it, an extrapolation by a half makes it 2.5 times as large."""
    z, bank = latents(4000), latents(300)
    # all of the bank are neighbours: the pairs are random
    varied = _perturbations.interpolate(z, None, bank, torch.zeros(len(bank)), len(bank), step)
    assert torch.allclose(torch.cov(varied.T), factor * COVARIANCE, atol=0.1 * factor)


def test_interpolation_goes_towards_a_near_one_of_the_same_class():
    bank = torch.tensor([[0.0, 0], [1, 0], [0, 3], [0.1, 0.1]])
    labels = torch.tensor([0, 0, 0, 1])
    for _ in range(10):
        moved = _perturbations.interpolate(bank[:1], labels[:1], bank, labels, num_neighbours=1, strength=0.5)
        assert torch.equal(moved, torch.tensor([[0.5, 0]]))
        away = _perturbations.interpolate(bank[:1], labels[:1], bank, labels, num_neighbours=1, strength=-0.5)
        assert torch.equal(away, torch.tensor([[-0.5, 0]]))
        any_class = _perturbations.interpolate(bank[:1], None, bank, labels, num_neighbours=1, strength=1.0)
        assert torch.equal(any_class, bank[3:])
    many = torch.cat([_perturbations.interpolate(bank[:1], labels[:1], bank, labels, 2, 1.0) for _ in range(40)])
    assert {tuple(row) for row in many.tolist()} == {(1.0, 0.0), (0.0, 3.0)}
    # a class of one image has no neighbour
    assert torch.equal(_perturbations.interpolate(bank[3:], labels[3:], bank, labels, 2, 0.5), bank[3:])


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_resampling_keeps_the_mixture(strength):
    num = 40_000
    weights, means = torch.tensor([0.3, 0.7]), torch.tensor([[-2.0, 0], [1, 1]])
    deviations = torch.tensor([[0.5, 1.0], [1.0, 0.3]])
    drawn = torch.multinomial(weights, num, replacement=True)
    z = means[drawn] + deviations[drawn] * torch.randn(num, 2)
    labels = torch.zeros(num, dtype=torch.long)
    varied = _perturbations.resample(
        z, labels, (weights, means, deviations), torch.zeros(2, dtype=torch.long), strength
    )
    quantiles = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    for old, new in zip(z.T, varied.T):
        assert torch.allclose(old.quantile(quantiles), new.quantile(quantiles), atol=0.06)
    assert torch.equal(varied, z) == (strength == 0)


def test_resampling_stays_in_the_class():
    z = torch.cat([torch.randn(200, 2) - 20, torch.randn(100, 2) + 20])
    labels = torch.cat([torch.zeros(200), torch.ones(100)]).long()
    components, component_labels = _perturbations.fit_mixtures(z, labels)
    assert component_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert components[0].sum() == pytest.approx(1)
    # an image of class 1 that looks like one of class 0 is moved to where its class is
    varied = _perturbations.resample(z[:50], torch.ones(50).long(), components, component_labels, 1.0)
    assert varied.mean() > 15
    # one of a class without a mixture stays
    assert torch.equal(_perturbations.resample(z[:50], torch.full((50,), 7), components, component_labels, 1.0), z[:50])
    assert len(_perturbations.fit_mixtures(z[:3], torch.arange(3))[1]) == 0


class _Gaussian:
    """Training images of 6 pixels from a gaussian with known eigenvalues."""

    def __init__(self):
        torch.manual_seed(0)
        self.eigenvalues = torch.tensor([0.09, 0.04, 0.02, 0.01, 0.004, 0.001])
        basis = torch.linalg.qr(torch.randn(6, 6)).Q
        x = exact(4000, torch.zeros(6), torch.diag(self.eigenvalues)) @ basis.T
        self.images, self.labels = x.reshape(-1, 1, 2, 3), torch.zeros(len(x), dtype=torch.long)
        self.train, self.fingerprint, self.cache_dir = self, "gaussian", None


@pytest.mark.parametrize(
    "how, strength, factor",
    [("gaussian", 0.6, 1.0), ("interpolate", 0.5, 0.5), ("extrapolate", 0.5, 2.5)],
)
@pytest.mark.parametrize("detail", ["decode", "residual"])
def test_frechet_distance_of_a_linear_autoencoders_variations(how, strength, factor, detail):
    """The sum of lambda_i (sqrt(f) - 1)^2 over the kept dimensions; decoding loses the discarded ones besides."""
    data = _Gaussian()
    arm = PCAAugment(latent_dim=3, perturb=how, strength=strength, detail=detail, neighbours=10**6)
    arm.max_bank = 400
    arm.fit(data)
    arm.bank = arm.bank[torch.randperm(len(arm.bank))]
    varied = arm.vary(data.images, data.labels)
    distance = frechet_distance(data.images.flatten(1), varied.flatten(1))
    kept = float((data.eigenvalues[:3] * (factor**0.5 - 1) ** 2).sum())
    discarded = float(data.eigenvalues[3:].sum()) if detail == "decode" else 0.0
    assert distance == pytest.approx(kept + discarded, abs=2.5e-3)


def test_of_latents_with_and_without_a_known_class_only_the_others_stay():
    """In one batch, so that whether a class is known is asked of each code."""
    z, labels = two_classes(30)
    mixed, log_variance = torch.tensor([3, 99]), torch.zeros(2, 3)
    classes, mixtures = _perturbations.fit_classes(z, labels, torch.ones(3)), _perturbations.fit_mixtures(z, labels)
    torch.manual_seed(0)
    moved = _perturbations.gaussian_of_class(z[:2], mixed, classes, 0.8)
    assert not torch.equal(moved[0], z[0]) and torch.equal(moved[1], z[1])
    moved = _perturbations.resample(z[:2], mixed, *mixtures, 0.8)
    assert not torch.equal(moved[0], z[0]) and torch.equal(moved[1], z[1])
    drawn = []
    for draw, more in ((_perturbations.posterior, ()), (_perturbations.posterior_of_class, (mixed, classes))):
        torch.manual_seed(0)
        drawn.append(draw(z[:2], log_variance, *more, 0.8))
    assert torch.allclose(drawn[0][1], drawn[1][1], atol=1e-5) and not torch.allclose(drawn[0][0], drawn[1][0])


def test_posterior_of_a_class_is_exact_under_mixed_precision():
    """As by plain inverses in float64, where half precision has two digits."""
    z, labels = two_classes(30)
    classes = _perturbations.fit_classes(z, labels, torch.ones(3))
    mean, sigma, label = z[:9].double(), torch.linspace(0.5, 2, 27).reshape(9, 3).double(), labels[:9]
    precision = torch.diag_embed(sigma**-2) + classes.precision
    of_class = mean / sigma**2 + classes.pull[torch.zeros(9, dtype=torch.long)]
    expected = torch.linalg.solve(precision, of_class)
    for enabled in (False, True):
        drawn = []
        for noise in (torch.full((9, 3), 0.3), torch.full((9, 3), -0.3)):
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled), patch.object(torch, "randn_like") as randn:
                randn.return_value = noise
                drawn.append(
                    _perturbations.posterior_of_class(mean.float(), 2 * sigma.log().float(), label, classes, 1.0)
                )
        assert torch.allclose(sum(drawn).double() / 2, expected, rtol=1e-4, atol=1e-4)


def test_a_gaussian_of_classes_without_extent_in_some_dimension():
    """A billionth of the trace stands in for it; and latents far from 0 lose no digits."""
    z = torch.tensor([[0.0, 0.0], [2.0, 0.0], [5.0, 9.0]])
    classes = _perturbations.fit_classes(z, torch.tensor([0, 0, 1]))
    assert float(classes.cholesky[1, 1]) ** 2 == pytest.approx(2e-9, rel=0.01)
    near, labels = two_classes(30)
    far = near + 10_000
    expected = _perturbations.fit_classes(far.double(), labels).cholesky
    assert torch.allclose(_perturbations.fit_classes(far, labels).cholesky.double(), expected, atol=1e-6)


def test_neighbours_of_latents_far_from_the_origin_are_not_themselves():
    """Distances by a matrix product would not be 0 there; and each code has a scale of its own."""
    bank = torch.randn(100, 3) + 50
    moved = _perturbations.interpolate(bank, None, bank, torch.zeros(100), num_neighbours=1, strength=1.0)
    assert (moved - bank).norm(dim=1).min() > 1e-3
    bank = torch.tensor([[0.0, 1.0], [0.0, 2.0], [1e6, 0.0], [1e6, 500.0]])
    moved = _perturbations.interpolate(bank, None, bank, torch.zeros(4), num_neighbours=1, strength=1.0)
    assert torch.equal(moved, bank[[1, 0, 3, 2]])


def test_the_gaussian_is_drawn_by_its_probability_given_the_code(monkeypatch):
    components = (
        torch.tensor([0.2, 0.8]),
        torch.tensor([[-1.0, 0.0], [2.0, 1.0]]),
        torch.tensor([[0.5, 1.0], [2.0, 0.3]]),
    )
    z = torch.tensor([[0.3, 0.4], [-0.5, 0.9]])
    given = []

    def multinomial(p, num):
        given.append(p)
        return torch.tensor([[0], [1]])

    monkeypatch.setattr(torch, "multinomial", multinomial)
    torch.manual_seed(0)
    moved = _perturbations.resample(z, None, components, torch.zeros(2), 0.6)
    weights, means, deviations = components
    log_p = torch.distributions.Normal(means, deviations).log_prob(z[:, None]).sum(2) + weights.log()
    assert torch.allclose(given[0], log_p.softmax(1), atol=1e-6)
    torch.manual_seed(0)
    assert torch.allclose(moved, means + 0.8 * (z - means) + 0.6 * deviations * torch.randn(2, 2), atol=1e-6)


def test_mixtures_of_classes_are_scikit_learns():
    """One gaussian more for every twenty latents, three at most, none for a class of one, whatever comes after it."""
    sizes = {0: 41, 1: 1, 2: 2, 3: 39, 4: 100}
    labels = torch.tensor([label for label, num in sizes.items() for _ in range(num)])
    z = torch.randn(len(labels), 2) * 3 + 100
    (weights, means, deviations), of = _perturbations.fit_mixtures(z, labels)
    assert of.tolist() == [0, 0, 2, 3, 4, 4, 4]
    start = 0
    for label in (0, 2, 3, 4):
        own, num = z[labels == label].double().numpy(), of.tolist().count(label)
        fitted = GaussianMixture(num, covariance_type="diag", reg_covar=1e-6, random_state=0).fit(own)
        here = slice(start, start + num)
        expected = (fitted.weights_ * len(own) / 182, fitted.means_, fitted.covariances_**0.5)  # of all but the one
        for part, value in zip((weights, means, deviations), expected):
            assert torch.allclose(part[here].double(), torch.from_numpy(value), rtol=1e-5)
        start += num
    (weights, means, deviations), of = _perturbations.fit_mixtures(z[:3], torch.arange(3))
    assert (weights.shape, means.shape, deviations.shape, of.shape) == ((0,), (0, 2), (0, 2), (0,))
