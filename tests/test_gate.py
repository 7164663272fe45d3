"""What the quality gate measures and warns of."""

import pytest
import torch
from sklearn.decomposition import PCA

from lightning_genae import gate, report
from lightning_genae.augment.ae import AutoencoderAugment
from lightning_genae.augment.noise import NoiseAugment
from lightning_genae.augment.none import NoAugment
from lightning_genae.augmentation import Augmentation
from lightning_genae.extractors.pixels import PixelFeatures
from lightning_genae.metrics.frechet import frechet_distance

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}


@pytest.fixture
def extractor(digits):
    return PixelFeatures(digits)


def measured(arms, datamodule, extractor, **options) -> dict:
    augment = Augmentation(arms, **options)
    augment.fit(datamodule, **QUIET)
    return augment.quality(datamodule, extractor)


def test_the_gate_of_an_autoencoder(digits, extractor):
    quality = measured({"ae": AutoencoderAugment(steps=300, strength=0.25)}, digits, extractor)["ae"]
    splits = digits.train, digits.validation
    train, aside = (split.images.float().flatten(1).numpy() / 127.5 - 1 for split in splits)
    pca = PCA(16).fit(train)
    expected = ((pca.inverse_transform(pca.transform(aside)) - aside) ** 2).mean()
    assert quality["mse_pca"] == pytest.approx(expected, rel=1e-3)
    assert quality["mse_validation"] < 0.2
    assert quality["images_trained_on"] == quality["autoencoder_images"] == digits.train.fingerprint
    real, originals = extractor(digits.validation.images), extractor(digits.train.images)
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


def test_the_gate_of_an_arm_without_a_strength(digits, extractor):
    quality = measured({"noise": NoiseAugment(deviation=0.3)}, digits, extractor)["noise"]
    assert quality["strengths"] == []
    # noise of 0.3 on pixels, half of which it cannot darken any more
    assert 0.2 < quality["variations"]["distance_to_original"] < 0.3
    assert quality["variations"]["fd"] > quality["originals"]["fd"]
    assert measured({"none": NoAugment()}, digits, extractor) == {}


def test_the_gate_leaves_the_random_numbers_alone_and_repeats_itself(digits, extractor):
    torch.manual_seed(3)
    first = measured({"noise": NoiseAugment()}, digits, extractor)
    drawn = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(3))
    assert measured({"noise": NoiseAugment()}, digits, extractor) == first


def test_warnings(digits, extractor):
    spoilt = measured({"noise": NoiseAugment(deviation=0.8)}, digits, extractor)
    assert any("further from validation images" in line for line in report.gate(spoilt))
    both_sides = measured({"noise": NoiseAugment(deviation=0.8)}, digits, extractor, on="critic")
    assert not any("WARNING" in line for line in report.gate(both_sides))
    nothing = measured({"noise": NoiseAugment(deviation=1e-5)}, digits, extractor)
    assert any("the variations are the originals" in line for line in report.gate(nothing))
    unused = measured({"noise": NoiseAugment()}, digits, extractor, fraction=0.0)
    assert any("varies no image" in line for line in report.gate(unused))
    untrained = measured({"ae": AutoencoderAugment(steps=2, strength=0.1)}, digits, extractor)
    assert any("worse than PCA" in line for line in report.gate(untrained))


def test_examples_grow_from_left_to_right(digits):
    arm = AutoencoderAugment(steps=100)
    arm.fit(digits, **QUIET)
    x, labels = digits.train.images[:5].float() / 127.5 - 1, digits.train.labels[:5]
    rows = gate.examples(arm, x, labels, "image").reshape(5, 6, *x.shape[1:])
    assert torch.equal(rows[:, 0], x)
    assert torch.equal(rows[:, 1], x)  # strength 0
    distances = (rows - x[:, None]).square().flatten(2).mean((0, 2))
    assert distances.tolist() == sorted(distances.tolist())
    assert arm.strength == 0.5
