"""Every option of every model: not that it changes something, but what it changes and in which direction."""

import inspect
import math
from types import SimpleNamespace
from typing import get_args
from unittest.mock import patch

import pytest
import torch
from torch import nn

from lightning_genae import registry
from lightning_genae.data import modalities
from lightning_genae.data.modalities.image import Image
from lightning_genae.errors import UserError
from lightning_genae.models._two_players import TwoPlayers
from lightning_genae.models.cogan import edges
from lightning_genae.models.gan import Loss
from lightning_genae.nn import losses
from lightning_genae.nn.networks.resnet import Residual
from lightning_genae.nn.networks.stylegan2 import Rectifier
from lightning_genae.options import Decay, warn_unused, warn_unused_size
from tests.data import project
from tests.test_defaults import KNOWN
from tests.test_values import CASES as VALUES
from tests.test_values import fit_one
from tests.test_values_autoencoders import prepare

PACKAGE = "lightning_genae.models"
SMALL = {"network": "mlp", "hidden": [5], "latent_dim": 3}
RAE_SMALL = {"width": 4, "latent_dim": 3}
IMAGES = (torch.rand(8, 1, 2, 2, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9, torch.arange(8) % 3)


def build(name: str, **options):
    """A tiny model, of images (1, 2, 2) or of sequences (2, 1, 6); the options go before what is tiny."""
    model_class = registry.load(PACKAGE, name)
    torch.manual_seed(0)
    if name == "rnn_ae":
        shape = (3, 1, 6) if options.get("modality") == "text" else (2, 1, 6)
        return model_class(shape, **RAE_SMALL | options)
    return model_class((1, 2, 2), 3, **SMALL | options)


def batch_of(model) -> tuple[torch.Tensor, torch.Tensor]:
    if model.hparams.image_shape == (1, 2, 2):
        return IMAGES
    x = torch.rand(8, *model.hparams.image_shape, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9
    return model.modality.project(x), IMAGES[1]


class Give(nn.Module):
    """A function in the place of a network."""

    def __init__(self, function):
        super().__init__()
        self.forward = function


def learned(model, steps: int, loss, optimizer) -> None:
    """Takes steps down a loss, without a Trainer."""
    torch.manual_seed(0)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


def sizes(model) -> list[int]:
    return [layer.out_features for layer in model.modules() if isinstance(layer, nn.Linear)]


# of all models


def check_network(name):
    forms = {
        "mlp": nn.Linear,
        "conv": nn.ConvTranspose2d,
        "resnet": Residual,
        "fastgan": nn.GLU,
        "stylegan2": Rectifier,
    }
    for network in forms:
        model = registry.load(PACKAGE, name)((1, 8, 8), 3, network=network)
        found = {other for other, one in forms.items() if any(isinstance(layer, one) for layer in model.modules())}
        assert found == {"mlp", network}


def check_latent_dim(name):
    for size in (2, 6):
        model = build(name, latent_dim=size)
        if hasattr(model, "encode"):
            assert model.encode(batch_of(model)[0]).shape == (8, size)
        else:
            assert model.noise(4).shape == (4, size)
        assert model.sample(4).shape == (4, *model.hparams.image_shape)


def check_hidden(name):
    assert 7 in sizes(build(name, hidden=[7, 9])) and 9 in sizes(build(name, hidden=[7, 9]))
    assert not {7, 9} & set(sizes(build(name, hidden=[4, 4])))


def check_width(name):
    if name == "rnn_ae":
        assert build(name, width=7).encoder.hidden_size == build(name, width=7).decoder.hidden_size == 7
        return
    for width in (2, 6):
        model = registry.load(PACKAGE, name)((1, 8, 8), 3, network="conv", width=width)
        channels = {layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)}
        assert channels - {1} == {width, 2 * width}


def optimizers(model) -> list:
    given = model.configure_optimizers()
    return given if isinstance(given, list) else [given]


def check_lr(name):
    assert {one.param_groups[0]["lr"] for one in optimizers(build(name, lr=0.0123))} == {0.0123}


def check_beta1(name):
    assert {one.param_groups[0]["betas"] for one in optimizers(build(name, beta1=0.25))} == {(0.25, 0.999)}


def check_beta2(name):
    assert {one.param_groups[0]["betas"] for one in optimizers(build(name, beta2=0.9))} == {(0.5, 0.9)}


def check_ema(name):
    """The average stays this share of what it was."""
    for decay in (0.0, 0.75):
        model = build(name, ema=decay)
        model.averaged.update_parameters(model.generator)  # the first one is a copy
        weight, average = (next(network.parameters()) for network in (model.generator, model.averaged))
        start = weight.detach().clone()
        weight.data += 1.0
        model.averaged.update_parameters(model.generator)
        assert torch.allclose(average, start + (1 - decay), atol=1e-6)


def check_n_critic(name):
    """In four batches the critic moves four times, the others twice; no one's turn moves the other player."""
    model = build(name, n_critic=2)
    update, turns = model._update, []
    model._update = lambda optimizer, player, loss: turns.append(player) or update(optimizer, player, loss)
    fit_one(model, IMAGES, num_batches=4)
    assert turns == ["critic", "critic", "generator"] * 2


def gradient_norms(name, **options) -> list[float]:
    model, norms = build(name, **options), []
    original = model.on_before_optimizer_step

    def watched(optimizer):
        original(optimizer)
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        norms.append(float(nn.utils.get_total_norm([w.grad for w in weights if w.grad is not None])))

    model.on_before_optimizer_step = watched
    fit_one(model, batch_of(model))
    return norms


def check_gradient_clip(name):
    free, bound = gradient_norms(name, gradient_clip=0.0), gradient_norms(name, gradient_clip=1e-3)
    assert len(free) == len(bound) == (1 if name == "rnn_ae" else 2)
    assert min(free) > 2e-3
    assert bound == pytest.approx([1e-3] * len(bound), rel=1e-2)


def latents_drawn(name, sampler) -> torch.Tensor:
    """What samples are made of, where the training latents are two clusters at -3 and 3."""
    options = {"variational": False} if name == "vaegan" else {}
    model, drawn = build(name, sampler=sampler, **options), []
    model.latents.keep(0.1 * torch.randn(1024, 3) + 6 * torch.randint(2, (1024, 1)) - 3)
    if name == "rnn_ae":
        model._free_running = lambda z, *args, **options: drawn.append(z) or torch.zeros(len(z), 6, 2)
    elif name == "vaegan":
        model.averaged = Give(lambda z: drawn.append(z) or z)
    else:
        model.decode = lambda z: drawn.append(z) or z
    model.sample(2000)
    return drawn[0]


def check_sampler(name):
    gaussian, mixture, standard = (latents_drawn(name, sampler) for sampler in ("gaussian", "mixture", "standard"))
    assert standard.std().item() == pytest.approx(1, abs=0.05)
    assert gaussian.std().item() == pytest.approx(3, abs=0.2)
    assert (gaussian.abs() < 1).all(1).float().mean() > 0.1  # between the clusters
    assert mixture.std().item() == pytest.approx(3, abs=0.2)
    assert not (mixture.abs() < 2).any()


def cost(model, player: str = "generator") -> tuple[float, dict[str, float]]:
    """A player's loss on a batch, and the parts of it that are logged."""
    parts = {}
    model.log_part = lambda name, value, **options: parts.update({name: float(value.detach())})
    model.over_processes = lambda value: value.detach().clone()
    torch.manual_seed(0)
    return float(getattr(model, f"loss_{player}")(*batch_of(model)).detach()), parts


def check_weight(name, option, part, player="generator", **beside):
    """Twice the weight adds the part once more, and what is 0 is left out."""
    once, parts = cost(build(name, **{option: 1.0}, **beside), player)
    twice, _ = cost(build(name, **{option: 2.0}, **beside), player)
    assert abs(parts[part]) > 1e-4
    assert twice - once == pytest.approx(parts[part], rel=1e-3)
    assert once - cost(build(name, **{option: 0.0}, **beside), player)[0] == pytest.approx(parts[part], rel=1e-3)


# of single models


def check_loss_of_ae(name):
    """An error of 2 counts 4 if squared, 2 if absolute, and without a bound as a probability."""
    costs = {}
    for loss in ("mse", "l1", "bce"):
        model = prepare(build(name, loss=loss))
        model.decoder = Give(lambda z: torch.full((8, 1, 2, 2), 1.5).double())
        costs[loss] = float(model.training_step((torch.full((8, 1, 2, 2), -0.5).double(), IMAGES[1]), 0).detach())
    assert costs == {"mse": 4.0, "l1": 2.0, "bce": pytest.approx(0.75 * 1.5 + math.log1p(math.exp(-1.5)))}
    with pytest.raises(ValueError, match=r"--model.loss: expected mse or bce or l1"):
        build(name, loss="ce")


def check_noise(name):
    x = torch.rand(4000, 1, 2, 2) * 1.8 - 0.9
    assert torch.equal(build(name)._corrupt(x), x)
    added = build(name, noise="gaussian")._corrupt(x) - x
    assert added.std().item() == pytest.approx(0.3, rel=0.05) and abs(added.mean()) < 0.02
    masked = build(name, noise="masking")._corrupt(x)
    assert set((masked - x)[masked != -1].tolist()) == {0.0}
    assert (masked == -1).float().mean().item() == pytest.approx(0.3, abs=0.02)
    # DiffAugment's, of images of a single value: grey where something was cut out or moved away, lighter or darker by
    # up to 0.5 elsewhere, where there is neither saturation nor contrast
    x = torch.full((4000, 1, 8, 8), 0.9)
    view = build(name, noise="diffaug")._corrupt(x)
    elsewhere = view[view != 0]
    assert elsewhere.min() == pytest.approx(0.4, abs=0.01) and elsewhere.max() == pytest.approx(1.4, abs=0.01)
    assert elsewhere.mean() == pytest.approx(0.9, abs=0.02)
    # a quarter is cut out, less beyond the border, and a step of one pixel at most moves a row or a column away
    assert 0.2 < (view == 0).float().mean() < 0.35


def check_noise_level(name):
    x = torch.rand(4000, 1, 2, 2) * 1.8 - 0.9
    for level in (0.1, 0.7):
        added = build(name, noise="gaussian", noise_level=level)._corrupt(x) - x
        assert added.std().item() == pytest.approx(level, rel=0.05)
        masked = build(name, noise="masking", noise_level=level)._corrupt(x)
        assert (masked == -1).float().mean().item() == pytest.approx(level, abs=0.02)


def check_likelihood(name):
    x, output = IMAGES[0], torch.zeros(8, 1, 2, 2)
    assert torch.allclose(build(name, likelihood="bernoulli")._log_p(output, x), torch.tensor(-4 * math.log(2)))
    model = build(name, likelihood="gaussian", sigma=1.0)
    expected = -0.5 * x.square().flatten(1).sum(1) - 2 * math.log(2 * math.pi)
    assert torch.allclose(model._log_p(output, x), expected, atol=1e-5)
    text = registry.load(PACKAGE, name)((5, 1, 6), modality="text", likelihood="categorical", **SMALL)
    tokens = project(torch.rand(8, 5, 1, 6), "text")
    assert torch.allclose(text._log_p(torch.zeros(8, 5, 1, 6), tokens), torch.tensor(-6 * math.log(5)))


def check_sigma(name):
    """A smaller one is stricter with an error; one that is given is not learned."""
    x, output = IMAGES[0], IMAGES[0] + 0.5
    found = {}
    for sigma in (0.1, 0.5):
        model = build(name, likelihood="gaussian", sigma=sigma)
        found[sigma] = model._log_p(output, x).mean().item()
        assert "log_sigma" not in dict(model.named_parameters())
    assert found[0.1] == pytest.approx(-2 * math.log(2 * math.pi) - 4 * math.log(0.1) - 4 * 12.5)
    assert found[0.5] == pytest.approx(-2 * math.log(2 * math.pi) - 4 * math.log(0.5) - 4 * 0.5)
    assert "log_sigma" in dict(build(name, likelihood="gaussian").named_parameters())


def kl_per_dimension(name, **options) -> torch.Tensor:
    beside = {"teacher_decay": 0, "variational": True} if name == "rnn_ae" else {"likelihood": "gaussian", "sigma": 0.1}
    model = prepare(build(name, lr=1e-1, **beside | options))
    batch = batch_of(model)[0].double(), batch_of(model)[1]
    learned(model, 40, lambda: model.training_step(batch, 0), model.configure_optimizers())
    with torch.no_grad():
        mean, log_variance = model.posterior(batch[0])
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean(0)


def check_beta(name):
    quiet = {"warmup": 0} if name == "rnn_ae" else {}
    assert kl_per_dimension(name, beta=0.01, **quiet).sum() > 3 * kl_per_dimension(name, beta=20.0, **quiet).sum()


def check_warmup(name):
    """The weight is small while it rises, so the code learns first."""
    assert (
        kl_per_dimension(name, beta=20.0, warmup=100_000).sum() > 3 * kl_per_dimension(name, beta=20.0, warmup=0).sum()
    )


def check_free_bits(name):
    """What costs nothing is left by a weight that takes the rest; test_values_autoencoders.py has the amounts."""
    kept, taken = (kl_per_dimension(name, beta=20.0, free_bits=bits, warmup=0).sum() for bits in (4.0, 0.0))
    assert kept > 3 * taken


def check_loss_of_gan(name):
    """Their values are those of test_values.py."""
    assert {options["loss"] for model, options, _ in VALUES.values() if model == name and "loss" in options} == set(
        get_args(Loss)
    )


def slope(model) -> float:
    """Root mean squared norm of the critic's gradient at real images."""
    return math.sqrt(2 * losses.r1(model.critic, IMAGES[0]).item())


def with_critic(name, **options):
    """A model whose critic has learned from one batch."""
    model = build(name, lr=2e-2, **options)
    model.log_part = lambda *args, **kwargs: None
    learned(model, 40, lambda: model.loss_critic(*IMAGES), model.configure_optimizers()[0])
    return model


def check_r1(name):
    assert slope(with_critic(name, r1=30.0)) < 0.5 * slope(with_critic(name))
    check_weight(name, "r1", "r1", "critic")


def check_r1_every(name):
    """In every third batch alone, with three times the weight."""
    costs, parts = [], {}
    for r1, batches in [(0.0, 0), *((1.0, batches) for batches in range(5))]:
        model = build(name, r1=r1, r1_every=3)
        model.__class__ = type(name, (type(model),), {"batches": batches})
        value, said = cost(model, "critic")
        costs.append(value)
        parts |= said
    assert [value - costs[0] for value in costs[1:]] == pytest.approx([3 * parts["r1"], 0, 0, 3 * parts["r1"], 0])


def check_path_length(name):
    """In every fourth update of the generator, with four times its weight; the mean goes a hundredth of the way."""
    costs, parts = [], {}
    new, small = registry.load(PACKAGE, name), {"width": 2, "latent_dim": 3, "network": "stylegan2", "n_critic": 2}
    for weight, batches in [(0.0, 1), *((2.0, batches) for batches in range(1, 12, 2))]:
        torch.manual_seed(0)
        model = new((1, 8, 8), 3, path_length=weight, **small)
        model.__class__ = type(name, (type(model),), {"batches": batches})
        value, said = cost(model)
        costs.append(value)
        parts |= said
    due = 8 * parts["path_length"]
    assert [value - costs[0] for value in costs[1:]] == pytest.approx([due, 0, 0, 0, due, 0], abs=1e-5) and due > 0
    model = new((1, 8, 8), 3, path_length=2.0, **small)
    model.__class__ = type(name, (type(model),), {"batches": 1})
    with patch("lightning_genae.nn.losses.path_lengths", lambda images, styles: torch.tensor([3.0, 5.0])):
        _, parts = cost(model)
    assert model.mean_path.item() == pytest.approx(0.04)
    assert parts["path_length"] == pytest.approx((2.96**2 + 4.96**2) / 2)
    with pytest.raises(ValueError, match=r"--model.path_length: expected --model.network stylegan2.*; got conv"):
        new((1, 8, 8), 3, path_length=2.0, network="conv")


def check_lecam(name):
    """It holds real and generated images together."""
    check_weight(name, "lecam", "lecam", "critic")
    gaps = []
    for lecam in (0.0, 10.0):
        _, parts = cost(with_critic(name, lecam=lecam), "critic")
        gaps.append(parts["output_real"] - parts["output_fake"])
    assert gaps[1] < 0.5 * gaps[0]


def check_lr_critic(name):
    """The first optimizer is the critic's; null is the rate of both."""
    for lr_critic, rates in ((None, [1e-3, 1e-3]), (4e-3, [4e-3, 1e-3])):
        model = build(name, lr=1e-3, lr_critic=lr_critic)
        optimizers = model.configure_optimizers()
        assert [optimizer.param_groups[0]["lr"] for optimizer in optimizers] == rates
        learnt = {id(weight) for weight in optimizers[0].param_groups[0]["params"]}
        assert learnt == {id(weight) for weight in model.critic.parameters()}


def check_consistency(name):
    """Of a critic that sums pixels, with an augmentation that adds 0 first and then 3: the square of 4 * 3."""
    costs = []
    for weight in (0.0, 0.5):
        model = build(name, consistency=weight)
        model.critic.forward = lambda images, labels=None: images.flatten(1).sum(1)
        added = iter((0.0, 3.0))
        model.critic_transform = lambda images, labels, added=added: images + next(added)
        costs.append(cost(model, "critic")[0])
    assert costs[1] - costs[0] == pytest.approx(0.5 * (4 * 3) ** 2, rel=1e-4)


def check_apa(name):
    """The fraction follows r_t, the sign of outputs on real images, and so many of these are generated ones."""
    model = build(name, apa=0.6)
    model.log_part = lambda *args, **kwargs: None
    model.over_processes = lambda value: value
    model.trainer = SimpleNamespace(world_size=2)
    for output, fraction in (
        (5.0, 2 * 4 / 50_000),
        (5.0, 4 * 4 / 50_000),
        (-5.0, 2 * 4 / 50_000),
        (-5.0, 0),
        (-5.0, 0),
    ):
        model._watched(torch.full((4,), output), torch.zeros(4))
        assert model.pseudo_fraction.item() == pytest.approx(fraction)
    x = torch.full((4000, 1, 2, 2), 0.5)
    model.generate = lambda labels: torch.full((len(labels), 1, 2, 2), -0.5)
    model.pseudo_fraction.fill_(0.3)
    mixed = model._with_pseudo(x, torch.zeros(4000))
    assert torch.equal(mixed[:, 0, 0, 0], mixed[:, 0, 1, 1])  # whole images
    assert (mixed == -0.5).float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert build(name)._with_pseudo(x, torch.zeros(4000)) is x
    seen = {}
    model.seen = lambda real, fake, labels: seen.update(real=real) or torch.cat([real, fake])
    model.pseudo_fraction.fill_(1.0)
    model.loss_critic(*IMAGES)
    assert (seen["real"] == -0.5).all()
    with pytest.raises(ValueError, match=r"--model.apa: expected 0 for wgan"):
        build(name, loss="wgan", apa=0.6)


def check_minibatch_std(name):
    """Images that are all alike are scored by others than images that differ; a group holds real ones alone."""
    torch.manual_seed(0)
    new = registry.load(PACKAGE, name)
    critic = new((1, 8, 8), 3, width=2, minibatch_std=True).critic.requires_grad_(False)
    x = torch.rand(1, 1, 8, 8)
    alike, mixed = x.expand(8, -1, -1, -1), torch.cat([x, torch.rand(7, 1, 8, 8)])
    assert critic(alike)[0] != critic(mixed)[0]
    assert critic(torch.cat([alike, mixed]))[0] == pytest.approx(critic(alike)[0].item(), abs=1e-6)
    assert len(new((1, 8, 8), 3, width=2).critic.features) == len(critic.features) - 3
    with pytest.raises(UserError, match=r"--model.minibatch_std: expected a network that halves images"):
        build(name, minibatch_std=True)


def with_projected(name, **options):
    torch.manual_seed(0)
    return registry.load(PACKAGE, name)((1, 8, 8), 3, width=3, latent_dim=3, critic="projected", **options)


def check_critic(name):
    """Of a projected one only the heads learn, of six channels, twice the width."""
    model = with_projected(name)
    optimizer, _ = model.configure_optimizers()
    learned_by = {id(weight) for weight in optimizer.param_groups[0]["params"]}
    assert learned_by == {id(weight) for weight in model.critic.heads.parameters()}
    assert {layer.out_channels for layer in model.critic.across_channels} == {6}
    assert build(name).frozen is None


def check_features(name):
    """Those of ours are of one architecture, that of the autoencoder; of a pretrained one the measure is told."""
    shapes = [
        [tuple(weight.shape) for weight in with_projected(name, features=features).frozen.parameters()]
        for features in (None, "autoencoder", "untrained", "efficientnet")
    ]
    assert shapes[0] == shapes[1] == shapes[2] != shapes[3]
    said = [with_projected(name, features=features).seen_by for features in (None, "untrained", "efficientnet")]
    assert said == [None, None, "efficientnet"]
    assert with_projected(name, features="tf_efficientnet_lite0").seen_by == "efficientnet"  # the same network
    # and of a reconstruction: beside it nothing changes what the critic is
    model, pixels = (with_reconstruction(name, 1.0, features=features) for features in ("efficientnet", None))
    assert (model.seen_by, pixels.seen_by) == ("efficientnet", None) and pixels.frozen is None
    learned_by = {id(weight) for weight in model.configure_optimizers()[0].param_groups[0]["params"]}
    assert not learned_by & {id(weight) for weight in model.frozen.parameters()}
    assert not model.train().frozen.training and model.critic.training
    images = torch.rand(2, 1, 4, 4) * 2 - 1
    error, same = (model.critic.reconstruction.error(one, images) for one in (images.flip(0), images))
    maps = [[one.double() for one in model.frozen.maps(x)] for x in (images.flip(0), images)]
    units = [[one / one.norm(dim=1, keepdim=True).clamp(min=1e-12) for one in of] for of in maps]
    by_hand = [((one - other) ** 2).sum(1).mean() for one, other in zip(*units)]
    assert error.item() == pytest.approx(float(sum(by_hand)) / len(by_hand), rel=1e-4) and same.item() == 0


def check_weights(name):
    """A model is built without the file: take_weights reads it, see tests/test_projected.py."""
    assert with_projected(name, features="resnet18", weights="nowhere").hparams["weights"] == "nowhere"


def with_reconstruction(name, weight, **options):
    torch.manual_seed(0)
    options = {"network": "conv", "width": 2, "latent_dim": 3, "lr": 1e-2} | options
    return registry.load(PACKAGE, name)((1, 8, 8), 3, reconstruct=weight, **options)


def check_reconstruct(name):
    """Its weight counts, for every critic that halves images, and the critic learns to reconstruct them."""
    for network in ("conv", "resnet", "fastgan", "stylegan2"):
        (without, _), (once, parts), (twice, _) = (
            cost(with_reconstruction(name, weight, network=network), "critic") for weight in (0.0, 1.0, 2.0)
        )
        assert parts["reconstruct"] > 0.1
        assert [once - without, twice - once] == pytest.approx([parts["reconstruct"]] * 2, rel=1e-3)
    errors = []
    model = with_reconstruction(name, 10.0)
    model.log_part = lambda part, value, **_: errors.append(value.item()) if part == "reconstruct" else None
    x, labels = batch_of(model)
    learned(model, 80, lambda: model.loss_critic(x, labels), model.configure_optimizers()[0])
    assert errors[-1] < 0.6 * errors[0]
    with pytest.raises(UserError, match=r"reconstruct: expected --model\.network conv, resnet, fastgan or stylegan2"):
        with_reconstruction(name, 1.0, network="mlp", width=None)


def check_reconstruct_clean(name):
    """Decoders that output 0 are wrong by the size of what they are to decode to."""
    for clean in (False, True):
        model = with_reconstruction(name, 1.0, reconstruct_clean=clean)
        model.critic_transform = lambda images, labels: images / 10
        for decoder in (model.critic.reconstruction.whole, model.critic.reconstruction.part):
            nn.init.zeros_(decoder[-1].weight)
            nn.init.zeros_(decoder[-1].bias)
        x = torch.full((8, 1, 8, 8), 0.5)
        model.log_part = lambda *args, **kwargs: None
        error = model._judged(x / 10, torch.zeros(4, dtype=torch.long), x[:4])[2]
        assert error.item() == pytest.approx(0.5 if clean else 0.05)


def check_gradient_penalty(name):
    check_weight(name, "gradient_penalty", "gradient_penalty", "critic")
    ten, parts = cost(build(name, loss="wgan-gp"), "critic")
    without = cost(build(name, loss="wgan"), "critic")[0]
    assert ten - without == pytest.approx(10 * parts["gradient_penalty"], rel=1e-3)
    assert slope(with_critic(name, loss="wgan")) > 3
    assert slope(with_critic(name, loss="wgan-gp")) == pytest.approx(1, abs=0.5)


def check_clip(name):
    for options, largest in (({"clip": 0.02}, 0.02), ({}, 0.01)):
        model = build(name, loss="wgan", **options)
        fit_one(model, IMAGES)
        assert max(float(weight.detach().abs().max()) for weight in model.critic.parameters()) == pytest.approx(largest)


def check_spectral_norm(name):
    for on in (False, True):
        model = build(name, spectral_norm=on, hidden=[8], conditional="projection")
        for _ in range(40):
            model.critic(*IMAGES)
        model.critic.eval()
        weighted = [layer for layer in model.critic.modules() if isinstance(layer, nn.Linear | nn.Embedding)]
        largest = [float(torch.linalg.svdvals(layer.weight.detach())[0]) for layer in weighted]
        assert len(largest) == 3 and (largest == pytest.approx([1.0] * 3, rel=1e-3)) == on


def check_conditional(name):
    x, others = IMAGES[0], (IMAGES[1] + 1) % 3
    for conditional in ("no", "projection", "concatenation"):
        model = build(name, conditional=conditional)
        follows = conditional != "no"
        assert model.num_conditions == 3 * follows
        assert torch.equal(model.critic(x, IMAGES[1]), model.critic(x, others)) == (not follows)
        model.noise = lambda num: torch.ones(num, 3)
        assert torch.equal(model.generate(IMAGES[1]), model.generate(others)) == (not follows)


def check_margin(name):
    """The critic's loss rises by as much while generated images lie below the margin, and not by what is above it."""
    loss = {margin: cost(build(name, margin=margin), "critic") for margin in (1e-6, 5.0, 6.0)}
    assert loss[6.0][0] - loss[5.0][0] == pytest.approx(1, rel=1e-4)
    assert loss[1e-6][0] == pytest.approx(loss[1e-6][1]["energy_real"], rel=1e-4)


def check_noise_of_ebgan(name):
    for noise in (0.0, 0.4):
        model, seen = build(name, noise=noise), []
        model.encode = lambda x, seen=seen: seen.append(x) or torch.zeros(len(x), 3)
        x = torch.zeros(4000, 1, 2, 2)
        model.energy(x)
        assert seen[0].std().item() == pytest.approx(noise, rel=0.05)


def check_gamma(name):
    """k falls where generated images are worse than this share of the real ones' error, and rises otherwise."""
    found = {}
    for gamma in (0.1, 0.9):
        model = build(name, gamma=gamma)
        model.k.fill_(0.5)
        cost(model, "critic")
        model.error_real.fill_(1.0)
        model.error = lambda x: torch.tensor(0.5)
        cost(model)
        found[gamma] = float(model.k)
    assert found == {0.1: pytest.approx(0.5 - 0.01 * 0.4), 0.9: pytest.approx(0.5 + 0.01 * 0.4)}


def check_lambda_k(name):
    for speed in (0.01, 0.5):
        model = build(name, lambda_k=speed, gamma=0.9)
        model.error_real.fill_(1.0)
        model.error = lambda x: torch.tensor(0.5)
        cost(model)
        assert model.k.item() == pytest.approx(speed * 0.4)


def check_variational_of_aegan(name):
    assert build(name, variational=True).encoder[-1].out_features == 6
    assert build(name, variational=False).encoder[-1].out_features == 3
    assert cost(build(name, variational=False))[1]["kl"] == 0 < cost(build(name, variational=True))[1]["kl"]


def check_start(name):
    start = build("ae")
    torch.save({"state_dict": start.state_dict()}, "start.ckpt")
    torch.manual_seed(1)
    model = registry.load(PACKAGE, name)((1, 2, 2), 3, **SMALL, variational=False, start="start.ckpt")
    for network, original in ((model.generator, start.decoder), (model.encoder, start.encoder)):
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), original.parameters()))
    model = registry.load(PACKAGE, name)((1, 2, 2), 3, **SMALL, start="start.ckpt")  # its encoder is of another form
    assert torch.equal(model.averaged.module[0].weight, start.decoder[0].weight)


def check_prior(name):
    radius = {}
    for prior in ("gaussian", "mixture", "swiss-roll"):
        model = build(name, prior=prior)
        latents = model._draw(4000)
        radius[prior] = latents[:, :2].norm(dim=1)
        assert latents[:, 2].std().item() == pytest.approx(1, abs=0.06)
    assert radius["gaussian"].square().mean().item() == pytest.approx(2, rel=0.1)
    assert radius["mixture"].square().mean().item() == pytest.approx(4 + 0.49 + 0.04, rel=0.05)
    assert radius["swiss-roll"].max() < 0.3 * 3 * math.pi + 0.3
    # the latents of its own critic and of its samples are drawn from it
    model.critic = Give(lambda z: z[:, :1] * 0)
    drawn = []
    model._draw = lambda num: drawn.append(num) or torch.zeros(num, 3)
    cost(model, "critic")
    model.sample(7)
    assert drawn == [8, 7]


def check_second(name):
    x = torch.full((1, 1, 6, 6), -1.0)
    x[..., 3:] = 1
    assert torch.equal(build(name, second="negatives").to_second(x), -x)
    assert torch.equal(build(name, second="edges").to_second(x), edges(x))


def check_num_shared(name):
    for number in (0, 1, 2):
        model = build(name, num_shared=number)
        for network in (model.generator, model.critic):
            both = [[part for part in side if isinstance(part, nn.Linear)] for side in (network.first, network.second)]
            same = [a is b for a, b in zip(*both)]
            expected = [True] * number + [False] * (2 - number)
            assert same == (expected if network is model.generator else expected[::-1])


def check_cell(name):
    for cell, form in (("lstm", nn.LSTM), ("gru", nn.GRU)):
        model = build(name, cell=cell)
        assert isinstance(model.encoder, form) and isinstance(model.decoder, form)


def check_num_layers(name):
    assert build(name, num_layers=3).encoder.num_layers == build(name, num_layers=3).decoder.num_layers == 3


def check_loss_of_rae(name):
    """With deviation 1, an error of 2 costs 2 more nats than none if gaussian, 2 if Laplace; of 4, 8 and 4."""
    x = torch.zeros(1, 2, 1, 6)
    for loss, extra in (("mse", [2, 8]), ("l1", [2, 4])):
        model = build(name, loss=loss)
        model.log_scale.data.zero_()
        none, two, four = (float(model._log_p(torch.full((1, 6, 2), error), x).detach()) for error in (0.0, 2.0, 4.0))
        assert [(none - two) / 12, (none - four) / 12] == pytest.approx(extra)
    text = build(name, modality="text", loss="ce")
    tokens = project(torch.rand(1, 3, 1, 6), "text")
    assert float(text._log_p(torch.zeros(1, 6, 3), tokens)) == pytest.approx(-6 * math.log(3))


def check_variational_of_rae(name):
    x = batch_of(build(name))[0]
    assert build(name, variational=False).posterior(x)[1] is None
    assert build(name, variational=True).posterior(x)[1].shape == (8, 3)
    assert "latents.latents" not in build(name, variational=True).state_dict()


def check_word_dropout(name):
    """This share of the steps, all channels of them, is 0 when the writer is told them in training."""
    from lightning_genae.models.rnn_ae import _hide

    steps = torch.ones(2000, 6, 2)
    for share in (0.0, 0.3, 1.0):
        hidden = _hide(steps, share) == 0
        assert hidden.float().mean().item() == pytest.approx(share, abs=0.02)
        assert torch.equal(hidden[..., 0], hidden[..., 1])
        model, given = prepare(build(name, word_dropout=share, teacher_decay=0)), []
        write = model._teacher_forced
        model._teacher_forced = lambda z, x, hidden=0.0, write=write, given=given: given.append(hidden) or write(z, x)
        model.training_step((torch.zeros(8, 2, 1, 6).double(), IMAGES[1]), 0)
        assert given == [share]


def check_teacher_forcing(name):
    for share in (0.0, 0.3, 1.0):
        assert prepare(build(name, teacher_forcing=share, teacher_decay=0), batch=500)._teacher_fraction() == share


def check_teacher_decay(name):
    for decay, share in ((0, 1.0), (1000, 0.75), (500, 0.5), (100, 0.0)):
        assert prepare(build(name, teacher_decay=decay), batch=250)._teacher_fraction() == pytest.approx(share)


def check_temperature(name):
    model = build(name)
    output = torch.zeros(20_000, 1, 2)
    assert torch.equal(model._next(output, 0.0), output)
    for temperature in (0.5, 1.0):
        model.temperature = temperature
        model.log_scale.data.fill_(-2.5)
        drawn = model._next(output, temperature)
        assert drawn.std().item() == pytest.approx(temperature * math.exp(-2.5), rel=0.05)
    for temperature in (0.0, 0.7):
        model, given = build(name, temperature=temperature), []
        model.latents.keep(torch.randn(40, 3))
        model._free_running = lambda z, t, drawn, given=given: given.append((t, drawn)) or torch.zeros(len(z), 6, 2)
        model.sample(2)
        assert given == [(temperature, True)]


SIZE = {"network": check_network, "latent_dim": check_latent_dim, "hidden": check_hidden, "width": check_width}
ADAM = {"lr": check_lr}
PLAYERS = SIZE | ADAM | {"beta1": check_beta1, "beta2": check_beta2, "ema": check_ema, "n_critic": check_n_critic}
PLAYERS |= {"gradient_clip": check_gradient_clip, "lr_critic": check_lr_critic}
OPTIONS = {
    "ae": SIZE
    | ADAM
    | {"loss": check_loss_of_ae, "noise": check_noise, "noise_level": check_noise_level, "sampler": check_sampler},
    "vae": SIZE
    | ADAM
    | {"likelihood": check_likelihood, "sigma": check_sigma, "beta": check_beta, "warmup": check_warmup}
    | {"free_bits": check_free_bits},
    "gan": PLAYERS
    | {"loss": check_loss_of_gan, "r1": check_r1, "gradient_penalty": check_gradient_penalty, "clip": check_clip}
    | {"spectral_norm": check_spectral_norm, "conditional": check_conditional}
    | {"r1_every": check_r1_every, "lecam": check_lecam, "path_length": check_path_length}
    | {"minibatch_std": check_minibatch_std}
    | {"critic": check_critic, "features": check_features, "weights": check_weights}
    | {"consistency": check_consistency, "apa": check_apa}
    | {"reconstruct": check_reconstruct, "reconstruct_clean": check_reconstruct_clean},
    "ebgan": PLAYERS
    | {"margin": check_margin, "noise": check_noise_of_ebgan}
    | {"pulling_away": lambda name: check_weight(name, "pulling_away", "pulling_away")},
    "began": PLAYERS | {"gamma": check_gamma, "lambda_k": check_lambda_k},
    "vaegan": PLAYERS
    | {"variational": check_variational_of_aegan, "sampler": check_sampler, "start": check_start}
    | {
        part: lambda name, part=part: check_weight(name, part, part)
        for part in ("pixels", "features", "adversarial", "kl")
    },
    "aae": PLAYERS
    | {"prior": check_prior, "adversarial": lambda name: check_weight(name, "adversarial", "adversarial")},
    "bigan": PLAYERS,
    "cogan": PLAYERS | {"second": check_second, "num_shared": check_num_shared},
    "rnn_ae": ADAM
    | {"cell": check_cell, "latent_dim": check_latent_dim, "width": check_width, "num_layers": check_num_layers}
    | {"loss": check_loss_of_rae, "variational": check_variational_of_rae, "beta": check_beta, "warmup": check_warmup}
    | {"free_bits": check_free_bits, "word_dropout": check_word_dropout, "teacher_forcing": check_teacher_forcing}
    | {"teacher_decay": check_teacher_decay, "temperature": check_temperature, "sampler": check_sampler}
    | {"gradient_clip": check_gradient_clip},
}


def options_of(model_class) -> set[str]:
    """The options of a model, its own and those that it inherits."""
    ours = [base for base in model_class.__mro__ if base.__module__.startswith("lightning_genae")]
    names = {name for base in ours for name in inspect.signature(base.__init__).parameters}
    return names - {"self", "image_shape", "num_classes", "modality", "has_mask", "kwargs"}


@pytest.mark.parametrize("name", registry.names(PACKAGE))
def test_every_option_has_its_check(name):
    """A model that is new here has the options that all models with a critic have, and the contract's tests."""
    if name in OPTIONS:
        assert set(OPTIONS[name]) == options_of(registry.load(PACKAGE, name))


def pairs() -> list[tuple[str, str]]:
    """Models and options; of a model without an entry those that it shares with others."""
    found = [(name, option) for name, checks in OPTIONS.items() for option in checks]
    for name in set(registry.names(PACKAGE)) - set(OPTIONS):
        if issubclass(registry.load(PACKAGE, name), TwoPlayers):
            OPTIONS[name] = PLAYERS
            found += [(name, option) for option in PLAYERS]
    return found


@pytest.mark.parametrize("name, option", pairs())
def test_option(name, option):
    OPTIONS[name][option](name)


@pytest.mark.parametrize("name", registry.names(PACKAGE))
def test_models_are_built_by_their_defaults(name):
    """What a signature says reaches the model, through all that it is derived from."""
    model_class = registry.load(PACKAGE, name)
    model = model_class((1, 2, 2) if modalities.supports(model_class, Image()) else (2, 1, 4))
    known = {option: value for option, value in KNOWN.get(f"model {name}", {}).items() if value is not None}
    assert {option: model.hparams[option] for option in known} == known


@pytest.mark.parametrize("value, used, warns", [(0.0, False, True), (0.0, True, False), (None, False, False)])
def test_an_option_that_was_given_without_effect_warns(caplog, value, used, warns):
    warn_unused("kl", value, used, "--model.variational true")
    warned = ["--model.kl has no effect without --model.variational true"] if warns else []
    assert caplog.messages == warned
    warn_unused("crop", 0.1, False, "flips", section="augment")
    assert caplog.messages[-1] == "--augment.crop has no effect without flips"


@pytest.mark.parametrize("name", ["ae", "vae", "gan"])
@pytest.mark.parametrize(
    "options, warned",
    [
        ({"network": "mlp", "hidden": [3]}, []),
        ({"network": "mlp", "width": 3}, ["width"]),
        ({"network": "conv", "width": 3}, []),
        ({"network": "conv", "hidden": [3]}, ["hidden"]),
        ({"network": "conv"}, []),
    ],
)
def test_sizes_that_a_network_does_not_have_warn(caplog, name, options, warned):
    needs = {"width": "--model.network conv, resnet, fastgan or stylegan2", "hidden": "--model.network mlp"}
    expected = [f"--model.{option} has no effect without {needs[option]}" for option in warned]
    warn_unused_size(options["network"], options.get("hidden"), options.get("width"))
    assert caplog.messages == expected
    registry.load(PACKAGE, name)((1, 2, 2), 3, **options)
    assert caplog.messages == 2 * expected


def test_what_models_do_not_take_is_refused():
    """Decays that are no share below 1, and data of another modality."""
    assert [Decay(value) for value in (0.0, 0.5, 0.999)] == [0.0, 0.5, 0.999]
    for value in (-0.1, 1.0, 1.5):
        with pytest.raises(ValueError):
            Decay(value)
    model_class = registry.load(PACKAGE, "cogan")
    modalities.check("--model", PACKAGE, model_class, modalities.new("image"))
    expected = (
        r"^--model: expected ae or gan or rnn_ae or vae for data of modality text \(--data\); got cogan, which is for"
    )
    with pytest.raises(ValueError, match=expected):
        modalities.check("--model", PACKAGE, model_class, modalities.new("text"))
