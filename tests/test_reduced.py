"""Autoencoders that see reduced images."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate

from lightning_genae.augment import _reduced, _training
from lightning_genae.augment.ae import AutoencoderAugment
from lightning_genae.augment.pca import PCAAugment
from lightning_genae.data.modalities.series import Series
from lightning_genae.models.ae import Autoencoder
from tests.data import dataset_of


class Affine(nn.Module):
    """An autoencoder whose codes are the values, and which decodes all of them with 0.5 more."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def encode(self, images):
        assert images.shape[1:] == self.shape
        return images.flatten(1)

    def decode(self, z):
        return z.unflatten(1, self.shape) + 0.5


def pictures(height, width, num=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return dataset_of(torch.randint(0, 256, (num, 3, height, width), dtype=torch.uint8, generator=generator))


def test_squares_of_pixels_are_encoded_and_codes_are_enlarged():
    whole = _reduced.Reduced(Affine((1, 2, 2)), 2, (4, 4))
    x = torch.arange(16.0).view(1, 1, 4, 4)
    z = whole.encode(x)
    assert z.tolist() == [[2.5, 4.5, 10.5, 12.5]]
    # bilinear, with pixels as squares: a quarter and three quarters of the way between the centres
    rows = whole.decode(z)[0, 0] - 0.5
    assert rows[0].tolist() == [2.5, 3.0, 4.0, 4.5]
    assert rows[:, 0].tolist() == [2.5, 4.5, 8.5, 10.5]


@pytest.mark.parametrize(
    ("height", "width", "factor"),
    [(8, 8, 1), (14, 14, 1), (27, 27, 1), (28, 28, 2), (32, 32, 2), (42, 42, 3), (45, 60, 3), (64, 64, 4), (64, 28, 2)],
)
def test_the_default_leaves_fourteen_pixels(height, width, factor):
    assert _reduced.default_factor(pictures(height, width)) == factor


def test_sequences_are_not_reduced():
    series = dataset_of(torch.zeros(4, 28, 1, 28))
    assert _reduced.default_factor(replace(series, modality=Series())) == 1


def test_training_images_are_reduced_and_stored_as_before():
    data = pictures(4, 6)
    small = _reduced.reduced(data, 2)
    expected = data.train.images.double().unflatten(3, (3, 2)).unflatten(2, (2, 2)).mean((3, 5))
    assert small.train.images.dtype == torch.uint8 and small.image_shape == (3, 2, 3)
    assert (small.train.images.double() - expected).abs().max() <= 0.5 + 1e-4
    assert torch.equal(small.train.labels, data.train.labels) and small.fingerprint != data.fingerprint


def fitted(monkeypatch, data, **options):
    """An augmentation whose autoencoder is an affine one, and the data that it would have been trained on."""
    seen = []

    def trained(model, given, steps, dataset, trainer_options):
        seen.append(dataset)
        return Affine(dataset.image_shape), dataset.fingerprint

    monkeypatch.setattr(_training, "trained", trained)
    augment = AutoencoderAugment(**options)
    augment.check(data)
    augment.fit(data)
    return augment, seen[0]


def test_the_change_of_the_reduced_image_is_added(monkeypatch):
    data = pictures(28, 28)
    augment, seen = fitted(monkeypatch, data, strength=0.7)
    assert seen.image_shape == (3, 14, 14) and augment.trained_on == data.fingerprint
    assert augment.settings() == {"autoencoder.hidden": [256], "reduce": 2}
    x = torch.rand(5, 3, 28, 28)
    torch.manual_seed(0)
    change = augment.vary(x, None) - x
    torch.manual_seed(0)
    z, varied = augment.latents(x, None)
    assert torch.equal(z, avg_pool2d(x, 2).flatten(1))
    expected = interpolate((varied - z).unflatten(1, (3, 14, 14)), size=(28, 28), mode="bilinear")
    assert torch.allclose(change, expected, atol=1e-5) and change.abs().max() > 0.1


@pytest.mark.parametrize(("network", "casts"), [("mlp", False), ("conv", True)])
def test_dense_layers_compute_in_float32_where_the_model_does_not(network, casts):
    torch.manual_seed(0)
    # without noise, which torch 2.6 draws otherwise for bfloat16
    augment = AutoencoderAugment({"name": "ae", "network": network}, detail="decode", strength=0.0)
    augment.autoencoder = Autoencoder((1, 8, 8), network=network, hidden=[256], width=8).requires_grad_(False)
    x = torch.rand(40, 1, 8, 8) * 2 - 1
    augment.set_latents(augment.autoencoder.encode(x), torch.zeros(40, dtype=torch.long))
    varied = []
    for is_mixed in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=is_mixed):
            varied.append(augment(x, None, 1.0))
    assert (varied[0] - varied[1]).square().mean() < 0.01 * varied[0].square().mean()
    assert torch.equal(*varied) != casts


@pytest.mark.parametrize("options", [{"reduce": 1}, {"detail": "decode"}])
def test_whole_images_are_seen_where_they_are_asked_for_or_decoded(monkeypatch, options):
    augment, seen = fitted(monkeypatch, pictures(28, 28), **options)
    assert seen.image_shape == (3, 28, 28) and augment.settings() == {"autoencoder.hidden": [256]}


def test_the_error_is_that_of_reduced_images_and_so_is_that_of_pca(monkeypatch):
    data = replace(pictures(28, 28), validation=pictures(28, 28, seed=1).train)
    augment, small = fitted(monkeypatch, data)

    def features(images):
        return images.flatten(1)[:, ::400].float()

    images = data.train.images
    report = augment.quality(data, features, images, features(data.validation.images))
    seen = avg_pool2d(data.validation.images / 127.5 - 1, 2)
    again = avg_pool2d(interpolate(seen + 0.5, scale_factor=2.0, mode="bilinear"), 2)
    assert report["mse_validation"] == pytest.approx(float((again - seen).square().mean()), rel=1e-4)
    pca = PCAAugment(latent_dim=report["num_components"])
    pca.fit(small)
    error = (pca.reconstruct(seen) - seen).square().mean()
    assert report["mse_pca"] == pytest.approx(float(error), rel=0.02)  # the stored ones are rounded


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--augment.reduce", "3"), "--augment.reduce: expected a divisor of both sides that leaves 4 pixels"),
        (("--augment.reduce", "4"), "of images of 8x8; got 4"),
        (("--augment.reduce", "0"), "--augment.reduce: expected"),
    ],
)
def test_what_cannot_be_reduced_is_said(cli, words, expected):
    status, _, error = cli("--augment", "ae", *words, "--steps", "2")
    assert status == 2 and expected in error and len(error.strip().splitlines()) == 1
