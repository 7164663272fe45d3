"""The evaluation of a model: its protocol, its cache, its processes, what it refuses; runs side by side."""

import csv
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Callback
from torch import nn

import run
from callbacks.evaluate import Evaluate
from lightning_genae import schedule
from lightning_genae.augmentation import Augmentation
from lightning_genae.evaluation import Evaluation, reference
from lightning_genae.extractors._extractor import Extractor
from lightning_genae.extractors.pixels import PixelFeatures
from lightning_genae.fidelity import fidelity, lpips
from lightning_genae.images import to_float
from lightning_genae.metrics.frechet import frechet_distance
from lightning_genae.models.gan import GAN
from lightning_genae.report import table
from lightning_genae.run_folder import RunFolder
from tests import evaluate_job
from tests.test_models import train
from tests.test_run import SHORT, results


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs torch.distributed with gloo")
def test_any_number_of_processes_measures_the_same(tmp_path):
    subprocess.run([sys.executable, evaluate_job.__file__, tmp_path], check=True, timeout=200)
    values = [json.loads((tmp_path / f"{num}.json").read_text()) for num in (1, 2, 3)]
    made = [sorted(path.name for path in tmp_path.glob(f"cache{num}/features/*")) for num in (1, 2, 3)]
    assert made[0] == made[1] == made[2]
    # the held-out images, those of validation, and two sets for the floor
    assert len([name for name in made[0] if "." not in name]) == 4
    assert values[0] == values[1] == values[2]
    assert set(values[0]) == {"597", "260"} and values[0]["597"]["fd"] > 0


class Fixed(nn.Module):
    """Not a model; its samples are what it is given."""

    device = torch.device("cpu")

    def __init__(self, samples: torch.Tensor):
        super().__init__()
        self.samples = samples

    def sample(self, num, labels=None):
        return self.samples[:num]


def test_too_few_heldout_images_are_found_before_the_training(digits):
    few = SimpleNamespace(
        heldout=SimpleNamespace(images=digits.heldout.images[:9]), train_split=digits.train_split, noun="images"
    )
    with pytest.raises(ValueError, match="--data: expected at least 10 held-out images to measure against; got 9"):
        Evaluation(few)


def test_images_that_are_all_the_same_are_found_before_the_training(digits, tmp_path):
    black = torch.zeros(20, 1, 8, 8, dtype=torch.uint8)
    extractor = PixelFeatures(SimpleNamespace(train_split=SimpleNamespace(images=black)))
    with pytest.raises(ValueError, match="--data: expected data that differ"):
        reference(extractor, black, tmp_path)


@pytest.mark.parametrize(
    "images, message",
    [
        (torch.zeros(2, 1, 9, 8), r"expected samples of shape \(1, 8, 8\), got \(1, 9, 8\)"),
        (torch.full((2, 1, 8, 8), 3.0), r"expected samples in \[-1, 1\], got values from 3 to 3"),
        (torch.full((2, 1, 8, 8), torch.nan), r"expected samples in \[-1, 1\], got"),
    ],
)
def test_wrong_samples_are_found_before_the_training(digits, images, message):
    evaluation = Evaluation(digits, "pixels", num_samples=20)
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
        reference(extractor, digits.heldout.images, str(cache))


class Counting(PixelFeatures):
    """Counts how often it looks."""

    looks = 0

    def forward(self, images):
        self.looks += 1
        return super().forward(images)


def test_real_features_are_computed_once_for_their_content(digits, tmp_path):
    extractor, images = Counting(digits), digits.heldout.images
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
            reference(Counting(digits), images, str(tmp_path))


def test_the_references_hold_no_training_image(digits):
    """A reference image inside what is measured lowers the Frechet distance below its floor."""
    heldout = {image.numpy().tobytes() for image in digits.heldout.images}
    shared = [image for image in digits.train_split.images if image.numpy().tobytes() in heldout]
    assert not shared


def test_warnings(digits, caplog):
    with caplog.at_level("INFO", "lightning_genae"):
        Evaluation(digits, "pixels", num_samples=50)
    assert "--metrics.num_samples 50 is below the 597" in caplog.text
    assert "50 samples for 64 features" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO", "lightning_genae"):
        Evaluation(digits, "pixels")
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
    config = run.parse_run(["--data.num_train", "200", "--model.network", "mlp", "--model.hidden", "[4]"])
    evaluation = Evaluation(digits, "pixels", num_samples=20)
    digits.augment = lambda images, labels: 1 / 0
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    per_batch, per_look = run.try_out(config | {"accelerator": "cpu"}, digits, 5, evaluation)
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
    evaluate.prepare(digits, model)
    evaluate.plan(steps, looks)
    return evaluate, Looks(evaluate, values)


def small(digits) -> GAN:
    return GAN(digits.image_shape, 10, network="mlp", hidden=[4])


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
    evaluation = Evaluation(digits, "pixels")
    model = Fixed(to_float(digits.validation.images))
    evaluation.num_samples = 250  # as many as are drawn at once
    values = evaluation.measure(model, at_the_end=False)
    features = [evaluation.extractor(part) for part in (digits.validation.images, digits.validation.images[:250])]
    assert values["fd_validation"] == pytest.approx(frechet_distance(*features), rel=1e-6)
    assert values["fd_validation"] < values["fd"] / 2
    assert evaluation.protocol["n_validation"] == len(digits.validation.images) == 597


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

    def log_likelihood(self, x, num_codes):
        return self.look(x).flatten(1).sum(1)


def test_models_are_in_evaluation_mode_when_they_are_measured(digits):
    model = Modes()
    before = [module.training for module in model.modules()]
    evaluation = Evaluation(digits, "pixels", num_samples=20)
    evaluation.check(model)
    evaluation.measure(model)
    assert len(model.seen) == 5  # checked, sampled, reconstructed (597 images in two parts), likelihood
    assert not any(any(modes) for modes in model.seen)
    assert [module.training for module in model.modules()] == before and any(before) and not all(before)
    assert torch.equal(model.layers[1].running_mean, torch.zeros(64))


def test_the_floor_says_how_many_images_it_has(digits):
    assert Evaluation(digits, "pixels", num_samples=20).protocol["n_floor"] == 20
    evaluation = Evaluation(digits, "pixels", num_samples=1500)  # there are but 1,200
    values = evaluation.measure(Fixed(2 * torch.rand(250, 1, 8, 8) - 1).eval(), at_the_end=False)
    assert evaluation.protocol["n_floor"] == 1200
    assert "1,200 real images" in table(values, evaluation.protocol)[1]
    fewer = Evaluation(digits, "pixels", num_samples=597)
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
    monkeypatch.setattr(run, "try_out", lambda config, data, num_batches, evaluation: (0.1, 0.1))
    monkeypatch.setattr(schedule, "MIN_TIMED", 0)
    forward, slow = Augmentation.forward, []
    monkeypatch.setattr(Augmentation, "forward", lambda *args: slow.append(1) or time.sleep(1e-3) or forward(*args))
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
    monkeypatch.setattr(run, "try_out", lambda *args: 1 / 0)  # nothing is timed
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
    assert status == 2 and "RUN: expected a run folder or one that holds some; got 'nowhere'" in error


def test_fidelity_at_known_errors():
    """A constant error of 0.2 is a PSNR of 20 lg(2 / 0.2) = 20 dB."""
    x = torch.rand(6, 1, 16, 16) - 0.5
    values = fidelity(x, x + 0.2)
    assert values["mse"] == pytest.approx(0.04, rel=1e-5)
    assert values["psnr"] == pytest.approx(20, rel=1e-5)
    assert values["ssim"] < 1
    assert fidelity(x, x)["ssim"] == pytest.approx(1)
    assert set(fidelity(x[:, :, :4, :4], x[:, :, :4, :4] + 0.1)) == {"mse", "psnr"}


def test_lpips_from_a_file(tmp_path):
    from torchvision.models import alexnet

    torch.save(alexnet().state_dict(), tmp_path / "alexnet.pth")
    distance = lpips(str(tmp_path / "alexnet.pth"))
    x = torch.rand(3, 1, 64, 64) * 2 - 1
    assert fidelity(x, x, distance)["lpips"] == pytest.approx(0, abs=1e-6)
    near, far = (fidelity(x, x + noise * torch.randn_like(x), distance)["lpips"] for noise in (0.05, 0.5))
    assert 0 < near < far
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"--metrics.lpips: '.*other.pth' does not hold AlexNet's weights"):
        lpips(str(tmp_path / "other.pth"))
    with pytest.raises(FileNotFoundError, match=r"--metrics.lpips: expected a file"):
        lpips(str(tmp_path / "none.pth"))


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
