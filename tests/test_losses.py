"""Losses against closed forms and other libraries."""

import math

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy, mse_loss

from lightning_genae.nn import losses

# (f, g) of f-GAN's table: the divergence's function with f(1) = 0, and the activation of the critic's output
F_DIVERGENCES = {
    "kl": (lambda u: u * u.log(), lambda v: v),
    "reverse-kl": (lambda u: -u.log(), lambda v: -(-v).exp()),
    "pearson": (lambda u: (u - 1).square(), lambda v: v),
    "js": (lambda u: u * u.log() - (u + 1) * ((u + 1) / 2).log(), lambda v: math.log(2) - (1 + (-v).exp()).log()),
}


def test_critic_that_can_tell_nothing():
    zeros = torch.zeros(5)
    assert losses.critic("ns", zeros, zeros) == pytest.approx(math.log(4))
    assert losses.generator("ns", zeros) == pytest.approx(math.log(2))
    assert losses.critic("hinge", zeros, zeros) == 2
    assert losses.generator("hinge", zeros) == 0
    assert losses.critic("lsgan", zeros + 0.5, zeros + 0.5) == pytest.approx(0.5)


@pytest.mark.parametrize("kind, least, at", [("ns", math.log(4), 0), ("hinge", 2, 0), ("lsgan", 0.5, 0.5)])
def test_no_constant_critic_does_better_where_the_distributions_are_equal(kind, least, at):
    outputs = torch.linspace(-2, 2, 401)
    values = torch.stack([losses.critic(kind, v[None], v[None]) for v in outputs])
    assert values.min() == pytest.approx(least, abs=1e-4)
    assert values[(outputs - at).abs().argmin()] == pytest.approx(least, abs=1e-4)


def test_optimal_critic_gives_the_jensen_shannon_divergence():
    p, q = Normal(0.0, 1.0), Normal(1.5, 1.0)
    x = torch.linspace(-10, 12, 20001)
    dx = x[1] - x[0]
    density_p, density_q = p.log_prob(x).exp(), q.log_prob(x).exp()
    mixture = (density_p + density_q) / 2
    divergence = 0.5 * sum((d * (d / mixture).clamp_min(1e-300).log()).sum() * dx for d in (density_p, density_q))
    real, fake = p.sample((400_000,)), q.sample((400_000,))

    def optimal(x):  # log p/q, the logit of p / (p + q)
        return p.log_prob(x) - q.log_prob(x)

    loss = losses.critic("ns", optimal(real), optimal(fake))
    assert loss == pytest.approx(math.log(4) - 2 * divergence.item(), abs=5e-3)


@pytest.mark.parametrize("kind", F_DIVERGENCES)
@pytest.mark.parametrize("output", [-1.0, -0.2, 0.0, 0.3, 1.2])
def test_conjugate_pairs_of_f_divergences(kind, output):
    """What generated images cost is the conjugate f*(t) = sup over u of ut - f(u), at t = g(v)."""
    f, g = F_DIVERGENCES[kind]
    v = torch.tensor(output, dtype=torch.double)
    t = g(v)
    found = minimize_scalar(
        lambda u: float(f(torch.tensor(u, dtype=torch.double)) - u * t), bounds=(1e-9, 50), options={"xatol": 1e-10}
    )
    assert losses.GAMES[kind].fake(v) == pytest.approx(-found.fun, abs=1e-6)
    assert losses.GAMES[kind].real(v) == pytest.approx(-float(t), abs=1e-12)
    assert losses.GAMES[kind].generator(v) == pytest.approx(-float(t), abs=1e-12)


@pytest.mark.parametrize("kind", F_DIVERGENCES)
def test_the_best_critic_gives_the_f_divergence(kind):
    """Two distributions over three values: the least loss, over the critic's three outputs, is minus D_f(p || q)."""
    p, q = torch.tensor([0.2, 0.3, 0.5]).double(), torch.tensor([0.4, 0.4, 0.2]).double()
    game = losses.GAMES[kind]
    output = torch.zeros(3, dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([output], max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = (p * game.real(output) + q * game.fake(output)).sum()
        value.backward()
        return value

    optimizer.step(loss)
    f, _ = F_DIVERGENCES[kind]
    assert loss().item() == pytest.approx(-(q * f(p / q)).sum().item(), abs=1e-6)


def test_minimax_is_the_logistic_game_with_the_sign_turned():
    fake = torch.randn(100)
    expected = -losses.critic("ns", torch.full((1,), 1e4), fake)
    assert losses.generator("minimax", fake) == pytest.approx(expected.item(), rel=1e-5)


def test_logits_do_not_overflow():
    assert losses.generator("ns", torch.tensor([-1000.0])) == 1000


def test_losses_of_half_precision_are_computed_in_float32():
    assert losses.critic("ns", *torch.randn(2, 4).bfloat16()).dtype == torch.float32
    assert losses.critic("ns", *torch.randn(2, 4).double()).dtype == torch.float64


def linear_critic(weight):
    return lambda x: (x.flatten(1) * weight).sum(1)


def test_penalties_of_a_linear_critic():
    weight = torch.randn(12)
    real, fake = torch.randn(2, 7, 3, 2, 2)
    penalty = losses.gradient_penalty(linear_critic(weight), real, fake)
    assert penalty == pytest.approx((weight.norm().item() - 1) ** 2, rel=1e-5)
    assert losses.r1(linear_critic(weight), real) == pytest.approx(weight.square().sum().item() / 2, rel=1e-5)
    assert losses.gradient_penalty(linear_critic(torch.zeros(12)), real, fake) == pytest.approx(1, abs=1e-5)


def test_lecam_by_hand():
    """Outputs beyond the other kind's average cost their squared distance to it; those on its side cost nothing."""
    real, fake = torch.tensor([3.0, -2.0]), torch.tensor([0.0, 4.0])
    # relu(3 + 1)^2, relu(-2 + 1)^2 and relu(2 - 0)^2, relu(2 - 4)^2
    assert losses.lecam(real, fake, torch.tensor(2.0), torch.tensor(-1.0)) == (16 + 0) / 2 + (4 + 0) / 2


def test_penalties_look_where_they_should():
    """A critic whose slope at x is |x|: R1 sees the real image, the other one points between real and generated."""
    real, fake = torch.full((500, 1, 1, 1), 2.0), torch.full((500, 1, 1, 1), 4.0)

    def critic(x):
        return x.flatten(1).square().sum(1) / 2

    assert losses.r1(critic, real).item() == pytest.approx(2)
    # E (u - 1)^2 for u even on [2, 4] is the mean of u^2 over [1, 3]
    assert losses.gradient_penalty(critic, real, fake).item() == pytest.approx(13 / 3, abs=0.3)


def test_penalties_ignore_autocast_and_have_a_gradient():
    layer = torch.nn.Linear(4, 1)
    seen = []

    def critic(x):
        out = layer(x.flatten(1)).squeeze(1)
        seen.append(out.dtype)
        return out

    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses.r1(critic, torch.randn(3, 4, 1, 1)).backward()
        losses.gradient_penalty(critic, torch.randn(3, 4, 1, 1), torch.randn(3, 4, 1, 1).bfloat16()).backward()
    assert set(seen) == {torch.float32}
    assert layer.weight.grad.abs().sum() > 0


def test_path_lengths_of_a_linear_generator():
    """Of images A w: the norm of A^T y, y normal over the root of the number of pixels; on average that of A."""
    weight, styles = torch.randn(2 * 3 * 4, 5), torch.randn(2000, 5, requires_grad=True)
    torch.manual_seed(3)
    found = losses.path_lengths((styles @ weight.T).reshape(-1, 2, 3, 4), styles)
    torch.manual_seed(3)
    direction = torch.randn(2000, 2, 3, 4).flatten(1) / 12**0.5
    assert torch.allclose(found, (direction @ weight).norm(dim=1), rtol=1e-4)
    assert found.square().mean().item() == pytest.approx(weight.square().sum().item() / 12, rel=0.05)
    scale = torch.ones(5, requires_grad=True)  # and its gradient goes on to what made the images
    losses.path_lengths((styles * scale @ weight.T).reshape(-1, 2, 3, 4), styles).mean().backward()
    assert (scale.grad > 0).any()


@pytest.mark.parametrize("shift, weight", [(3.0, 10.0), (0.5, 1.0)])
def test_wgan_gp_with_a_linear_critic(shift, weight):
    """Slope 1 + d / (2g) for data shifted by d; the gap it reports exceeds the distance by d^2 / (2g)."""
    slope = torch.ones((), dtype=torch.double, requires_grad=True)
    fake = torch.randn(50, 1, 1, 1).double()
    real = fake + shift
    optimizer = torch.optim.LBFGS([slope], max_iter=50, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        critic = linear_critic(slope)
        value = losses.critic("wgan", critic(real), critic(fake))
        value = value + weight * losses.gradient_penalty(critic, real, fake)
        value.backward()
        return value

    optimizer.step(loss)
    assert slope.item() == pytest.approx(1 + shift / (2 * weight), rel=1e-6)
    gap = -losses.critic("wgan", linear_critic(slope)(real), linear_critic(slope)(fake))
    assert gap.item() == pytest.approx(shift + shift**2 / (2 * weight), rel=1e-6)


def test_kl_to_standard_normal():
    mean, log_variance = torch.randn(2, 6, 3)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
    assert torch.allclose(losses.kl_to_standard_normal(mean, log_variance), expected, atol=1e-5)


def test_log_likelihoods():
    output, x, log_sigma = torch.randn(4, 1, 3, 3), torch.rand(4, 1, 3, 3) * 2 - 1, torch.tensor(-0.7)
    expected = Normal(output, log_sigma.exp()).log_prob(x).flatten(1).sum(1)
    assert torch.allclose(losses.gaussian_log_likelihood(output, x, log_sigma), expected, atol=1e-4)
    binary = x.sign()
    expected = Bernoulli(logits=output).log_prob((binary + 1) / 2).flatten(1).sum(1)
    assert torch.allclose(losses.bernoulli_log_likelihood(output, binary), expected, atol=1e-4)


def test_reconstruction():
    output, x = torch.randn(4, 1, 5, 5), torch.rand(4, 1, 5, 5) * 2 - 1
    assert losses.reconstruction("mse", output, x) == pytest.approx(mse_loss(output, x).item())
    assert losses.reconstruction("l1", output, x) == pytest.approx((output - x).abs().mean().item())
    probabilities = (losses.to_image("bce", output) + 1) / 2
    expected = binary_cross_entropy(probabilities.double(), ((x + 1) / 2).double()).item()
    assert losses.reconstruction("bce", output, x) == pytest.approx(expected, rel=1e-5)
    assert losses.to_image("mse", torch.tensor([-3.0, 0.5, 2])).tolist() == [-1, 0.5, 1]
    with pytest.raises(ValueError, match="expected mse, l1, bce or ce"):
        losses.reconstruction("huber", output, x)
    for power, name in ((1, "l1"), (2, "mse")):
        error = losses.reconstruction_error(x, output, power)
        assert error.shape == (4,)
        assert error.mean() == pytest.approx(losses.reconstruction(name, output, x).item())


def test_energy_critic():
    real, fake = torch.tensor([0.1, 0.3]), torch.tensor([0.2, 0.6])
    assert losses.energy_critic(real, fake, margin=0.5) == pytest.approx(0.2 + (0.3 + 0) / 2)
    assert losses.energy_critic(real, real, margin=0.5) == pytest.approx(0.5)


def test_pulling_away():
    assert losses.pulling_away(torch.eye(4)) == pytest.approx(0)
    assert losses.pulling_away(torch.ones(4, 3) * torch.tensor([1.0, 2, 3, 4])[:, None]) == pytest.approx(1)
    z = torch.tensor([[1.0, 0], [2, 2], [0, 5]])  # cosines 1/sqrt 2, 0, 1/sqrt 2
    assert losses.pulling_away(z) == pytest.approx(2 * (0.5 + 0 + 0.5) / 6)


def test_equilibrium():
    k, convergence = losses.equilibrium(*torch.tensor([0.5, 0.4, 0.1]), gamma=0.5, lambda_k=0.1)
    assert k == pytest.approx(0.5 + 0.1 * (0.5 * 0.4 - 0.1))
    assert convergence == pytest.approx(0.4 + 0.1)
    assert losses.equilibrium(*torch.tensor([0.99, 0.4, 0.0]), 0.5, 1.0)[0] == 1
    k, convergence = losses.equilibrium(*torch.tensor([0.01, 0.4, 0.9]), 0.5, 1.0)
    assert k == 0
    assert convergence == pytest.approx(0.4 + 0.7)


def test_values_of_every_game():
    """At outputs 2 (real) and -1 (generated), from the papers' formulas with plain numbers."""
    real, fake, e = torch.tensor([2.0]), torch.tensor([-1.0]), math.exp
    log, d_real, d_fake = math.log, 1 / (1 + e(-2)), 1 / (1 + e(1))
    expected = {  # the critic's, the generator's
        "ns": (-log(d_real) - log(1 - d_fake), -log(d_fake)),
        "minimax": (-log(d_real) - log(1 - d_fake), log(1 - d_fake)),
        "lsgan": ((2 - 1) ** 2 + (-1) ** 2, (-1 - 1) ** 2),
        "hinge": (0 + 0, 1),
        "wgan": (-1 - 2, 1),
        "kl": (-2 + e(-1 - 1), 1),
        "reverse-kl": (e(-2) - 1 + -1, e(1)),  # f*(t) = -1 - log(-t) at t = -exp(-v)
        "pearson": (-2 + 0.25 - 1, 1),
        "js": (-log(2 * d_real) - log(2 - 2 * d_fake), -log(2 * d_fake)),
    }
    assert expected.keys() == losses.GAMES.keys()
    for kind, (critic, generator) in expected.items():
        assert losses.critic(kind, real, fake).item() == pytest.approx(critic, abs=1e-6)
        assert losses.generator(kind, fake).item() == pytest.approx(generator, abs=1e-6)
    assert losses.critic("hinge", torch.tensor([0.25]), torch.tensor([0.5])).item() == pytest.approx(0.75 + 1.5)


@pytest.mark.parametrize("kind", losses.GAMES)
def test_an_undecided_critic_has_no_better_output(kind):
    """Where real and generated images are alike, the critic's loss is least at the output that says so."""
    decision_threshold = losses.GAMES[kind].decision_threshold
    if decision_threshold is None:
        outputs = torch.linspace(-5, 5, 11)
        assert all(losses.critic(kind, v[None], v[None]) == 0 for v in outputs)  # every one is as good
        return
    least = losses.critic(kind, *torch.full((2, 1), decision_threshold))
    if kind != "hinge":  # which is flat between -1 and 1
        for off in (-0.3, 0.3):
            assert losses.critic(kind, *torch.full((2, 1), decision_threshold + off)) > least + 1e-3
    assert (
        losses.critic(kind, torch.full((1,), decision_threshold - 2.0), torch.full((1,), decision_threshold - 2.0))
        > least
    )


def test_means_are_over_the_batch():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 4.0])
    assert losses.critic("wgan", real, fake) == 2 - 2
    assert losses.generator("wgan", fake) == -2


def test_likelihoods_by_hand():
    x, output = torch.tensor([[0.5, -1.0]]).reshape(1, 1, 1, 2), torch.tensor([[0.0, 1.0]]).reshape(1, 1, 1, 2)
    # deviation 2: -1/2 (0.5/2)^2 - 1/2 (2/2)^2 - 2 log(2 sqrt(2 pi))
    expected = -0.03125 - 0.5 - 2 * math.log(2 * math.sqrt(2 * math.pi))
    assert losses.gaussian_log_likelihood(output, x, torch.tensor(2.0).log()).item() == pytest.approx(expected)
    # pixels as probabilities 3/4 and 0; logits 0 and 1
    expected = math.log(0.5) + math.log(1 - 1 / (1 + math.exp(-1)))
    assert losses.bernoulli_log_likelihood(output, x).item() == pytest.approx(expected)
    tokens = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).reshape(1, 3, 1, 2)
    logits = torch.tensor([[0.5, 0.2], [0.3, 0.2], [0.2, 0.6]]).log().reshape(1, 3, 1, 2)
    assert losses.categorical_log_likelihood(logits, tokens).item() == pytest.approx(math.log(0.5) + math.log(0.2))
    assert losses.reconstruction("ce", logits, tokens).item() == pytest.approx(-(math.log(0.5) + math.log(0.2)) / 2)
    assert torch.allclose(losses.to_image("ce", logits), 2 * logits.exp() - 1, atol=1e-6)
    assert losses.to_image("bce", torch.tensor([0.0, math.log(3)])).tolist() == pytest.approx([0, 0.5])


def test_kl_of_every_dimension_by_hand():
    mean, log_variance = torch.tensor([[0.0, 2.0, 0.0]]), torch.tensor([[0.0, 0.0, math.log(4)]])
    assert losses.kl_to_standard_normal(mean, log_variance)[0].tolist() == pytest.approx([0, 2, 1.5 - math.log(2)])


def test_pulling_away_does_not_see_lengths_and_squares_cosines():
    z = torch.tensor([[3.0, 4.0], [-3.0, -4.0]])
    assert losses.pulling_away(z).item() == pytest.approx(1)
    z = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    assert losses.pulling_away(z).item() == pytest.approx(0.36)
    assert losses.pulling_away(100 * z).item() == pytest.approx(0.36)
    assert losses.pulling_away(z[:1]) == 0
