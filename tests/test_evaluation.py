"""The evaluation of a model: its protocol, its cache, its processes, what it refuses; runs side by side."""

import csv
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
import torchvision
from pytorch_lightning import Callback
from torch import nn
from torchmetrics.functional.image import lpips as torchmetrics_lpips

import run
from callbacks.evaluate import Evaluate
from lightning_genae import registry
from lightning_genae.augment import Composition
from lightning_genae.commands import length
from lightning_genae.commands.parse import parse_run
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.modalities.audio import Audio, spectral_convergence
from lightning_genae.data.storage import to_float
from lightning_genae.evaluation import schedule
from lightning_genae.evaluation.evaluation import Evaluation, reference
from lightning_genae.evaluation.extractors import Extractor
from lightning_genae.evaluation.extractors.pixels import PixelFeatures
from lightning_genae.evaluation.fidelity import fidelity, lpips
from lightning_genae.evaluation.metrics.frechet import frechet_distance
from lightning_genae.evaluation.metrics.likelihood import LikelihoodMetric
from lightning_genae.evaluation.metrics.reconstruction import ReconstructionMetric
from lightning_genae.models.gan import GAN
from lightning_genae.report import table
from lightning_genae.run_folder import RunFolder
from tests import evaluate_job
from tests.data import dataset_of
from tests.test_models import train
from tests.test_run import SHORT, results


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs torch.distributed with gloo")
def test_any_number_of_processes_measures_the_same(tmp_path):
    subprocess.run([sys.executable, evaluate_job.__file__, tmp_path], check=True, timeout=200)
    values = [json.loads((tmp_path / f"{num}.json").read_text()) for num in (1, 2, 3)]
    made = [sorted(path.name for path in tmp_path.glob(f"cache{num}/features/*")) for num in (1, 2, 3)]
    assert made[0] == made[1] == made[2]
    # the held-out images, those of validation, two sets for the floor, and the training images where they are few
    assert len([name for name in made[0] if "." not in name]) == 5
    assert values[0] == values[1] == values[2]
    assert set(values[0]) == {"597", "260"} and values[0]["597"]["fd"] > 0


class Fixed(nn.Module):
    """Not a model; its samples are what it is given."""

    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self, samples: torch.Tensor):
        super().__init__()
        self.samples = samples

    def sample(self, num, labels=None):
        return self.samples[:num]


def test_too_few_heldout_images_are_found_before_the_training(digits):
    few = replace(digits.dataset, heldout=digits.dataset.heldout.subset(slice(9)))
    with pytest.raises(ValueError, match="--data: expected at least 10 held-out images to measure against; got 9"):
        Evaluation(few)


def test_images_that_are_all_the_same_are_found_before_the_training(digits, tmp_path):
    black = torch.zeros(20, 1, 8, 8, dtype=torch.uint8)
    extractor = PixelFeatures(dataset_of(black))
    with pytest.raises(ValueError, match="--data: expected data that differ"):
        reference(extractor, black, tmp_path)


@pytest.mark.parametrize(
    "images, message",
    [
        (
            torch.zeros(2, 1, 9, 8),
            r"expected sample\(2\) by Fixed \(.*\) to be of shape \(2, 1, 8, 8\); got \(2, 1, 9, 8\)",
        ),
        (torch.full((2, 1, 8, 8), 3.0), r"expected samples in \[-1, 1\] by Fixed \(.*\); got values from 3 to 3"),
        (torch.full((2, 1, 8, 8), 1.5), r"expected samples in \[-1, 1\] by Fixed \(.*\); got values from 1.5 to 1.5"),
        (torch.full((2, 1, 8, 8), -3.0), r"expected samples in \[-1, 1\] by Fixed \(.*\); got values from -3 to -3"),
        (torch.full((2, 1, 8, 8), torch.nan), r"expected samples in \[-1, 1\] by Fixed \(.*\); got"),
    ],
)
def test_wrong_samples_are_found_before_the_training(digits, images, message):
    evaluation = Evaluation(digits.dataset, "pixels", num_samples=20)
    with pytest.raises(ValueError, match=f"--model: {message}"):
        evaluation.check(Fixed(images))
    evaluation.check(Fixed(torch.zeros(2, 1, 8, 8)))


def test_features_that_are_not_finite_are_refused(digits, cache):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("nothing", torch.zeros(1))

        def forward(self, x):
            return x.flatten(1) / 0

    extractor = Extractor(Broken(), 64, to_float, {"extractor": "broken"})
    with pytest.raises(ValueError, match=r"--metrics.features: expected finite features .*; broken gives others"):
        reference(extractor, digits.dataset.heldout.images, str(cache))


class Counting(PixelFeatures):
    """Counts how often it looks."""

    looks = 0

    def forward(self, images):
        self.looks += 1
        return super().forward(images)


def test_real_features_are_computed_once_for_their_content(digits, tmp_path):
    extractor, images = Counting(digits.dataset), digits.dataset.heldout.images[:250]  # a batch
    first = reference(extractor, images, str(tmp_path))
    assert torch.equal(reference(extractor, images.clone(), str(tmp_path)).features, first.features)
    assert extractor.looks == 1
    changed = images.clone()
    changed[5, 0, 3, 3] += 1
    assert not torch.equal(reference(extractor, changed, str(tmp_path)).features, first.features)
    assert extractor.looks == 2
    extractor.description = {**extractor.description, "weights": "others"}
    reference(extractor, images, str(tmp_path))
    assert extractor.looks == 3
    (path, *_) = [path for path in (tmp_path / "features").iterdir() if not path.suffix]
    path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"--cache: '.*' is damaged"):
        for _ in range(3):
            reference(extractor, images, str(tmp_path))
            reference(extractor, changed, str(tmp_path))
            reference(Counting(digits.dataset), images, str(tmp_path))
            reference(Counting(digits.dataset), changed, str(tmp_path))


def test_the_references_hold_no_training_image(digits):
    """A reference image inside what is measured lowers the Frechet distance below its floor."""
    heldout = {image.numpy().tobytes() for image in digits.dataset.heldout.images}
    shared = [image for image in digits.dataset.pool.images if image.numpy().tobytes() in heldout]
    assert not shared


def test_warnings(digits, caplog):
    with caplog.at_level("INFO", "lightning_genae"):
        Evaluation(digits.dataset, "pixels", num_samples=50)
    assert "--metrics.num_samples 50 is below the 597" in caplog.text
    assert "50 samples for 64 features" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO", "lightning_genae"):
        Evaluation(digits.dataset, "pixels")
    assert "WARNING" not in caplog.text


@pytest.mark.parametrize(
    "steps, looks, expected",
    [(100, 5, [20, 40, 60, 80, 100]), (20, 3, [7, 13, 20]), (5, 5, [1, 2, 3, 4, 5]), (1000, 1, [1000])],
)
def test_looks_are_equally_far_apart(steps, looks, expected):
    assert schedule.places(steps, looks) == expected


def test_more_looks_than_batches():
    with pytest.raises(ValueError, match=r"--metrics.looks: expected at most 20, the batches of the training; got 21"):
        schedule.places(20, 21)


@pytest.mark.parametrize(
    "steps, per_batch, per_look, looks",
    [
        (1000, 0.1, 1.0, 5),  # 10 s for looks of 1 s each: five, and no more without being asked
        (1000, 0.1, 2.5, 4),
        (1000, 0.1, 3.4, 2),
        (2000, 0.1, 3.4, 5),
        (1000, 0.1, 100.0, 1),  # the end is always looked at
    ],
)
def test_looks_take_a_tenth_of_the_time(steps, per_batch, per_look, looks):
    assert schedule.affordable(steps, per_batch, per_look) == looks


CONFIG = {
    "model": {"name": "gan", "lr": 0.1},
    "augment": {"name": "none"},
    "data": {"name": "digits", "split_seed": None},
    "metrics": {"num_samples": None},
    "seed": 0,
    "precision": "32-true",
    "folder": "a",
}


def test_the_schedule_is_chosen_once_for_all_arms_and_seeds(tmp_path):
    calls = []

    def chosen(steps: int = 1000, seconds_per_look: float = 2.5, **changes) -> int:
        def measure(num_batches: int) -> tuple[float, float]:
            calls.append(num_batches)
            return 0.1, seconds_per_look

        return schedule.chosen(CONFIG | {"cache": str(tmp_path)} | changes, steps, measure)

    assert chosen() == 4 and calls == [20]
    # another arm, or the same on a busier machine, does not choose again
    for changes in ({"augment": {"name": "ae", "steps": 9}}, {"seed": 1}, {"folder": "b"}):
        assert chosen(seconds_per_look=100.0, **changes) == 4
    assert chosen(seconds_per_look=100.0, data=CONFIG["data"] | {"split_seed": 3}) == 4
    assert len(calls) == 1
    for changes in (
        {"model": {"name": "gan", "lr": 0.2}},
        {"data": {"name": "ring", "split_seed": None}},
        {"metrics": {"num_samples": 100}},
        {"precision": "bf16-mixed"},
        {"steps": 2000},
    ):
        calls.clear()
        chosen(seconds_per_look=100.0, **changes)
        assert calls == [20], changes
    # few batches of a short training are timed, and none of one that is too short
    for steps, num_timed in ((500, [10]), (250, [5]), (249, [])):
        calls.clear()
        chosen(steps=steps)
        assert calls == num_timed
    assert chosen(steps=249) == 1


def test_trying_out_a_model_leaves_no_trace(digits, cache):
    config = parse_run(run.COMMAND_LINE, ["--data.num_train", "200", "--model.network", "mlp", "--model.hidden", "[4]"])
    evaluation = Evaluation(digits.dataset, "pixels", num_samples=20)
    digits.augment = lambda images, labels: 1 / 0
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    per_batch, per_look = length.try_out(config | {"accelerator": "cpu"}, digits, 5, evaluation)
    assert per_batch > 0 and per_look > 0
    assert torch.equal(torch.rand(2), expected)
    assert digits.batches == 0 and digits.trainer is None


class Looks(Callback):
    """Notes when a model is measured, and says what came out: the values of one look after the other."""

    def __init__(self, evaluate: Evaluate, values: list[tuple[float, float]] | None = None):
        self.seen: list[int] = []
        evaluate.evaluation.measure = self._measure
        self.values = values

    def on_fit_start(self, trainer, pl_module) -> None:
        self.trainer = trainer

    def _measure(self, *args) -> dict[str, float]:
        fd, fd_validation = self.values[len(self.seen)] if self.values else (1.0, 1.0)
        self.seen.append(self.trainer.datamodule.batches)
        return {"fd": fd, "fd_validation": fd_validation}


def watched(digits, model, steps: int, looks: int, values=None) -> tuple[Evaluate, Looks]:
    evaluate = Evaluate(features="pixels", num_samples=20)
    evaluate.prepare(digits.dataset, model)
    evaluate.plan(steps, looks)
    return evaluate, Looks(evaluate, values)


def small(digits) -> GAN:
    return GAN(digits.dataset.image_shape, 10, network="mlp", hidden=[4])


def test_the_best_look_is_chosen_by_validation_and_reported_on_held_out_images(digits):
    """The look of the least distance to held-out images is another one."""
    model = small(digits)
    values = [(5.0, 4.0), (3.0, 1.0), (2.0, 6.0), (4.0, 2.0)]
    evaluate, looks = watched(digits, model, 8, 4, values)
    train(model, digits, 8, callbacks=[looks, evaluate])
    assert looks.seen == [2, 4, 6, 8]
    assert evaluate.best == {"fd": 3.0, "fd_validation": 1.0, "images": 4 * 64}
    assert evaluate.values == {"fd": 4.0, "fd_validation": 2.0}
    assert evaluate.protocol["looks"] == 4


def test_a_resumed_run_keeps_its_schedule(digits):
    """Even where the cache has another one by then."""
    model = small(digits)
    evaluate, looks = watched(digits, model, 8, 4)
    trainer = train(model, digits, 5, callbacks=[looks, evaluate])
    assert looks.seen == [2, 4, 5]
    trainer.save_checkpoint("last.ckpt")
    evaluate, looks = watched(digits, model, 8, 2)
    digits.batches = 0
    train(model, digits, 8, callbacks=[looks, evaluate], ckpt_path="last.ckpt")
    assert looks.seen == [6, 8]
    assert evaluate.protocol["looks"] == 4


def test_fd_validation_is_the_distance_to_images_that_are_neither_trained_on_nor_reported(digits):
    evaluation = Evaluation(digits.dataset, "pixels")
    model = Fixed(to_float(digits.dataset.validation.images))
    evaluation.num_samples = 250  # as many as are drawn at once
    values = evaluation.measure(model, at_the_end=False)
    features = [
        evaluation.extractor(part)
        for part in (digits.dataset.validation.images, digits.dataset.validation.images[:250])
    ]
    assert values["fd_validation"] == pytest.approx(frechet_distance(*features), rel=1e-6)
    assert values["fd_validation"] < values["fd"] / 2
    assert evaluation.protocol["n_validation"] == len(digits.dataset.validation.images) == 597


class Modes(nn.Module):
    """A model with dropout, batch norm and a part that is in evaluation mode always; keeps the modes it is used in."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(0.5))
        self.frozen = nn.Dropout().eval()
        self.seen = []

    def look(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append([module.training for module in self.modules()])
        return self.layers(x).reshape(-1, 1, 8, 8).clamp(-1, 1)

    def sample(self, num, labels=None):
        return self.look(torch.rand(num, 1, 8, 8))

    def reconstruct(self, x):
        return self.look(x)

    def log_likelihood(self, x, num_latents):
        return self.look(x).flatten(1).sum(1)


@pytest.mark.parametrize("num", [100, 400])
def test_fd_train_is_the_distance_of_the_training_images_where_they_are_few(digits, num):
    """A model that copies them is measured at it."""
    few = digits.dataset.pool.subset(slice(num))
    evaluation = Evaluation(replace(digits.dataset, train=few), "pixels", num_samples=300)
    values = evaluation.measure(GAN((1, 8, 8), width=4), at_the_end=False)
    assert ("fd_train" in values) == (num < 300)
    if num < 300:
        expected = frechet_distance(evaluation.real.features, evaluation.extractor(few.images))
        assert values["fd_train"] == pytest.approx(expected, rel=1e-6)


def test_models_are_in_evaluation_mode_when_they_are_measured(digits):
    model = Modes()
    before = [module.training for module in model.modules()]
    evaluation = Evaluation(digits.dataset, "pixels", num_samples=20)
    evaluation.check(model)
    evaluation.measure(model)
    assert len(model.seen) == 7  # checked three times, sampled, reconstructed (597 images in two parts), likelihood
    assert not any(any(modes) for modes in model.seen)
    assert [module.training for module in model.modules()] == before and any(before) and not all(before)
    assert torch.equal(model.layers[1].running_mean, torch.zeros(64))


def test_the_floor_says_how_many_images_it_has(digits):
    assert Evaluation(digits.dataset, "pixels", num_samples=20).protocol["n_floor"] == 20
    evaluation = Evaluation(digits.dataset, "pixels", num_samples=1500)  # there are but 1,200
    values = evaluation.measure(Fixed(2 * torch.rand(250, 1, 8, 8) - 1).eval(), at_the_end=False)
    assert evaluation.protocol["n_floor"] == 1200
    assert "1,200 real images" in table(values, evaluation.protocol)[1]
    fewer = Evaluation(digits.dataset, "pixels", num_samples=597)
    assert table(values, fewer.protocol | {"generator": "raw"})[1].split("interval")[1].strip() == "real images"


def test_few_images_to_measure_or_choose_by_are_warned_of():
    protocol = {"n_fake": 500, "n_real": 49, "n_validation": 50, "generator": "raw", "extractor": "pixels"}
    given = {"fd": 1.0, "mse": 0.1}, protocol | {"floor": {"fd": 0.5}}
    lines = table(*given)
    assert "  WARNING: only 49 images are held out to be measured against; numbers of so few say little" in lines
    assert sum("WARNING" in line for line in lines) == 1
    assert any("real images have no such value" in line for line in lines)  # of the squared error
    lines = table({"fd": 1.0}, given[1] | {"n_real": 50, "n_validation": 10})
    assert [line for line in lines if "WARNING" in line] == [
        "  WARNING: only 10 images are kept aside to choose by; numbers of so few say little"
    ]
    assert not any("no such value" in line for line in lines)


def test_all_arms_have_as_many_looks(cli, monkeypatch):
    """Also an arm whose batches are far slower than those by which the schedule was chosen."""
    monkeypatch.setattr(length, "try_out", lambda config, data, num_batches, evaluation: (0.1, 0.1))
    monkeypatch.setattr(schedule, "MIN_TIMED", 0)
    forward, slow = Composition.forward, []
    monkeypatch.setattr(Composition, "forward", lambda *args: slow.append(1) or time.sleep(1e-3) or forward(*args))
    words = (*SHORT, "--model.network", "mlp", "--model.hidden", "[4]", "--metrics.num_samples", "20")
    looks = {}
    for arm in ("none", "noise"):
        status, out, error = cli(*words, "--augment", arm, "--folder", arm)
        assert status == 0, error
        with open(f"{arm}/metrics.csv", newline="") as file:
            looks[arm] = [int(row["batches"]) for row in csv.DictReader(file) if row["val/fd"]]
            file.seek(0)
            measured = {int(row["images"]): row for row in csv.DictReader(file) if row["val/fd"]}
        assert results(arm)["protocol"]["looks"] == 2
        best = min(measured, key=lambda images: float(measured[images]["val/fd_validation"]))
        assert results(arm)["best"]["images"] == best
        assert results(arm)["best"]["fd"] == float(measured[best]["val/fd"])
        assert "looks: 2, one takes 0.1 s, chosen for a tenth of 2 s without augmentation" in out
    assert len(slow) == 40
    assert looks == {"none": [10, 20], "noise": [10, 20]}


def test_the_number_of_looks_is_the_users(cli, monkeypatch):
    monkeypatch.setattr(length, "try_out", lambda *args: 1 / 0)  # nothing is timed
    words = (*SHORT, "--model.network", "mlp", "--model.hidden", "[4]", "--metrics.num_samples", "20")
    assert cli(*words, "--metrics.looks", "4", "--folder", "run")[0] == 0
    with open("run/metrics.csv", newline="") as file:
        assert [int(row["batches"]) for row in csv.DictReader(file) if row["val/fd"]] == [5, 10, 15, 20]


def test_compare_puts_protocols_apart(cli):
    for name, more in {"a": (), "b": ("--seed", "1"), "c": ("--metrics.num_samples", "300")}.items():
        assert cli(*SHORT, *more, "--folder", name)[0] == 0
    status, out, _ = cli("compare", "a", "b")
    assert status == 0
    assert "Protocol" not in out
    assert [line.split()[0] for line in out.splitlines()] == ["run", "a", "b"]
    assert f"{results('b')['metrics']['fd']:.3f} (" in out
    shutil.copytree("a", "d")
    RunFolder("d").update(protocol=results("a")["protocol"] | {"looks": 2})
    assert "Protocol" not in cli("compare", "a", "d")[1]  # at the end it does not matter how many looks there were
    status, out, _ = cli("compare", "a", "b", "d", "--best")
    assert "Protocol 1: looks 1" in out and "Protocol 2: looks 2" in out
    status, out, _ = cli("compare", "a", "b", "c")
    assert "Protocol 1: n_fake 597, n_neighbourhoods 597" in out
    assert "Protocol 2: n_fake 300, n_neighbourhoods 300" in out
    assert "cannot be compared" in out
    status, out, _ = cli("compare", "a", "--best")
    assert f"{results('a')['best']['fd']:.3f}" in out
    assert "Best FD: at the look chosen by the validation images, neither trained on nor reported on." in out
    status, _, error = cli("compare", "a", "nowhere")
    assert status == 2 and "RUN: expected run folders, or folders that hold some; got 'nowhere'" in error


def test_fidelity_at_known_errors():
    """A constant error of 0.2 is a PSNR of 20 lg(2 / 0.2) = 20 dB."""
    x = torch.rand(6, 1, 16, 16) - 0.5
    values = fidelity(x, x + 0.2)
    assert values["mse"] == pytest.approx(0.04, rel=1e-5)
    assert values["psnr"] == pytest.approx(20, rel=1e-5)
    assert values["ssim"] < 1
    assert fidelity(x, x)["ssim"] == pytest.approx(1)
    assert set(fidelity(x[:, :, :4, :4], x[:, :, :4, :4] + 0.1)) == {"mse", "psnr"}


@pytest.mark.parametrize("size, has_ssim", [((6, 9), True), ((9, 6), True), ((5, 9), False), ((9, 5), False)])
def test_images_below_six_pixels_have_no_ssim(size, has_ssim):
    x = torch.rand(2, 1, *size)
    assert ("ssim" in fidelity(x, x / 2)) == has_ssim


def test_each_sounds_spectra_count_as_much():
    """The last one of 101 is silent where it should not be, the others are as they should be."""

    class Sound(Audio):
        def magnitudes(self, x):
            return x.squeeze(2)

    x = torch.rand(101, 1, 1, 8) + 0.1
    x_hat = torch.cat([x[:100], torch.zeros(1, 1, 1, 8)])
    values = fidelity(x, x_hat, modality=Sound())
    assert values["spectral_convergence"] == pytest.approx(1 / 101)
    twice = fidelity(x, torch.cat([2 * x[:100], 4 * x[100:]]), modality=Sound())
    assert twice["spectral_convergence"] == pytest.approx(103 / 101)
    assert spectral_convergence(torch.zeros(1, 2, 2), torch.ones(1, 2, 2)).isfinite().all()


CONVOLUTIONS = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}  # AlexNet's


def alexnet_file(folder: Path) -> dict[str, torch.Tensor]:
    """Writes random weights of AlexNet's convolutions, under torchvision's names, and gives them."""
    state = {}
    for layer, (num_out, num_in, size) in CONVOLUTIONS.items():
        deviation = (2 / (num_in * size**2)) ** 0.5
        state[f"features.{layer}.weight"] = deviation * torch.randn(num_out, num_in, size, size)
        state[f"features.{layer}.bias"] = 0.1 * torch.randn(num_out)
    torch.save(state, folder / "alexnet.pth")
    return state


def lpips_by_hand(state: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """LPIPS (N,) as its paper has it (arXiv 1801.03924, equation 1), of images (N, 3, H, W) in [-1, 1]."""
    learned = torch.load(Path(torchmetrics_lpips.__file__).parent / "lpips_models" / "alex.pth", map_location="cpu")
    mean, deviation = torch.tensor([[-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]])[:, :, None, None]
    both, total = (torch.cat([x, y]) - mean) / deviation, 0.0
    for i, layer in enumerate(CONVOLUTIONS):
        both = F.max_pool2d(both, 3, 2) if layer in (3, 6) else both
        options = {"stride": 4, "padding": 2} if layer == 0 else {"padding": 2 if layer == 3 else 1}
        both = F.conv2d(both, state[f"features.{layer}.weight"], state[f"features.{layer}.bias"], **options).relu()
        of_x, of_y = (both / both.norm(dim=1, keepdim=True)).chunk(2)
        weights = learned[f"lin{i}.model.1.weight"].flatten()
        total = total + torch.einsum("nchw,c->n", (of_x - of_y).square(), weights) / both[0, 0].numel()
    return total


@pytest.fixture
def quick_alexnet(monkeypatch):
    """AlexNet without its 59 million dense weights drawn, which LPIPS has no use for, and without the internet."""
    monkeypatch.setattr(nn.Linear, "reset_parameters", lambda self: None)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *args, **options: 1 / 0)


def test_lpips_is_the_papers(tmp_path, quick_alexnet):
    """Of grey images, as of coloured ones that are grey; the mean over more than pass the network at once."""
    state = alexnet_file(tmp_path)
    assert {f"features.{name}" for name in torchvision.models.alexnet().features.state_dict()} == set(state)
    x = torch.rand(101, 1, 31, 31) * 2 - 1
    y = (x + torch.linspace(0, 1, 101)[:, None, None, None] * torch.randn_like(x)).clamp(-1, 1)
    expected = lpips_by_hand(state, x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1)).mean()
    assert expected > 0.01
    distance = lpips(str(tmp_path / "alexnet.pth"))
    assert fidelity(x, y, distance)["lpips"] == pytest.approx(float(expected), rel=1e-4)
    assert fidelity(x[:2], x[:2], distance)["lpips"] == 0


def test_a_wrong_file_for_lpips_is_named(tmp_path, quick_alexnet):
    with pytest.raises(FileNotFoundError, match=r"--metrics.lpips: expected a file of weights, got '.*none.pth'"):
        lpips(str(tmp_path / "none.pth"))
    (tmp_path / "damaged.pth").write_bytes(b"damaged")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    for name in ("damaged", "other"):
        message = rf"--metrics.lpips: '.*{name}.pth' does not hold AlexNet's weights, or is damaged"
        with pytest.raises(ValueError, match=message):
            lpips(str(tmp_path / f"{name}.pth"))


def test_the_folder_of_evaluations_is_named(cli):
    """`evaluate` has other features and another number of samples than the run, and says so."""
    assert cli(*SHORT, "--folder", "run")[0] == 0
    status, out, error = cli("evaluate", "run", "--metrics.features", "classifier", "--metrics.num_samples", "50")
    assert status == 0, error
    assert "50 samples (averaged weights) against 597 held-out images, in the classifier's features" in out
    assert "WARNING: 50 samples for 64 features" in out
    (evaluation,) = results("run")["evaluations"]
    assert evaluation["protocol"]["extractor"] == "classifier"
    assert Path("run/results.json").is_file()


@pytest.fixture
def few_metrics(monkeypatch):
    """Evaluations know the Frechet distance and what is measured of the model itself, and no other metric."""
    names, known = registry.names, ["frechet", "likelihood", "reconstruction"]
    monkeypatch.setattr(registry, "names", lambda package: known if "metrics" in package else names(package))


def few(num: int = 30, shape: tuple = (1, 2, 3), **about) -> Dataset:
    """So many small images in each part of a data set."""
    names = ("train", "pool", "validation", "heldout")
    images = {name: torch.randint(0, 256, (num, *shape), dtype=torch.uint8) for name in names}
    return dataset_of(**images, cache_dir="cache", **about)


@pytest.mark.parametrize(
    "num, num_samples, real, fake, neighbourhoods, floor",
    [
        (10, None, 10, 10, 10, 10),
        (30, 50, 30, 50, 30, 30),
        (30, 20, 30, 20, 20, 20),
        (10_005, None, 10_000, 10_000, 2000, 10_000),
    ],
)
def test_numbers_of_the_protocol(few_metrics, num, num_samples, real, fake, neighbourhoods, floor):
    """As many samples as held-out images unless another number is given; neither above 10,000."""
    protocol = Evaluation(few(num), "pixels", num_samples=num_samples).protocol
    names = ("n_real", "n_fake", "n_neighbourhoods", "n_floor", "n_validation", "seed_of_z")
    assert [protocol[name] for name in names] == [real, fake, neighbourhoods, floor, real, 0]


def test_an_evaluation_neither_follows_nor_moves_the_random_numbers(few_metrics, monkeypatch):
    """Which training images make the floor, and of which held-out ones the likelihood is, is the same for all seeds."""
    monkeypatch.setattr(LikelihoodMetric, "num_images", 5)
    data, made = few(), []
    extractor = PixelFeatures(data)
    monkeypatch.setattr("lightning_genae.evaluation.evaluation.build", lambda *args: extractor)
    for seed in (3, 4):
        torch.manual_seed(seed)
        made.append(Evaluation(data, num_samples=12))
        drawn = torch.rand(2)
        torch.manual_seed(seed)
        assert torch.equal(drawn, torch.rand(2))
    first, second = made
    assert first.protocol == second.protocol
    chosen, again = (evaluation.metric(LikelihoodMetric).heldout for evaluation in made)
    assert torch.equal(chosen, again)
    # and they are not those that come first
    images = data.pool.images[:12]
    assert first.protocol["floor"]["fd"] != frechet_distance(first.real.features, first.extractor(images))
    assert len(chosen) == 5 and not torch.equal(chosen, data.heldout.images[:5])


class Drawing(nn.Module):
    """A model of noise, which counts what it is asked for."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, shape: tuple = (1, 2, 3)):
        super().__init__()
        self.shape, self.asked = shape, []

    def sample(self, num, labels=None):
        self.asked.append(num)
        return torch.rand(num, *self.shape) * 2 - 1


def test_two_processes_draw_half_of_the_samples_each(few_metrics, monkeypatch):
    """The first one measures them all, by the values that one process has; the second one, which gives, has none."""
    evaluation, model, given = Evaluation(few(), "pixels", num_samples=500), Drawing(), []
    alone = evaluation.measure(model)
    gather = "lightning_genae.evaluation.evaluation.to_first"
    monkeypatch.setattr(gather, lambda part, device: given.append(part))
    assert evaluation.measure(model, rank=1, num_ranks=2) == {}
    seconds = iter(list(given))
    monkeypatch.setattr(gather, lambda part, device: torch.cat([part, next(seconds)]))
    assert evaluation.measure(model, rank=0, num_ranks=2) == alone
    assert evaluation.samples.images.shape == (500, 1, 2, 3)
    assert model.asked == [250, 250, 250, 250]


def test_the_protocol_says_which_generator_made_the_samples(few_metrics):
    evaluation, model = Evaluation(few(), "pixels"), Drawing()
    evaluation.measure(model)
    assert evaluation.protocol["generator"] == "raw"
    model.averaged = nn.Identity()
    evaluation.measure(model)
    assert evaluation.protocol["generator"] == "averaged"


class Halving(Drawing):
    """Reconstructs images at half of their size, in float64."""

    dtype = torch.float64

    def reconstruct(self, x):
        assert x.dtype == self.dtype
        return x / 2


def test_reconstructions_are_compared_with_held_out_images(few_metrics, monkeypatch):
    monkeypatch.setattr(
        "lightning_genae.evaluation.fidelity.lpips", lambda path: lambda x, x_hat: (len(path) * x - x_hat).mean()
    )
    data = few(shape=(1, 8, 8))
    values = Evaluation(data, "pixels", lpips="12345").metric(ReconstructionMetric).of_model(Halving((1, 8, 8)))
    x = data.heldout.images.float() / 127.5 - 1
    assert set(values) == {"mse", "psnr", "ssim", "lpips"}
    assert values["mse"] == pytest.approx(float(x.square().mean()) / 4, rel=1e-5)
    assert values["lpips"] == pytest.approx(4.5 * float(x.mean()), rel=1e-4)
    metric = Evaluation(data, "pixels").metric(ReconstructionMetric)
    assert "lpips" not in metric.of_model(Halving((1, 8, 8)))


def test_reconstructions_of_sounds_are_compared_by_their_spectra_too(few_metrics):
    """Half of a sound is an error of half of it; the sound itself would be one of all of its half."""

    class Sound(Audio):
        def magnitudes(self, x):
            return torch.fft.rfft(x).abs().squeeze(2)

    data = few(shape=(1, 1, 8), modality=Sound())
    model = Halving((1, 1, 8))
    model.dtype = torch.bfloat16  # in which there is no Fourier transform
    values = Evaluation(data, "pixels").metric(ReconstructionMetric).of_model(model)
    assert values["spectral_convergence"] == pytest.approx(0.5, rel=1e-2)


@pytest.mark.parametrize("step, independent", [(5, 6), (9, 6), (10, None), (25, None)])
def test_the_protocol_says_how_many_windows_share_nothing(few_metrics, step, independent):
    """Twelve windows of ten steps of one series: if they lie five apart, every second one shares nothing."""
    starts = step * torch.arange(12)
    places = torch.stack([torch.zeros(12).long(), starts, starts + 10], 1)
    protocol = Evaluation(few(12, places={"heldout": places, "pool": places}), "pixels").protocol
    assert protocol.get("n_independent") == independent
    assert "n_independent" not in Evaluation(few(12), "pixels").protocol


def test_the_likelihood_is_the_mean_over_held_out_images(few_metrics):
    """Of 250 of them, by 32 latents, which are drawn from a stream of their own that is always the same."""

    class Knowing(Drawing):
        told: ClassVar[list] = []

        def log_likelihood(self, x, num_latents):
            self.told.append((x, num_latents))
            return x.flatten(1).sum(1) + torch.rand(len(x))

    data, model = few(300), Knowing()
    evaluation = Evaluation(data, "pixels")
    assert "n_log_likelihood" not in evaluation.protocol
    torch.manual_seed(7)
    found = [evaluation.measure(model)["log_likelihood"], torch.rand(1).item()]
    torch.manual_seed(7)
    assert torch.rand(1).item() == found[1]
    assert evaluation.measure(model)["log_likelihood"] == found[0]
    x, num_latents = model.told[0]
    assert (len(x), num_latents) == (250, 32)
    assert {tuple(one) for one in x.flatten(1).tolist()} <= {
        tuple(one) for one in (data.heldout.images.flatten(1) / 127.5 - 1).tolist()
    }
    assert found[0] == pytest.approx(float(x.flatten(1).sum(1).mean()) + 0.5, abs=0.1)
    assert (evaluation.protocol["n_log_likelihood"], evaluation.protocol["importance_samples"]) == (250, 32)


@pytest.mark.parametrize(
    "num_samples, few_features, few_samples", [(6, True, True), (7, False, True), (9, False, True)]
)
def test_warnings_of_few_samples(few_metrics, caplog, num_samples, few_features, few_samples):
    """As many samples as features, six of images of six pixels, are too few for a covariance."""
    with caplog.at_level("INFO", "lightning_genae"):
        Evaluation(few(10), "pixels", num_samples=num_samples)
    assert (f"{num_samples} samples for 6 features" in caplog.text) == few_features
    assert (f"{num_samples} is below the 10 of this data set" in caplog.text) == few_samples


def test_a_cache_that_holds_more_than_tensors_is_not_opened():
    """Such a file could do anything when it is read."""
    data = few()
    extractor = PixelFeatures(data)
    reference(extractor, data.heldout.images, "cache")
    (path,) = [path for path in Path("cache/features").iterdir() if not path.suffix]
    torch.save(SimpleNamespace(features=1), path)
    with pytest.raises(ValueError, match=r"--cache: '.*' is damaged"):
        reference(extractor, data.heldout.images, "cache")
