"""Losses against closed forms."""

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy, mse_loss

from lightning_genae import losses


def test_critic_that_can_tell_nothing():
    logits = torch.zeros(10)
    assert sum(losses.logistic_critic(logits, logits)) == pytest.approx(math.log(4))
    assert losses.logistic_generator(logits) == pytest.approx(math.log(2))


def test_optimal_critic_gives_the_jensen_shannon_divergence():
    p, q = torch.distributions.Normal(0.0, 1.0), torch.distributions.Normal(1.0, 1.0)
    x = torch.linspace(-12, 13, 20001, dtype=torch.double)
    dx = x[1] - x[0]
    density_p, density_q = p.log_prob(x).exp(), q.log_prob(x).exp()
    mixture = (density_p + density_q) / 2
    divergence = 0.5 * sum((d * (d / mixture).clamp_min(1e-300).log()).sum() * dx for d in (density_p, density_q))
    real, fake = p.sample((400_000,)), q.sample((400_000,))

    def optimal(x):  # log p/q, the logit of p / (p + q)
        return p.log_prob(x) - q.log_prob(x)

    loss = sum(losses.logistic_critic(optimal(real), optimal(fake)))
    assert loss == pytest.approx(math.log(4) - 2 * divergence.item(), abs=5e-3)


def test_logits_do_not_overflow():
    assert losses.logistic_generator(torch.tensor([-1000.0])) == 1000


def test_reconstruction():
    output, x = torch.randn(4, 1, 5, 5), torch.rand(4, 1, 5, 5) * 2 - 1
    assert losses.reconstruction("mse", output, x) == pytest.approx(mse_loss(output, x).item())
    assert losses.reconstruction("l1", output, x) == pytest.approx((output - x).abs().mean().item())
    probabilities = (losses.to_image("bce", output) + 1) / 2
    expected = binary_cross_entropy(probabilities.double(), ((x + 1) / 2).double()).item()
    assert losses.reconstruction("bce", output, x) == pytest.approx(expected, rel=1e-5)
    assert losses.to_image("mse", torch.tensor([-3.0, 0.5, 2])).tolist() == [-1, 0.5, 1]
    with pytest.raises(ValueError, match="expected mse, l1 or bce"):
        losses.reconstruction("huber", output, x)
