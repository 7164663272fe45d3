"""Distributions of latents."""

import pytest
import torch
from sklearn import mixture
from sklearn.mixture import GaussianMixture

from lightning_genae.nn import latents as latents_module
from lightning_genae.nn.latents import TrainingLatents, draw_prior, reparameterise


def test_the_latest_latents_are_kept():
    latents = TrainingLatents(2, num_kept=5)
    for value in (1.0, 2.0, 3.0):
        latents.keep(torch.full((2, 2), value))
    assert latents.latents[:, 0].tolist() == [3, 3, 2, 2, 1]
    assert latents.num_seen == 6


def test_before_the_buffer_is_full_its_zeros_do_not_count():
    latents = TrainingLatents(2)
    latents.keep(torch.randn(300, 2) * 0.1 + 5)
    drawn = latents.draw(5000, "gaussian")
    assert torch.allclose(drawn.mean(0), torch.tensor(5.0), atol=0.05)
    assert torch.allclose(drawn.std(0), torch.tensor(0.1), atol=0.02)


@pytest.mark.parametrize("sampler", ["gaussian", "mixture"])
def test_fitted_samplers_have_the_moments_of_the_latents(sampler):
    z = torch.randn(1024, 3) @ torch.tensor([[2.0, 0, 0], [1, 1, 0], [0, 0, 0.1]]) + torch.tensor([1.0, 2, 3])
    latents = TrainingLatents(3)
    latents.keep(z)
    drawn = latents.draw(40_000, sampler)
    assert torch.allclose(drawn.mean(0), z.mean(0), atol=0.05)
    assert torch.allclose(torch.cov(drawn.T), torch.cov(z.T), atol=0.15)


def test_a_mixture_sees_what_one_gaussian_does_not():
    z = torch.randn(1024, 2) * 0.1 + torch.randint(2, (1024, 1)) * 4 - 2  # two clusters, at -2 and 2
    latents = TrainingLatents(2)
    latents.keep(z)
    between = {
        sampler: (latents.draw(5000, sampler)[:, 0].abs() < 1).float().mean() for sampler in ("gaussian", "mixture")
    }
    assert between["gaussian"] > 0.2
    assert between["mixture"] < 0.01


def test_standard():
    latents = TrainingLatents(3)
    latents.keep(torch.randn(1024, 3) * 5)
    drawn = latents.draw(20_000, "standard")
    assert torch.allclose(torch.cov(drawn.T), torch.eye(3), atol=0.05)


def test_latents_that_are_all_equal_can_be_drawn():
    latents = TrainingLatents(4)
    latents.keep(torch.ones(64, 4))
    for sampler in ("gaussian", "mixture"):
        assert torch.allclose(latents.draw(10, sampler), torch.ones(10, 4), atol=0.05)


def test_priors():
    like = torch.zeros(1)
    z = draw_prior("gaussian", 20_000, 3, like)
    assert torch.allclose(torch.cov(z.T), torch.eye(3), atol=0.05)

    z = draw_prior("mixture", 20_000, 3, like)
    angle = torch.atan2(z[:, 1], z[:, 0]) * 10 / (2 * torch.pi)
    assert (angle - angle.round()).abs().mean() < 0.15  # 0.25 if angles were even
    assert torch.bincount(angle.round().long() % 10).min() > 1700
    assert z[:, :2].norm(dim=1).mean() == pytest.approx(2, abs=0.1)
    assert z[:, 2].std() == pytest.approx(1, abs=0.05)

    z = draw_prior("swiss-roll", 20_000, 2, like)
    radius, angle = z.norm(dim=1), torch.atan2(z[:, 1], z[:, 0]) % (2 * torch.pi)
    turns = (radius / 0.3 - angle) / (2 * torch.pi)  # a whole number on the roll: radius = 0.3 angle
    assert (turns - turns.round())[radius > 0.5].abs().mean() < 0.05
    with pytest.raises(ValueError, match=r"--model.latent_dim: expected at least 2"):
        draw_prior("mixture", 5, 1, like)


def test_a_mixture_is_fitted_once_for_the_same_latents(monkeypatch):
    """Chunks of samples do not fit it anew, and get what a new fit would give; new latents do, and loaded ones."""
    fits = []

    class Counted(GaussianMixture):
        def fit(self, x):
            fits.append(len(x))
            return super().fit(x)

    monkeypatch.setattr(mixture, "GaussianMixture", Counted)
    latents, fresh = TrainingLatents(2, num_kept=64), TrainingLatents(2, num_kept=64)
    latents.keep(torch.randn(64, 2))
    fresh.load_state_dict(latents.state_dict())
    for _ in range(3):
        torch.manual_seed(1)
        drawn = latents.draw(20, "mixture")
    assert fits == [64]
    torch.manual_seed(1)
    assert torch.equal(fresh.draw(20, "mixture"), drawn)
    assert fits == [64, 64]
    latents.keep(torch.randn(8, 2) + 9)
    latents.draw(20, "mixture")
    assert len(fits) == 3
    latents.load_state_dict(fresh.state_dict())
    torch.manual_seed(1)
    assert torch.equal(latents.draw(20, "mixture"), drawn)
    assert len(fits) == 4


def test_reparameterise():
    """Its deviation is the root of the variance, whose logarithm is given, and its gradients are the noise's."""
    mean = torch.tensor([[1.0, -2.0]], requires_grad=True)
    log_variance = torch.tensor([[4.0, 0.25]]).log().requires_grad_()
    torch.manual_seed(0)
    noise = torch.randn(1, 2)
    torch.manual_seed(0)
    z = reparameterise(mean, log_variance)
    assert torch.allclose(z, torch.tensor([[1 + 2 * noise[0, 0], -2 + 0.5 * noise[0, 1]]]))
    z.sum().backward()
    assert torch.equal(mean.grad, torch.ones(1, 2))
    assert torch.allclose(log_variance.grad, torch.tensor([[2.0, 0.5]]) * noise / 2)  # d sigma / d log sigma^2
    drawn = reparameterise(torch.ones(20_000, 1), torch.full((20_000, 1), 9.0).log())
    assert drawn.var().item() == pytest.approx(9, rel=0.05)


def test_priors_moments():
    like = torch.zeros(1, dtype=torch.double)
    z = draw_prior("mixture", 40_000, 2, like)
    assert z.dtype == torch.double
    # of one arm, turned to the first axis: mean 2, deviations 0.7 along and 0.2 across
    angle = (torch.atan2(z[:, 1], z[:, 0]) * 10 / (2 * torch.pi)).round() * (2 * torch.pi / 10)
    along = z[:, 0] * angle.cos() + z[:, 1] * angle.sin()
    across = z[:, 1] * angle.cos() - z[:, 0] * angle.sin()
    near = along > 1  # where an arm is not taken for its neighbour
    assert along.mean().item() == pytest.approx(2, abs=0.05)
    assert along[near].std().item() == pytest.approx(0.608, abs=0.02)  # of N(2, 0.7) above 1
    assert across[near].std().item() == pytest.approx(0.2, abs=0.02)
    z = draw_prior("swiss-roll", 40_000, 2, like)
    radius = z.norm(dim=1)
    # the angle is 3 pi sqrt(u): radius^2 is even, its mean half of the largest, (0.3 * 3 pi)^2, plus the noise's
    assert radius.square().mean().item() == pytest.approx((0.9 * torch.pi) ** 2 / 2 + 2 * 0.05**2, rel=0.01)
    assert radius.max().item() == pytest.approx(0.9 * torch.pi, abs=0.25)
    assert (radius < 0.45 * torch.pi).double().mean().item() == pytest.approx(0.25, abs=0.01)


def test_what_is_drawn_from_fitted_latents_is_mean_and_cholesky_factor_of_the_noise():
    z = torch.randn(40, 3, dtype=torch.double) @ torch.randn(3, 3, dtype=torch.double) + 1
    for kept in (z[:2], z):  # two latents have a covariance already
        latents = TrainingLatents(3, num_kept=64)
        latents.keep(kept)
        known = kept.float().double()
        torch.manual_seed(1)
        drawn = latents.draw(5, "gaussian")
        torch.manual_seed(1)
        noise = torch.randn(5, 3, dtype=torch.double)
        factor = torch.linalg.cholesky(torch.cov(known.T) + 1e-6 * torch.eye(3))
        assert torch.allclose(drawn, (known.mean(0) + noise @ factor.T).float(), rtol=0, atol=1e-6)


def test_a_mixture_is_scikit_learns_of_ten_gaussians():
    z = torch.randn(200, 2)
    z[100:] = z[0]  # a cluster without extent, whose deviation is what the fit is regularised with
    latents = TrainingLatents(2, num_kept=256)
    latents.keep(z)
    torch.manual_seed(1)
    drawn = latents.draw(6, "mixture").double()
    torch.manual_seed(1)
    noise = torch.randn(6, 2, dtype=torch.double)
    fitted = GaussianMixture(10, reg_covar=1e-5, random_state=0).fit(z.double().numpy())
    chosen = torch.multinomial(torch.from_numpy(fitted.weights_), 6, replacement=True)
    covariances = torch.from_numpy(fitted.covariances_)[chosen] + 1e-6 * torch.eye(2)
    expected = torch.from_numpy(fitted.means_)[chosen] + torch.einsum(
        "bij, bj -> bi", torch.linalg.cholesky(covariances), noise
    )
    assert torch.allclose(drawn, expected, rtol=0, atol=1e-6)
    few = TrainingLatents(2)
    assert len(few.latents) == 1024
    few.keep(z[:4])
    assert few.draw(3, "mixture").isfinite().all()  # four latents are no ten components


def test_latents_of_all_processes_are_kept_in_the_order_of_the_images(monkeypatch):
    """As one process would have had them: the samplers deal images out in turn."""
    z = torch.arange(4.0).reshape(2, 2)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(latents_module, "gather_all_tensors", lambda z: [z, z + 10])
    latents = TrainingLatents(2, num_kept=5)
    latents.keep(z)
    assert latents.latents.tolist() == [[0, 1], [10, 11], [2, 3], [12, 13], [0, 0]]
    assert latents.num_seen == 4


def test_draws_of_priors_by_hand():
    like = torch.zeros(1, dtype=torch.double)
    places = {"mixture": lambda u: 0.2j * torch.pi * (10 * u).floor(), "swiss-roll": lambda u: 3j * torch.pi * u.sqrt()}
    for prior, exponent in places.items():
        torch.manual_seed(0)
        noise, u = torch.randn(50, 4, dtype=torch.double), torch.rand(50, dtype=torch.double)
        direction = exponent(u).exp()
        if prior == "mixture":
            expected = (2 + 0.7 * noise[:, 0] + 0.2j * noise[:, 1]) * direction
        else:
            expected = 0.3 * exponent(u).imag * direction + 0.05 * (noise[:, 0] + 1j * noise[:, 1])
        torch.manual_seed(0)
        z = draw_prior(prior, 50, 4, like)
        assert torch.allclose(torch.complex(z[:, 0], z[:, 1]), expected, rtol=0, atol=1e-12)
        assert torch.equal(z[:, 2:], noise[:, 2:])
    torch.manual_seed(0)
    assert torch.equal(draw_prior("gaussian", 50, 4, like), noise)
