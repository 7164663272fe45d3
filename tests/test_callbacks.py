"""What is recorded while a model trains."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from callbacks._pictures import pairs
from callbacks.interpolations import Interpolations
from callbacks.metrics_csv import MetricsCsv
from callbacks.samples import Samples
from callbacks.traversals import Traversals
from lightning_genae.data.drawing.grids import save_grid, save_scatter
from lightning_genae.data.modalities.points import Points
from lightning_genae.evaluation.evaluation import Evaluation
from lightning_genae.models.ae import Autoencoder
from lightning_genae.models.cogan import CoGAN
from lightning_genae.models.gan import GAN
from lightning_genae.models.vae import VAE
from tests.test_models import train
from tests.test_run import AT_THE_END, IN_PIXELS


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
    logger = MetricsCsv(tmp_path / "metrics.csv", progress, resumed_at=4)
    for progress.batches in (6, 8):
        logger.log_metrics({"a": -progress.batches})
    assert [(row["batches"], float(row["a"])) for row in rows(tmp_path / "metrics.csv")] == [
        ("2", 2),
        ("4", 4),
        ("6", -6),
        ("8", -8),
    ]


def test_metrics_csv_of_a_run_that_goes_on_from_its_end_keeps_the_last_row(tmp_path):
    progress = Progress()
    logger = MetricsCsv(tmp_path / "metrics.csv", progress)
    for progress.batches in (2, 4):
        logger.log_metrics({"a": progress.batches})
    logger.log_metrics({"b": 7})
    before = (tmp_path / "metrics.csv").read_text()
    MetricsCsv(tmp_path / "metrics.csv", progress, resumed_at=4).log_metrics({"b": 7})
    assert (tmp_path / "metrics.csv").read_text() == before


@pytest.mark.parametrize(("has", "is_said"), [((2, 4, 6), False), ((2, 6), True), ((), True)])
def test_rows_that_somebody_has_deleted_are_missed(tmp_path, caplog, has, is_said):
    progress = Progress()
    logger = MetricsCsv(tmp_path / "metrics.csv", progress)
    for progress.batches in (*has, 8):  # that after the checkpoint does not count
        logger.log_metrics({"a": 1.0})
    caplog.set_level("INFO")
    MetricsCsv(tmp_path / "metrics.csv", progress, resumed_at=7).check(2)
    assert (f"has {len(has)} rows of the first 7 batches; expected 3 or more" in caplog.text) is is_said


@pytest.mark.parametrize("content", ["", "batches,images,epoch,a\n", "batches,images,epoch,a\n2,16,0,2.0\n4,3"])
def test_metrics_csv_that_a_full_disk_cut_short_stops_no_run(tmp_path, content):
    (tmp_path / "metrics.csv").write_text(content)
    progress = Progress()
    progress.batches = 4
    logger = MetricsCsv(tmp_path / "metrics.csv", progress, resumed_at=2)
    logger.log_metrics({"a": 5})
    found = [(row["batches"], row["a"]) for row in rows(tmp_path / "metrics.csv")]
    assert found == [("2", "2.0")] * ("2.0" in content) + [("4", "5.0")]


def test_grids_show_the_images(tmp_path):
    images = torch.linspace(-1, 1, 4).reshape(4, 1, 1, 1).expand(4, 1, 8, 8)
    above_below = pairs(images[:2], images[2:], num_columns=2)
    assert above_below[:, 0, 0, 0].tolist() == pytest.approx([-1, -1 / 3, 1 / 3, 1])
    path = save_grid(tmp_path / "new" / "grid.png", above_below, num_columns=2)
    picture = np.asarray(Image.open(path).convert("L")).astype(int)
    assert picture.shape == (2 * 96 + 6, 2 * 96 + 6)  # enlarged twelve times, with lines between
    centres = picture[50::98, 50::98]
    assert np.abs(centres - [[0, 85], [170, 255]]).max() <= 1


def test_evaluate_measures_the_reconstruction_and_repeats_itself(digits):
    model = Autoencoder(digits.dataset.image_shape, 10)
    train(model, digits, 30)
    evaluation = Evaluation(digits.dataset, "pixels", num_samples=300)
    values = evaluation.measure(model)
    assert evaluation.measure(model) == values
    x = digits.dataset.heldout.images.float() / 127.5 - 1
    assert values["mse"] == pytest.approx(float((model.reconstruct(x) - x).square().mean()), rel=1e-5)
    assert set(values) >= {*IN_PIXELS, *AT_THE_END, "mse", "psnr", "ssim"}
    protocol = evaluation.protocol
    assert (protocol["n_fake"], protocol["n_real"], protocol["split"]) == (300, 597, "heldout")
    assert set(protocol["floor"]) >= {*IN_PIXELS} - {"fd_validation"} and not {"mse", "fd_validation"} & {
        *protocol["floor"]
    }
    assert 0 < protocol["floor"]["fd"] < values["fd"]
    assert protocol["floor"]["distance_to_train"] > 0.1  # that of held-out images, not of training images to themselves
    assert protocol["generator"] == "raw"


def test_evaluation_does_not_change_the_training(digits):
    evaluation = Evaluation(digits.dataset, "pixels", num_samples=10)
    model = Autoencoder(digits.dataset.image_shape, 10)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    evaluation.measure(model)
    assert torch.rand(1) == expected


def test_a_sweeps_agent_chooses_the_id_of_its_run(monkeypatch, tmp_path):
    from callbacks.wandb_run import WandbRun

    config = {"model": {"name": "gan"}, "augment": {"name": "ae"}, "data": {"name": "digits"}, "seed": 3}
    monkeypatch.setenv("WANDB_RUN_ID", "chosen")
    own = WandbRun(tmp_path, config, dict, resume=False)._wandb_init["id"]
    assert own.endswith("-seed3")  # else all runs of a grid would be one
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    assert WandbRun(tmp_path, config, dict, resume=False)._wandb_init["id"] == "chosen"


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


class Shown:
    """A logger that keeps the paths of the pictures it is shown."""

    def __init__(self):
        self.pictures = []

    def log_image(self, name, images):
        self.pictures += images


class Run:
    """As much of a Trainer as a callback looks at."""

    is_global_zero, should_stop = True, False

    def __init__(self, datamodule):
        self.datamodule, self.loggers = datamodule, [Shown()]
        datamodule.examples = lambda split, num: (
            getattr(datamodule.dataset, split).images[:num].float() / 127.5 - 1,
            None,
        )


class Plain(torch.nn.Module):
    """A model whose code is the image."""

    dtype, device = torch.float32, torch.device("cpu")

    def encode(self, x):
        return x.flatten(1)

    def decode(self, z):
        return z.reshape(-1, 1, 8, 8)


def test_interpolations_go_from_one_image_to_the_other(digits, tmp_path):
    rows = Interpolations(tmp_path, num_rows=3, num_steps=5)._rows(Plain(), digits.dataset.heldout.images[:6].float())
    rows = rows.reshape(3, 7, 1, 8, 8)
    x = digits.dataset.heldout.images[:6].float()
    assert torch.equal(rows[:, 0], x[:3]) and torch.equal(rows[:, 1], x[:3])
    assert torch.equal(rows[:, -1], x[3:]) and torch.allclose(rows[:, -2], x[3:])
    assert torch.allclose(rows[:, 3], (x[:3] + x[3:]) / 2)


def test_traversals_move_one_dimension_each(tmp_path):
    latents = torch.randn(400, 5) * torch.tensor([1.0, 3, 0.1, 2, 0.5]) + 7
    rows = Traversals(tmp_path, num_rows=3, num_steps=9)._latents(latents).reshape(3, 9, 5)
    for row, dimension in zip(rows, (1, 3, 0)):  # those of the largest deviation
        others = [i for i in range(5) if i != dimension]
        assert torch.equal(row[:, others], latents[:1, others].expand(9, -1))
        deviation, mean = torch.std_mean(latents[:, dimension])
        assert row[0, dimension] == pytest.approx(float(mean - 2 * deviation), rel=1e-5)
        assert row[-1, dimension] == pytest.approx(float(mean + 2 * deviation), rel=1e-5)


@pytest.mark.parametrize("callback", [Interpolations, Traversals])
def test_pictures_of_latents(callback, digits, tmp_path):
    trainer = Run(digits)
    callback(tmp_path).on_train_end(trainer, Plain())
    (path,) = trainer.loggers[0].pictures
    picture = np.asarray(Image.open(path))
    assert picture.shape == (8 * 98 + 2, 9 * 98 + 2, 3)
    assert picture.std() > 30
    callback(tmp_path).on_train_end(trainer, GAN(digits.dataset.image_shape, network="mlp", hidden=[4]))
    assert len(trainer.loggers[0].pictures) == 1  # nothing to show without an encoder


def test_samples_show_a_class_a_row_and_pairs(digits, tmp_path):
    samples = Samples(tmp_path, every=1)

    class Conditional(Plain):
        num_conditions = 10

        def sample(self, num, labels=None):
            return labels.float().reshape(-1, 1, 1, 1).expand(-1, 1, 8, 8)

    shown = samples._draw(Conditional(), digits.dataset.modality)[:, 0, 0, 0]
    assert torch.equal(shown.reshape(10, 8), torch.arange(10.0)[:, None].expand(10, 8))
    model = CoGAN(digits.dataset.image_shape, network="mlp", hidden=[4])
    both = samples._draw(model.eval(), digits.dataset.modality)
    assert both.shape == (64, 1, 8, 8)


def test_points_are_shown_in_the_plane(tmp_path):
    points = torch.tensor([[-0.8, -0.8], [0.8, 0.8]]).repeat(50, 1)
    picture = np.asarray(Image.open(Points().draw(tmp_path / "points.png", points[:, :, None, None], 8)).convert("L"))
    middle = len(picture) // 2
    for half, is_right in ((picture[:middle], True), (picture[middle:], False)):  # (0.8, 0.8) is above, on the right
        marks = (half[20:-60, 80:-20] < 160).sum(0)
        assert (marks.argmax() > len(marks) / 2) == is_right
    path = save_scatter(tmp_path / "two.png", {"a": (points, torch.arange(100) % 10), "b": (points, None)})
    height, width = np.asarray(Image.open(path)).shape[:2]
    assert width > 1.5 * height


def test_evaluate_reports_the_likelihood(digits):
    evaluate = Evaluation(digits.dataset, "pixels", num_samples=50)
    values = evaluate.measure(VAE(digits.dataset.image_shape, 10))
    x = digits.dataset.heldout.images[:250].float() / 127.5 - 1
    assert values["log_likelihood"] < 0
    assert evaluate.protocol["importance_samples"] == 32
    assert evaluate.measure(VAE(digits.dataset.image_shape, 10).eval())["log_likelihood"] != values["log_likelihood"]
    assert len(x) == evaluate.protocol["n_log_likelihood"]


@pytest.mark.parametrize("num", [10, 11])
def test_interpolations_of_few_images(num, tmp_path):
    """An odd one is left out."""
    model, x = Autoencoder((1, 8, 8)), torch.rand(num, 1, 8, 8)
    rows = Interpolations(tmp_path)._rows(model, x).reshape(5, 9, 1, 8, 8)
    assert torch.equal(rows[:, 0], x[:5])
    assert torch.equal(rows[:, -1], x[5:10])
