"""The evaluation of a model: its protocol, its cache, its processes, what it refuses; runs side by side."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from callbacks.evaluate import Evaluate
from lightning_genae.evaluation import Evaluation, reference
from lightning_genae.extractors._extractor import Extractor
from lightning_genae.extractors.pixels import PixelFeatures
from lightning_genae.fidelity import fidelity, lpips
from lightning_genae.images import to_float
from lightning_genae.models.gan import GAN
from tests import evaluate_job
from tests.test_models import train
from tests.test_run import SHORT, results


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs torch.distributed with gloo")
def test_any_number_of_processes_measures_the_same(tmp_path):
    subprocess.run([sys.executable, evaluate_job.__file__, tmp_path], check=True, timeout=200)
    values = [json.loads((tmp_path / f"{num}.json").read_text()) for num in (1, 2, 3)]
    made = [sorted(path.name for path in tmp_path.glob(f"cache{num}/features/*")) for num in (1, 2, 3)]
    assert made[0] == made[1] == made[2]
    assert len([name for name in made[0] if "." not in name]) == 3  # the held-out images, and two sets for the floor
    assert values[0] == values[1] == values[2]
    assert set(values[0]) == {"597", "260"} and values[0]["597"]["fd"] > 0


def model_of(values):
    return SimpleNamespace(device=torch.device("cpu"), sample=lambda num, labels=None: values[:num])


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
        evaluation.check(model_of(images))
    evaluation.check(model_of(torch.zeros(2, 1, 8, 8)))


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


@pytest.mark.parametrize("every, num_evaluations", [(None, 1), (64, 11)])
def test_evaluation_keeps_its_share_of_the_time_unless_it_is_told_when(digits, every, num_evaluations, monkeypatch):
    model = GAN(digits.image_shape, 10)
    evaluate = Evaluate(features="pixels", num_samples=20, every=every)
    evaluate.prepare(digits, model, default_every=64)
    evaluate.longest = 1e6  # as if one had taken that long
    seen = []
    monkeypatch.setattr(evaluate.evaluation, "measure", lambda *args: seen.append(args) or {"fd": 1.0})
    train(model, digits, 10, callbacks=[evaluate])
    assert len(seen) == num_evaluations  # one of them at the end


def test_best_and_last_are_both_kept(cli):
    status, _, error = cli(*SHORT, "--metrics.every", "256", "--folder", "run")
    assert status == 0, error
    with open("run/metrics.csv", newline="") as file:
        measured = {int(row["images"]): float(row["val/fd"]) for row in csv.DictReader(file) if row["val/fd"]}
    assert len(measured) == 5
    content = results("run")
    assert content["metrics"]["fd"] == measured[1280]
    assert content["best"] == {"fd": min(measured.values()), "images": min(measured, key=measured.get)}


def test_compare_puts_protocols_apart(cli):
    for name, more in {"a": (), "b": ("--seed", "1"), "c": ("--metrics.num_samples", "300")}.items():
        assert cli(*SHORT, *more, "--folder", name)[0] == 0
    status, out, _ = cli("compare", "a", "b")
    assert status == 0
    assert "Protocol" not in out
    assert [line.split()[0] for line in out.splitlines()] == ["run", "a", "b"]
    assert f"{results('b')['metrics']['fd']:.3f} (" in out
    status, out, _ = cli("compare", "a", "b", "c")
    assert "Protocol 1: n_fake 597, n_neighbourhoods 597" in out
    assert "Protocol 2: n_fake 300, n_neighbourhoods 300" in out
    assert "cannot be compared" in out
    status, out, _ = cli("compare", "a", "--best")
    assert f"{results('a')['best']['fd']:.3f}" in out
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
    status, out, error = cli("evaluate", "run", "--metrics.features", "efficientnet", "--metrics.num_samples", "64")
    assert status == 0, error
    assert "64 samples (averaged weights) against 597 held-out images, in the efficientnet's features" in out
    assert "WARNING: 64 samples for 1280 features" in out
    (evaluation,) = results("run")["evaluations"]
    assert evaluation["protocol"]["extractor"] == "efficientnet"
    assert Path("run/results.json").is_file()
