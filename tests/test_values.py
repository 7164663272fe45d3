"""Losses of both players of every model with a critic, their gradients and one update, against the papers' formulas.

The expected values are plain numpy, from the weights of tiny networks up to the paper's formula; no loss of the project
takes part. Gradients are compared with finite differences of those values, so that a term that is missing, has another
sign or weight, or through which no gradient passes is seen for each weight of each player.
"""

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from scipy.ndimage import sobel
from torch import nn
from torch.utils.data import DataLoader

from lightning_genae import registry
from lightning_genae.models._two_players import TwoPlayers
from lightning_genae.models.cogan import edges

SHAPE, NUM, NUM_CLASSES = (1, 2, 2), 3, 3
TINY = {"network": "mlp", "hidden": [3], "latent_dim": 2}
SLOPE, SHIFT = 0.8, 0.1  # of the view: what the critic sees is SLOPE * image + SHIFT * class
X = np.array([[0.9, -0.8, 0.3, -0.1], [-0.7, 0.2, 0.6, 0.95], [0.1, -0.4, -0.9, 0.5]])
LABELS = np.array([2, 0, 1])
Z = np.array([[0.5, -1.2], [1.5, 0.3], [-0.4, 0.8]])


class Expected(NamedTuple):
    """What each player minimises, computed anew from the model's weights at every call."""

    critic: Callable[[], float]
    generator: Callable[[], float]


def values(parameter: torch.Tensor) -> np.ndarray:
    return parameter.detach().numpy()


def apply(network: nn.Module, x: np.ndarray) -> np.ndarray:
    """A dense network with leaky rectifiers, rows (N, inputs) to rows (N, outputs)."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            x = x @ values(layer.weight).T + values(layer.bias)
        elif isinstance(layer, nn.LeakyReLU):
            x = np.where(x > 0, x, 0.2 * x)
    return x


def view(images: np.ndarray, labels: np.ndarray = LABELS) -> np.ndarray:
    return SLOPE * images + SHIFT * labels[:, None]


def view_torch(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return SLOPE * images + SHIFT * labels[:, None, None, None].to(images.dtype)


def sigmoid(v: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-v))


def logistic(real: np.ndarray, fake: np.ndarray) -> float:
    """-E log D(real) - E log(1 - D(fake)), D being the sigmoid of the critic's output."""
    return -np.log(sigmoid(real)).mean() - np.log(1 - sigmoid(fake)).mean()


def non_saturating(fake: np.ndarray) -> float:
    """-E log D(fake)"""
    return -np.log(sigmoid(fake)).mean()


def squared_slopes(critic: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """Squared norm (N,) of a critic's gradient at rows (N, d), by differences."""
    step, total = 1e-6, np.zeros(len(x))
    for i in range(x.shape[1]):
        towards = step * np.eye(x.shape[1])[i]
        total += ((critic(x + towards) - critic(x - towards)) / (2 * step)) ** 2
    return total


# name of the loss: the critic's of its outputs on real and generated images, the generator's
GAMES = {
    "ns": (logistic, non_saturating),
    "minimax": (logistic, lambda fake: np.log(1 - sigmoid(fake)).mean()),
    "lsgan": (lambda real, fake: ((real - 1) ** 2).mean() + (fake**2).mean(), lambda fake: ((fake - 1) ** 2).mean()),
    "hinge": (
        lambda real, fake: np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean(),
        lambda fake: -fake.mean(),
    ),
    "wgan": (lambda real, fake: fake.mean() - real.mean(), lambda fake: -fake.mean()),
    "kl": (lambda real, fake: np.exp(fake - 1).mean() - real.mean(), lambda fake: -fake.mean()),
    # T = -exp(-v), f*(t) = -1 - log(-t)
    "reverse-kl": (
        lambda real, fake: np.exp(-real).mean() + (-1 - np.log(np.exp(-fake))).mean(),
        lambda fake: np.exp(-fake).mean(),
    ),
    "pearson": (lambda real, fake: (fake**2 / 4 + fake).mean() - real.mean(), lambda fake: -fake.mean()),
    # T = log 2 - log(1 + exp(-v)), f*(t) = -log(2 - exp t)
    "js": (
        lambda real, fake: -np.log(2 * sigmoid(real)).mean() - np.log(2 - 2 * sigmoid(fake)).mean(),
        lambda fake: -np.log(2 * sigmoid(fake)).mean(),
    ),
}


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(NUM_CLASSES)[labels]


def score(model, x: np.ndarray) -> np.ndarray:
    """Outputs (N,) of the critic of a GAN on rows (N, pixels), with the classes as the model is told to use them."""
    kind, labels = model.hparams.conditional, LABELS
    if kind == "concatenation":  # a class is a constant map for each channel
        x = np.concatenate([x, np.repeat(one_hot(labels), x.shape[1], axis=1)], 1)
    features = apply(model.critic.features, x)
    out = (features @ values(model.critic.score.weight).T + values(model.critic.score.bias))[:, 0]
    return out + (values(model.critic.embedding.weight)[labels] * features).sum(1) if kind == "projection" else out


def gan(model) -> Expected:
    critic_loss, generator_loss = GAMES[model.hparams.loss.removesuffix("-gp")]
    torch.manual_seed(0)
    share = torch.rand(NUM, 1, 1, 1, dtype=torch.double).flatten(1).numpy()

    def fake():
        z = np.concatenate([Z, one_hot(LABELS)], 1) if model.hparams.conditional != "no" else Z
        return view(np.tanh(apply(model.generator, z)))

    generated = fake()  # the critic's loss has no gradient for the generator

    def critic():
        loss = critic_loss(score(model, view(X)), score(model, generated))
        r1 = squared_slopes(lambda x: score(model, view(x)), X).mean()  # at the image, through the view
        between = view(X) + share * (generated - view(X))
        slopes = np.sqrt(squared_slopes(lambda x: score(model, x), between))
        given = model.hparams.gradient_penalty
        weight = (10 if model.hparams.loss == "wgan-gp" else 0) if given is None else given
        return loss + model.hparams.r1 / 2 * r1 + weight * ((slopes - 1) ** 2).mean()

    return Expected(critic, lambda: generator_loss(score(model, fake())))


def ebgan(model) -> Expected:
    def energy(x):
        code = apply(model.critic[0], x)
        return ((x - apply(model.critic[1], code)) ** 2).mean(1), code

    def fake():
        return view(np.tanh(apply(model.generator, Z)))

    generated = fake()

    def critic():
        return energy(view(X))[0].mean() + np.maximum(0, model.hparams.margin - energy(generated)[0]).mean()

    def generator():
        energies, latents = energy(fake())
        pairs = [
            (latents[i] @ latents[j] / np.linalg.norm(latents[i]) / np.linalg.norm(latents[j])) ** 2
            for i in range(NUM)
            for j in range(NUM)
            if i != j
        ]
        return energies.mean() + model.hparams.pulling_away * sum(pairs) / (NUM * (NUM - 1))

    return Expected(critic, generator)


def began(model) -> Expected:
    k = 0.6
    model.k.fill_(k)

    def error(x):
        return np.abs(x - apply(model.critic[1], apply(model.critic[0], x))).mean()

    def fake():
        return view(np.tanh(apply(model.generator, Z)))

    generated = fake()
    return Expected(lambda: error(view(X)) - k * error(generated), lambda: error(fake()))


def aae(model) -> Expected:
    latents = apply(model.encoder, X)

    def generator():
        z = apply(model.encoder, X)
        reconstruction = ((apply(model.generator, z) - X) ** 2).mean()
        return reconstruction + model.hparams.adversarial * non_saturating(apply(model.critic, z)[:, 0])

    # the prior's latents are the real ones
    return Expected(lambda: logistic(apply(model.critic, Z)[:, 0], apply(model.critic, latents)[:, 0]), generator)


def bigan(model) -> Expected:
    def judge(x, z):
        return apply(model.critic.score, np.concatenate([apply(model.critic.features, x), z], 1))[:, 0]

    def pairs():
        return (view(X), apply(model.encoder, X)), (view(np.tanh(apply(model.generator, Z))), Z)

    encoded, generated = pairs()

    def generator():
        encoded, generated = pairs()
        return logistic(judge(*generated), judge(*encoded))

    return Expected(lambda: logistic(judge(*encoded), judge(*generated)), generator)


def cogan(model) -> Expected:
    second = view(-X[::-1], LABELS[::-1])  # of the other end of the batch

    def fakes():
        return [view(np.tanh(apply(network, Z))) for network in (model.generator.first, model.generator.second)]

    generated = fakes()

    def outputs(first, second):
        return apply(model.critic.first, first)[:, 0], apply(model.critic.second, second)[:, 0]

    def critic():
        real, fake = outputs(view(X), second), outputs(*generated)
        return logistic(real[0], fake[0]) + logistic(real[1], fake[1])

    return Expected(critic, lambda: sum(map(non_saturating, outputs(*fakes()))))


def vaegan(model) -> Expected:
    torch.manual_seed(0)
    noise = torch.randn(NUM, 2, dtype=torch.double).numpy() if model.hparams.variational else None
    drawn = torch.randn(NUM, 2, dtype=torch.double).numpy()  # N(0, I)

    def encode():
        code = apply(model.encoder, X)
        if noise is None:
            return code, 0.0
        mean, log_variance = code[:, :2], code[:, 2:]
        kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum(1).mean()
        return mean + np.sqrt(np.exp(log_variance)) * noise, kl

    def judge(x):
        features = apply(model.critic.features, x)
        return features, (features @ values(model.critic.score.weight).T + values(model.critic.score.bias))[:, 0]

    twice = np.concatenate([LABELS, LABELS])
    latents = encode()[0]  # the critic's judgement does not reach the encoder

    def both():
        return view(np.tanh(apply(model.generator, np.concatenate([latents, drawn]))), twice)

    generated = both()

    def generator():
        z, kl = encode()
        x_hat, options = np.tanh(apply(model.generator, z)), model.hparams
        features = ((judge(x_hat)[0] - judge(X)[0]) ** 2).mean()
        adversarial = non_saturating(judge(both())[1])
        kl_weight = 2 if options.kl is None else options.kl
        pixels = ((x_hat - X) ** 2).mean()
        weighted = options.pixels * pixels + options.features * features + options.adversarial * adversarial
        return weighted + kl_weight * kl / X.shape[1]

    return Expected(lambda: logistic(judge(view(X))[1], judge(generated)[1]), generator)


CASES = {
    **{f"gan {loss}": ("gan", {"loss": loss}, gan) for loss in [*GAMES, "wgan-gp"]},
    "gan r1": ("gan", {"r1": 3.0}, gan),
    "gan penalty": ("gan", {"loss": "ns", "gradient_penalty": 0.7}, gan),
    "gan wgan-gp 3": ("gan", {"loss": "wgan-gp", "gradient_penalty": 3.0}, gan),
    "gan projection": ("gan", {"conditional": "projection", "r1": 1.0}, gan),
    "gan concatenation": ("gan", {"conditional": "concatenation", "loss": "wgan-gp"}, gan),
    "ebgan": ("ebgan", {"margin": 2.0, "pulling_away": 0.7}, ebgan),
    "ebgan at the margin": ("ebgan", {"margin": 0.02}, ebgan),
    "began": ("began", {}, began),
    "aae": ("aae", {"adversarial": 0.4}, aae),
    "bigan": ("bigan", {}, bigan),
    "cogan": ("cogan", {"num_shared": 1}, cogan),
    "vaegan": ("vaegan", {"pixels": 0.7, "features": 1.3, "adversarial": 0.9}, vaegan),
    "vaegan kl": ("vaegan", {"kl": 5.0}, vaegan),
    "vaegan with a code": ("vaegan", {"variational": False, "sampler": "standard"}, vaegan),
}


def test_every_model_with_a_critic_has_its_values():
    package = "lightning_genae.models"
    with_critic = {name for name in registry.names(package) if issubclass(registry.load(package, name), TwoPlayers)}
    assert {case[0] for case in CASES.values()} == with_critic


def fixed(name: str, **options):
    """A tiny model in float64, the same at every call, whose noise is Z."""
    model = registry.load("lightning_genae.models", name)(SHAPE, NUM_CLASSES, **TINY, **options).double()
    generator = torch.Generator().manual_seed(1)
    for weight in model.parameters():
        weight.data = 0.6 * torch.randn(weight.shape, generator=generator, dtype=torch.double)
    model.noise = lambda num: torch.from_numpy(Z)
    return model


@pytest.fixture(params=CASES)
def case(request):
    """A tiny model in float64 whose critic sees images through a view, a batch, and what its players minimise."""
    name, options, expected = CASES[request.param]
    model = fixed(name, **options)
    if model.critic_transform is not None:
        model.critic_transform = view_torch
    model._draw = (lambda num: torch.from_numpy(Z)) if name == "aae" else getattr(model, "_draw", None)
    model.log_part = lambda *args, **kwargs: None
    model.over_processes = lambda value: value.detach().clone()
    batch = torch.from_numpy(X).reshape(NUM, *SHAPE), torch.from_numpy(LABELS)
    return model, batch, expected(model)


def players(model) -> dict[str, list[tuple[str, nn.Parameter]]]:
    """Trainable weights of each player, by name."""
    weights = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    return {
        "critic": [pair for pair in weights if pair[0].startswith("critic.")],
        "generator": [pair for pair in weights if not pair[0].startswith("critic.")],
    }


def loss_of(model, player: str, batch) -> torch.Tensor:
    torch.manual_seed(0)
    return getattr(model, f"loss_{player}")(*batch)


@pytest.mark.parametrize("player", ["critic", "generator"])
def test_the_loss_and_its_gradient_are_the_papers(case, player):
    model, batch, expected = case
    own, expected = players(model)[player], getattr(expected, player)
    loss = loss_of(model, player, batch)
    assert loss.item() == pytest.approx(expected(), rel=1e-6)
    gradients = torch.autograd.grad(loss, [weight for _, weight in own], allow_unused=True)
    step = 1e-5
    for (name, weight), gradient in zip(own, gradients):
        flat = weight.data.view(-1)
        for i in {0, len(flat) // 2, len(flat) - 1}:
            flat[i] += step
            above = expected()
            flat[i] -= 2 * step
            below = expected()
            flat[i] += step
            found = 0.0 if gradient is None else float(gradient.view(-1)[i])
            assert found == pytest.approx((above - below) / (2 * step), rel=2e-3, abs=2e-5), name


def fit_one(model, batch, num_batches: int = 1) -> Trainer:
    """One batch, or the same one again, by the smallest Trainer there is."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {"enable_model_summary": False, "accelerator": "cpu", "devices": 1}
    trainer = Trainer(max_steps=-1, max_epochs=1, limit_val_batches=0, **quiet)
    trainer.fit(model, DataLoader([batch] * num_batches, batch_size=None))
    return trainer


def test_an_update_lowers_its_players_objective_and_moves_no_one_else(case):
    model, batch, expected = case
    model.hparams.lr, update, turns = 1e-4, model._update, []

    def watched(optimizer, player, loss):
        before, objective = {name: weight.clone() for name, weight in model.named_parameters()}, expected
        if player == "generator":  # against the critic as it is now
            objective = CASES_BY_HAND[type(model).__module__.rpartition(".")[2]](model)
        height = getattr(objective, player)()
        update(optimizer, player, loss_of(model, player, batch))
        moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
        own = {name for name, _ in players(model)[player]}
        assert moved and moved <= own
        assert getattr(objective, player)() < height
        turns.append(player)

    model._update = watched
    fit_one(model, batch)
    assert turns == ["critic", "generator"]


CASES_BY_HAND = {name: by_hand for name, _, by_hand in CASES.values()}


# what all models with a critic do, apart from their losses

TWO_PLAYERS = sorted({name for name, _, _ in CASES.values()})
BATCH = torch.from_numpy(X).reshape(NUM, *SHAPE), torch.from_numpy(LABELS)


def bound(name: str, output: np.ndarray) -> np.ndarray:
    return np.clip(output, -1, 1) if name == "aae" else np.tanh(output)


@pytest.mark.parametrize("name", TWO_PLAYERS)
def test_samples_are_the_averaged_generators(name):
    """Of noise, or of latents that are drawn as the model says; CoGAN's of the first domain."""
    model, drawn = fixed(name, **({"num_shared": 1} if name == "cogan" else {})), []
    if name in ("aae", "vaegan"):
        model._draw = lambda num, *sampler: drawn.append((num, *sampler)) or torch.from_numpy(Z)
    averaged = model.averaged.module.first if name == "cogan" else model.averaged.module
    assert np.allclose(model.sample(NUM).flatten(1), bound(name, apply(averaged, Z)))
    assert drawn == {"aae": [(NUM,)], "vaegan": [(NUM, "standard")]}.get(name, [])


def test_a_conditional_generator_is_told_the_classes_beside_its_noise():
    model = fixed("gan", conditional="projection")
    expected = np.tanh(apply(model.averaged.module, np.concatenate([Z, one_hot(LABELS)], 1)))
    assert np.allclose(model.sample(NUM, BATCH[1]).flatten(1), expected)


def test_pairs_of_cogan_are_made_of_the_same_noise():
    model = fixed("cogan", num_shared=1)
    for images, network in zip(model.sample_pairs(NUM), (model.averaged.module.first, model.averaged.module.second)):
        assert np.allclose(images.flatten(1), np.tanh(apply(network, Z)))


@pytest.mark.parametrize("name", ["aae", "vaegan", "began", "bigan", "ebgan"])
def test_reconstructions_are_decoded_latents(name):
    """Those of a critic that is an autoencoder are its own, BiGAN's are decoded by its averaged generator."""
    model = fixed(name)
    encoder, decoder = {
        "aae": lambda: (model.encoder, model.generator),
        "vaegan": lambda: (model.encoder, model.generator),
        "bigan": lambda: (model.encoder, model.averaged.module),
    }.get(name, lambda: model.critic)()
    latents = apply(encoder, X)[:, :2]
    decoded = apply(decoder, latents)
    expected = np.tanh(decoded) if name in ("vaegan", "bigan") else np.clip(decoded, -1, 1)
    assert np.allclose(model.encode(BATCH[0]).detach(), latents)
    assert np.allclose(model.reconstruct(BATCH[0]).flatten(1), expected)


@pytest.mark.parametrize("name", TWO_PLAYERS)
def test_samples_are_drawn_in_the_precision_of_the_model(name):
    model = registry.load("lightning_genae.models", name)(SHAPE, NUM_CLASSES, **TINY).double()
    torch.manual_seed(0)
    samples = model.sample(4)
    assert samples.dtype == torch.double and samples.shape == (4, *SHAPE)
    assert model.noise(4).dtype == torch.double
    assert len({tuple(one) for one in samples.flatten(1).tolist()}) == 4


def normalised(network: nn.Module) -> bool:
    return any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


@pytest.mark.parametrize("name", TWO_PLAYERS)
def test_generators_of_noise_are_normalised_over_the_batch_and_their_samples_are_not(name):
    """As DCGAN's. A sample does not depend on what is drawn beside it, even where the model is in training."""
    model = registry.load("lightning_genae.models", name)((1, 4, 4), network="conv", width=2, latent_dim=2).train()
    assert normalised(model.generator) == normalised(model.averaged) == (name not in ("aae", "vaegan"))
    others = [part for key, part in model.named_children() if key not in ("generator", "averaged")]
    assert others and not any(map(normalised, others))
    z = torch.randn(5, 2)
    model.noise = lambda num: z[:num]
    if name in ("aae", "vaegan"):
        model._draw = lambda num, *sampler: z[:num]
    assert torch.allclose(model.sample(5)[:2], model.sample(2), atol=1e-6)


@pytest.mark.parametrize("name", TWO_PLAYERS)
def test_each_weight_belongs_to_one_player_but_those_of_the_average(name):
    model = fixed(name)
    names = {id(weight): key for key, weight in model.named_parameters()}
    critic, other = (
        {names[id(weight)] for group in optimizer.param_groups for weight in group["params"]}
        for optimizer in model.configure_optimizers()
    )
    assert critic == {key for key in names.values() if key.startswith("critic.")}
    assert other == {key for key in names.values() if not key.startswith(("critic.", "averaged."))}
    assert not any(weight.requires_grad for weight in model.averaged.parameters())
    assert not model.automatic_optimization  # Lightning's own has one optimizer


@pytest.mark.parametrize("n_critic, generators", [(1, [0, 1, 2, 3, 4, 5, 6]), (2, [1, 3, 5]), (3, [2, 5])])
def test_whose_turn_it_is(monkeypatch, n_critic, generators):
    """The critic learns from every batch, and the generator after it from every n-th, counted over the epochs."""
    model, turns = fixed("gan", n_critic=n_critic), []
    model.optimizers = lambda: ("of critic", "of generator")
    model.toggled_optimizer = nullcontext
    model.loss_critic, model.loss_generator = lambda *batch: "for critic", lambda *batch: "for generator"
    model._update = lambda optimizer, player, loss: turns.append((optimizer, player, loss))
    model.after_critic_step = lambda: turns.append("clipped")
    for batch in range(7):
        monkeypatch.setattr(TwoPlayers, "batches", batch)
        turns.clear()
        model.training_step(BATCH, 0)
        critic, generator = (("of " + player, player, "for " + player) for player in ("critic", "generator"))
        assert turns == [critic, "clipped", generator] if batch in generators else [critic, "clipped"]


def test_an_update_takes_its_own_gradient_alone_and_shows_its_loss():
    """A loss whose slope is 2 moves a weight by 2 at rate 1, and by 2 again."""
    model = fixed("gan")
    model.trainer = SimpleNamespace(strategy=None)  # of one process
    model.manual_backward = lambda loss: loss.backward()
    weight = nn.Parameter(torch.tensor(5.0))
    for loss, expected in ((10.0, 3.0), (6.0, 1.0)):
        model._update(torch.optim.SGD([weight], lr=1.0), "critic", 2 * weight)
        assert weight.item() == expected
        assert model.terms == {"loss_critic": loss}
    model.log_part("r1", weight)
    assert model.terms == {"loss_critic": 6.0, "r1": 1.0}
    assert not any(value.requires_grad for value in model.terms.values())
    assert model.terms_on_bar == ["loss_critic"]


@pytest.mark.parametrize(
    "name, options, signal",
    [
        ("vaegan", {}, 1 / 3),
        ("bigan", {}, 1 / 3),
        ("cogan", {}, 4 / 6),
        ("gan", {}, 1 / 3),
        ("gan", {"loss": "lsgan"}, 0),
    ],
)
def test_the_signal_is_of_the_real_images(name, options, signal):
    """Of three, the critic takes two for real, or, by least squares, one and does not know of another; CoGAN's second
    critic takes all of its own."""
    model = fixed(name, **options)
    real, more, fake = (
        torch.tensor(outputs).double().requires_grad_()
        for outputs in ([0.5, 2.0, -1.0], [0.5, 0.5, 0.5], [-1.0, -1.0, -1.0])
    )
    pairs = torch.cat([real, fake]), torch.cat([more, fake])
    model.critic.forward = lambda *images: pairs if name == "cogan" else pairs[0]
    model.log_part = lambda *args: None
    model.loss_critic(*BATCH)
    assert model.overfitting.item() == pytest.approx(signal)
    assert not model.overfitting.requires_grad


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.2 * x)


def test_the_critic_of_latents_has_two_hidden_layers():
    critic, z = fixed("aae").critic, 3 * Z
    first, second, last = (layer for layer in critic if isinstance(layer, nn.Linear))
    assert first.out_features == second.out_features == 256
    hidden = leaky(z @ values(first.weight).T + values(first.bias))
    hidden = leaky(hidden @ values(second.weight).T + values(second.bias))
    assert np.allclose(critic(torch.from_numpy(z)).detach(), hidden @ values(last.weight).T + values(last.bias))


def test_the_critic_of_pairs_sees_the_code_beside_features_of_the_image():
    critic = fixed("bigan").critic
    features = apply(critic.features, X)
    assert features.shape == (NUM, 256)
    first, last = (layer for layer in critic.score if isinstance(layer, nn.Linear))
    assert first.out_features == 256
    both = leaky(np.concatenate([features, Z], 1))
    hidden = leaky(both @ values(first.weight).T + values(first.bias))
    expected = hidden @ values(last.weight).T + values(last.bias)
    assert np.allclose(critic(BATCH[0], torch.from_numpy(Z)).detach(), expected[:, 0])


@pytest.mark.parametrize(
    "options, warned",
    [
        ({}, []),
        ({"kl": 3.0}, []),
        ({"sampler": "standard"}, ["sampler has no effect without --model.variational false"]),
        ({"variational": False}, []),
        ({"variational": False, "sampler": "mixture"}, []),
        ({"variational": False, "kl": 3.0}, ["kl has no effect without --model.variational true"]),
    ],
)
def test_options_of_aegan_that_its_latents_do_not_have_warn(caplog, options, warned):
    fixed("vaegan", **options)
    assert caplog.messages == [f"--model.{words}" for words in warned]


@pytest.mark.parametrize(
    "options, for_samples, for_critic",
    [
        ({}, "standard", "standard"),
        ({"variational": False}, "gaussian", "gaussian"),
        ({"variational": False, "sampler": "standard"}, "standard", "standard"),
        ({"variational": False, "sampler": "mixture"}, "mixture", "gaussian"),  # it is not fitted for every batch
    ],
)
def test_where_latents_of_aegan_are_drawn_from(options, for_samples, for_critic):
    model, drawn = fixed("vaegan", **options), []
    model.latents.draw = lambda num, sampler: drawn.append((num, sampler)) or torch.from_numpy(Z)
    model.log_part = lambda *args: None
    model.sample(NUM)
    model.loss_critic(*BATCH)
    model.loss_generator(*BATCH)
    assert drawn == [(NUM, for_samples), (NUM, for_critic), (NUM, for_critic)]


def test_the_loss_of_aegan_is_the_mean_of_its_images_losses(monkeypatch):
    """Also of a last batch that has one image."""
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    model, losses = fixed("vaegan", kl=3.0), []
    model.log_part = lambda *args: None
    for some in (slice(None), slice(0, 1), slice(1, 2), slice(2, 3)):
        model._draw = lambda num, sampler, some=some: torch.from_numpy(Z)[some]
        losses.append(model.loss_generator(BATCH[0][some], BATCH[1][some]).item())
    assert losses[0] == pytest.approx(np.mean(losses[1:]))


def test_a_start_that_holds_more_than_tensors_is_not_opened():
    """Such a file could do anything when it is read."""
    state = registry.load("lightning_genae.models", "ae")(SHAPE, NUM_CLASSES, **TINY).state_dict()
    torch.save({"state_dict": state}, "start.ckpt")
    fixed("vaegan", start="start.ckpt")
    torch.save({"state_dict": state, "more": SimpleNamespace()}, "start.ckpt")
    with pytest.raises(ValueError, match=r"--model.start: 'start.ckpt' is damaged"):
        fixed("vaegan", start="start.ckpt")


def test_the_balance_of_began_is_of_all_processes_and_its_losses_are_its_own():
    """Another process has errors three times as large, so that their mean is twice this one's; sums are in place."""
    model, logged = fixed("began", gamma=0.8, lambda_k=0.1), {}
    model.k.fill_(0.6)
    model.trainer = SimpleNamespace(
        strategy=SimpleNamespace(reduce=lambda value, reduce_op: mean_of_two(value, reduce_op))
    )
    model.log_part = lambda name, value, prog_bar=False: logged.update({name: (value.item(), prog_bar)})

    def mean_of_two(value: torch.Tensor, reduce_op: str) -> torch.Tensor:
        assert reduce_op == "mean"
        return value.mul_(2)

    def error(x: np.ndarray) -> float:
        return np.abs(x - apply(model.critic[1], apply(model.critic[0], x))).mean()

    real, fake = error(X), error(np.tanh(apply(model.generator, Z)))
    assert model.loss_critic(*BATCH).item() == pytest.approx(real - 0.6 * fake)
    assert model.loss_generator(*BATCH).item() == pytest.approx(fake)
    assert model.k.item() == pytest.approx(0.6 + 0.1 * (0.8 * 2 * real - 2 * fake))
    # the measure of convergence is what people watch
    assert logged == {
        "error_real": (pytest.approx(real), False),
        "error_fake": (pytest.approx(fake), False),
        "k": (pytest.approx(model.k.item()), False),
        "convergence": (pytest.approx(2 * real + abs(0.8 * 2 * real - 2 * fake)), True),
    }


@pytest.mark.parametrize(
    "options, game, clip, penalty",
    [
        ({}, "ns", None, 0.0),
        ({"loss": "hinge", "gradient_penalty": 3.0}, "hinge", None, 3.0),
        ({"loss": "wgan"}, "wgan", 0.01, 0.0),
        ({"loss": "wgan", "clip": 0.5}, "wgan", 0.5, 0.0),
        ({"loss": "wgan-gp"}, "wgan", None, 10.0),
        ({"loss": "wgan-gp", "gradient_penalty": 3.0}, "wgan", None, 3.0),
    ],
)
def test_what_the_losses_of_a_gan_come_with(caplog, options, game, clip, penalty):
    """Wasserstein's comes with a clip of the critic's weights, or with a penalty instead, and shows no overfitting."""
    model = fixed("gan", **options)
    assert (model.game, model.clip, model.penalty) == (game, clip, penalty)
    assert hasattr(model, "overfitting") == (game != "wgan")
    assert caplog.messages == []
    fixed("gan", loss="wgan-gp", clip=0.5)
    assert caplog.messages == ["--model.clip has no effect without --model.loss wgan"]


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"loss": "wgan-gp", "gradient_penalty": 0.0},
            "--model.gradient_penalty: expected a weight above 0 for wgan-gp",
        ),
        (
            {"num_classes": 0, "conditional": "projection"},
            "--model.conditional: expected data with labels for projection",
        ),
    ],
)
def test_what_a_gan_cannot_do_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        registry.load("lightning_genae.models", "gan")(SHAPE, **TINY, **{"num_classes": 3} | options)


@pytest.mark.parametrize("spectral_norm", [True, False])
def test_spectral_norm_is_of_every_layer_of_the_critic_alone(spectral_norm):
    """After the steps of a power iteration with which it begins, nearly."""
    model = registry.load("lightning_genae.models", "gan")(SHAPE, **TINY, spectral_norm=spectral_norm)
    norms = [
        [torch.linalg.matrix_norm(layer.weight, 2).item() for layer in part.modules() if isinstance(layer, nn.Linear)]
        for part in (model.critic, model.generator)
    ]
    assert [len(part) for part in norms] == [2, 2]
    assert (norms[0] == pytest.approx([1.0, 1.0], rel=0.05)) == spectral_norm
    assert norms[1] != pytest.approx([1.0, 1.0], rel=0.05)


def test_a_gan_without_a_penalty_or_without_classes_is_no_error():
    model_class = registry.load("lightning_genae.models", "gan")
    assert model_class(SHAPE, 0, **TINY, gradient_penalty=0.0).penalty == 0.0
    assert model_class(SHAPE, 0, **TINY).num_conditions == 0


@pytest.mark.parametrize("clip", [None, 0.3])
def test_wgans_critic_is_clipped_after_each_of_its_steps(clip):
    model = fixed("gan", loss="wgan", clip=clip)
    before = {name: values(weight).copy() for name, weight in model.named_parameters()}
    model.after_critic_step()
    for name, weight in model.named_parameters():
        largest = (clip or 0.01) if name.startswith("critic.") else np.inf
        assert np.array_equal(values(weight), before[name].clip(-largest, largest))
    other = fixed("gan")
    other.after_critic_step()
    assert all(np.array_equal(values(weight), before[name]) for name, weight in other.named_parameters())


def test_parts_of_a_gans_loss_are_logged():
    """The mean outputs of its critic, and what it is charged beside the loss of the game, without their weights."""
    model, logged = fixed("gan", r1=3.0, gradient_penalty=2.0, conditional="projection"), {}
    model.log_part = lambda name, value, **options: logged.update({name: value.item()})
    loss = model.loss_critic(*BATCH).item()
    real, fake = (
        score(model, rows) for rows in (X, np.tanh(apply(model.generator, np.concatenate([Z, one_hot(LABELS)], 1))))
    )
    assert set(logged) == {"output_real", "output_fake", "r1", "gradient_penalty"}
    assert (logged["output_real"], logged["output_fake"]) == pytest.approx((real.mean(), fake.mean()))
    assert logged["r1"] == pytest.approx(squared_slopes(lambda x: score(model, x), X).mean() / 2, rel=1e-4)
    assert loss == pytest.approx(logistic(real, fake) + 3 * logged["r1"] + 2 * logged["gradient_penalty"])
    assert not BATCH[0].requires_grad  # the other player has the same batch
    logged.clear()
    plain = fixed("gan")
    plain.log_part = model.log_part
    plain.loss_critic(*BATCH)
    assert set(logged) == {"output_real", "output_fake"}


def test_a_gan_knows_how_frequent_classes_are_in_training():
    """Then samples without labels are of no class that there is not; before, of all of them."""
    model = fixed("gan", conditional="projection")
    assert model.class_fractions.tolist() == pytest.approx([1 / 3] * 3)
    for train, shares in ((None, [1 / 3] * 3), (SimpleNamespace(labels=torch.tensor([1, 0, 1, 1])), [0.25, 0.75, 0.0])):
        model.trainer = SimpleNamespace(
            datamodule=SimpleNamespace(dataset=SimpleNamespace(train=train)) if train else SimpleNamespace()
        )
        model.on_fit_start()
        assert model.class_fractions.tolist() == pytest.approx(shares)
    model.noise = lambda num: torch.zeros(num, 2).double()
    made = np.tanh(apply(model.averaged.module, np.concatenate([np.zeros((3, 2)), one_hot(np.arange(3))], 1)))
    samples = model.sample(4000).flatten(1).numpy()
    assert [np.isclose(samples, one).all(1).mean() for one in made] == pytest.approx([0.25, 0.75, 0.0], abs=0.03)
    plain = fixed("gan")
    plain.trainer = model.trainer
    plain.on_fit_start()  # without classes it asks nobody
    assert not hasattr(plain, "class_fractions")


def test_checkpoints_from_before_there_were_shares_of_classes():
    model, kept = fixed("gan", conditional="projection"), {"state_dict": {"class_fractions": "its own"}}
    model.on_load_checkpoint(kept)
    assert kept["state_dict"]["class_fractions"] == "its own"
    old = {"state_dict": {}}
    model.on_load_checkpoint(old)
    assert old["state_dict"]["class_fractions"].tolist() == pytest.approx([1 / 3] * 3)
    plain = {"state_dict": {}}
    fixed("gan").on_load_checkpoint(plain)
    assert plain == {"state_dict": {}}


def test_a_gan_of_text_is_judged_by_probabilities_and_samples_tokens():
    model = registry.load("lightning_genae.models", "gan")((3, 1, 2), 0, modality="text", **TINY).double()
    model.noise, seen = lambda num: torch.from_numpy(Z), []
    for network, show in ((model.generator, lambda: model.loss_generator(*BATCH)), (model.averaged.module, None)):
        output = apply(network, Z).reshape(NUM, 3, 2)
        probabilities = np.exp(output) / np.exp(output).sum(1, keepdims=True)
        if show is not None:
            model.critic.forward = lambda images, labels: seen.append(images) or images.sum((1, 2, 3))
            show()
            assert np.allclose(seen[0].detach().squeeze(2), 2 * probabilities - 1)
    tokens = model.sample(NUM).squeeze(2).numpy()
    assert np.array_equal(tokens, np.where(probabilities == probabilities.max(1, keepdims=True), 1.0, -1.0))


def test_edges_are_sobels():
    """An eighth of the gradient's norm, doubled and moved to [-1, 1]; an edge aslant can have more than there is."""
    x = np.random.default_rng(0).uniform(-1, 1, (2, 3, 5, 6))
    x[0, 0], x[0, 1] = np.where(np.arange(6) < 3, -1, 1), 2 * np.tri(5, 6) - 1
    norms = [[np.hypot(sobel(image, 0, mode="nearest"), sobel(image, 1, mode="nearest")) for image in one] for one in x]
    expected = 2 * np.array(norms) / 8 - 1
    assert expected.max() > 1
    assert np.allclose(edges(torch.from_numpy(x)), expected.clip(-1, 1))


@pytest.mark.parametrize("second, made", [("negatives", lambda x: -x), ("edges", lambda x: edges(x))])
def test_the_second_domain_of_cogan(second, made):
    """Its critic is shown images of the other end of the batch, with their own classes."""
    model, seen = fixed("cogan", second=second, num_shared=1), []
    model.critic_transform = lambda images, labels: seen.append((images, labels)) or images
    model.loss_critic(*BATCH)
    (images, labels), (others, their_labels) = seen
    assert torch.equal(images[:NUM], BATCH[0]) and torch.equal(labels, BATCH[1].repeat(2))
    assert torch.equal(others[:NUM], made(BATCH[0].flip(0)))
    assert torch.equal(their_labels, torch.cat([BATCH[1].flip(0), BATCH[1]]))  # those of generated ones as they are
    assert torch.equal(model.to_second(BATCH[0]), made(BATCH[0]))


def test_layers_that_cogan_shares():
    """The generators' first ones, which say what is shown, and the critics' last ones."""
    for number in (0, 1, 2):
        model = fixed("cogan", num_shared=number)
        pairs = zip(*([one for one in side if hasattr(one, "weight")] for side in model.generator.children()))
        assert [a is b for a, b in pairs] == [True] * number + [False] * (2 - number)
        pairs = zip(*([one for one in side if hasattr(one, "weight")] for side in model.critic.children()))
        assert [a is b for a, b in pairs] == [False] * (2 - number) + [True] * number


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_ebgans_critic_is_asked_for_images_without_their_noise(noise):
    """Its energies are logged by their means."""
    model, logged = fixed("ebgan", noise=noise, margin=0.01), {}
    model.log_part = lambda name, value: logged.update({name: value.item()})
    torch.manual_seed(0)
    added = (noise * torch.randn(2 * NUM, *SHAPE, dtype=torch.double).flatten(1).numpy()).reshape(2, NUM, -1)
    torch.manual_seed(0)
    loss = model.loss_critic(*BATCH).item()
    real, fake = (
        ((x - apply(model.critic[1], apply(model.critic[0], x + more))) ** 2).mean(1)
        for x, more in zip((X, np.tanh(apply(model.generator, Z))), added)
    )
    assert logged == {"energy_real": pytest.approx(real.mean()), "energy_fake": pytest.approx(fake.mean())}
    assert loss == pytest.approx(real.mean() + np.maximum(0, 0.01 - fake).mean())
    torch.manual_seed(0)
    model.loss_generator(*BATCH)
    torch.manual_seed(0)
    added = noise * torch.randn(NUM, *SHAPE, dtype=torch.double).flatten(1).numpy()
    latents = apply(model.critic[0], np.tanh(apply(model.generator, Z)) + added)
    directions = latents / np.linalg.norm(latents, axis=1, keepdims=True)
    cosines = directions @ directions.T
    assert logged["pulling_away"] == pytest.approx((cosines[~np.eye(NUM, dtype=bool)] ** 2).mean())
