"""The scripts in benchmarks/, with little to do."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ttest_1samp
from statsmodels.stats.multitest import multipletests

from benchmarks import low_data
from datamodules.cifar10 import CIFAR10DataModule
from datamodules.fashion_mnist import FashionMNISTDataModule
from tests.conftest import ROOT


def benchmark(name: str, *words: str, cwd) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_gallery(tmp_path):
    words = ("--data", "digits", "cifar10", "--models", "ae", "gan", "--images", "320", "--samples", "100")
    done = benchmark("gallery", *words, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "README.md").read_text()
    results = json.loads((tmp_path / "runs/gallery/digits/gan/results.json").read_text())
    assert f"| digits | `gan` | {results['metrics']['fd']:.2f} | {results['metrics']['kid']:.3f} |" in text
    assert results["timing"]["images"] == 320
    assert "Left out, because its folder was not given: cifar10" in text
    sheet = np.asarray(Image.open(tmp_path / "out" / "digits.png").convert("L"))
    assert sheet[:, 90:].std() > 10


@pytest.mark.slow
def test_sequences(tmp_path):
    done = benchmark("sequences", "--data", "text", "--steps", "4", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "README.md").read_text()
    results = json.loads((tmp_path / "runs/sequences/text/results.json").read_text())
    assert f"| bits per character of held-out text, at most | {results['metrics']['bits_per_character']:.3f} |" in text
    assert f"| Frechet distance | {results['metrics']['fd']:.3f} |" in text
    assert np.asarray(Image.open(tmp_path / "out" / "text-samples.png").convert("L")).std() > 10


@pytest.mark.slow
def test_modes(tmp_path):
    done = benchmark("modes", "--seeds", "2", "--steps", "5", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "README.md").read_text()
    modes = [
        json.loads((tmp_path / f"runs/modes/ring/ns/seed{seed}/results.json").read_text())["metrics"]["modes"]
        for seed in (0, 1)
    ]
    assert f"| ring | `ns` | {sum(modes) / 2:.2f} ± " in text
    assert "| ring | GAN, as published | 6.3 ± 0.5 |" in text
    assert (tmp_path / "out" / "grid.png").is_file()


def test_cifar10_from_npm(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    rows = np.random.default_rng(0).integers(0, 256, (6, 3, 1024, 3), np.uint8)  # three images a file
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for name, part in zip(names, rows):
        Image.fromarray(part).save(package / f"{name}.png")
    labels = [i % 10 for i in range(15)]
    (package / "train_lables.json").write_text(json.dumps(labels))
    (package / "test_lables.json").write_text(json.dumps([7, 8, 9]))
    assert benchmark("cifar10_from_npm", "package", "data", cwd=tmp_path).returncode == 0
    data = CIFAR10DataModule(root=str(tmp_path / "data"), batch_size=2)
    data.setup()
    assert data.dataset.pool.labels.tolist() == labels
    assert data.dataset.heldout.labels.tolist() == [7, 8, 9]
    images = torch.from_numpy(rows[:5].reshape(15, 32, 32, 3)).permute(0, 3, 1, 2)
    assert torch.equal(data.dataset.pool.images, images)


@pytest.mark.slow
def test_augment(tmp_path):
    words = ("--rounds", "1", "--steps", "6", "--fit_steps", "4", "--cases", "ae on the data", "ae on the critic")
    done = benchmark("augment", *words, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "README.md").read_text()
    kept = {}
    for line in text.splitlines():
        if line.startswith("| ae on") or line.startswith("| none"):
            name, ratio, _, megabytes, _ = (cell.strip() for cell in line.strip("| ").split("|"))
            kept.setdefault(name, []).append(float(megabytes))
            assert 0.3 < float(ratio) < 5
    assert len(kept) == 4
    # what is kept: no more than the autoencoder and a batch, however many the training images are
    limits = [
        float(line.split()[3]) + float(line.split()[7])
        for line in text.splitlines()
        if line.startswith("The autoencoder has")
    ]
    assert all(size <= limit for name in kept for size, limit in zip(kept[name], limits))
    assert "Fitting the autoencoder" in text


@pytest.mark.slow
def test_low_data(tmp_path):
    arms = ("--arms", "none", "ae, critic", "ae gaussian")
    words = ("--data", "digits", "--num_train", "100", "--steps", "20", "--out", "out")
    done = benchmark("low_data", *words, *arms[:3], "--seeds", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 runs are missing" in done.stdout
    done = benchmark("low_data", *words, *arms, "--seeds", "2", cwd=tmp_path)
    assert "4 of 6 runs are missing" in done.stdout, done.stderr
    lines = (tmp_path / "out" / "cpu.csv").read_text().splitlines()
    assert len(lines) == 1 + 6
    text = (tmp_path / "out" / "cpu.md").read_text()
    assert "| `ae, critic` | 2 |" in text and "ae on critic, fraction 0.7," in text
    assert "perturb gaussian, strength 0.5, detail residual" in text
    for name in ("curves-cpu-by-seed.png", "sheet-cpu-digits-100-by-seed.png"):
        assert np.asarray(Image.open(tmp_path / "out" / name).convert("L")).std() > 10
    # nothing is missing now: the report is made anew from the state alone
    (tmp_path / "out" / "cpu.md").unlink()
    assert "0 of 6 runs are missing" in benchmark("low_data", *words, *arms, "--seeds", "2", cwd=tmp_path).stdout
    assert (tmp_path / "out" / "cpu.md").read_text() == text


def stored() -> dict:
    """The stored cells of the study of little data, each with its runs by arm."""
    given = argparse.Namespace(out=ROOT / "benchmarks" / "low_data", tier="cpu")
    rows = low_data.read(given)
    cells = [(data, num, low_data.FIRST) for data, num, _, _ in low_data.TIERS["cpu"]]
    return {cell: {arm: low_data.runs_of(rows, cell, arm) for arm in low_data.ARMS} for cell in cells}


def test_the_tables_of_the_study_are_those_of_its_rows():
    """Of what is committed, and README's table among them."""
    found = stored()
    text = (ROOT / "benchmarks" / "low_data" / "cpu.md").read_text()
    overview = "\n".join(low_data.overview(found))
    assert overview in text and overview in (ROOT / "README.md").read_text()
    for cell, arms in found.items():
        assert "\n".join(low_data.table(cell, arms)) in text


def test_the_verdicts_of_the_study_against_scipy_and_statsmodels():
    """Holm over the paired t tests of log-ratios; no verdict that these do not give, and all of those that they do."""
    verdicts = {}
    for (data, num, _), arms in stored().items():
        none = low_data.last_fd(arms["none"])
        ratios = {
            arm: np.log([fd / none[seed] for seed, fd in low_data.last_fd(runs).items()])
            for arm, runs in arms.items()
            if runs and arm != "none"
        }
        holm = multipletests([ttest_1samp(one, 0).pvalue for one in ratios.values()], method="holm")[1]
        got = low_data.compared(arms)
        assert [got[arm].p_holm for arm in ratios] == pytest.approx(list(holm))
        for arm, p in zip(ratios, holm):
            words, verdict = low_data.change(got[arm])
            assert words.strip("*_").startswith(f"{100 * np.expm1(ratios[arm].mean()):+.1f} %")
            assert (p <= 0.05) == ("difference" not in verdict)
            verdicts |= {(data, num, arm): verdict} if p <= 0.05 else {}
    assert verdicts == {
        ("digits", 200, "classic"): "_worse_",
        ("digits", 200, "ae+classic"): "_worse_",
        ("digits", 500, "classic"): "_worse, of few seeds_",
        ("digits", 500, "ae+classic"): "_worse, of few seeds_",
        ("fashion_mnist", 500, "diffaug"): "**better**",
        ("fashion_mnist", 500, "ae+diffaug, critic"): "**better**",
    }


def test_every_row_of_the_study_names_the_whole_setting():
    for arms in stored().values():
        for arm, runs in arms.items():
            words = low_data.setting_of(runs) if runs else "augment none"
            assert ("fraction" in words and " on " in words) or words == "augment none", arm
    assert low_data.setting_of(arms["classic"]).startswith("augment classic, classic on data, fraction 1.0, crop 0.1")
    assert "diffaug on critic, fraction 0.7" in low_data.setting_of(arms["diffaug"])


def test_arms_of_the_study_are_chosen_alike():
    """On the data 0.5, on the critic 0.7, all of it said; what tries another one says so in its name."""
    for arm, options in low_data.ARMS.items():
        words = dict(zip(options.split()[::2], options.split()[1::2]))
        tried = any(word in arm for word in ("none", "strong", "adaptive", "decode+diffaug"))
        if not tried:
            assert words["--augment.fraction"] == {"data": "0.5", "critic": "0.7"}[words["--augment.on"]], arm


@pytest.mark.slow
@pytest.mark.skipif(
    not Path(FashionMNISTDataModule.system_folders[0]).is_dir(), reason="needs Debian's package dataset-fashion-mnist"
)
def test_metrics(tmp_path):
    done = benchmark("metrics", "--only", "cost", "--num", "600", "--cache", "cache", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [
        line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith(("| ours", "| torch"))
    ]
    assert len(rows) == 3
    # the same numbers by all, but for the subsets that KID draws
    assert float(rows[0][4]) == pytest.approx(float(rows[1][4]), rel=0.01)
    assert float(rows[0][4]) == pytest.approx(float(rows[2][4]), rel=0.01)
    assert float(rows[0][5]) == pytest.approx(float(rows[1][5]), abs=0.05)
    assert all(float(row[3]) < 2 for row in rows[:1])
