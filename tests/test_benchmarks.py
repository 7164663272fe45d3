"""The scripts in benchmarks/, with little to do."""

import csv
import importlib
import json
import math
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy.stats import gmean, ttest_1samp
from statsmodels.stats.multitest import multipletests

import run
from benchmarks import low_data
from datamodules.cifar10 import CIFAR10DataModule
from datamodules.fashion_mnist import FashionMNISTDataModule
from lightning_genae.ablation.arms import read_arms
from lightning_genae.ablation.grid import expand, pair
from lightning_genae.ablation.records import in_words
from tests.conftest import ROOT
from tests.test_plugins import install
from tests.test_run import SHORT


def benchmark(name: str, *words: str, cwd, beside: tuple[Path, ...] = ()) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *beside)))}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=900)


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


THREE = """
none: {augment: none}
ae gaussian: {augment: ae, augment.on: data, augment.fraction: 0.5, augment.steps: 20}
ae, critic: {augment: ae, augment.on: critic, augment.fraction: 0.7, augment.steps: 20}
"""


@pytest.mark.slow
def test_low_data(tmp_path):
    (tmp_path / "three.yaml").write_text(THREE)
    words = ("--data", "digits", "--num_train", "100", "--arms", "three.yaml", "--runs", "out", "--workers", "2")
    words += ("--steps", "20", "--metrics.num_samples", "100", "--metrics.features", "pixels")
    done = benchmark("low_data", *words, "--seed", "0", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 of 3 runs are finished, 3 are to be run" in done.stdout
    done = benchmark("low_data", *words, "--seed", "0,1", cwd=tmp_path)
    assert "3 of 6 runs are finished, 3 are to be run" in done.stdout, done.stderr
    folder = tmp_path / "out/cpu/digits-100"
    cells = json.loads((folder / "ablation.json").read_text())["cells"]
    (cell,) = (one for one in cells if (one["arm"], one["config"]["seed"]) == ("ae, critic", 1))
    wanted = {"steps": 20, "data.num_train": 100, "data.batch_size": 64, "model.lr": 1e-3, "metrics.looks": 10}
    assert wanted.items() <= cell["config"].items()
    text = (folder / "report/tables.md").read_text()
    assert re.search(r"\| ae, critic +\| +2 +\|", text) and "ae on critic, fraction 0.7," in text
    assert "perturb gaussian, strength 0.5, detail residual" in text


@pytest.mark.parametrize("one", [one for sets in low_data.TIERS.values() for one in sets], ids=lambda one: str(one[:2]))
def test_what_the_study_asks_ablate_for(one):
    data, num, seeds, _ = one
    options = pair(low_data.options_of(one))
    arms = read_arms(options.pop("arms"), set())
    made = expand([f"--{name}={value}" for name, value in options.items()], run.COMMAND_LINE, Path("x"), arms)
    assert len(made.cells) == 16 * seeds and list(made.axes) == ["seed"]
    assert {(cell.config["data"]["name"], cell.config["data"]["num_train"]) for cell in made.cells} == {(data, num)}


@pytest.mark.slow
def test_autoencoder_wins(tmp_path):
    """Every candidate trains by ablate, and controls join the arms that they are compared with."""
    package = ROOT / "benchmarks/autoencoder_wins"
    install(
        tmp_path / "site",
        "genae-candidates",
        tomllib.loads((package / "pyproject.toml").read_text())["project"]["entry-points"],
    )
    words = (
        "--data",
        "digits-200",
        "--seed",
        "10",
        "--steps",
        "8",
        "--metrics.looks",
        "3",
        "--metrics.num_samples",
        "50",
    )
    words += ("--metrics.features", "pixels", "--runs", "out")
    beside = (tmp_path / "site", package)
    texts, arms = {}, {}
    for stage, folder in (("screen", "screen"), ("controls", "screen"), ("confirm", "confirm")):
        done = benchmark("autoencoder_wins", stage, *words, cwd=tmp_path, beside=beside)
        assert done.returncode == 0, done.stdout + done.stderr
        texts[folder] = (tmp_path / "out" / folder / "digits-200/report/tables.md").read_text()
        runs = (tmp_path / "out" / folder / "digits-200").glob("arm=*/seed10/results.json")
        arms.setdefault(folder, set()).update(yaml.safe_load((package / f"{stage}.yaml").read_text()))
        assert [json.loads(path.read_text())["status"] for path in runs] == ["finished"] * len(arms[folder])
    assert {folder: len(names) for folder, names in arms.items()} == {"screen": 30, "confirm": 4}
    assert "late_fd" in texts["screen"] and "model.use moments" in texts["screen"]
    assert "late_fd" in texts["confirm"] and "ae on generator" in texts["confirm"]
    runs = [str(path.parent) for path in (tmp_path / "out/screen/digits-200").glob("arm=none*/seed10/results.json")]
    done = benchmark("autoencoder_wins/gates", *runs, "--out", "gates.json", cwd=tmp_path, beside=beside)
    assert done.returncode == 0, done.stderr
    values = json.loads((tmp_path / "gates.json").read_text())
    assert 0.5 < values["knows, ae hidden 64"]["mean"] <= 1
    assert values["distance as they come"]["mean"] > 0


def test_the_stage_long_is_the_confirmation_of_more_batches(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    study, calls = importlib.import_module("autoencoder_wins"), {}
    for stage in ("confirm", "long"):
        monkeypatch.setattr(sys, "argv", ["autoencoder_wins.py", stage, "--data", "digits-200", "--seed", "7"])
        monkeypatch.setattr(subprocess, "call", lambda words: calls.setdefault(stage, words) and 0)  # noqa: B023
        assert study.main() == 0
    steps = [words.pop(words.index("--steps") + 1) for words in calls.values()]
    assert steps == ["4000", "12000"]
    assert [words[-2:] for words in calls.values()] == [["--seed", "7"]] * 2
    arms = [words.pop(words.index("--arms") + 1) for words in calls.values()]
    confirm, long = (yaml.safe_load(Path(path).read_text()) for path in arms)
    assert long == {name: options for name, options in confirm.items() if name != "pca"}
    folders = tuple(str(Path("runs/autoencoder_wins", stage, "digits-200")) for stage in calls)
    assert [both for both in zip(*calls.values()) if both[0] != both[1]] == [("100..119", "100..104"), folders]


def test_a_data_set_without_longer_runs_is_refused(monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    study = importlib.import_module("autoencoder_wins")
    monkeypatch.setattr(sys, "argv", ["autoencoder_wins.py", "long", "--data", "digits-200", "cifar10-2500-whole"])
    with pytest.raises(SystemExit):
        study.main()
    assert (
        "--data: expected digits-200, fashion_mnist-500, cifar10-2500 for the stage long; got cifar10-2500-whole"
        in (capsys.readouterr().err)
    )


@pytest.mark.slow
def test_photographs_are_of_arms_that_there_are(tmp_path, picture_folder):
    """Every network and every augmentation builds and trains some batches, on the user's pictures."""
    given = ("--data", "emoji-twitter", "--dry_run", "--data.root", str(picture_folder), "--data.image_size", "16")
    smaller = ("--data.num_train", "30", "--data.batch_size", "8", "--logger", "none")
    done = benchmark("photographs", "networks", *given, *smaller, cwd=tmp_path)
    assert done.returncode == 0 and "33 runs: 11 arms" in done.stdout, done.stdout + done.stderr


def test_a_row_of_every_run_is_kept_and_compared_with_the_first(tmp_path, cli):
    """By hand: differences of logarithms, their t interval and its p by SciPy, corrected for both comparisons."""
    Path("arms.yaml").write_text("ae: {augment: repeat}\nnone: {augment: none}\n")
    words = ("ablate", "--model", "gan", "--arms", "arms.yaml", "--seed", "0", *SHORT, "--metrics.looks", "3")
    assert cli(*words, "--metric", "late_fd", "--workers", "1", "--folder", "digits-200")[0] == 0
    done = benchmark("kept", "kept.csv", "digits-200", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with open("kept.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["data"], row["seed"], len(row["looks"].split())) for row in rows] == [("digits-200", "0", 3)] * 2
    done = benchmark("photographs_pictures", "digits-200", "pictures", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    last = max(Path("digits-200/arm=ae/seed0/samples").iterdir())
    with Image.open(f"pictures/{tmp_path.name}-digits-200-samples.png") as sheet, Image.open(last) as first:
        assert sheet.size == (first.width, 2 * (2 * (first.width // 8) + 2 + 16))  # two rows of each of two arms
        assert np.array_equal(np.asarray(sheet)[16:100], np.asarray(first.convert("RGB"))[:84])
    assert Path(f"pictures/{tmp_path.name}-digits-200-curves.png").is_file()
    found = json.loads(Path("digits-200/arm=none/seed0/results.json").read_text())["metrics"]
    assert rows[1]["arm"] == "none"
    assert float(rows[1]["copying"]) == pytest.approx(found["copying"], rel=1e-5)
    assert float(rows[1]["late_fd"]) == pytest.approx(
        gmean([float(look) for look in rows[1]["looks"].split()]), rel=1e-3
    )

    values = {"ae": [1.0, 1.2, 0.9], "none": [2.0, 1.9, 2.1], "pca": [1.1, 1.3, 1.2]}
    with open("made.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for arm, of_seeds in values.items():
            for seed, value in enumerate(of_seeds):
                row = {"data": "emoji", "arm": arm, "seed": seed, "late_fd": value, "kid_efficientnet": value / 4}
                last = {"ae": 1, "none": (1, 4, 2)[seed], "pca": 4}[arm]
                row["looks"] = f"9 8 7 6 5 2 3 {last}"
                writer.writerow({**rows[0], **row})
    done = benchmark("kept", "made.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if line[:1] == "|"]
    # accuracy and the other network's coverage, which no run has, have no column
    titles = ["ae against it", "p, Holm", "last quarter", "coverage", "copying", "KID, other network", "seconds"]
    assert lines[0][3:] == titles
    assert [line[8] for line in lines[2:]] == ["0.258", "0.5", "0.3"]
    # from 2 to 1 and from 2 to 4, and the looks of eight before three quarters do not count
    assert [line[5] for line in lines[2:]] == ["-50.0 %", "+0.0 %", "+100.0 %"]
    tests = {arm: ttest_1samp(np.log(values["ae"]) - np.log(values[arm]), 0) for arm in ("none", "pca")}
    for line, arm, holm in zip(lines[3:], ("none", "pca"), (2, 1)):
        low, high = tests[arm].confidence_interval(0.95)
        mean = np.mean(np.log(values["ae"]) - np.log(values[arm]))
        said = " to ".join(f"{100 * math.expm1(value):+.1f} %" for value in (low, high))
        assert line[:2] == [arm, "3"] and line[3] == f"{100 * math.expm1(mean):+.1f} % ({said})"
        assert float(line[4]) == pytest.approx(holm * tests[arm].pvalue, abs=6e-5)

    # the same ratios by another endpoint, from the other side; arms without it are left out
    rows_made = Path("made.csv").read_text().splitlines()
    Path("made.csv").write_text("\n".join([*rows_made, rows_made[1].replace(",ae,", ",new,").replace("0.25,", ",")]))
    done = benchmark("kept", "made.csv", "--base", "ae", "--endpoint", "kid_efficientnet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if line[:1] == "|"]
    assert lines[0][2:4] == ["KID, other network", "against ae"] and [line[0] for line in lines[2:]] == list(values)
    assert lines[3][3].startswith(f"{100 * math.expm1(np.mean(np.log(values['none']) - np.log(values['ae']))):+.1f} %")


# what is committed was made by an earlier script, whose arms and rows these are
STUDY = ROOT / "benchmarks" / "low_data"
HEADER = "| arm | digits 200 | digits 100 | fashion_mnist 500 | digits 500 | setting |"
TEXTS = [
    path for path in (*STUDY.glob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")) if HEADER in path.read_text()
]
SETS = [("digits", 200), ("digits", 100), ("fashion_mnist", 500), ("digits", 500)]


def stored() -> dict[tuple[str, int], dict[str, dict[int, dict]]]:
    """The rows of the study of little data, by set, arm and seed."""
    found: dict = {one: {} for one in SETS}
    with (STUDY / "cpu.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found[row["data"], int(row["num_train"])].setdefault(row["arm"], {})[int(row["seed"])] = row
    return found


def last_fd(rows: dict[int, dict]) -> dict[int, float]:
    return {seed: float(row["fd"].split()[-1]) for seed, row in rows.items()}


def printed(path: Path) -> dict[str, list[str]]:
    """The rows of the study's table in a text, by arm: a change a set, and the setting."""
    lines = path.read_text().partition(HEADER)[2].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.removeprefix("|").removesuffix("|").split(" | ")] for line in lines]
    return {arm.strip("`"): cells for arm, *cells in rows}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_the_changes_of_the_study_against_scipy_and_statsmodels(path):
    """Of every arm that is committed: the mean of log-ratios, and the marks of Holm over their paired t tests."""
    assert STUDY / "cpu.md" in TEXTS
    table, seen = printed(path), set()
    for place, (cell, arms) in enumerate(stored().items()):
        none = last_fd(arms["none"])
        assert table["none"][place] == f"FD {np.mean(list(none.values())):.2f}, {len(none)} seeds"
        ratios = {
            arm: np.log([fd / none[seed] for seed, fd in last_fd(rows).items()])
            for arm, rows in arms.items()
            if arm != "none"
        }
        holm = multipletests([ttest_1samp(one, 0).pvalue for one in ratios.values()], method="holm")[1]
        for (arm, one), p in zip(ratios.items(), holm):
            low, high = ttest_1samp(one, 0).confidence_interval()
            words = [f"{100 * np.expm1(value):+.1f} %" for value in (one.mean(), low, high)]
            mark = "" if p > 0.05 else "_" if one.mean() > 0 else "**"
            assert table[arm][place] == f"{mark}{words[0]} ({words[1]} to {words[2]}){mark}", (cell, arm)
            seen |= {(*cell, arm)} if mark else set()
    assert seen == {
        ("digits", 200, "classic"),
        ("digits", 200, "ae+classic"),
        ("digits", 500, "classic"),
        ("digits", 500, "ae+classic"),
        ("fashion_mnist", 500, "diffaug"),
        ("fashion_mnist", 500, "ae+diffaug, critic"),
    }


def test_every_row_of_the_study_names_the_whole_setting():
    table = printed(STUDY / "cpu.md")
    for arms in stored().values():
        for arm, rows in arms.items():
            assert in_words([json.loads(row["setting"]) for row in rows.values()]) == table[arm][-1]
            assert arm == "none" or (" on " in table[arm][-1] and "fraction" in table[arm][-1])


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


def test_settings_that_are_lists_are_named():
    """As in a comparison of arms that have --model.hidden."""
    settings = [{"hidden": [8], "lr": 0.1}, {"hidden": [8], "lr": 0.2}, {"hidden": [4, 8], "lr": 0.2}]
    assert in_words(settings) == "hidden [8] or [4, 8], lr 0.1 to 0.2"


PARTS_OF_SPEED = {"steps", "epoch", "folder", "ranks"}  # the others are tested, or need what may not be installed


@pytest.mark.slow
def test_speed(tmp_path):
    done = benchmark("speed", *PARTS_OF_SPEED, "--rounds", "2", "--share", "0.01", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = {row["key"]: row for row in json.loads((tmp_path / "out/cpu.json").read_text())["rows"]}
    assert set(rows) >= {"step-8", "critic-8", "step-28", "step-28-bf16", "critic-28", "epoch-bare", "folder", "ranks"}
    for key in ("step-8", "step-28-bf16", "epoch-bare", "folder"):
        ours, other = rows[key]["seconds"].values()
        assert rows[key]["value"] == pytest.approx(ours / other)
    one, two = rows["ranks"]["seconds"].values()  # images per second are the inverse of seconds
    assert rows["ranks"]["value"] == pytest.approx(one / two)
    text = (tmp_path / "out" / "README.md").read_text()
    assert re.search(rf"\| a step of the GAN, 8x8, .*\D{rows['step-8']['value']:.2f}\D.*\| at most 1.1 \|", text)
    assert text.count("to be measured") == 15 - len(rows)
    again = benchmark("speed", "--table", "--out", "out", cwd=tmp_path)
    assert again.returncode == 0 and (tmp_path / "out" / "README.md").read_text() == text


@pytest.mark.slow
def test_scaling(tmp_path):
    done = benchmark("scaling", "images", "samples", "cells", "--most", "1000", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    parts = json.loads((tmp_path / "out/scaling.json").read_text())["parts"]
    assert parts["cells"]["compare"].keys() == {"10", "100", "1000"}
    assert np.asarray(Image.open(tmp_path / "out" / "scaling.png").convert("L")).std() > 10
