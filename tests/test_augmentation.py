"""Where augmentations stand, how they compose and adapt, and that they do not leak from the critic's side."""

import csv
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from torch import nn

from callbacks.adapt import Adapt
from datamodules import ImageDataModule
from lightning_genae import registry
from lightning_genae.augment import Augmentation, Composition
from lightning_genae.augment._stream import Stream
from lightning_genae.augment.ada import AdaptiveAugment
from lightning_genae.augment.classic import ClassicAugment
from lightning_genae.augment.diffaug import DiffAugment
from lightning_genae.augment.noise import NoiseAugment
from lightning_genae.augment.none import NoAugment
from lightning_genae.augment.pca import PCAAugment
from lightning_genae.augment.repeat import Repeat
from lightning_genae.data.dataset import Images
from lightning_genae.data.modalities.image import Image
from lightning_genae.data.modalities.points import Points
from lightning_genae.models.ebgan import EBGAN
from lightning_genae.models.gan import GAN
from tests.data import dataset_of
from tests.test_models import MODELS, TwoPlayers, train
from tests.test_run import SHORT, results, weights_equal

TWO_PLAYERS = [name for name, model in MODELS.items() if issubclass(model, TwoPlayers)]


class Add(Augmentation):
    """Adds a number, and keeps the labels that it is given."""

    def __init__(self, number: float):
        super().__init__()
        self.number, self.labels = number, []

    def vary(self, images, labels):
        self.labels.append(labels)
        return images + self.number


def batch():
    return torch.rand(8, 1, 4, 4) * 0.2, torch.arange(8) % 2


def test_augmentations_follow_each_other_each_in_its_own_place():
    x, labels = batch()
    augment = Composition({"add": Add(0.25), "diffaug": DiffAugment(), "more": Add(0.5)}, fraction=1.0)
    assert torch.allclose(augment(x, labels), x + 0.75)
    assert augment.applied_to("critic") == ["diffaug"]
    assert not torch.equal(augment.critic_transform(x, labels), x)
    assert torch.equal(Composition({"none": NoAugment()})(x, labels), x)
    on_critic = Composition({"add": Add(0.25), "more": Add(0.5)}, on="critic", fraction=1.0)
    assert torch.equal(on_critic(x, labels), x)
    assert torch.allclose(on_critic.critic_transform(x, labels), x + 0.75)


def test_augmentations_are_put_where_they_shall_stand():
    augmentations = {"add": Add(0.25), "more": Add(0.5)}
    assert Composition(augmentations, on="data+critic").sides == {"add": "data", "more": "critic"}
    for on, message in {
        "data+critic+data": "expected one side, or 2",
        "data+here": "expected data or critic for more",
    }.items():
        with pytest.raises(ValueError, match=f"--augment.on: {message}"):
            Composition(augmentations, on=on)


def test_none_stands_by_itself():
    with pytest.raises(ValueError, match=r"--augment: expected none by itself; got add\+none"):
        Composition({"add": Add(0.25), "none": NoAugment()})
    assert Composition({"none": NoAugment()}).fractions == {"none": 0.0}


def test_without_an_augmentation_on_the_data_images_are_left_as_they_are():
    """Also those of another range, which a data module is free to have."""
    x, labels = batch()
    assert torch.equal(Composition({"add": Add(0.5)}, on="critic", fraction=1.0)(20 * x, labels), 20 * x)


def conditioned(**conditions) -> SimpleNamespace:
    """As a model with a critic of images."""
    return SimpleNamespace(critic_transform=lambda images, labels: images, **conditions)


@pytest.mark.parametrize(
    "model, heeded",
    [
        (None, False),  # nobody said what the model is
        (conditioned(), False),
        (conditioned(num_conditions=0), False),
        (conditioned(num_conditions=1), True),
        (conditioned(num_conditions=10), True),
    ],
)
def test_the_critics_side_heeds_labels_if_the_model_does(model, heeded):
    (x, labels), augmentation = batch(), Add(0.5)
    augment = Composition({"add": augmentation}, on="critic", fraction=1.0)
    if model is not None:
        augment.check(dataset_of(torch.zeros(2, 1, 4, 4)), model)
    augment.critic_transform(x, labels)
    augment.vary(x, labels)  # for pictures, as it would be for the critic
    assert [given is not None for given in augmentation.labels] == [heeded, heeded]


def test_variations_of_augmentations_on_the_data_are_within_the_class():
    (x, labels), augmentations = batch(), {"add": Add(0.5), "more": Add(5.0)}
    assert torch.equal(Composition(augmentations, on="data+critic").vary(x, labels), torch.ones_like(x))
    assert torch.equal(augmentations["add"].labels[0], labels) and augmentations["more"].labels == [None]


class Learning(Add):
    """Notes what it learns from, and reconstructs."""

    def fit(self, dataset, **trainer_options):
        self.told = dataset, trainer_options

    def settings(self):
        return {"number": self.number}

    def reconstruct(self, x):
        return x - self.number


def test_every_augmentation_learns_from_the_data_with_the_options_of_the_trainer():
    augmentations = {"add": Learning(0.25), "more": Learning(0.5)}
    dataset = dataset_of(torch.rand(8, 1, 4, 4))
    Composition(augmentations).fit(dataset, accelerator="cpu", callbacks=[])
    assert all(
        augmentation.told == (dataset, {"accelerator": "cpu", "callbacks": []})
        for augmentation in augmentations.values()
    )


def test_the_reconstruction_is_that_of_the_first_augmentation_that_has_one():
    augment = Composition({"add": Add(0.25), "first": Learning(0.5), "second": Learning(1.0)})
    assert torch.equal(augment.reconstruct(torch.ones(2)), torch.full((2,), 0.5))
    assert not hasattr(Composition({"add": Add(0.25)}), "reconstruct")


def test_the_settings_of_augmentations_say_what_options_came_to():
    expected = {"on": "critic", "fraction": 0.7, "target": None, "within_class": False, "number": 0.5}
    assert Composition({"add": Learning(0.5)}, on="critic").settings() == {"add": expected}
    given = Composition({"add": Add(0.5)}, fraction=0.3, target=0.4).settings()
    assert given == {"add": {"on": "data", "fraction": 0.3, "target": 0.4, "within_class": True}}
    assert Composition({"none": NoAugment()}).settings() == {}


@pytest.mark.parametrize("num_conditions", [0, 10])
def test_the_gate_measures_every_augmentation_as_it_stands(monkeypatch, num_conditions):
    """Variations within a class on the data, and on the critic if the model has classes; what shows nothing has none"""

    def measure(augmentation, dataset, extractor, is_within_class, conditional=False):
        assert (dataset, extractor) == ("data", "extractor")
        return {"heeds": is_within_class, "given": conditional} if isinstance(augmentation, Add) else {}

    monkeypatch.setattr("lightning_genae.augment._quality.measure", measure)
    augment = Composition({"add": Add(0.5), "more": Add(1.0), "same": NoAugment()}, on="data+critic+data")
    augment.check(dataset_of(torch.zeros(2, 1, 4, 4)), conditioned(num_conditions=num_conditions))
    has_classes, told = num_conditions > 0, {"target": None, "conditional": num_conditions > 0}
    assert augment.quality("data", "extractor") == {
        "add": {"on": "data", "fraction": 0.5, "within_class": True, "heeds": True, "given": has_classes, **told},
        "more": {"on": "critic", "fraction": 0.7, "within_class": has_classes, "heeds": has_classes}
        | {"given": has_classes, **told},
    }


def test_training_images_stay_in_range_and_the_critics_need_not():
    x, labels = batch()
    assert Composition({"add": Add(5.0)}, fraction=1.0)(x, labels).max() == 1
    assert Composition({"add": Add(5.0)}, on="critic", fraction=1.0).critic_transform(x, labels).min() > 4


@pytest.mark.parametrize("name", ["ae", "classic", "diffaug", "noise", "pca", "repeat", "vae"])
def test_augmentations_that_are_compared_vary_the_same_share_of_the_images(name):
    augmentation = registry.load("lightning_genae.augment", name)()
    for place in augmentation.fractions:
        fractions = Composition({name: augmentation}, on=place).fractions
        assert fractions == {name: {"data": 0.5, "critic": 0.7, "generator": 1.0}[place]}


def test_the_fraction_is_each_augmentations_own_or_everybodys():
    augmentations = {"noise": NoiseAugment(), "classic": ClassicAugment()}
    assert Composition(augmentations).fractions == {"noise": 0.5, "classic": 0.5}
    assert Composition(augmentations, fraction=0.2).fractions == {"noise": 0.2, "classic": 0.2}
    assert Composition(augmentations, target=0.6).fractions == {"noise": 0.0, "classic": 0.0}
    ada = Composition({"ada": AdaptiveAugment()})
    assert (ada.target, ada.fractions) == (0.6, {"ada": 0.0})
    assert Composition({"ada": AdaptiveAugment()}, fraction=0.3).target is None


@pytest.mark.parametrize(
    "model, modality, place, fraction",
    [
        ("gan", Image(), "generator", 1.0),
        ("gan", Points(), "critic", 0.7),
        ("vaegan", Image(), "generator", 1.0),
        ("aae", Image(), "data", 0.5),
        ("vae", Image(), "data", 0.5),
    ],
)
def test_an_autoencoder_acts_on_the_generator_for_images_else_before_the_critic_if_there_is_one(
    digits, model, modality, place, fraction
):
    augmentations = {"pca": PCAAugment(), "noise": NoiseAugment()}
    augment = Composition(augmentations)
    augment.check(replace(digits.dataset, modality=modality), MODELS[model]((1, 8, 8), 10))
    assert augment.sides == {"pca": place, "noise": "data"}
    assert augment.fractions == {"pca": fraction, "noise": 0.5}
    chosen = Composition(augmentations, on="data", fraction=0.1)
    chosen.check(digits.dataset, MODELS[model]((1, 8, 8), 10))
    assert chosen.sides == {"pca": "data", "noise": "data"}
    assert chosen.fractions == {"pca": 0.1, "noise": 0.1}


@pytest.mark.parametrize(
    "within_class, conditional, on_data, on_critic",
    [(None, False, True, False), (None, True, True, True), (False, True, False, False), (True, True, True, True)],
)
def test_labels_reach_an_augmentation_where_generated_images_have_them(
    digits, within_class, conditional, on_data, on_critic
):
    x, labels = batch()
    model = GAN((1, 8, 8), 10, conditional="projection" if conditional else "no")
    for place, heeded in (("data", on_data), ("critic", on_critic)):
        augmentation = Add(0.0)
        augment = Composition({"add": augmentation}, on=place, within_class=within_class)
        augment.check(digits.dataset, model)
        (augment if place == "data" else augment.critic_transform)(x, labels)
        assert (augmentation.labels[0] is not None) == heeded


@pytest.mark.parametrize(
    "options, model, message",
    [
        ({"on": "critic"}, "ae", "--augment.on: expected data for a model without a critic of images; got critic"),
        ({"on": "critic"}, "aae", "--augment.on: expected data"),
        ({"target": 0.6}, "vae", "--augment.target: expected a model whose critic shows how far it overfits"),
        ({"target": 0.6}, "vae", "--augment.target: expected .* got VAE; --augment.fraction without a target"),
        ({"target": 0.6}, "began", "--augment.target: expected"),
        ({"on": "critic", "within_class": True}, "gan", "--augment.within_class: expected a conditional model"),
    ],
)
def test_what_cannot_work_is_refused(digits, options, model, message):
    with pytest.raises(ValueError, match=message):
        Composition({"noise": NoiseAugment()}, **options).check(digits.dataset, MODELS[model]((1, 8, 8), 10))


def test_wgan_gives_no_signal(digits):
    with pytest.raises(ValueError, match=r"not with --model.loss wgan or wgan-gp.*; got GAN with --model.loss wgan-gp"):
        Composition({"ada": AdaptiveAugment()}).check(digits.dataset, GAN((1, 8, 8), 10, loss="wgan-gp"))


def test_repeat_stands_on_the_data_alone():
    with pytest.raises(ValueError, match=r"--augment.on: expected data for repeat; got critic"):
        Composition({"repeat": Repeat()}, on="critic")


@pytest.mark.parametrize("name", [name for name in TWO_PLAYERS if name != "aae"])
def test_all_that_a_critic_judges_passed_the_view(name, digits):
    """Real and generated images alike: what is not viewed would leak."""
    model = MODELS[name](digits.dataset.image_shape, 10)
    viewed, judged = [], []

    def view(images, labels):
        assert len(images) == len(labels)
        viewed.append(images + 0)
        return viewed[-1]

    def watch(module, inputs):
        judged.extend(part for part in inputs if part.dim() == 4)

    model.critic_transform = view
    first = model.critic[0] if name in ("began", "ebgan") else model.critic
    first.register_forward_pre_hook(watch)
    train(model, digits, 2)
    assert sum(map(len, judged)) >= 6 * digits.batch_size  # real, generated, generated again; twice
    # by their place in memory: a detached image has that of the one it comes from
    assert {images.data_ptr() for images in judged} == {images.data_ptr() for images in viewed}


@pytest.mark.parametrize("name", [name for name in TWO_PLAYERS if name != "aae"])
def test_the_generator_learns_through_the_view(name, digits):
    """Its gradient passes the augmentation before the critic, for generated images; the critic's needs none there."""
    torch.manual_seed(0)
    model = MODELS[name](digits.dataset.image_shape, 10)
    augmentation = registry.load("lightning_genae.augment", "diffaug")()
    augment = Composition({"diffaug": augmentation}, fraction=1.0)
    viewed = []

    def view(images, labels):
        if images.requires_grad:
            images.retain_grad()
            viewed.append(images)
        return augment.critic_transform(images, labels)

    model.critic_transform = view
    train(model, digits, 1)
    assert viewed
    assert all(images.grad is not None and images.grad.abs().sum() > 0 for images in viewed)


@pytest.mark.parametrize("loss", ["ns", "minimax", "hinge", "lsgan", "kl", "reverse-kl", "pearson", "js"])
def test_the_signal_is_0_where_the_optimal_critic_cannot_tell(loss):
    """At p = q the output that minimises the critic's loss is the one at which r_t changes its sign."""
    from lightning_genae.nn import losses

    outputs = torch.linspace(-2, 2, 4001, dtype=torch.float64)
    game = losses.GAMES[loss]
    best = outputs[(game.real(outputs) + game.fake(outputs)).argmin()]
    # hinge is flat between its margins
    assert best == pytest.approx(game.decision_threshold, abs=1.001 if loss == "hinge" else 1e-3)
    model = GAN((1, 8, 8), 10, loss=loss)
    model.watch(game.decision_threshold + torch.tensor([1.0, 2.0, 3.0, -1.0]), game.decision_threshold)
    assert model.overfitting == 0.5


def test_the_fraction_follows_the_signal():
    augment = Composition({"noise": NoiseAugment()}, target=0.6, adapt_images=1000)
    for signal, expected in ((0.9, 0.1), (0.7, 0.2), (0.1, 0.1), (0.5, 0.0), (0.5, 0.0)):
        augment.adapt(signal, 100)
        assert augment.fractions["noise"] == pytest.approx(expected)
    augment.adapt(1.0, 5000)
    assert augment.fractions["noise"] == 1.0


def test_the_fraction_rises_when_the_critic_overfits(digits):
    class Certain(GAN):
        def watch(self, output_real, decision_threshold=0.0):
            self.overfitting = torch.tensor(self.certainty)

    for certainty, expected in ((1.0, 3 * 4 * 64 / 2000), (-1.0, 0.0)):
        Certain.certainty = certainty
        augment = Composition({"noise": NoiseAugment()}, on="critic", target=0.6, adapt_images=2000)
        model, data = Certain((1, 8, 8), 10), type(digits)(num_train=200)
        data.cache_dir = digits.cache_dir
        data.augment, model.critic_transform = augment, augment.critic_transform
        train(model, data, 14, callbacks=[Adapt(augment)])
        assert augment.fractions["noise"] == pytest.approx(expected)


def test_adaptive_from_the_command_line_is_logged_and_resumes_to_the_same(cli, monkeypatch):
    from callbacks.budget import Budget

    words = ("--model", "gan", "--augment", "ae+diffaug", "--augment.steps", "20", "--data.num_train", "200", *SHORT)
    words += ("--augment.on", "critic", "--augment.target", "0.2", "--augment.adapt_images", "3000")
    words += ("--model.lr", "0.01", "--trainer.log_every_n_steps", "1", "--checkpoint_seconds", "0")
    assert cli(*words, "--folder", "whole")[0] == 0
    with open("whole/metrics.csv", newline="") as file:
        fractions = [float(row["train/augment_fraction"]) for row in csv.DictReader(file)]
    assert fractions[0] == 0
    assert len(set(fractions)) > 2

    original = Budget.on_train_batch_end

    def interrupted(self, trainer, *args):
        original(self, trainer, *args)
        if trainer.datamodule.batches == 11:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Budget, "on_train_batch_end", interrupted)
        assert cli(*words, "--folder", "halves")[0] == 130
    assert cli(*words, "--folder", "halves")[0] == 0
    assert weights_equal("whole", "halves")
    assert Path("whole/metrics.csv").read_text() == Path("halves/metrics.csv").read_text()


def test_adaptive_on_the_data(cli):
    words = ("--augment", "noise", "--augment.target", "0.01", "--augment.adapt_images", "2000", *SHORT)
    status, _, error = cli(*words, "--trainer.log_every_n_steps", "1", "--model.lr", "0.01", "--folder", "run")
    assert status == 0, error
    with open("run/metrics.csv", newline="") as file:
        assert max(float(row["train/augment_fraction"]) for row in csv.DictReader(file)) > 0


def test_options_of_composed_augmentations(cli):
    words = ("--augment", "noise+classic", "--augment.std", "0.3", "--augment.shift", "0.2", *SHORT)
    assert cli(*words, "--folder", "run")[0] == 0
    config = yaml.safe_load(Path("run/config.yaml").read_text())["augment"]
    assert (config["name"], config["std"], config["shift"]) == ("noise+classic", 0.3, 0.2)
    assert set(results("run")["augment"]) == {"noise", "classic"}
    assert cli("--config", "run/config.yaml", "--folder", "again")[0] == 0
    assert weights_equal("run", "again")


@pytest.mark.parametrize(
    "words, message",
    [
        (["--augment", "ae+clasic"], "--augment: expected one of ada, ae, classic"),
        (["--augment", "ae+ae"], "--augment: expected every choice once; got 'ae+ae'"),
        (
            ["--augment", "vae+ae"],
            "expected choices that go together; got some that mean different things by --augment",
        ),
        (["--augment", "ae+none"], "--augment: expected none by itself; got ae+none"),
        (["--augment", "ae", "--augment.target", "2"], "--augment.target: expected a number above 0 and below 1"),
        (
            ["--augment", "diffaug", "--data", "ring", "--model.network", "mlp"],
            "for data of modality points (--data); got diffaug, which is for image",
        ),
        (
            ["--augment", "ae", "--augment.autoencoder.network", "conv", "--augment.autoencoder.lr", "1000"],
            "--augment.autoencoder.lr: expected one at which",
        ),
        (["--augment", "ae+"], "--augment: expected one of"),
        (
            ["--augment", "noise", "--augment.on", "critics"],
            "--augment.on: expected data or critic for noise; got critics",
        ),
        (["--augment", "repeat", "--augment.on", "critic"], "--augment.on: expected data for repeat; got critic"),
        (["--model", "ae", "--augment", "diffaug"], "--augment.on: expected data for a model without a critic"),
        (["--augment", "noise", "--augment.strength", "2"], "--augment.strength: expected a number at least 0"),
        (["--augment", "classic", "--augment.crop", "1"], "--augment.crop: expected a fraction below 1"),
    ],
)
def test_wrong_words(cli, words, message):
    status, _, error = cli(*words)
    assert status == 2
    assert message in error


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name in TWO_PLAYERS if name != "aae"])
def test_every_critic_goes_with_augmentations_before_it(cli, picture_folder, model):
    words = ("--model", model, "--augment", "ae+ada", "--augment.on", "critic", "--augment.steps", "5")
    words += ("--augment.fraction", "0.7", "--data", "folder", "--data.batch_size", "8")
    given = () if model not in ("began", "ebgan") else ("--augment", "ae+diffaug")
    status, _, error = cli(*words, *given, "--data.root", str(picture_folder), *SHORT, "--folder", "run")
    assert status == 0, error
    assert results("run")["augment"]["ae"]["on"] == "critic"


class _TwoPoints(ImageDataModule):
    """Points near (0.3, 0) and (-0.3, 0)."""

    def load(self):
        labels = torch.arange(2000) % 2
        x = torch.stack([0.6 * labels - 0.3, torch.zeros(2000)], 1) + 0.05 * torch.randn(2000, 2)
        return Images(x[:, :, None, None], labels), Images(x[:50, :, None, None], labels[:50]), 2


class _Up(Augmentation):
    """Moves points up."""

    def vary(self, images, labels):
        return images + torch.tensor([0.0, 0.6]).reshape(2, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("place, moved", [("data", 0.5), ("critic", 0.0)])
def test_one_sided_augmentation_leaks_and_two_sided_does_not(place, moved):
    """If half of the real points alone are moved up, so are half of the generator's; if half of both are, none."""
    torch.manual_seed(0)
    data = _TwoPoints(batch_size=256)
    augment = Composition({"up": _Up()}, on=place, fraction=0.5)
    model = GAN((2, 1, 1), network="mlp", hidden=[64, 64], latent_dim=2, lr=1e-3, r1=0.05, ema=0.99)
    data.augment, model.critic_transform = augment, augment.critic_transform
    train(model, data, 1000)
    y = model.sample(4000).flatten(1)[:, 1]
    assert (y > 0.3).double().mean() == pytest.approx(moved, abs=0.12)


def test_the_view_is_no_part_of_the_model(digits):
    model = GAN((1, 8, 8), 10)
    names = set(model.state_dict())
    augmentation = registry.load("lightning_genae.augment", "ae")(steps=5)
    augmentation.fit(digits.dataset, accelerator="cpu", enable_progress_bar=False)
    model.critic_transform = Composition({"ae": augmentation}, on="critic").critic_transform
    assert set(model.state_dict()) == names
    assert isinstance(augmentation, nn.Module)


TINY = {"network": "mlp", "hidden": [8], "latent_dim": 3}


def trace(digits, model_class, augmentation: str, on: str | None, **options) -> dict[str, list]:
    """What a few steps of training draw: initial weights, order of real images, z, and torch's state after a step."""
    torch.manual_seed(5)
    model = model_class(digits.dataset.image_shape, 10, **TINY, **options)
    given = {} if augmentation == "none" else {"fraction": 0.5}
    augment = Composition({augmentation: registry.load("lightning_genae.augment", augmentation)()}, on=on, **given)
    augment.fit(digits.dataset)
    data = type(digits)(num_train=200)
    data.seed, data.cache_dir, data.augment, model.critic_transform = (
        3,
        digits.cache_dir,
        augment,
        augment.critic_transform,
    )
    seen = {"weights": [weight.clone() for weight in model.parameters()], "labels": [], "z": [], "state": []}
    model.generator.register_forward_pre_hook(lambda module, inputs: seen["z"].append(inputs[0].detach().clone()))
    original = model.training_step

    def training_step(batch, batch_idx):
        seen["labels"].append(batch[1].clone())
        original(batch, batch_idx)
        seen["state"].append(torch.random.get_rng_state())

    model.training_step = training_step
    train(model, data, 4)
    return seen


@pytest.mark.parametrize("model, options", [(GAN, {}), (EBGAN, {"noise": 0.3})], ids=["gan", "denoising ebgan"])
def test_augmentations_of_a_seed_share_all_random_numbers_but_those_of_the_augmentation(digits, model, options):
    alone = trace(digits, model, "none", None, **options)
    assert len(alone["z"]) == 8  # for the critic and for the generator, in four steps
    assert len({tuple(z.flatten().tolist()) for z in alone["z"]}) == 8
    for augmentation, on in (
        ("pca", "data"),
        ("pca", "critic"),
        ("noise", "critic"),
        ("diffaug", "critic"),
        ("ada", "critic"),
    ):
        other = trace(digits, model, augmentation, on, **options)
        for key in ("weights", "labels", "z", "state"):
            pairs = zip(alone[key], other[key], strict=True)
            assert all(torch.equal(a, b) for a, b in pairs), (augmentation, on, key)


def views(digits, rank: int, first_batch: int = 0) -> list[torch.Tensor]:
    """Noise that the critic's side of three batches draws, as the data module makes it draw."""
    augment = Composition({"noise": NoiseAugment()}, on="critic", fraction=1.0)
    module = SimpleNamespace(dtype=torch.float32)
    digits.augment, digits.batches = augment, first_batch
    digits.trainer = SimpleNamespace(training=True, global_rank=rank, lightning_module=module)
    drawn = []
    for _ in range(3):
        x, labels = digits.on_after_batch_transfer(
            [digits.dataset.train.images[:4], digits.dataset.train.labels[:4]], 0
        )
        assert augment.stream.seed != torch.initial_seed()  # that of all other random numbers
        drawn += [augment.critic_transform(torch.zeros_like(x), labels), torch.rand(256)]
    return drawn


def test_the_augmentations_draws_differ_between_batches_and_ranks_and_are_the_seeds(digits):
    first, other = views(digits, 0), views(digits, 1)
    assert all(torch.equal(a, b) for a, b in zip(first, views(digits, 0), strict=True))
    # a run that goes on draws what the uninterrupted one would have drawn
    assert all(torch.equal(a, b) for a, b in zip(first[4:], views(digits, 0, first_batch=2)[:2], strict=True))
    numbers = [set(drawn.flatten().tolist()) for drawn in first + other]
    assert all(len(a & b) < 5 for a, b in combinations(numbers, 2))  # by chance, of 24 bits


def test_views_of_a_batch_go_on_in_one_stream_and_leave_the_global_one_alone():
    x, labels = torch.zeros(6, 1, 4, 4), torch.zeros(6).long()
    augment = Composition({"noise": NoiseAugment()}, on="critic", fraction=1.0)
    augment.restart(11)
    torch.manual_seed(7)
    drawn = [augment.critic_transform(x, labels), torch.rand(3), augment.critic_transform(x, labels), torch.rand(3)]
    torch.manual_seed(7)
    assert torch.equal(torch.cat([drawn[1], drawn[3]]), torch.cat([torch.rand(3), torch.rand(3)]))
    torch.manual_seed(11)
    expected = [NoiseAugment()(x, labels, 1.0), NoiseAugment()(x, labels, 1.0)]
    assert torch.equal(drawn[0], expected[0]) and torch.equal(drawn[2], expected[1])
    augment.restart(11)
    assert torch.equal(augment.critic_transform(x, labels), drawn[0])


def test_outside_of_a_training_the_augmentation_draws_from_the_global_stream():
    x, labels = torch.zeros(6, 1, 4, 4), torch.zeros(6).long()
    augment = Composition({"noise": NoiseAugment()}, on="critic", fraction=1.0)
    torch.manual_seed(2)
    first, second = augment.critic_transform(x, labels), augment.critic_transform(x, labels)
    torch.manual_seed(2)
    assert torch.equal(first, NoiseAugment()(x, labels, 1.0))
    assert not torch.equal(first, second)


def test_an_error_gives_the_global_stream_back():
    stream = Stream()
    stream.restart(1)
    torch.manual_seed(9)
    with pytest.raises(RuntimeError, match="in between"), stream.drawn(torch.device("cpu")):
        torch.rand(5)
        raise RuntimeError("in between")
    drawn = torch.rand(2)
    torch.manual_seed(9)
    assert torch.equal(drawn, torch.rand(2))


def test_resumed_signals_go_where_the_new_ones_are():
    """They are kept as numbers, and a GPU's cannot be stacked with a CPU's; meta stands in for the GPU."""
    adapt = Adapt(Composition({"noise": NoiseAugment()}, on="critic", target=0.6))
    adapt.load_state_dict({"fractions": {"noise": 0.25}, "signals": [0.5, -0.25]})
    assert adapt.augment.fractions == {"noise": 0.25}
    assert adapt.state_dict() == {"fractions": {"noise": 0.25}, "matching": {}, "signals": [0.5, -0.25]}
    model = SimpleNamespace(overfitting=torch.zeros((), device="meta"), log=lambda *args, **kwargs: None)
    moved = []
    strategy = SimpleNamespace(reduce=lambda value, reduce_op: moved.append(value) or value)
    trainer = SimpleNamespace(strategy=strategy, datamodule=SimpleNamespace(batch_size=100), world_size=2)
    adapt.on_train_batch_end(trainer, model)
    assert [signal.device.type for signal in adapt.signals] == ["meta"] * 3
    # the mean of the four lies below the target, so that the fraction falls
    adapt.load_state_dict({"fractions": {"noise": 0.25}, "signals": [0.5, -0.25, 1.0]})
    model.overfitting = torch.tensor(1.1)
    adapt.on_train_batch_end(trainer, model)
    # of all processes batch by batch, so that a checkpoint holds what is the same in each
    assert [float(value) for value in moved[1:]] == [pytest.approx(1.1)]
    assert adapt.augment.fractions["noise"] == pytest.approx(0.25 - 4 * 100 * 2 / 50_000)
    assert adapt.signals == []
