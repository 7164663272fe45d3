"""Distributions of codes."""

import pytest
import torch

from lightning_genae.codes import TrainingCodes, draw_prior


def test_the_latest_codes_are_kept():
    codes = TrainingCodes(2, num_kept=5)
    for value in (1.0, 2.0, 3.0):
        codes.keep(torch.full((2, 2), value))
    assert codes.codes[:, 0].tolist() == [3, 3, 2, 2, 1]
    assert codes.num_seen == 6


def test_before_the_buffer_is_full_its_zeros_do_not_count():
    codes = TrainingCodes(2)
    codes.keep(torch.randn(300, 2) * 0.1 + 5)
    drawn = codes.draw(5000, "gaussian")
    assert torch.allclose(drawn.mean(0), torch.tensor(5.0), atol=0.05)
    assert torch.allclose(drawn.std(0), torch.tensor(0.1), atol=0.02)


@pytest.mark.parametrize("sampler", ["gaussian", "mixture"])
def test_fitted_samplers_have_the_moments_of_the_codes(sampler):
    z = torch.randn(1024, 3) @ torch.tensor([[2.0, 0, 0], [1, 1, 0], [0, 0, 0.1]]) + torch.tensor([1.0, 2, 3])
    codes = TrainingCodes(3)
    codes.keep(z)
    drawn = codes.draw(40_000, sampler)
    assert torch.allclose(drawn.mean(0), z.mean(0), atol=0.05)
    assert torch.allclose(torch.cov(drawn.T), torch.cov(z.T), atol=0.15)


def test_a_mixture_sees_what_one_gaussian_does_not():
    z = torch.randn(1024, 2) * 0.1 + torch.randint(2, (1024, 1)) * 4 - 2  # two clusters, at -2 and 2
    codes = TrainingCodes(2)
    codes.keep(z)
    between = {
        sampler: (codes.draw(5000, sampler)[:, 0].abs() < 1).float().mean() for sampler in ("gaussian", "mixture")
    }
    assert between["gaussian"] > 0.2
    assert between["mixture"] < 0.01


def test_standard():
    codes = TrainingCodes(3)
    codes.keep(torch.randn(1024, 3) * 5)
    drawn = codes.draw(20_000, "standard")
    assert torch.allclose(torch.cov(drawn.T), torch.eye(3), atol=0.05)


def test_codes_that_are_all_equal_can_be_drawn():
    codes = TrainingCodes(4)
    codes.keep(torch.ones(64, 4))
    for sampler in ("gaussian", "mixture"):
        assert torch.allclose(codes.draw(10, sampler), torch.ones(10, 4), atol=0.05)


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
