"""The contract of augment/__init__.py for every augmentation: options, origins, and what they must not see."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import integrate, optimize, stats
from sklearn.decomposition import PCA
from torch import nn

from lightning_genae import registry
from lightning_genae.augment import Composition, _training
from lightning_genae.augment._augmentation import Augmentation, draw_fraction
from lightning_genae.augment._autoencoding import AutoencodingAugmentation
from lightning_genae.augment._perturbations import fit_classes
from lightning_genae.augment.ae import AUTOENCODER, AutoencoderAugment
from lightning_genae.augment.noise import NoiseAugment
from lightning_genae.augment.pca import PCAAugment
from lightning_genae.augment.repeat import Repeat
from lightning_genae.augment.vae import VariationalAugment
from lightning_genae.config.parser import signature
from lightning_genae.data import modalities
from lightning_genae.data.dataset import Dataset, Images
from lightning_genae.data.modalities.series import Series
from lightning_genae.data.modalities.text import Text
from lightning_genae.data.storage import to_float
from lightning_genae.evaluation.extractors.pixels import PixelFeatures
from lightning_genae.evaluation.metrics.frechet import frechet_distance
from lightning_genae.models.ae import Autoencoder
from lightning_genae.models.gan import GAN
from lightning_genae.models.vae import VAE
from tests.data import dataset_of
from tests.test_defaults import KNOWN
from tests.test_models import train

PACKAGE = "lightning_genae.augment"
NAMES = registry.names(PACKAGE)
QUIET = {"accelerator": "cpu", "enable_progress_bar": False}
# loading is tested by itself
ELSEWHERE = {"checkpoint", "foreign"}


def options_of(name: str) -> set[str]:
    return set(signature(registry.load(PACKAGE, name))) - ELSEWHERE


def make(name: str, **options) -> Augmentation:
    """An augmentation; options of an autoencoder that it chooses go to that."""
    few = {"steps": 50} if "steps" in options_of(name) else {}
    part = registry.load(PACKAGE, name)
    if hasattr(part, "choices"):
        inner = {"network", "latent_dim", "width", "lr"} & options.keys()
        chosen = {"name": options.pop("autoencoder", "ae"), **{option: options.pop(option) for option in inner}}
        if "width" in chosen:
            chosen.setdefault("network", "conv")
        options["autoencoder"] = chosen
    return part(**{**few, **options})


def fitted(augmentation: Augmentation, dataset: Dataset) -> Augmentation:
    augmentation.check(dataset)
    augmentation.fit(dataset, **QUIET)
    return augmentation


def batch(dataset: Dataset, num: int = 64):
    return to_float(dataset.train.images[:num]), dataset.train.labels[:num]


def seeded(function, *arguments):
    torch.manual_seed(0)
    return function(*arguments)


@pytest.fixture(params=NAMES)
def augmentation(request, digits):
    """Every augmentation, fitted with few steps."""
    return fitted(make(request.param), digits.dataset)


def test_contract(augmentation, digits):
    x, labels = batch(digits.dataset)
    for given in (labels, None):
        varied = seeded(augmentation.vary, x, given)
        assert varied.shape == x.shape
        assert varied.dtype == x.dtype
        assert varied.isfinite().all()
        assert not varied.requires_grad
        assert torch.equal(varied, seeded(augmentation.vary, x, given))
        assert torch.equal(augmentation(x, given, 0.0), x)
        half = seeded(augmentation, x, given, 0.5)
        changed = (half != x).flatten(1).any(1).double().mean()
        assert changed <= 0.5 or isinstance(augmentation, registry.load(PACKAGE, "ada"))
    assert not any(weight.requires_grad for weight in augmentation.parameters())


@pytest.mark.parametrize("modality, has_mask", [("series", False), ("series", True), ("text", False)])
@pytest.mark.parametrize("name", NAMES)
def test_sequences(name, modality, has_mask, waves):
    """Variations of sequences are such sequences themselves, and gradients pass."""
    dataset = waves(modality, has_mask).dataset
    augment = Composition({name: make(name)}, on=None if name == "none" else "data", fraction=1.0)
    model = Autoencoder(dataset.image_shape, modality=modality, has_mask=has_mask)
    if not modalities.supports(type(augment.parts[name]), dataset.modality):
        fitting = [other for other in NAMES if modalities.supports(registry.load(PACKAGE, other), dataset.modality)]
        expected = f"--augment: expected {' or '.join(fitting)} for data of modality {modality} (--data); got {name}"
        message = f"{expected}, which is for"
        with pytest.raises(ValueError, match=re.escape(message)):
            augment.check(dataset, model)
        return
    augment.check(dataset, model)
    augment.fit(dataset, **QUIET)
    x, labels = batch(dataset, 16)
    varied = seeded(augment, x, labels)
    assert varied.shape == x.shape
    assert torch.equal(varied, dataset.modality.project(varied))
    assert not torch.equal(varied, x) or not augment.parts[name].shows or modality == "text"
    assert torch.equal(varied, x) or name != "none"
    x.requires_grad_()
    (augment.parts[name].vary(x, labels) * torch.randn_like(x)).sum().backward()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "perturb, options",
    [(perturb, {}) for perturb in ("gaussian", "interpolate", "extrapolate", "resample")]
    + [("gaussian", {"autoencoder": "rnn_ae"}), ("interpolate", {"network": "recurrent"})],
)
def test_latents_of_sequences_are_perturbed_as_those_of_images(perturb, options, waves):
    """The same augmentation: the identity without strength, and the more strength the further from the original."""
    dataset = waves().dataset
    augmentation = make("ae", perturb=perturb, steps=60, **options)
    fitted(augmentation, dataset)
    x, labels = batch(dataset)
    distances = []
    for augmentation.strength in (0.0, 0.3, 0.9):
        distances.append(float((seeded(augmentation.vary, x, labels) - x).square().mean()))
    assert distances[0] < 1e-10
    assert 0 < distances[1] < distances[2]


def test_the_residual_of_text_replaces_what_decodes_differently(waves):
    dataset = waves("text").dataset
    augmentation = fitted(make("ae", steps=300, latent_dim=8, strength=1.0), dataset)
    x, labels = batch(dataset)
    z, varied = seeded(augmentation.latents, x, labels)
    changed = augmentation.autoencoder.decode(varied).argmax(1) != augmentation.autoencoder.decode(z).argmax(1)
    tokens = seeded(augmentation.vary, x, labels).argmax(1)
    assert 0.05 < changed.double().mean() < 0.95
    assert torch.equal(tokens[~changed], x.argmax(1)[~changed])
    assert torch.equal(tokens[changed], augmentation.autoencoder.decode(varied).argmax(1)[changed])


@pytest.mark.parametrize("name", ["ada", "diffaug"])
def test_what_is_for_images_refuses_sequences(name, waves):
    dataset = waves().dataset
    with pytest.raises(ValueError, match=rf"for data of modality series \(--data\); got {name}, which is for image$"):
        Composition({name: make(name)}).check(dataset, Autoencoder(dataset.image_shape, modality="series"))


def test_what_can_stand_before_a_critic_is_differentiable_in_every_pixel(augmentation, digits):
    if "critic" not in augmentation.fractions:
        pytest.skip("stands on the data alone")
    x, labels = batch(digits.dataset, 16)
    x.requires_grad_()
    torch.manual_seed(1)
    (augmentation.vary(x, labels) * torch.randn_like(x)).sum().backward()
    # cutout and what a shift moves out of sight are not seen
    assert (x.grad != 0).double().mean() > 0.4


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_precisions_before_a_critic(augmentation, digits, precision):
    if "critic" not in augmentation.fractions:
        pytest.skip("stands on the data alone")
    augment = Composition({"augmentation": augmentation}, on="critic", fraction=0.5)
    model = GAN(digits.dataset.image_shape, 10, conditional="projection")
    augment.check(digits.dataset, model)
    model.critic_transform = augment.critic_transform
    trainer = train(model, digits, 3, precision=precision)
    assert all(value.isfinite() for value in trainer.callback_metrics.values())


@pytest.mark.parametrize("shape", [(3, 12, 10), (1, 9, 8)])
def test_every_augmentation_goes_with_odd_shapes(augmentation, shape):
    x = torch.rand(6, *shape) * 2 - 1
    if not hasattr(augmentation, "autoencoder"):
        assert augmentation.vary(x, None).shape == x.shape


def reconstruction_error(augmentation: Augmentation, dataset: Dataset) -> float:
    x = to_float(dataset.validation.images[:200])
    with torch.no_grad():
        return float((augmentation.reconstruct(x) - x).square().mean())


@pytest.mark.parametrize(
    "name, option, worse, better",
    [
        ("ae", "latent_dim", 2, 16),
        ("ae", "steps", 5, 100),
        ("ae", "lr", 1e-5, 5e-3),
        ("vae", "latent_dim", 1, 16),
        ("vae", "steps", 5, 100),
        ("vae", "lr", 1e-5, 5e-3),
        ("vae", "beta", 10.0, 0.1),
        ("pca", "latent_dim", 2, 16),
    ],
)
def test_options_of_training_lower_the_reconstruction_error(digits, name, option, worse, better):
    few = {"steps": 200, "width": 4, "lr": 5e-3} if name != "pca" else {}
    errors = [
        reconstruction_error(fitted(make(name, **{**few, option: value}), digits.dataset), digits.dataset)
        for value in (worse, better)
    ]
    assert errors[1] < 0.9 * errors[0]


def test_the_network_is_the_one_that_was_asked_for(digits):
    sizes = {}
    for name in ("ae", "vae"):
        for network in ("mlp", "conv", "resnet"):
            model = fitted(make(name, network=network, steps=1), digits.dataset).autoencoder
            assert model.hparams.network == network
        for width in (2, 4):
            model = fitted(make(name, width=width, steps=1), digits.dataset).autoencoder
            sizes[width] = sum(weight.numel() for weight in model.parameters())
        assert sizes[2] < sizes[4]


@pytest.mark.parametrize(
    "name, perturb",
    [("pca", perturb) for perturb in ("gaussian", "interpolate", "extrapolate", "resample")]
    + [("vae", perturb) for perturb in ("posterior", "prior")],
)
def test_the_stronger_the_further_and_with_labels_not_as_far(digits, name, perturb):
    augmentation = fitted(make(name, perturb=perturb), digits.dataset)
    x, labels = batch(digits.dataset, 200)
    distances = {}
    for given in (None, labels):
        for augmentation.strength in (0.1, 0.5, 0.9):
            row = distances.setdefault(given is None, [])
            row.append(float((seeded(augmentation.vary, x, given) - x).square().mean()))
    for row in distances.values():
        assert 0 < row[0] < row[1] < row[2]
    if perturb in ("gaussian", "prior"):
        assert distances[False][2] < 0.9 * distances[True][2]


def test_more_neighbours_are_further(digits):
    x, labels = batch(digits.dataset, 200)
    steps = [
        float(
            (fitted(make("pca", perturb="interpolate", neighbours=num), digits.dataset).vary(x, labels) - x)
            .square()
            .mean()
        )
        for num in (1, 5, 18)
    ]
    assert steps[0] < steps[1] < steps[2]


def test_noise_has_its_deviation_and_hands_the_options_of_the_ae_augmentation_on():
    x = torch.zeros(400, 1, 8, 8)
    for deviation in (None, 0.3):
        noise = NoiseAugment(std=deviation).vary(x, None)
        assert noise.std() == pytest.approx(deviation or 0.1, rel=0.02)
        assert noise.mean() == pytest.approx(0, abs=0.01)
    given = {"strength": 0.9, "perturb": "resample", "detail": "decode", "neighbours": 7, "latent_dim": 3, "steps": 9}
    (augmentation,) = make("noise", match="ae", **given).matched
    assert (augmentation.strength, augmentation.perturb, augmentation.detail, augmentation.neighbours) == (
        0.9,
        "resample",
        "decode",
        7,
    )
    assert (augmentation.options["latent_dim"], augmentation.steps) == (3, 9)
    assert NoiseAugment().matched == []


@pytest.mark.parametrize("option, values", [("jitter", (0.05, 0.2)), ("scale", (0.1, 0.5)), ("warp", (0.2, 0.8))])
def test_options_of_series_switch_off_at_0_and_lead_further_from_the_original(waves, option, values):
    off = {"crop": 0.0, "jitter": 0.0, "scale": 0.0, "warp": 0.0}
    distances = []
    for value in (0.0, *values):
        augmentation = fitted(make("classic", **{**off, option: value}), waves().dataset)
        x, labels = batch(waves().dataset)
        distances.append(float((seeded(augmentation.vary, x, labels) - x).square().mean()))
    assert distances[0] == 0
    assert 0 < distances[1] < distances[2]


@pytest.mark.parametrize("option", ["jitter", "scale", "warp", "crop", "shift", "rotate", "contrast"])
def test_0_is_accepted_on_the_command_line(option):
    from lightning_genae.commands.parse import parse_run
    from run import COMMAND_LINE

    config = parse_run(COMMAND_LINE, ["--augment", "classic", f"--augment.{option}", "0"])
    assert config["augment"][option] == 0


def test_time_that_stands_still_is_refused():
    with pytest.raises(ValueError, match=r"--augment.warp: expected a fraction below 1"):
        make("classic", warp=1.0)


def test_parts_of_ada_and_diffaug_can_be_switched_off():
    x = torch.rand(50, 3, 8, 8)
    rows = [sorted(image.flatten().tolist()) for image in x]
    moved = make("diffaug", colour=False, cutout=0.0).vary(x, None)
    known = [set(row) | {0.0} for row in rows]
    assert all(set(image.flatten().tolist()) <= values for image, values in zip(moved, known))
    assert not torch.equal(moved, x)
    cut = make("diffaug", colour=False, translation=0.0).vary(x, None)
    assert ((cut == x) | (cut == 0)).all()
    places = make("ada", colour=False).vary(x, None)
    assert places.amax((1, 2, 3)).le(x.amax((1, 2, 3)) + 1e-5).all() and not torch.equal(places, x)
    coloured = make("ada", blits=False, geometry=False).vary(x[:, :1], None).flatten(1)
    # of a grey image, each place keeps its rank, or its rank from the other end
    ranks = [values.argsort(1).argsort(1) for values in (x[:, 0].flatten(1), coloured)]
    assert ((ranks[0] == ranks[1]).all(1) | (ranks[0] == 63 - ranks[1]).all(1)).all()


def test_every_option_is_tested():
    """A new option needs a test of the direction in which it leads, here or in the other files of augmentations; those
    of an augmentation whose defaults are not in tests/defaults.yaml are asked by nothing but the contract."""
    of_training = {"autoencoder", "network", "latent_dim", "width", "reduce", "steps", "lr", "beta"}
    of_training |= {"perturb", "strength", "detail"}
    of_images = {"flip", "shift", "crop", "rotate", "contrast", "colour", "translation", "cutout", "blits", "geometry"}
    others = {"neighbours", "std", "match", "jitter", "scale", "warp"}
    of_matching = {"num_features", "weight"}  # tests/test_matching.py
    known = [name for name in NAMES if f"augment {name}" in KNOWN]
    assert set().union(*(options_of(name) for name in known)) == of_training | of_images | of_matching | others


class Halves(nn.Module):
    """An "autoencoder" whose code is the first two pixels, and whose decoder puts their halves into all pixels."""

    def encode(self, x):
        return x.flatten(1)[:, :2]

    def decode(self, z):
        return z.sum(1)[:, None, None, None].expand(-1, 1, 2, 2) / 2


@pytest.mark.parametrize("name", ["ae", "vae"])
def test_residual_and_decoded_variations_by_hand(name):
    augmentation = make(name)
    augmentation.autoencoder = Halves()
    x = torch.tensor([[0.2, 0.4], [0.6, 0.8]]).reshape(1, 1, 2, 2)
    augmentation.latents = lambda images, labels: (augmentation.autoencoder.encode(images), torch.tensor([[1.0, 0.5]]))
    assert torch.allclose(augmentation.vary(x, None), x + 0.75 - 0.3)
    augmentation.detail = "decode"
    assert torch.allclose(augmentation.vary(x, None), torch.full_like(x, 0.75))
    other = make(name, detail="decode", strength=0.3)
    assert (other.detail, other.strength) == ("decode", 0.3)


class Tells(Augmentation):
    """Finds the label in every image, and adds 100 to it."""

    def vary(self, images, labels):
        assert torch.equal(images[:, 0, 0, 0].long(), labels)
        return images + 100


def test_images_that_an_augmentation_chose_keep_their_labels_and_their_places():
    labels = torch.randint(10, (64,))
    x = labels[:, None, None, None].float() + torch.linspace(0, 0.9, 64)[:, None, None, None].expand(64, 1, 2, 2)
    x[:, 0, 0, 0] = labels
    for _ in range(5):
        varied = Tells()(x, labels, 0.4)
        changed = (varied != x).flatten(1).any(1)
        assert 25 <= changed.sum() <= 26
        assert torch.allclose(varied, x + 100 * changed[:, None, None, None], atol=1e-4)
        repeated = Repeat()(x, labels, 0.5)
        assert torch.equal(repeated[:, 0, 0, 0].long(), labels)
        assert (repeated[:, 0, 1, 1] != x[:, 0, 1, 1]).sum() > 15


@pytest.mark.parametrize("perturb", ["gaussian", "interpolate", "extrapolate", "resample"])
def test_latents_move_within_the_class_that_an_image_has(perturb):
    """Classes far from each other, and labels that say the other one: the code goes there, or the other way."""
    latents, labels = (
        torch.cat([torch.randn(100, 2) - 50, torch.randn(100, 2) + 50]),
        torch.arange(2).repeat_interleave(100),
    )
    augmentation = PCAAugment(perturb=perturb, strength=1.0)
    augmentation.set_latents(latents, labels)
    augmentation.autoencoder = nn.Module()
    augmentation.autoencoder.encode = lambda images: images.flatten(1)
    x = latents.reshape(200, 2, 1, 1)
    z, own = augmentation.latents(x, labels)
    assert (own.sign() == z.sign()).all()
    other = augmentation.latents(x, 1 - labels)[1]
    towards = -1 if perturb == "extrapolate" else 1
    assert ((other - z).sign() == -towards * z.sign()).all()


@pytest.mark.parametrize("perturb, towards_the_other", [("posterior", 1.6), ("prior", -2.5)])
def test_latents_of_a_vae_move_within_the_class_that_an_image_has(perturb, towards_the_other):
    """About 3 and -3, deviation 1, and as much left open: told the other class, a posterior lies between."""
    labels = torch.arange(2).repeat_interleave(500)
    latents = torch.randn(1000, 2) + 6 * labels[:, None] - 3
    augmentation = VariationalAugment(perturb=perturb, strength=1.0)
    augmentation.learn_classes(fit_classes(latents, labels, torch.ones(2)))
    augmentation.autoencoder = nn.Module()
    augmentation.autoencoder.posterior = lambda images: (images.flatten(1), torch.zeros(len(images), 2))
    x, side = latents.reshape(1000, 2, 1, 1), 2 * labels[:, None] - 1
    assert 2.8 < float((augmentation.latents(x, labels)[1] * side).mean()) < 3.3
    assert float((augmentation.latents(x, 1 - labels)[1] * side).mean()) < towards_the_other
    alone = float((augmentation.latents(x, None)[1] * side).mean())
    assert alone == pytest.approx(3.0 if perturb == "posterior" else 0.0, abs=0.15)


def test_gradients_pass_to_images_as_finite_differences_say(augmentation, digits):
    """Through fraction, augmentation and view, along a random direction and against a random cotangent."""
    if "critic" not in augmentation.fractions:
        pytest.skip("stands on the data alone")
    augment = Composition({"augmentation": augmentation}, on="critic", fraction=0.6)
    augment.restart(3)
    x, labels = batch(digits.dataset, 12)
    x.requires_grad_()
    direction, cotangent = torch.randn_like(x), torch.randn_like(x)

    def along(step: float) -> torch.Tensor:
        augment.restart(3)
        return (augment.critic_transform(x + step * direction, labels) * cotangent).sum()

    (gradient,) = torch.autograd.grad(along(0.0), x)
    with torch.no_grad():
        slope = (along(1e-3) - along(-1e-3)) / 2e-3
    assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=0.05, abs=0.3)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_fraction(digits, fraction):
    noise = NoiseAugment()
    x, labels = batch(digits.dataset, 51)
    shares = [(noise(x, labels, fraction) != x).flatten(1).any(1).double().mean() for _ in range(40)]
    assert torch.stack(shares).mean() == pytest.approx(fraction, abs=0.02)


def test_the_number_of_varied_images_of_small_batches_is_right_on_average():
    numbers = [len(draw_fraction(torch.zeros(5, 1), 0.3)) for _ in range(2000)]
    assert set(numbers) == {1, 2}
    assert sum(numbers) / 2000 == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize("name", ["ae", "pca", "vae"])
def test_residual_of_strength_0_is_the_identity(digits, name):
    augmentation = fitted(make(name, strength=0.0), digits.dataset)
    x, labels = batch(digits.dataset)
    assert torch.equal(augmentation.vary(x, labels), x)
    augmentation.detail = "decode"
    assert torch.equal(augmentation.vary(x, labels), augmentation.reconstruct(x))


def test_repeat_shows_fewer_originals_of_the_same_classes(digits):
    x, labels = batch(digits.dataset)
    repeated = Repeat()(x, labels, 0.5)
    rows = {tuple(image.flatten().tolist()): int(label) for image, label in zip(x, labels)}
    assert all(rows[tuple(image.flatten().tolist())] == label for image, label in zip(repeated, labels))
    assert 32 <= len({tuple(image.flatten().tolist()) for image in repeated}) <= 40
    assert len({tuple(image.flatten().tolist()) for image in Repeat()(x, None, 0.75)}) == 16


def test_noise_matches_the_error_of_the_ae_augmentation(digits):
    given = {"steps": 50, "strength": 0.8, "perturb": "gaussian"}
    noise, other = (
        fitted(NoiseAugment(match="ae", **given), digits.dataset),
        fitted(AutoencoderAugment(**given), digits.dataset),
    )
    x, labels = batch(digits.dataset, 200)
    errors = [(augmentation.vary(x, labels).clamp(-1, 1) - x).square().mean() for augmentation in (noise, other)]
    assert errors[0] == pytest.approx(float(errors[1]), rel=0.05)
    assert errors[0] > 0.01


@pytest.mark.parametrize("arm_class, model", [(AutoencoderAugment, Autoencoder), (VariationalAugment, VAE)])
def test_the_autoencoder_sees_the_training_subset_alone(digits, monkeypatch, arm_class, model):
    other = type(digits)(num_train=200, split_seed=1)
    other.cache_dir = digits.cache_dir
    other.setup()
    seen, original = [], model.training_step

    def watched(self, batch, batch_idx):
        seen.append(batch[0])
        return original(self, batch, batch_idx)

    monkeypatch.setattr(model, "training_step", watched)
    make(registry.name_of(arm_class), steps=30, lr=0.0011).fit(other.dataset, **QUIET)
    seen = {tuple(image.flatten().tolist()) for image in torch.cat(seen)}
    train = [tuple(image.flatten().tolist()) for image in other.dataset.train.images.float() / 127.5 - 1]
    assert seen <= set(train)
    aside = _training._split(other.dataset.train)[1].images.float() / 127.5 - 1
    assert len(aside) == 20
    assert not seen & {tuple(image.flatten().tolist()) for image in aside}
    assert len(seen) > 150


def test_training_stops_when_the_error_on_images_kept_aside_stops_falling(digits, monkeypatch):
    looks = []
    monkeypatch.setattr(_training._Stop, "every", 10)
    original = _training._Stop._look

    def look(self, model):
        original(self, model)
        looks.append((self.best, {name: value.clone() for name, value in model.state_dict().items()}))

    monkeypatch.setattr(_training._Stop, "_look", look)
    augmentation = AutoencoderAugment(autoencoder={"name": "ae", "lr": 0.02}, steps=3000)
    augmentation.fit(digits.dataset, **QUIET)
    assert len(looks) < 150
    bests = [best for best, _ in looks]
    num = _training._Stop.patience
    assert len(bests) > num and bests[-1] > 0.99**num * bests[-1 - num]  # hardly better
    best = looks[bests.index(bests[-1])][1]
    assert all(torch.equal(value, best[name]) for name, value in augmentation.autoencoder.state_dict().items())


def test_fit_does_not_depend_on_the_run(digits):
    """Runs of other seeds, batch sizes and what was drawn before share one autoencoder."""
    augment = AutoencoderAugment(autoencoder={"name": "ae", "lr": 0.0012}, steps=10)
    augment.fit(digits.dataset, **QUIET)
    digits.seed, digits.batch_size, digits.cache_dir = 5, 32, f"{digits.cache_dir}/another"
    torch.manual_seed(99)
    again = AutoencoderAugment(autoencoder={"name": "ae", "lr": 0.0012}, steps=10)
    again.fit(digits.dataset, **QUIET)
    for a, b in zip(augment.autoencoder.state_dict().values(), again.autoencoder.state_dict().values()):
        assert torch.equal(a, b)
    assert digits.augment is None
    assert digits.batches == 0


@pytest.mark.parametrize("name", [name for name in AUTOENCODER.names() if name != "rnn_ae"])
def test_any_model_that_encodes_and_decodes_augments(digits, name):
    """Its own reconstruction without strength, whose change is then none, and another image with one."""
    augmentation = fitted(AutoencoderAugment(autoencoder=name, steps=3, detail="decode", strength=0.0), digits.dataset)
    assert registry.name_of(type(augmentation.autoencoder)) == name
    x, labels = batch(digits.dataset)
    assert torch.allclose(augmentation.vary(x, labels), augmentation.autoencoder.reconstruct(x), atol=1e-4)
    augmentation.strength = 1.0
    assert not torch.allclose(augmentation.vary(x, labels), augmentation.autoencoder.reconstruct(x), atol=1e-2)


@pytest.mark.slow
def test_the_adversarial_autoencoder(digits):
    augmentation = fitted(AutoencoderAugment(autoencoder="vaegan", steps=300), digits.dataset)
    x, labels = batch(digits.dataset)
    assert (augmentation.reconstruct(x) - x).square().mean() < 0.25
    assert type(augmentation.autoencoder).__name__ == "VAEGAN"
    assert not torch.equal(augmentation.vary(x, labels), x)


def test_the_cost_of_a_batch_does_not_grow_with_the_data():
    augmentation = PCAAugment(latent_dim=2, perturb="resample")
    augmentation.set_latents(torch.randn(3 * augmentation.max_bank, 2), torch.arange(3 * augmentation.max_bank) % 4)
    assert len(augmentation.bank) == len(augmentation.bank_labels) == augmentation.max_bank
    assert len(augmentation.weights) == 4 * 3


def test_two_processes_that_start_together_train_one_autoencoder(tmp_path):
    code = """
import logging, sys
import torch
logging.basicConfig(level=logging.INFO)
from datamodules.digits import Digits
from lightning_genae.augment.ae import AutoencoderAugment
from lightning_genae.cache import hash_weights

def fit(rank, folder):
    digits = Digits(num_train=100)
    digits.cache_dir = folder
    digits.setup()
    augment = AutoencoderAugment(steps=100)
    augment.fit(digits.dataset, accelerator="cpu", enable_progress_bar=False)
    print("weights", hash_weights(augment.autoencoder))

# forked: another import of torch takes longer than the training
torch.multiprocessing.start_processes(fit, (sys.argv[1],), nprocs=2, start_method="fork")
"""
    words = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(words, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    weights = [line for line in done.stdout.splitlines() if line.startswith("weights ")]
    assert len(weights) == 2 and len(set(weights)) == 1
    assert done.stderr.count("Training the autoencoder") == 1


def test_wrong_checkpoints(digits, tmp_path):
    path = tmp_path / "some.ckpt"
    path.write_text("no checkpoint")
    expected = r"--augment.checkpoint: '.*some.ckpt' is damaged .*; give one of --model aae or ae or .* or vaegan"
    with pytest.raises(ValueError, match=expected):
        AutoencoderAugment(checkpoint=str(path)).check(digits.dataset)
    torch.save({"state_dict": {}, "hyper_parameters": {"image_shape": (1, 8, 8), "num_classes": 10}}, path)
    with pytest.raises(ValueError, match=r"expected a checkpoint of --model vae, got .* \(.*Missing key"):
        VariationalAugment(checkpoint=str(path)).check(digits.dataset)
    torch.save({"state_dict": {}, "hyper_parameters": {"image_shape": (1, 8, 8), "r1": 0.0}}, path)
    with pytest.raises(ValueError, match=r"expected a checkpoint of --model vae, got .* \(it is of another model\)"):
        VariationalAugment(checkpoint=str(path)).check(digits.dataset)
    with pytest.raises(FileNotFoundError, match=r"--augment.checkpoint: expected a checkpoint or a run folder"):
        AutoencoderAugment(checkpoint=str(tmp_path / "none")).check(digits.dataset)


@pytest.mark.parametrize("model", ["ae", "vaegan", "vae"])
def test_a_checkpoint_of_other_images_is_refused_unless_that_is_meant(cli, digits, model):
    short = ("--steps", "5", "--metrics.features", "pixels", "--data.num_train", "200")
    assert cli("--model", model, *short, "--folder", "same")[0] == 0
    assert cli("--model", model, *short, "--data.split_seed", "1", "--folder", "other")[0] == 0
    arm_class = VariationalAugment if model == "vae" else AutoencoderAugment
    same = fitted(arm_class(checkpoint="same"), digits.dataset)
    assert same.trained_on == digits.dataset.fingerprint
    with pytest.raises(ValueError, match=r"--augment.foreign true says that it is meant"):
        arm_class(checkpoint="other").check(digits.dataset)
    foreign = fitted(arm_class(checkpoint="other", foreign=True), digits.dataset)
    assert foreign.trained_on not in (digits.dataset.fingerprint, "unknown")
    x, _ = batch(digits.dataset)
    extractor = PixelFeatures(digits.dataset)
    quality = foreign.quality(digits.dataset, extractor, x, extractor(digits.dataset.validation.images))
    assert quality["autoencoder_images"] == foreign.trained_on


def test_an_augmentation_is_a_file():
    assert {"none", "classic", "noise", "pca", "repeat", "ae", "vae", "diffaug", "ada"} <= set(NAMES)
    assert all(issubclass(registry.load(PACKAGE, name), Augmentation | nn.Module) for name in NAMES)


def split_of(num: int, shape=(1, 2, 3), classes: int = 3) -> Images:
    """Images of random values in [-1, 1], as sequences and points are stored."""
    return Images(torch.rand(num, *shape) * 2 - 1, torch.arange(num) % classes)


def data_of(num: int, **options) -> Dataset:
    """Training images, and 50 validation ones."""
    return dataset_of(split_of(num, **options), validation=split_of(50, **options), fingerprint="mine")


def test_options_of_which_nothing_is_said_are_the_documented_ones():
    matching = {"num_features": 128, "weight": 0.3}
    perturbing = {"strength": 0.5, "detail": "residual", "perturb": "gaussian", "neighbours": 5, **matching}
    expected = {
        "none": {},
        "repeat": {},
        "pca": {**perturbing, "latent_dim": 16},
        "ae": {**perturbing, "autoencoder": "ae", "steps": 1000, "reduce": None},
        "vae": {"perturb": "posterior", "strength": 0.5, "detail": "residual", "network": "conv", "beta": 1.0}
        | {"latent_dim": 16, "width": 8, "steps": 1000, "lr": 2e-3, **matching},
        "diffaug": {"colour": True, "translation": 0.125, "cutout": 0.5},
        "ada": {"blits": True, "geometry": True, "colour": True},
        "classic": {"crop": 0.1, "flip": None, "shift": None, "rotate": None, "contrast": None}
        | {"jitter": None, "scale": None, "warp": None},
    }
    expected["noise"] = {"std": None, "match": "no", **expected["ae"]}
    for name, options in expected.items():
        found = signature(registry.load(PACKAGE, name))
        assert {option: default for option, (_, default) in found.items() if option not in ELSEWHERE} == options
        assert found.get("foreign", (bool, False))[1] is False
    assert (AutoencodingAugmentation().strength, AutoencodingAugmentation().detail) == (0.5, "residual")
    assert {name for name in expected if not registry.load(PACKAGE, name).shows} == {"none", "repeat"}
    assert registry.load(PACKAGE, "none").fractions == {"data": 0.0, "critic": 0.0}


def test_controls_have_nothing_to_show():
    """Without augmentation no share of the images is varied, and repetitions are not before a critic."""
    x = torch.rand(3, 1, 2, 2)
    for name, fractions in (("none", {"data": 0.0, "critic": 0.0}), ("repeat", {"data": 0.5})):
        augmentation = make(name)
        assert (
            torch.equal(augmentation.vary(x, None), x)
            and not augmentation.shows
            and dict(augmentation.fractions) == fractions
        )


def test_what_diffaug_shifts_in_is_grey():
    x = torch.ones(50, 1, 8, 8)
    shifted = make("diffaug", colour=False, cutout=0.0).vary(x, None)
    assert set(shifted.unique().tolist()) == {0.0, 1.0}
    whole = (shifted == 1).all(1).flatten(1).all(1).double().mean()
    assert 0 < whole < 0.4  # one place of nine


def test_an_augmentation_varies_in_float32_and_returns_the_precision_that_it_was_given():
    class Watched(Augmentation):
        def vary(self, images, labels):
            assert images.dtype == torch.float32 and len(images) == len(labels) == 1
            return images + 1

    assert (
        Watched.shows and Watched.apply_to == "data" and Watched().settings() == {}
    )  # unless an augmentation says otherwise
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = torch.zeros(4, 1, 2, 2, dtype=dtype)
        varied = Watched()(x, torch.arange(4), 0.25)  # one of them
        assert varied.dtype == dtype and sorted(varied.flatten(1).sum(1).tolist()) == [0, 0, 0, 4]


def test_the_residual_of_text_by_hand():
    """The token at a place changes where the decoded one does, and then to that; what the decoder blurs is kept."""
    augmentation = AutoencodingAugmentation()
    augmentation.check(dataset_of(split_of(2), modality=Text()))

    def one_hot(tokens):
        return 2 * torch.nn.functional.one_hot(torch.tensor(tokens), 4).movedim(1, 2)[:, :, None].float() - 1

    augmentation.autoencoder = SimpleNamespace(decode=lambda z: 0.7 * z)
    augmentation.latents = lambda images, labels: (one_hot([[0, 1, 1], [2, 2, 2]]), one_hot([[0, 3, 1], [0, 2, 1]]))
    varied = augmentation.vary(one_hot([[0, 1, 2], [3, 2, 3]]), None)
    assert varied.argmax(1)[:, 0].tolist() == [[0, 3, 2], [0, 2, 1]]


def test_pca_is_scikit_learns():
    data = data_of(40)
    augmentation = PCAAugment(latent_dim=3)
    augmentation.fit(data)
    flat = data.train.images.flatten(1).numpy()
    pca = PCA(3).fit(flat)
    z = augmentation.autoencoder.encode(data.train.images)
    assert z.dtype == torch.float32 and augmentation.trained_on == "mine"
    assert np.abs(z.numpy()) == pytest.approx(np.abs(pca.transform(flat)), abs=1e-5)  # signs are arbitrary
    expected = pca.inverse_transform(pca.transform(flat)).reshape(40, 1, 2, 3)
    assert augmentation.reconstruct(data.train.images).numpy() == pytest.approx(expected, abs=1e-5)
    few = PCAAugment()
    few.fit(data_of(4))
    assert few.autoencoder.encode(data.train.images).shape == (40, 3)  # four images lie in three dimensions


@pytest.mark.parametrize("num, latent_dim, expected", [(40, 3, 3), (4, 16, 3), (40, 9, 6)])
def test_the_quality_of_an_autoencoder_by_hand(num, latent_dim, expected):
    """Beside PCA with as many components as its code has, or as there can be of so many images or pixels."""
    data = data_of(num)
    augmentation = AutoencodingAugmentation()
    augmentation.trained_on = "mine"
    augmentation.autoencoder = SimpleNamespace(
        encode=lambda x: x.flatten(1).repeat(1, 3)[:, :latent_dim],
        decode=lambda z: z[:, :1, None, None].expand(-1, 1, 2, 3),
    )
    data.train.images[:, :, :, 1:] *= 0.3
    images, validation = data.train.images, data.validation.images
    real, extractor = validation.flatten(1)[:, :2], PixelFeatures.__new__(PixelFeatures)
    nn.Module.__init__(extractor)
    extractor.forward = lambda images: images.flatten(1)[:, :2].float()
    quality = augmentation.quality(data, extractor, images, real)
    assert quality["num_components"] == expected and quality["autoencoder_images"] == "mine"
    error = (validation[:, :1, :1, :1] - validation).square().mean()
    assert quality["mse_validation"] == pytest.approx(float(error), rel=1e-5)
    flat, pca = validation.flatten(1).numpy(), PCA(expected).fit(images.flatten(1).numpy())
    of_pca = float(((pca.inverse_transform(pca.transform(flat)) - flat) ** 2).mean())
    assert quality["mse_pca"] == pytest.approx(of_pca, rel=1e-4, abs=1e-9)
    first = ((images[:, 0, 0, :1].expand(-1, 2) + 1) * 127.5).round()  # as they would be stored
    assert quality["fd_decoded"] == pytest.approx(frechet_distance(real, first), rel=1e-6)


def test_noise_of_all_latents_keeps_their_mean_and_covariance_in_every_dimension():
    """By the formula, m + sqrt(1 - s^2) (z - m) + s L e, with as much precision as latents far from 0 need."""
    latents, labels = (
        torch.randn(30, 3) @ torch.tensor([[2.0, 0, 0], [1, 1, 0], [0, 1, 0.1]]) + 1000,
        torch.arange(30) % 2,
    )
    augmentation = PCAAugment(strength=0.6)
    torch.manual_seed(5)
    augmentation.set_latents(latents, labels)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert drawn == torch.rand(1)  # what is kept for neighbours is drawn beside the run's random numbers
    augmentation.autoencoder = SimpleNamespace(encode=lambda x: x.flatten(1))
    z = latents[:9]
    torch.manual_seed(0)
    found, varied = augmentation.latents(z[:, :, None, None], None)
    torch.manual_seed(0)
    noise = torch.randn_like(z) @ torch.linalg.cholesky(torch.cov(latents.double().T)).float().T
    assert torch.equal(found, z)
    assert torch.allclose(varied, latents.mean(0) + 0.8 * (z - latents.mean(0)) + 0.6 * noise, atol=1e-3)
    assert augmentation.cholesky.dtype == torch.float32
    exact = torch.linalg.cholesky(torch.cov(latents.double().T))
    assert torch.allclose(augmentation.cholesky.double(), exact, rtol=1e-4)


def test_latents_that_do_not_vary_in_some_dimension_get_a_billionth_of_the_variance_there():
    latents = torch.tensor([[10.0, 1, 0], [-10, 1, 0], [10, 1, 3], [-10, 1, 3]])
    augmentation = PCAAugment()
    augmentation.set_latents(latents, torch.zeros(4).long())
    trace = 400 / 3 + 3
    assert augmentation.cholesky[1].tolist() == pytest.approx([0, (1e-9 * trace) ** 0.5, 0], rel=1e-3)
    one = PCAAugment()
    one.set_latents(latents[:, :1], torch.zeros(4).long())
    assert one.cholesky.tolist() == [[pytest.approx((400 / 3) ** 0.5)]]


def test_neighbours_are_looked_for_among_2048_latents_at_most_with_their_classes():
    latents, labels = torch.arange(3000.0)[:, None], torch.arange(3000) % 7
    banks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        augmentation = PCAAugment(perturb="interpolate")
        augmentation.set_latents(latents, labels)
        banks.append(augmentation.bank)
        assert len(augmentation.bank.unique()) == 2048
        assert torch.equal(augmentation.bank_labels, augmentation.bank[:, 0].long() % 7)
    assert torch.equal(*banks)


def test_resampling_wants_a_class_with_two_images():
    with pytest.raises(ValueError, match=r"--augment.perturb: expected a class with at least 2 images for resample"):
        PCAAugment(perturb="resample").set_latents(torch.randn(3, 2), torch.arange(3))
    PCAAugment(perturb="resample").set_latents(torch.randn(3, 2), torch.tensor([0, 1, 1]))


class Strong(AutoencodingAugmentation):
    """Makes 30 of 100 pixels far too bright, 10 far too dark, and darkens the others of class 1 by 0.4."""

    def __init__(self):
        super().__init__()
        self.fitted = []

    def fit(self, dataset, **trainer_options):
        self.fitted.append((dataset, trainer_options))

    def vary(self, images, labels):
        varied = images - 0.4 * labels[:, None, None, None]
        varied[..., :30], varied[..., 30:40] = 3, -5
        return varied


def test_noise_with_the_error_of_the_ae_augmentation_by_its_integral():
    """The squared error, clipped at 1, of a gaussian of std d is an integral; d is where it is the augmentation's."""
    augmentation, other = NoiseAugment(match="ae"), Strong()
    augmentation.matched = [other]
    data = dataset_of(Images(torch.zeros(400, 1, 1, 100), torch.arange(400) % 2), modality=Series())
    augmentation.check(data)
    augmentation.fit(data, accelerator="cpu")
    assert other.fitted == [(data, {"accelerator": "cpu"})] and other.modality is data.modality
    wanted = 0.4 + 0.6 * 0.4**2 / 2

    def error(deviation):
        inside, _ = integrate.quad(lambda e: e**2 * stats.norm.pdf(e, scale=deviation), -1, 1)
        return inside + 2 * stats.norm.sf(1, scale=deviation)

    expected = optimize.brentq(lambda deviation: error(deviation) - wanted, 0.1, 3)
    assert augmentation.std == pytest.approx(expected, rel=0.01) and augmentation.settings() == {
        "std": augmentation.std
    }
    assert augmentation.vary(torch.zeros(200, 1, 1, 100), None).std() == pytest.approx(expected, rel=0.03)
    augmentation.fit(
        dataset_of(torch.full((400, 1, 1, 100), 0.9), modality=Series())
    )  # brighter ones have less room above than below
    wanted = 0.3 * 0.1**2 + 0.1 * 1.9**2

    def error_of_bright(deviation):
        inside, _ = integrate.quad(lambda e: e**2 * stats.norm.pdf(e, scale=deviation), -1.9, 0.1)
        outside = 0.1**2 * stats.norm.sf(0.1, scale=deviation) + 1.9**2 * stats.norm.sf(1.9, scale=deviation)
        return inside + outside

    expected = optimize.brentq(lambda deviation: error_of_bright(deviation) - wanted, 0.1, 3)
    assert augmentation.std == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("on, warns", [("data", True), ("critic", False)])
def test_consistency_has_no_effect_without_an_augmentation_before_the_critic(digits, caplog, on, warns):
    model = GAN(digits.dataset.image_shape, 10, network="mlp", hidden=[2], consistency=10.0)
    Composition({"classic": make("classic")}, on=on).check(digits.dataset, model)
    said = "--model.consistency has no effect without --augment diffaug, or another on the critic"
    assert (said in caplog.text) == warns
    model = GAN(digits.dataset.image_shape, 10, width=2, reconstruct=1.0, reconstruct_clean=True)
    Composition({"classic": make("classic")}, on=on).check(digits.dataset, model)
    assert (said.replace("consistency", "reconstruct_clean") in caplog.text) == warns


def test_a_deviation_has_no_effect_where_it_is_matched(caplog):
    assert NoiseAugment(std=0.3).settings() == {"std": 0.3}
    NoiseAugment(match="ae")
    assert caplog.text == ""
    NoiseAugment(std=0.3, match="ae")
    assert "--augment.std has no effect without --augment.match no" in caplog.text


def test_repetitions_are_of_images_that_stay_and_of_their_class():
    """Each image has its own value; a class of which nothing stays keeps its images."""
    x = torch.arange(12.0)[:, None, None, None]
    seen = set()
    for labels in (None, torch.tensor([0] * 6 + [1] * 5 + [2])):
        for _ in range(30):
            repeated = Repeat()(x, labels, 0.5)[:, 0, 0, 0].long()
            moved = repeated != torch.arange(12)
            kept = repeated[~moved]
            assert set(repeated.tolist()) == set(kept.tolist())  # nothing is repeated that is not there
            assert moved.sum() == 6 if labels is None else moved.sum() <= 6
            if labels is not None:
                assert torch.equal(labels[repeated], labels) and repeated[11] == 11
                seen |= set(repeated[moved].tolist())
    assert seen == set(range(11))
    assert torch.equal(Repeat()(x, None, 1.0), x) and torch.equal(Repeat()(x, None, 0.0), x)


def test_a_step_of_a_vae_keeps_the_prior_and_noise_is_the_encoders():
    """sqrt(1 - s^2) z + s e; and z + s sigma e."""
    z, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    for perturb in ("prior", "posterior"):
        augmentation = VariationalAugment(perturb=perturb, strength=0.6)
        augmentation.autoencoder = SimpleNamespace(posterior=lambda x: (z, log_variance))
        torch.manual_seed(0)
        found, varied = augmentation.latents(z, None)
        torch.manual_seed(0)
        noise = torch.randn(5, 3)
        expected = 0.8 * z + 0.6 * noise if perturb == "prior" else z + 0.6 * (log_variance / 2).exp() * noise
        assert torch.equal(found, z) and torch.allclose(varied, expected, atol=1e-6)
