"""Films of samples, and samples of truncated noise."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from callbacks.film import Film
from lightning_genae.errors import UserError
from lightning_genae.evaluation.sampling import draw, film, made_of, truncated
from lightning_genae.models.gan import GAN
from lightning_genae.models.vae import VAE


class Shown(torch.nn.Module):
    """An average of a generator that shows the first two numbers of a code, as two pixels."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return (z[:, :2] / 10).atanh().reshape(-1, 1, 1, 2)


@pytest.fixture
def shows_noise() -> GAN:
    model = GAN((1, 1, 2), 3, network="mlp", hidden=[2], latent_dim=5, conditional="projection")
    model.averaged = Shown()
    return model


def values(images: torch.Tensor) -> np.ndarray:
    return (images[:, 0, 0].numpy() / 127.5 - 1) * 10


def test_noise_turns_on_a_circle_and_comes_back(shows_noise):
    """A quarter turn from draw to draw: half way each counts 1 / sqrt 2, so that the noise stays normal."""
    frames = [values(frame) for frame in film(shows_noise, 4, seed=1, label=0, num_keys=3, num_between=2)]
    assert len(frames) == 6
    keys, half_way = frames[0::2], frames[1::2]
    for first, following, middle in zip(keys, [*keys[1:], keys[0]], half_way):
        assert middle == pytest.approx((first + following) / math.sqrt(2), abs=0.15)  # of whole grey values
        assert np.abs(first - following).max() > 0.5
    again = [values(frame) for frame in film(shows_noise, 4, seed=1, label=0, num_keys=3, num_between=2)]
    assert all((one == other).all() for one, other in zip(frames, again))


def test_truncated_noise_is_normal_within_the_limit(shows_noise):
    with made_of(shows_noise, truncated(shows_noise, 0.7)):
        drawn = values(draw(shows_noise, 2000, seed=0))
    assert np.abs(drawn).max() < 0.7 + 0.05
    # the variance of a normal number that lies within 0.7: 1 - 2 * 0.7 * phi(0.7) / (Phi(0.7) - Phi(-0.7))
    density, within = math.exp(-(0.7**2) / 2) / math.sqrt(2 * math.pi), math.erf(0.7 / math.sqrt(2))
    assert drawn.var() == pytest.approx(1 - 2 * 0.7 * density / within, rel=0.06)
    assert np.abs(values(draw(shows_noise, 2000, seed=0))).max() > 2  # and afterwards it is what it was


def test_a_model_that_is_not_made_of_noise_is_refused():
    model = VAE((1, 2, 2), network="mlp", hidden=[2], latent_dim=2)
    message = "expected a model that makes its samples of noise; got VAE"
    with pytest.raises(UserError, match=message), made_of(model, truncated(model, 1.0)):
        draw(model, 2, seed=0)


def test_a_film_of_a_run(cli, tmp_path):
    assert cli("--model", "gan", "--steps", "2", "--metrics.features", "pixels", "--folder", "run")[0] == 0
    status, out, error = cli("sample", "run", "--film", "--num", "4")
    assert status == 0, error
    assert "run/film-seed0.gif: 4 samples" in out
    with Image.open("run/film-seed0.gif") as shown:
        assert shown.n_frames > 100 and shown.info["loop"] == 0
        shown.seek(9)
        later = np.asarray(shown.convert("L"))
        shown.seek(0)
        assert (np.asarray(shown.convert("L")) != later).any()
    assert cli("sample", "run", "--truncation", "0.5", "--num", "4")[0] == 0
    assert (tmp_path / "run" / "samples-truncated0_5-seed0.npz").is_file()
    status, _, error = cli("sample", "run", "--film", "--truncation", "0.5")
    assert status == 2 and "--truncation: expected no --film beside it" in error


class Theatre:
    """As much of a Trainer as the callback looks at; it is also its logger, and keeps what it is shown."""

    is_global_zero = True

    def __init__(self, datamodule, has_films: bool = True):
        self.datamodule, self.loggers, self.shown = datamodule, [self], {}
        if has_films:
            self.log_video = self.log_image = self.log_any

    def log_any(self, name: str, paths: list[str]) -> None:
        (self.shown[name],) = paths


def test_loggers_get_a_film_and_truncated_samples(shows_noise, digits, tmp_path):
    """Nine images in a frame; no grey value beyond noise of 0.7, which is 127.5 * 0.07 from the middle."""
    trainer = Theatre(digits)
    Film(tmp_path).on_train_end(trainer, shows_noise)
    side = 96 // 2 + 2  # images of two pixels beside each other, enlarged, and the lines between them
    with Image.open(trainer.shown["film"]) as frames:
        assert frames.n_frames == Film.num_keys * Film.num_between
        assert frames.size == (3 * (96 + 2) + 2, 3 * side + 2)
    with Image.open(trainer.shown["truncated"]) as picture:
        grey = np.asarray(picture.convert("L")).astype(float)
    pixels = grey[2::side, 2::49][:8, [i for i in range(16) if i % 2 == 0]]
    assert np.abs(pixels - 127.5).max() < 0.7 * 12.75 + 1 and pixels.std() > 3


@pytest.mark.parametrize("why", ["the logger shows no films", "samples are not made of noise"])
def test_no_film_is_made_where(why, shows_noise, digits, tmp_path):
    model = VAE((1, 8, 8), network="mlp", hidden=[2], latent_dim=2) if "noise" in why else shows_noise
    Film(tmp_path).on_train_end(Theatre(digits, has_films="noise" in why), model)
    assert list(tmp_path.iterdir()) == []
