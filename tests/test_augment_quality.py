"""What the quality report measures and warns of."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from lightning_genae import report
from lightning_genae.augment import Augmentation, Composition, _quality
from lightning_genae.augment.ae import AutoencoderAugment
from lightning_genae.augment.noise import NoiseAugment
from lightning_genae.augment.none import NoAugment
from lightning_genae.augment.pca import PCAAugment
from lightning_genae.data.dataset import Dataset, Images
from lightning_genae.data.modalities.image import Image
from lightning_genae.data.modalities.points import Points
from lightning_genae.data.storage import to_float
from lightning_genae.evaluation.extractors import classifier as classifier_module
from lightning_genae.evaluation.extractors.classifier import ClassifierFeatures
from lightning_genae.evaluation.extractors.pixels import PixelFeatures
from lightning_genae.evaluation.metrics.frechet import frechet_distance
from lightning_genae.evaluation.metrics.neighbours import prdc
from lightning_genae.models.gan import GAN
from tests.data import dataset_of

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}


@pytest.fixture
def extractor(digits):
    return PixelFeatures(digits.dataset)


def measured(augmentations, dataset, extractor, **options) -> dict:
    augment = Composition(augmentations, **options)
    augment.fit(dataset, **QUIET)
    return augment.quality(dataset, extractor)


def test_the_gate_of_an_autoencoder(digits, extractor):
    quality = measured({"ae": AutoencoderAugment(steps=300, strength=0.25)}, digits.dataset, extractor)["ae"]
    splits = digits.dataset.train, digits.dataset.validation
    train, aside = (split.images.float().flatten(1).numpy() / 127.5 - 1 for split in splits)
    pca = PCA(16).fit(train)
    expected = ((pca.inverse_transform(pca.transform(aside)) - aside) ** 2).mean()
    assert quality["mse_pca"] == pytest.approx(expected, rel=1e-3)
    assert quality["mse_validation"] < 0.2
    assert quality["images_trained_on"] == quality["autoencoder_images"] == digits.dataset.train.fingerprint
    real, originals = extractor(digits.dataset.validation.images), extractor(digits.dataset.train.images)
    assert quality["originals"]["fd"] == pytest.approx(frechet_distance(real, originals))
    rows = quality["strengths"]
    assert [row["strength"] for row in rows] == [0, 0.25, 0.5, 0.75, 1]
    # strength 0 is the originals themselves, and stronger variations are further from them
    assert rows[0]["distance_to_original"] == 0
    assert rows[0]["fd"] == pytest.approx(quality["originals"]["fd"], rel=1e-3)
    assert {key: value for key, value in rows[1].items() if key != "strength"} == quality["variations"]
    distances = [row["distance_to_original"] for row in rows]
    assert distances == sorted(distances)
    assert rows[-1]["fd"] > 2 * rows[0]["fd"]
    assert rows[-1]["precision"] < rows[0]["precision"]


def test_the_gate_of_an_augmentation_without_a_strength(digits, extractor):
    quality = measured({"noise": NoiseAugment(std=0.3)}, digits.dataset, extractor)["noise"]
    assert quality["strengths"] == []
    # noise of 0.3 on pixels, half of which it cannot darken any more
    assert 0.2 < quality["variations"]["distance_to_original"] < 0.3
    assert quality["variations"]["fd"] > quality["originals"]["fd"]
    assert measured({"none": NoAugment()}, digits.dataset, extractor) == {}


def test_the_gate_leaves_the_random_numbers_alone_and_repeats_itself(digits, extractor):
    torch.manual_seed(3)
    first = measured({"noise": NoiseAugment()}, digits.dataset, extractor)
    drawn = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(3))
    assert measured({"noise": NoiseAugment()}, digits.dataset, extractor) == first


def test_warnings(digits, extractor):
    spoilt = measured({"noise": NoiseAugment(std=0.8)}, digits.dataset, extractor)
    assert any("further from validation images" in line for line in report.quality_lines(spoilt))
    both_sides = measured({"noise": NoiseAugment(std=0.8)}, digits.dataset, extractor, on="critic")
    assert not any("WARNING" in line for line in report.quality_lines(both_sides))
    nothing = measured({"noise": NoiseAugment(std=1e-5)}, digits.dataset, extractor)
    assert any("the variations are the originals" in line for line in report.quality_lines(nothing))
    unused = measured({"noise": NoiseAugment()}, digits.dataset, extractor, fraction=0.0)
    assert any("varies no image" in line for line in report.quality_lines(unused))
    untrained = measured({"ae": AutoencoderAugment(steps=2, strength=0.1)}, digits.dataset, extractor)
    assert any("worse than PCA" in line for line in report.quality_lines(untrained))


def test_examples_grow_from_left_to_right(digits):
    augmentation = AutoencoderAugment(steps=100)
    augmentation.fit(digits.dataset, **QUIET)
    x, labels = digits.dataset.train.images[:5].float() / 127.5 - 1, digits.dataset.train.labels[:5]
    rows = _quality.examples(augmentation, x, labels, Image()).reshape(5, 6, *x.shape[1:])
    assert torch.equal(rows[:, 0], x)
    assert torch.equal(rows[:, 1], x)  # strength 0
    distances = (rows - x[:, None]).square().flatten(2).mean((0, 2))
    assert distances.tolist() == sorted(distances.tolist())
    assert augmentation.strength == 0.5


def test_what_the_gate_says_does_not_depend_on_the_held_out_images(digits, extractor):
    """People choose by it, and held-out images are for reporting alone."""
    data = digits.dataset
    before = measured({"pca": PCAAugment()}, data, extractor)
    black = Images(torch.zeros_like(data.heldout.images), data.heldout.labels)
    assert measured({"pca": PCAAugment()}, replace(data, heldout=black), extractor) == before
    fewer = replace(data, validation=data.validation.subset(slice(100)))
    other = measured({"pca": PCAAugment()}, fewer, extractor)["pca"]
    for key in ("mse_validation", "mse_pca", "fd_decoded", "originals", "variations", "strengths"):
        assert other[key] != before["pca"][key]


class Mistaken(Augmentation):
    """Shows an image of the next class instead of each third one that is known for what it is."""

    def __init__(self, images, labels, known):
        super().__init__()
        self.others = {label: images[(labels == (label + 1) % 10) & known][0] for label in range(10)}
        self.given = []

    def vary(self, images, labels):
        self.given.append(labels)
        varied = images.clone()
        for i in range(0, len(images), 3):
            varied[i] = self.others[self.of[i]]
        return varied


@pytest.fixture
def classifier(digits) -> ClassifierFeatures:
    """One that has not learnt all."""
    return ClassifierFeatures(digits.dataset, num_steps=60)


def test_the_share_of_labels_that_variations_keep(digits, classifier):
    images, labels = digits.dataset.train
    x = images.float() / 127.5 - 1
    known = classifier.logits(classifier(images)).argmax(1) == labels
    assert 0.5 < known.double().mean() < 1  # so that the two shares below differ
    augmentation = Mistaken(x, labels, known)
    augmentation.of = labels.tolist()
    quality = _quality.measure(augmentation, digits.dataset, classifier, is_within_class=True)
    assert quality["labels_known"] == pytest.approx(float(known.double().mean()))
    kept = known & (torch.arange(len(x)) % 3 != 0)
    assert quality["variations"]["labels_kept"] == pytest.approx(float(kept.sum() / known.sum()))


def test_strong_variations_of_all_latents_lose_labels_and_those_within_a_class_keep_them(digits, classifier):
    augmentation = PCAAugment()
    augmentation.fit(digits.dataset)
    shares = {
        heeds: [
            row["labels_kept"] for row in _quality.measure(augmentation, digits.dataset, classifier, heeds)["strengths"]
        ]
        for heeds in (True, False)
    }
    assert shares[True][0] == shares[False][0] == 1  # strength 0
    assert shares[False][2] < 0.95 and shares[False][4] < 0.4
    assert shares[True][2] > 0.95 and shares[True][4] > 0.85


def few_steps(trained, datamodule, num_features, num_steps):
    return trained(datamodule, num_features, 60)


def test_labels_of_other_features_are_measured_for_conditional_models_alone(digits, extractor, waves, monkeypatch):
    monkeypatch.setattr(classifier_module, "_trained", partial(few_steps, classifier_module._trained))
    augmentation = NoiseAugment()
    assert "labels_kept" not in _quality.measure(augmentation, digits.dataset, extractor, True)["variations"]
    assert (
        0.5
        < _quality.measure(augmentation, digits.dataset, extractor, True, conditional=True)["variations"]["labels_kept"]
        <= 1
    )
    series = waves()
    assert "labels_known" not in _quality.measure(
        augmentation, series.dataset, PixelFeatures(series.dataset), True, conditional=True
    )


@pytest.mark.parametrize("kept, conditional, warned", [(0.89, True, True), (0.91, True, False), (0.5, False, False)])
def test_a_conditional_model_is_warned_of_lost_labels(digits, extractor, kept, conditional, warned):
    quality = measured({"pca": PCAAugment()}, digits.dataset, extractor)
    quality["pca"]["variations"]["labels_kept"] = kept
    quality["pca"] |= {"labels_known": 0.996, "conditional": conditional}
    lines = report.quality_lines(quality)
    said = f"{100 * kept:.1f}% of the variations keep their class, by a classifier that knows 99.6% of the originals"
    assert any(said in line for line in lines)
    warnings = [line for line in lines if "WARNING: the model is given classes" in line]
    assert len(warnings) == warned
    assert all("90%" in line and "less --augment.strength" in line for line in warnings)


def test_the_augmentation_tells_the_gate_whether_the_model_is_conditional(digits, classifier):
    for how in ("no", "projection"):
        augment = Composition({"pca": PCAAugment()}, on="data")
        augment.check(digits.dataset, GAN(digits.dataset.image_shape, 10, conditional=how))
        augment.fit(digits.dataset)
        assert augment.quality(digits.dataset, classifier)["pca"]["conditional"] == (how == "projection")


class Turned(Augmentation):
    """Goes a share `strength` of the way to the next image of those that it is given, with a little noise."""

    def __init__(self):
        super().__init__()
        self.strength, self.given = 0.5, []

    def vary(self, images, labels):
        self.given.append(labels)
        return images + self.strength * (images.roll(1, 0) - images) + 0.01 * torch.rand_like(images)


class Known(ClassifierFeatures):
    """Features are the pixels; of an image it knows whether its first pixel is bright."""

    def __init__(self):
        nn.Module.__init__(self)

    def forward(self, images):
        return to_float(images).flatten(1)

    def logits(self, features):
        return torch.stack([-features[:, 0], features[:, 0]], 1)


def few_images(num: int) -> Dataset:
    """Images of 2x3 pixels in two classes, one of which a classifier takes for the other."""
    parts = [Images(torch.randint(0, 256, (n, 1, 2, 3), dtype=torch.uint8), torch.zeros(n).long()) for n in (num, 40)]
    for images, labels in parts:
        labels[:] = images[:, 0, 0, 0] > 127
        labels[0] = 1 - labels[0]
    train, validation = parts
    train.labels[1:2] = train.labels[:1]  # images 0 and 1 are of one class, as the labels say
    return dataset_of(train, validation=validation, num_classes=2)


def test_rows_of_the_gate_by_hand():
    data, augmentation, extractor = few_images(30), Turned(), Known()
    quality = _quality.measure(augmentation, data, extractor, is_within_class=True)
    x, labels = data.train.images.float() / 127.5 - 1, data.train.labels
    real, originals = extractor(data.validation.images), x.flatten(1)
    known = (originals[:, 0] > 0) == (labels == 1)
    assert quality["labels_known"] == pytest.approx(float(known.double().mean()))
    assert quality["originals"] == {"fd": frechet_distance(real, originals), **prdc(real, originals)}
    assert [row["strength"] for row in quality["strengths"]] == [0, 0.25, 0.5, 0.75, 1]
    for row in quality["strengths"]:
        torch.manual_seed(0)
        varied = (x + row["strength"] * (x.roll(1, 0) - x) + 0.01 * torch.rand_like(x)).clamp(-1, 1)
        features = (varied * 127.5 + 127.5).round().flatten(1) / 127.5 - 1
        expected = {"fd": frechet_distance(real, features), **prdc(real, features)}
        expected["fd_mixed"] = frechet_distance(real, torch.cat([originals, features]))
        expected["labels_kept"] = float((((features[:, 0] > 0) == (labels == 1)) & known).sum() / known.sum())
        expected["distance_to_original"] = sum(float((a - b).square().mean() ** 0.5) for a, b in zip(varied, x)) / 30
        others = [
            min(float((a - x[j]).square().mean() ** 0.5) for j in range(30) if j != i) for i, a in enumerate(varied)
        ]
        expected["distance_to_nearest_other"] = sum(others) / 30
        assert {key: row[key] for key in expected} == pytest.approx(expected, rel=1e-4)
    assert quality["variations"] == {k: v for k, v in quality["strengths"][2].items() if k != "strength"}
    assert quality["strength"] == augmentation.strength == 0.5
    assert all(torch.equal(given, labels) for given in augmentation.given)


def test_the_gate_of_an_augmentation_with_a_strength_beside_the_grid_and_of_one_image():
    data, extractor = few_images(1), Known()
    augmentation = Turned()
    augmentation.strength = 0.6
    quality = _quality.measure(augmentation, data, extractor, is_within_class=False)
    assert all(given is None for given in augmentation.given)
    assert quality["variations"]["distance_to_nearest_other"] == 0.0  # there is no other
    assert quality["labels_known"] in (0.0, 1.0)
    assert (
        _quality.measure(augmentation, few_images(2), extractor, False)["variations"]["distance_to_nearest_other"] > 0
    )
    for change in ({"modality": Points()}, {"num_classes": 0}):
        changed = replace(few_images(30), **change)
        assert "labels_known" not in _quality.measure(augmentation, changed, extractor, is_within_class=False)


def test_examples_by_hand():
    images, labels = torch.rand(3, 2, 2, 2) * 2 - 1, torch.arange(3)
    augmentation = Turned()
    rows = _quality.examples(augmentation, images, labels, Image())
    assert rows.shape == (18, 2, 2, 2)
    rows = rows.reshape(3, 6, 2, 2, 2)
    assert torch.equal(rows[:, 0], images) and all(torch.equal(given, labels) for given in augmentation.given)
    for column, strength in enumerate((0, 0.25, 0.5, 0.75, 1), start=1):
        torch.manual_seed(0)
        varied = images + strength * (images.roll(1, 0) - images) + 0.01 * torch.rand_like(images)
        assert torch.equal(rows[:, column], varied.clamp(-1, 1))
    assert augmentation.strength == 0.5
