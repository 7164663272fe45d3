"""Reports of synthetic runs: contexts, arms, protocols, damage, scale, and how the page looks."""

import csv
import json
import resource
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_genae.ablation.records import compare, read
from lightning_genae.ablation.report import FILES, Report
from lightning_genae.ablation.statistics import compare as differences

CONFIG = {"model": "gan", "model.lr": 0.1, "augment": "none", "data": "digits", "data.num_train": None, "seed": 0}
METRICS = ("fd", "kid", "precision", "recall", "density", "coverage")


def make_run(folder: Path, values: dict | None = None, picture: bool = True, **config) -> dict:
    """A finished run's folder with made-up numbers; its config."""
    config = CONFIG | {key.replace("__", "."): value for key, value in config.items()}
    (folder / "samples").mkdir(parents=True)
    metrics = {name: 1.0 for name in METRICS} | (values or {})
    results = {
        "status": "finished",
        "metrics": metrics,
        "best": {"fd": metrics["fd"] / 2, "images": 64},
        "protocol": {"extractor": "pixels", "n_fake": 100, "floor": {"fd": 0.1}},
        "augment": {},
        "timing": {"seconds": 60.0, "images_per_second": 100.0, "evaluation_seconds": 2.0},
        "error": None,
    }
    (folder / "results.json").write_text(json.dumps(results))
    with (folder / "metrics.csv").open("w", newline="") as file:
        rows = [(images, metrics["fd"] * (1 + 64 / images)) for images in (64, 128, 256)]
        csv.writer(file).writerows([("images", "val/fd"), *rows])
    if picture:
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8)).save(folder / "samples/1.png")
    return config


def make_grid(folder: Path, runs: list[tuple[dict, dict]]) -> None:
    """An ablation's folder of runs, each with its config and metrics; without metrics it was not run."""
    cells = []
    for i, (config, values) in enumerate(runs):
        name = f"run{i}"
        config = make_run(folder / name, values, **config) if values else CONFIG | config
        cells.append({"folder": name, "config": config})
    (folder / "ablation.json").write_text(json.dumps({"commands": ["python run.py ablate ..."], "cells": cells}))


@pytest.fixture
def grid(tmp_path) -> Path:
    """Two arms beside none, in two contexts, of four seeds; one run of `noise` is missing."""
    random = np.random.default_rng(0)
    runs = []
    for num_train in (100, 200):
        for seed in range(4):
            level = random.normal(20, 3)
            for arm, shift in {"none": 0, "ae": -5, "noise": 0.05}.items():
                config = {"augment": arm, "data__num_train": num_train, "seed": seed}
                values = {"fd": level + shift + random.normal(0, 0.5)}
                runs.append((config, {} if (arm, seed, num_train) == ("noise", 3, 100) else values))
    runs = [({key.replace("__", "."): v for key, v in c.items()} if not m else c, m) for c, m in runs]
    make_grid(tmp_path / "grid", runs)
    return tmp_path / "grid"


def test_contexts_and_arms(grid):
    records, commands = read([grid])
    assert commands == ["python run.py ablate ..."]
    comparisons = compare(records)
    assert [one.title for one in comparisons] == ["data.num_train 100", "data.num_train 200"]
    assert list(comparisons[0].arms) == ["none", "ae", "noise"]
    assert comparisons[0].baseline == "none"
    assert comparisons[0].missing("noise") == [3]
    turned = compare(records, factor="data.num_train", baseline="data.num_train 200")
    assert [one.title for one in turned] == ["augment none", "augment ae", "augment noise"] or [
        one.title for one in turned
    ] == ["none", "ae", "noise"]
    with pytest.raises(ValueError, match=r"--factor: expected one that varies, .*; got model"):
        compare(records, factor="model")
    with pytest.raises(ValueError, match="--baseline: expected one of none, ae, noise; got nothing"):
        compare(records, baseline="nothing")


def test_the_tables_say_what_the_statistics_say(grid):
    records, commands = read([grid])
    report = Report(records, commands)
    none, ae, noise = report.main_tables()[0].rows
    comparison = report.comparisons[0]
    expected = differences(
        {arm: comparison.values(arm, "fd") for arm in ("ae", "noise")}, comparison.values("none", "fd")
    )
    assert none[3] == "baseline"
    assert ae[3] == f"{expected['ae'].mean:+.3f} ({expected['ae'].low:+.3f} to {expected['ae'].high:+.3f})"
    assert (ae[-1], noise[-1]) == ("better, of few seeds", "no difference seen")
    assert noise[1] == "3 (no seed 3)"
    best = Report(records, commands, metric="best_fd").main_tables()[0].rows
    assert float(best[0][2].split()[0]) == pytest.approx(float(none[2].split()[0]) / 2, abs=1e-3)
    with pytest.raises(ValueError, match=r"--metric: expected one of fd, .*; got fid"):
        Report(records, commands, metric="fid")


def test_all_forms_are_written(grid, tmp_path):
    page = Report(*read([grid])).write(tmp_path / "report")
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == sorted(FILES)
    text = page.read_text()
    assert "23 of 24 runs finished" in text and "python run.py ablate" in text
    assert "http" not in text  # nothing is fetched
    rows = list(csv.reader((tmp_path / "report/tables.csv").open(newline="")))
    assert rows[2][:2] == ["none", "4"]
    assert "\\toprule" in (tmp_path / "report/tables.tex").read_text()
    assert "| ae | 4 |" in (tmp_path / "report/tables.md").read_text()


@pytest.mark.parametrize("name", ["<b>bold</b>", "a|b & c_d"])
def test_names_are_shown_as_they_are(tmp_path, name):
    make_grid(tmp_path / "grid", [({"augment": arm}, {"fd": 1.0}) for arm in ("none", name)])
    page = Report(*read([tmp_path / "grid"])).write(tmp_path / "report").read_text()
    assert "<b>bold" not in page
    assert "a\\|b" in (tmp_path / "report/tables.md").read_text() or "|" not in name
    assert r"c\_d" in (tmp_path / "report/tables.tex").read_text() or "_" not in name


def test_other_protocols_stand_apart(tmp_path):
    runs = [({"augment": arm, "seed": seed}, {"fd": 1.0}) for arm in ("none", "ae") for seed in (0, 1)]
    make_grid(tmp_path / "grid", runs)
    for name in ("run1", "run3"):
        path = tmp_path / "grid" / name / "results.json"
        path.write_text(path.read_text().replace('"n_fake": 100', '"n_fake": 200'))
    titles = [one.title for one in compare(read([tmp_path / "grid"])[0])]
    assert titles == ["protocol: n_fake 100", "protocol: n_fake 200"]


def test_damage_is_noted_and_the_rest_is_reported(grid, tmp_path):
    path = grid / "run1" / "results.json"
    path.write_text(path.read_text()[: path.stat().st_size // 2])
    (grid / "run4.error").write_text("--augment.lr: expected one at which the autoencoder learns\n")
    (grid / "run4" / "results.json").write_text(json.dumps({"status": "running"}))
    report = Report(*read([grid]))
    report.write(tmp_path / "report")
    text = (tmp_path / "report/tables.md").read_text()
    assert "run1 | its results.json or config.yaml is damaged or missing" in text
    assert "run4 | --augment.lr: expected one at which" in text
    assert "| ae | 2 (no seed 0, 1) |" in text


def test_runs_of_another_project_are_noted(grid, tmp_path):
    other = grid.parent / "other"
    other.mkdir()
    (other / "results.json").write_text('{"status": "finished", "accuracy": 1}')
    (other / "config.yaml").write_text("learning_rate: 1\n")
    report = Report(*read([grid, other]))
    report.write(tmp_path / "report")
    assert f"{other} | it is no run of this project" in (tmp_path / "report/tables.md").read_text()
    with pytest.raises(ValueError, match=r"RUN: expected runs whose config\.yaml can be read"):
        Report(*read([other]))


def test_folders_that_hold_no_runs(tmp_path):
    with pytest.raises(ValueError, match="RUN: expected a run folder or one that holds some"):
        read([tmp_path])
    (tmp_path / "ablation.json").write_text('{"commands": [')
    with pytest.raises(ValueError, match=r"ablation\.json' is damaged"):
        read([tmp_path])


@pytest.mark.slow
def test_thousands_of_runs(tmp_path):
    """10,000 results.json files in under a minute and a gigabyte."""
    random = np.random.default_rng(0)
    runs = [
        ({"augment": arm, "model__lr": lr, "seed": seed}, {"fd": random.normal(10)})
        for arm in ("none", "ae", "noise", "diffaug")
        for lr in range(250)
        for seed in range(10)
    ]
    (tmp_path / "grid").mkdir()
    cells = []
    template = tmp_path / "template"
    make_run(template, {"fd": 123.456}, picture=False)
    text = (template / "results.json").read_text()
    for i, (config, values) in enumerate(runs):
        (tmp_path / "grid" / f"run{i}").mkdir()
        (tmp_path / "grid" / f"run{i}" / "results.json").write_text(text.replace("123.456", str(values["fd"])))
        cells.append({"folder": f"run{i}", "config": CONFIG | {k.replace("__", "."): v for k, v in config.items()}})
    (tmp_path / "grid" / "ablation.json").write_text(json.dumps({"commands": [], "cells": cells}))
    start, memory = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = Report(*read([tmp_path / "grid"]))
    report.write(tmp_path / "report")
    assert len(report.comparisons) == 250
    assert time.perf_counter() - start < 60
    # in kB; torch and what the other imports take is some 600 MB of the gigabyte
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 4e5


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Debian's chromium")
@pytest.mark.parametrize("width", [420, 1300])
@pytest.mark.parametrize("dark", [False, True])
def test_how_the_page_looks(grid, tmp_path, width, dark):
    page = Report(*read([grid])).write(tmp_path / "report")
    picture = tmp_path / "page.png"
    words = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    words += ["--blink-settings=preferredColorScheme=0"] * dark
    words += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1600", f"--screenshot={picture}"]
    subprocess.run([*words, page.as_uri()], check=True, capture_output=True, timeout=120)
    pixels = np.asarray(Image.open(picture).convert("L")).astype(float)
    background = np.median(pixels)
    assert background < 60 if dark else background > 240
    assert pixels.std() > 10
    # text and pictures fill the page and do not run over its right edge
    different = np.abs(pixels - background) > 40
    assert different[:, : width // 2].any(1).mean() > 0.3
    assert different[:, -4:].mean() < 0.01
