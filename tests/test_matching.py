"""An augmentation on the generator: generated images get the mean and covariance of an autoencoder's features."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lightning_genae import registry
from lightning_genae.augment import Composition
from lightning_genae.augment._matching import BATCHES, Matching, explained, features_of
from lightning_genae.augment._reduced import Reduced
from lightning_genae.augment.ae import AutoencoderAugment
from lightning_genae.augment.pca import PCAAugment
from lightning_genae.data.dataset import Images
from lightning_genae.data.storage import to_float
from lightning_genae.evaluation.extractors.pixels import PixelFeatures
from lightning_genae.evaluation.metrics.frechet import frechet_distance
from tests.data import dataset_of
from tests.test_models import train
from tests.test_run import SHORT, results, weights_equal

NAMES = registry.names("lightning_genae.models")
QUIET = {"accelerator": "cpu", "enable_progress_bar": False}


def flat(x):
    return x.flatten(1)


def stored(num: int, seed: int = 0) -> torch.Tensor:
    """Images whose pixels are correlated and have different variances."""
    rng = np.random.default_rng(seed)
    mixing = np.array([[30.0, 0, 0, 0], [20, 25, 0, 0], [-10, 5, 15, 0], [10, -8, 3, 20]])
    pixels = (rng.standard_normal((num, 4)) @ mixing.T + [100, 120, 130, 140]).round().clip(0, 255)
    return torch.from_numpy(pixels.astype(np.uint8)).reshape(num, 1, 2, 2)


def expected(batches: list[np.ndarray], train: np.ndarray) -> float:
    """The distance by other means: a Cholesky root for the whitening, of which the distance does not depend."""
    centre, root = train.mean(0), np.linalg.cholesky(np.cov(train.T))
    white = np.linalg.solve(root, (np.concatenate(batches) - centre).T).T
    mean, covariance = white.mean(0), np.cov(white.T, bias=True)
    return ((mean**2).sum() + ((covariance - np.eye(len(mean))) ** 2).sum()) / len(mean)


def test_the_distance_is_that_of_the_moments_of_all_batches():
    images = stored(300)
    matching = Matching(flat, images, 4)
    fakes = [torch.from_numpy(np.random.default_rng(i).standard_normal((8, 1, 2, 2))).float() for i in range(5)]
    for i, fake in enumerate(fakes):
        found = matching(fake)
        wanted = expected([x.flatten(1).numpy() for x in fakes[: i + 1]], to_float(images).flatten(1).numpy())
        assert float(found) == pytest.approx(wanted, rel=1e-3)


def test_the_training_images_themselves_are_at_no_distance():
    images = stored(300)
    # but that their covariance is divided by 299, and the generated ones' by 300
    assert float(Matching(flat, images, 4)(to_float(images))) == pytest.approx(1 / 300**2, rel=0.05)


def test_what_is_longer_ago_counts_less():
    matching = Matching(flat, stored(300), 4)
    far, near = torch.full((8, 1, 2, 2), 3.0), to_float(stored(8, seed=1))
    of_far, of_near = (((flat(x) - matching.centre) @ matching.whitening).mean(0) for x in (far, near))
    for x in [far] * BATCHES + [near] * 50:
        matching(x)
    assert torch.allclose(matching.mean, of_near + (31 / 32) ** 50 * (of_far - of_near), atol=1e-4)


def test_the_gradient_is_that_of_the_last_batch_as_if_it_were_the_average():
    matching = Matching(flat, stored(300), 4)
    earlier, fake = (torch.randn(8, 1, 2, 2) for _ in range(2))
    matching(earlier)
    found = fake.clone().requires_grad_()
    matching(found).backward()

    u = (flat(fake) - matching.centre) @ matching.whitening
    mean, second = matching.mean, matching.second  # after both batches
    step = 1e-3
    for i, j in ((0, 0), (3, 2), (7, 3)):  # by differences: the batch's moments move, the distance is at the average
        moved = u.clone()
        unit = torch.zeros(4)
        unit[j] = step
        moved[i] += unit @ matching.whitening
        change = moved.mean(0) - u.mean(0), (moved.T @ moved - u.T @ u) / 8

        def distance(sign, change=change):
            m, s = mean + sign * change[0], second + sign * change[1]
            return ((m**2).sum() + ((s - m.outer(m) - torch.eye(4)) ** 2).sum()) / 4

        slope = float(distance(1) - distance(-1)) / 2 / step
        assert float(found.grad.flatten(1)[i, j]) == pytest.approx(slope, rel=0.02, abs=1e-3)


def test_processes_have_the_averages_and_the_gradient_of_their_batches_together(monkeypatch):
    parts = [torch.randn(8, 1, 2, 2) for _ in range(2)]
    alone = Matching(flat, stored(300), 4)
    whole = torch.cat(parts).requires_grad_()
    alone(whole).backward()
    gradients = []
    for own, others in (parts, parts[::-1]):
        matching = Matching(flat, stored(300), 4)
        u = (flat(others) - matching.centre) @ matching.whitening
        of_others = iter([u.mean(0), u.T @ u / 8])
        with monkeypatch.context() as patched:
            patched.setattr("torch.distributed.is_initialized", lambda: True)
            patched.setattr("torch.distributed.get_world_size", lambda: 2)
            patched.setattr("torch.distributed.all_reduce", lambda value, of=of_others: value.add_(next(of)))
            x = own.clone().requires_grad_()
            matching(x).backward()
        assert torch.allclose(matching.mean, alone.mean, atol=1e-5)
        assert torch.allclose(matching.second, alone.second, rtol=1e-4, atol=1e-4)
        gradients.append(x.grad / 2)  # of a mean over processes
    assert torch.allclose(torch.cat(gradients), whole.grad, rtol=1e-3, atol=1e-4)


def test_what_is_explained_is_the_share_of_the_variance(digits):
    """All that is measured explains all of it, half of that half, and what is independent of it nothing."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2000, 1, 2, 4), generator=rng, dtype=torch.uint8)  # of independent pixels
    dataset = dataset_of(images)

    def measured(stored):
        return to_float(stored).flatten(1)

    for features, share in ((flat, 1.0), (lambda x: flat(x)[:, :4] * 2 + 1, 0.5), (lambda x: x[:, 0, 0, :1] ** 2, 0.0)):
        found = explained(Matching(features, images, 8), dataset, measured)
        assert found["explained"] == pytest.approx(share, abs=0.02)
        assert found["explained_pca"] == pytest.approx(found["num_features"] / 8, abs=0.06)
    few = replace(dataset, validation=Images(images[:5], torch.zeros(5, dtype=torch.long)))  # fewer than features
    assert explained(Matching(flat, images, 8), few, measured)["explained"] == pytest.approx(1, abs=1e-3)


def test_principal_components_explain_what_principal_components_explain(digits):
    augmentation = PCAAugment(latent_dim=12)
    augmentation.fit(digits.dataset)
    augmentation.fit_matching(digits.dataset)
    found = augmentation.matching_quality(digits.dataset, PixelFeatures(digits.dataset))
    assert found["num_features"] == 12
    assert found["explained"] == pytest.approx(found["explained_pca"], abs=1e-3)
    assert 0.5 < found["explained"] < 1


def test_only_the_directions_of_most_variance_count():
    images = stored(300)
    one = Matching(flat, images, 1)
    values, vectors = np.linalg.eigh(np.cov(to_float(images).flatten(1).numpy().T))
    assert one.whitening.shape == (4, 1)
    assert abs(float(one.whitening[:, 0] @ torch.from_numpy(vectors[:, -1]).float())) == pytest.approx(
        values[-1] ** -0.5, rel=1e-3
    )


def test_few_images_have_few_directions_and_what_does_not_vary_has_none():
    assert Matching(flat, stored(6), 4).whitening.shape == (4, 3)  # two images for each
    images = stored(300)
    images[:, 0, 0, 0] = 7
    images[:, 0, 0, 1] = torch.arange(300) < 10  # by 1 / 127.5, and seldom
    matching = Matching(flat, images, 4)
    assert matching.whitening.shape == (4, 2)
    assert float(matching(to_float(images))) == pytest.approx(0, abs=1e-4)  # of the training images themselves


def test_a_training_that_goes_on_has_the_same_averages():
    first, second = (Matching(flat, stored(300), 4) for _ in range(2))
    batches = [torch.randn(8, 1, 2, 2) for _ in range(3)]
    first(batches[0])
    second.go_on_from(first.averages())
    first(batches[0] + 1)  # what was given is a copy
    second(batches[1])
    third = Matching(flat, stored(300), 4)
    for batch in batches[:2]:
        third(batch)
    assert torch.equal(second.mean, third.mean)
    assert torch.equal(second.second, third.second)


def test_features_are_of_the_layer_before_the_code():
    model = registry.load("lightning_genae.models", "ae")((1, 8, 8), 10, network="mlp", hidden=[16], latent_dim=3)
    x = torch.randn(5, 1, 8, 8)
    known = features_of(model)(x)
    assert known.shape == (5, 16)
    assert torch.allclose(model.encoder[-1](known), model.encode(x))
    whole = features_of(Reduced(model, 2, (16, 16)))(x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert torch.allclose(whole, known, atol=1e-5)


def test_principal_components_have_no_layer_before_the_code(digits):
    augmentation = PCAAugment(latent_dim=5)
    augmentation.fit(dataset_of(digits.dataset.train))
    x = to_float(digits.dataset.train.images[:7])
    assert torch.equal(features_of(augmentation.autoencoder)(x), augmentation.autoencoder.encode(x))


@pytest.mark.parametrize("reduce", [1, 2])
def test_an_autoencoder_of_no_steps_is_as_it_was_initialised(digits, reduce):
    options = {"name": "ae", "hidden": [16], "latent_dim": 3}
    augmentation = AutoencoderAugment(autoencoder=options, steps=0, reduce=reduce)
    dataset = digits.dataset
    augmentation.check(dataset)
    augmentation.fit(dataset, **QUIET)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = 1, 8 // reduce, 8 // reduce
        model = registry.load("lightning_genae.models", "ae")(shape, 10, network="mlp", hidden=[16], latent_dim=3)
    found = augmentation.autoencoder.autoencoder if reduce > 1 else augmentation.autoencoder
    assert torch.equal(found.encoder[1].weight, model.encoder[1].weight)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "rnn_ae"])
def test_models_that_say_so_have_the_term_in_the_generators_loss_and_others_have_none(name, digits):
    model_class = registry.load("lightning_genae.models", name)
    models = [model_class((1, 8, 8), 10), model_class((1, 8, 8), 10)]
    has_matching = getattr(models[0], "has_matching", False)
    assert has_matching == (name not in ("ae", "vae", "aae"))
    if not has_matching:
        return
    models[1].load_state_dict(models[0].state_dict())
    seen, logged = [], {}

    def match(fake):
        seen.append(fake)
        return 3 * fake.mean() + 2

    models[1].match = match
    x, labels = to_float(digits.dataset.train.images[:16]), digits.dataset.train.labels[:16]
    gradients, values = [], []
    for model in models:
        model.log_part = lambda name, value, **options: logged.update({name: value})
        model.over_processes = lambda value: value.detach()
        torch.manual_seed(0)
        loss = model.loss_generator(x, labels)
        values.append(loss.detach())
        weights = [weight for weight in model.generator.parameters() if weight.requires_grad]
        gradients.append(torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True))
    (fake,) = seen
    assert fake.shape == (16, 1, 8, 8)
    assert fake.abs().max() <= 1
    term = 3 * fake.mean() + 2
    assert float(values[1] - values[0]) == pytest.approx(float(term.detach()), rel=1e-3)
    assert float(logged["matching"].detach()) == pytest.approx(float(term.detach()))
    added = torch.autograd.grad(term, weights, allow_unused=True)
    for before, after, more in zip(*gradients, added, strict=True):
        if more is not None:
            assert torch.allclose(after, more if before is None else before + more, atol=1e-5)


WORDS = ("--model", "gan", "--augment", "ae+diffaug", "--augment.on", "generator+critic", "--augment.steps", "20")
WORDS += ("--data.num_train", "200", *SHORT, "--trainer.log_every_n_steps", "1")


def test_weight_0_is_the_run_without_it(cli):
    words = ("--model", "gan", "--data.num_train", "200", *SHORT)
    assert cli(*WORDS, "--augment.weight", "0", "--folder", "with")[0] == 0
    assert cli(*words, "--augment", "diffaug", "--folder", "without")[0] == 0
    assert cli(*WORDS, "--folder", "weighs")[0] == 0
    assert weights_equal("with", "without")
    assert not weights_equal("weighs", "without")


def test_it_is_logged_said_and_resumes_to_the_same(cli, monkeypatch):
    from callbacks.budget import Budget

    words = (*WORDS, "--checkpoint_seconds", "0")
    status, out, _ = cli(*words, "--folder", "whole")
    assert status == 0
    settings = results("whole")["settings"]["ae"]
    assert settings["on"] == "generator"
    assert "fraction" not in settings
    assert 0 < results("whole")["augment"]["ae"]["explained"] < 1
    assert "Quality report of ae, on the generator" in out
    with open("whole/metrics.csv", newline="") as file:
        terms = [float(row["train/matching"]) for row in csv.DictReader(file)]
    assert len(terms) == 20
    assert 0 < terms[-1] < terms[0]
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


def test_a_short_training_brings_generated_features_nearer(digits):
    """By a judge of its own: the Frechet distance of the components of samples and of training images."""
    augmentation = PCAAugment(latent_dim=8)
    augmentation.fit(digits.dataset)
    encode = augmentation.autoencoder.encode
    wanted = encode(to_float(digits.dataset.train.images))
    distances = []
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        model = registry.load("lightning_genae.models", "gan")((1, 8, 8), 10, ema=0.0)
        augmentation.weight = weight
        augmentation.fit_matching(digits.dataset)
        model.match = augmentation.matching
        digits.batches = 0
        train(model, digits, 100)
        distances.append(frechet_distance(wanted, encode(model.sample(1000))))
    assert distances[1] < 0.5 * distances[0]


def test_a_model_whose_generator_takes_no_term_is_told(cli):
    status, _, error = cli("--model", "aae", "--augment", "ae", "--augment.on", "generator", *SHORT)
    assert status == 2
    assert "--augment.on: expected data for AdversarialAutoencoder" in error
    assert "got generator (ae)" in error
    status, _, error = cli("--model", "gan", "--augment", "diffaug", "--augment.on", "generator", *SHORT)
    assert status == 2
    assert "--augment.on: expected data or critic for diffaug; got generator" in error


def test_options_of_variations_have_no_effect_where_nothing_is_varied(caplog):
    model = registry.load("lightning_genae.models", "gan")((1, 2, 2), 10)
    for options, said in (
        ({"on": "generator", "fraction": 0.5, "within_class": False}, ["fraction", "within_class"]),
        ({"fraction": 0.5, "target": 0.6}, ["fraction", "target"]),
        ({"target": 0.6}, ["target"]),
        ({}, []),
        ({"on": "critic", "fraction": 0.5, "target": 0.6, "within_class": False}, []),
    ):
        caplog.clear()
        augment = Composition({"pca": PCAAugment()}, **options)
        augment.check(dataset_of(stored(20)), model)
        needs = "has no effect without --augment.on critic or data"
        assert caplog.messages == [f"--augment.{option} {needs}" for option in said]
        assert augment.target == (0.6 if options.get("on") == "critic" else None)


@pytest.mark.parametrize(
    "part, option, value",
    [
        (AutoencoderAugment, "strength", 0.8),
        (AutoencoderAugment, "perturb", "interpolate"),
        (PCAAugment, "neighbours", 3),
        (PCAAugment, "detail", "decode"),
    ],
)
def test_arms_that_differ_in_variations_alone_are_refused_where_nothing_is_varied(digits, part, option, value):
    model = registry.load("lightning_genae.models", "gan")((1, 8, 8), 10)
    Composition({"part": part(**{option: value})}, on="critic").check(digits.dataset, model)
    Composition({"part": part()}, on="generator").check(digits.dataset, model)
    for on in ("generator", None):
        said = f"--augment.{option}: expected --augment.on critic or data beside it.* got {value}"
        with pytest.raises(ValueError, match=said):
            Composition({"part": part(**{option: value})}, on=on).check(digits.dataset, model)


@pytest.mark.parametrize(
    "on, channels, given, expected",
    [
        ("generator", 1, {}, {"network": "conv", "latent_dim": 64, "noise": "diffaug", "width": 16}),
        ("generator", 2, {}, {"network": "conv", "latent_dim": 64, "noise": "gaussian", "width": 16}),
        (
            "generator",
            1,
            {"network": "mlp", "latent_dim": None, "noise": "no"},
            {"network": "mlp", "latent_dim": 64, "noise": "no", "hidden": [256]},
        ),
        ("generator", 1, {"width": 4}, {"network": "conv", "latent_dim": 64, "noise": "diffaug", "width": 4}),
        ("generator", 1, {"name": "vae"}, {"width": 16}),  # whose options are its own
        ("critic", 1, {}, {"network": "mlp", "hidden": [256]}),
        ("critic", 1, {"latent_dim": 7, "noise": None}, {"network": "mlp", "hidden": [256], "latent_dim": 7}),
    ],
)
def test_what_it_is_for_says_which_autoencoder(on, channels, given, expected):
    part = AutoencoderAugment(autoencoder={"name": "ae", **given})
    images = torch.randint(0, 256, (20, channels, 8, 8), dtype=torch.uint8)
    model = registry.load("lightning_genae.models", "gan")((channels, 8, 8), 10)
    Composition({"ae": part}, on=on).check(dataset_of(images), model)
    assert part.options == expected
    said = {name: expected[name] for name in ("hidden", "width") if name in expected}
    said |= {
        name: expected[name] for name in ("network", "latent_dim", "noise") if on == "generator" and name in expected
    }
    assert part.settings() == {f"autoencoder.{name}": value for name, value in said.items()}


def test_layers_are_not_trained(digits):
    augmentation = AutoencoderAugment(steps=5)
    augmentation.check(digits.dataset)
    augmentation.fit(digits.dataset, **QUIET)
    augmentation.fit_matching(digits.dataset)
    assert isinstance(features_of(augmentation.autoencoder), nn.Sequential)
    assert not any(weight.requires_grad for weight in augmentation.parameters())
