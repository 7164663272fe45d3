"""What is recorded while a model trains."""

import csv
import math

import numpy as np
import pytest
import torch
from PIL import Image

from callbacks._pictures import pairs, save_grid
from callbacks.evaluate import Evaluate
from callbacks.metrics_csv import MetricsCsv
from lightning_genae.models.ae import Autoencoder
from tests.test_models import train


class Progress:
    """A training's progress, set by hand."""

    batches = 0

    def __call__(self):
        return {"batches": self.batches, "images": 8 * self.batches, "epoch": self.batches // 3}


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_csv_merges_a_step_and_grows_columns(tmp_path):
    progress = Progress()
    logger = MetricsCsv(tmp_path / "metrics.csv", progress)
    for progress.batches in (2, 4):
        logger.log_metrics({"train/loss": 1 / progress.batches, "epoch": 99}, step=77)
    logger.log_metrics({"val/fd": 5.0})
    progress.batches = 6
    logger.log_metrics({"train/loss": 0.1})
    assert rows(tmp_path / "metrics.csv") == [
        {"batches": "2", "images": "16", "epoch": "0", "train/loss": "0.5", "val/fd": ""},
        {"batches": "4", "images": "32", "epoch": "1", "train/loss": "0.25", "val/fd": "5.0"},
        {"batches": "6", "images": "48", "epoch": "2", "train/loss": "0.1", "val/fd": ""},
    ]


def test_metrics_csv_of_a_resumed_run_drops_what_comes_again(tmp_path):
    progress = Progress()
    logger = MetricsCsv(tmp_path / "metrics.csv", progress)
    for progress.batches in (2, 4, 6):
        logger.log_metrics({"a": progress.batches})
    progress.batches = 4
    logger = MetricsCsv(tmp_path / "metrics.csv", progress)
    for progress.batches in (6, 8):
        logger.log_metrics({"a": -progress.batches})
    assert [(row["batches"], float(row["a"])) for row in rows(tmp_path / "metrics.csv")] == [
        ("2", 2),
        ("4", 4),
        ("6", -6),
        ("8", -8),
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_stops_the_run_and_is_written(tmp_path, value):
    logger = MetricsCsv(tmp_path / "metrics.csv", Progress())
    with pytest.raises(FloatingPointError, match=r"train/loss is (nan|inf) after 0 batches"):
        logger.log_metrics({"train/loss": value})
    assert rows(tmp_path / "metrics.csv")[0]["train/loss"] == str(value)


def test_grids_show_the_images(tmp_path):
    images = torch.linspace(-1, 1, 4).reshape(4, 1, 1, 1).expand(4, 1, 8, 8)
    above_below = pairs(images[:2], images[2:], num_columns=2)
    assert above_below[:, 0, 0, 0].tolist() == pytest.approx([-1, -1 / 3, 1 / 3, 1])
    path = save_grid(tmp_path / "new" / "grid.png", above_below, num_columns=2)
    picture = np.asarray(Image.open(path).convert("L")).astype(int)
    assert picture.shape == (2 * 48 + 6, 2 * 48 + 6)  # enlarged six times, with lines between
    centres = picture[26::50, 26::50]
    assert np.abs(centres - [[0, 85], [170, 255]]).max() <= 1


def test_evaluate_measures_the_reconstruction_and_repeats_itself(digits):
    model = Autoencoder(digits.image_shape, 10)
    train(model, digits, 30)
    evaluate = Evaluate(features="pixels", num_samples=300)
    evaluate.prepare(digits)
    values = evaluate.evaluate(model)
    assert evaluate.evaluate(model) == values
    x = digits.heldout.images.float() / 127.5 - 1
    assert values["mse"] == pytest.approx(float((model.reconstruct(x) - x).square().mean()), rel=1e-5)
    assert set(values) == {"fd", "kid", "fd_train", "kid_train", "mse"}
    protocol = evaluate.protocol
    assert (protocol["n_fake"], protocol["n_heldout"], protocol["n_train"]) == (300, 597, 1200)
    assert 0 < protocol["fd_of_real_training_images"] < values["fd"]
    assert protocol["generator"] == "raw"


def test_evaluation_does_not_change_the_training(digits):
    """The reference of all arms is the whole training split, and evaluating draws nothing from the run."""
    evaluate = Evaluate(features="pixels", num_samples=10)
    evaluate.prepare(digits)
    model = Autoencoder(digits.image_shape, 10)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    evaluate.evaluate(model)
    assert torch.rand(1) == expected


def test_wandb_mode(monkeypatch, tmp_path):
    """Online with a key, else offline; WANDB_MODE counts before both."""
    from callbacks.wandb_run import _mode

    assert _mode() == "offline"
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret")
    assert _mode() == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert _mode() == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert _mode() == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert _mode() == "disabled"
