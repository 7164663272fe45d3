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

from lightning_genae.ablation import pictures
from lightning_genae.ablation.records import Record, compare, read
from lightning_genae.ablation.report import FILES, Report
from lightning_genae.ablation.statistics import compare as differences
from lightning_genae.augment import Composition
from lightning_genae.augment.ae import AutoencoderAugment
from lightning_genae.augment.classic import ClassicAugment
from lightning_genae.augment.noise import NoiseAugment
from lightning_genae.augment.none import NoAugment
from lightning_genae.augment.repeat import Repeat
from lightning_genae.report import aligned, representation_table
from lightning_genae.run_folder import RunFolder

CONFIG = {"model": "gan", "model.lr": 0.1, "augment": "none", "data": "digits", "data.num_train": None, "seed": 0}
METRICS = ("fd", "kid", "precision", "recall", "density", "coverage")


def make_run(
    folder: Path, values: dict | None = None, picture: bool = True, looks=(64, 128, 256), settings=None, **config
) -> dict:
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
        "settings": settings or {},
        "timing": {"seconds": 60.0, "images_per_second": 100.0, "evaluation_seconds": 2.0},
        "error": None,
    }
    (folder / "results.json").write_text(json.dumps(results))
    with (folder / "metrics.csv").open("w", newline="") as file:
        rows = [(images, metrics["fd"] * (1 + 64 / images)) for images in looks]
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


def by_column(table, arm: str) -> dict[str, str]:
    """An arm's row, by the words that its columns begin with."""
    row = next(row for row in table.rows if row[0] == arm)
    return {name.partition(",")[0] if name.startswith("to ") else name: cell for name, cell in zip(table.header, row)}


def test_the_tables_say_what_the_statistics_say(grid):
    records, commands = read([grid])
    report = Report(records, commands)
    table = report.main_tables()[0]
    comparison = report.comparisons[0]
    none, ae, noise = (by_column(table, arm) for arm in ("none", "ae", "noise"))
    expected = differences(
        {arm: comparison.values(arm, "fd") for arm in ("ae", "noise")}, comparison.values("none", "fd"), ratios=True
    )
    assert none["to none"] == "baseline"
    low, mean, high = (f"{100 * np.expm1(getattr(expected['ae'], one)):+.1f} %" for one in ("low", "mean", "high"))
    assert ae["to none"] == f"{mean} ({low} to {high})"
    assert ae["p (t)"] == f"{expected['ae'].p:.4f}"
    assert ae["p, Holm"] == f"{expected['ae'].p_holm:.4f}"
    assert ae["p, Holm, typical spread"] == f"{expected['ae'].p_typical:.4f}"
    assert (ae["verdict"], noise["verdict"]) == ("better, of few seeds", "no difference seen")
    assert noise["seeds"] == "3 (no seed 3)"
    best = by_column(Report(records, commands, metric="best_fd").main_tables()[0], "none")
    column = next(name for name in best if name.startswith("best_fd"))
    assert float(best[column].split()[0]) == pytest.approx(
        float(none[column.removeprefix("best_")].split()[0]) / 2, abs=1e-3
    )
    with pytest.raises(ValueError, match=r"--metric: expected one of fd, .*; got fid"):
        Report(records, commands, metric="fid")
    # not an empty table: none of these runs reconstructs
    with pytest.raises(
        ValueError, match=r"--metric: expected one that these runs have, best_fd, late_fd, fd.*; got mse"
    ):
        Report(records, commands, metric="mse")


def test_late_fd_is_the_geometric_mean_of_the_last_three_looks(grid):
    records, _ = read([grid])
    (some,) = (one for one in records if one.folder.name == "run0")
    path = some.folder / "metrics.csv"
    path.write_text("images,val/fd\n10,90\n20,8\n30,\n40,1\n50,27\n")
    assert some.value("late_fd") == pytest.approx(6)
    path.write_text("images,val/fd\n10,8\n20,1\n")
    assert some.value("late_fd") is None
    # runs with other looks are not compared by it, but they are by the last value
    results = some.folder / "results.json"
    content = json.loads(results.read_text())
    content["protocol"]["looks"] = 17
    results.write_text(json.dumps(content))
    again, _ = read([grid])
    assert len(compare(again, metric="late_fd")) == len(compare(again)) + 1


def make_arms(folder: Path, arms: dict[str, list[float]], metric: str = "fd", **config) -> Report:
    """The report of arms beside `none`, from their values by seed."""
    runs = [
        ({"augment": arm, "seed": seed, **config}, {metric: value})
        for arm, values in arms.items()
        for seed, value in enumerate(values)
    ]
    make_grid(folder, runs)
    return Report(*read([folder]), metric=metric)


def test_positive_metrics_are_compared_as_ratios_in_percent(tmp_path):
    """Half, half and a quarter of `none`: the geometric mean is 16 to the power of -1/3, 39.7 % of it."""
    report = make_arms(tmp_path / "grid", {"none": [2.0, 4.0, 8.0], "ae": [1.0, 2.0, 2.0]})
    assert by_column(report.main_tables()[0], "ae")["to none"].startswith("-60.3 % (")
    report = make_arms(tmp_path / "kid", {"none": [2.0, 4.0, 8.0], "ae": [1.0, 2.0, 2.0]}, "kid")
    assert by_column(report.main_tables()[0], "ae")["to none"].startswith("-3.00000 (")  # can lie below 0
    report = make_arms(tmp_path / "zero", {"none": [2.0, 4.0, 8.0], "ae": [1.0, 2.0, 0.0]})
    assert by_column(report.main_tables()[0], "ae")["to none"].startswith("-3.667 (")  # 0 has no logarithm


@pytest.mark.parametrize(
    ("metric", "low_is"), [("fd", "better"), ("coverage", "worse"), ("perplexity", "lower"), ("copying", "lower")]
)
def test_verdicts_and_what_they_follow_from_agree(tmp_path, metric, low_is):
    """The printed p values say what the verdict says, and the colour of the page too."""
    random = np.random.default_rng(1)
    none = 0.5 + random.uniform(0, 0.1, 6)
    arms = {
        f"a{i}": list(none * factor * random.uniform(0.98, 1.02, 6)) for i, factor in enumerate((0.5, 0.98, 1, 1.7))
    }
    report = make_arms(tmp_path / "grid", {"none": list(none), **arms}, metric)
    rows = [by_column(report.main_tables()[0], arm) for arm in arms]
    high_is = {"better": "worse", "worse": "better", "lower": "higher"}[low_is]
    assert (rows[0]["verdict"], rows[3]["verdict"]) == (low_is, high_is)
    assert rows[2]["verdict"] == "no difference seen"
    for row in rows:
        p_values = [float(row[name].removeprefix("below ")) for name in ("p, Holm", "p, Holm, typical spread")]
        seen = max(p_values) <= 0.05
        assert seen == (row["verdict"] in (low_is, high_is))
    page = report._page() if metric == "fd" else ""
    for arm, row in zip(arms if page else (), rows):
        colour = row["verdict"] if row["verdict"] in ("better", "worse") else ""
        assert f'<tr class="{colour}"><td>{arm}</td><td>6</td>' in page


@pytest.mark.parametrize(("num", "is_filled"), [(5, False), (6, True)])
def test_the_exact_p_stands_only_where_it_can_reach_five_percent(tmp_path, num, is_filled):
    values = np.random.default_rng(0).uniform(1, 2, (2, num))
    report = make_arms(tmp_path / "grid", {"none": list(values[0]), "ae": list(values[1])})
    assert bool(by_column(report.main_tables()[0], "ae")["p, exact"]) == is_filled
    assert "left out for fewer than six seeds" in report.main_tables()[0].note


def test_without_spread_or_seeds_there_is_no_verdict(tmp_path):
    arms = {"none": [1.0, 2.0, 3.0], "half": [0.5, 1.0, 1.5], "broken": [1.0, np.nan, 2.0], "ae": [1.1]}
    table = make_arms(tmp_path / "grid", arms).main_tables()[0]
    half, broken, ae = (by_column(table, arm) for arm in ("half", "broken", "ae"))
    assert (half["to none"], half["p, Holm"], half["verdict"]) == ("-50.0 %", "", "no spread, no verdict")
    assert (broken["to none"], broken["p, Holm"], broken["verdict"]) == ("", "", "not finite, no verdict")
    assert (ae["p, Holm"], ae["verdict"]) == ("", "too few seeds")


SETTLED = {
    "ae": {"on": "critic", "fraction": 0.7, "target": None, "within_class": False} | {"autoencoder.hidden": [256]},
    "classic": {"on": "data", "fraction": 0.5, "target": None, "within_class": True, "shift": 0.125},
    "ada": {"on": "critic", "fraction": 0.0, "target": 0.6, "within_class": False},
}
OPTIONS = {"augment.on": None, "augment.fraction": None, "augment.target": None, "augment.adapt_images": 50_000}


def settled_grid(folder: Path, settled: dict, **config) -> Report:
    """The report of two seeds of `none`, `ae`, `classic` and `ada` with what their options came to."""
    own = {
        "none": {},
        "ae": {"augment.strength": 0.5, "augment.autoencoder.width": None},
        "classic": {"augment.shift": None},
    }
    folder.mkdir()
    cells = []
    for seed in (0, 1):
        for arm in ("none", *settled):
            options = OPTIONS | own.get(arm, {}) | config
            settings = {arm: settled[arm]} if arm in settled else {}
            name = f"{arm}-{seed}"
            given = {key.replace(".", "__"): value for key, value in options.items()}
            cells.append(
                {"folder": name, "config": make_run(folder / name, settings=settings, augment=arm, seed=seed, **given)}
            )
    (folder / "ablation.json").write_text(json.dumps({"commands": [], "cells": cells}))
    return Report(*read([folder]))


def test_every_row_names_the_whole_setting(tmp_path):
    """What the options came to, and not only what was said; in every form, and in every table that has arms."""
    report = settled_grid(tmp_path / "grid", SETTLED)
    expected = {
        "none": "augment none",
        "ae": "augment ae, ae on critic, fraction 0.7, strength 0.5, within_class False, autoencoder.hidden [256]",
        "classic": "augment classic, classic on data, fraction 0.5, shift 0.125, within_class True",
        "ada": "augment ada, ada on critic, fraction 0.0 at first, target 0.6, adapt_images 50000, within_class False",
    }
    main, metrics, costs = report.all_tables()[:3]
    assert {row[0]: row[main.header.index("setting")] for row in main.rows} == expected
    assert {row[0]: row[costs.header.index("setting")] for row in costs.rows} == expected
    assert dict(zip(metrics.header[1:], metrics.rows[0][1:])) == expected
    page = report.write(tmp_path / "report").read_text()
    texts = [page, main.to_text(), *((tmp_path / "report" / name).read_text() for name in ("tables.md", "tables.csv"))]
    for text in texts:
        text = " ".join(text.split()).replace("\\[", "[").replace("\\]", "]")  # which Markdown escapes
        assert all(" ".join(setting.split()) in text for setting in expected.values())
    assert r"adapt\_images 50000" in (tmp_path / "report/tables.tex").read_text()
    shared = next(table for table in report.all_tables() if table.title == "Options that all arms share")
    assert ["model.lr", "0.1"] in shared.rows and not any(row[0].startswith("augment") for row in shared.rows)


def test_an_augmentation_says_what_its_options_came_to():
    """Place and fraction of every arm, and what null stands for."""
    arms = {
        "ae": AutoencoderAugment(),
        "classic": ClassicAugment(shift=0.2),
        "noise": NoiseAugment(),
        "none": NoAugment(),
    }
    standing = {"on": "data", "fraction": 0.5, "target": None, "within_class": True}
    expected = {
        "ae": {"on": "critic", "fraction": 0.7, "target": None, "within_class": False} | {"autoencoder.hidden": [256]},
        "classic": {**standing, "flip": False, "shift": 0.2, "rotate": 10, "contrast": 0.2},
        "noise": {**standing, "std": 0.1},
        "repeat": standing,
    }
    for name, arm in (arms | {"repeat": Repeat()}).items():
        side = "critic" if name == "ae" else None  # by default it is chosen by the data and the model
        assert Composition({name: arm}, on=side).settings() == ({name: expected[name]} if name in expected else {})
    both = Composition({"ae": AutoencoderAugment(), "classic": ClassicAugment()}, on="data", fraction=0.3).settings()
    assert [(one["on"], one["fraction"]) for one in both.values()] == [("data", 0.3)] * 2


def test_a_run_keeps_the_settings(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.start(CONFIG | {"overwrite": False}, {}, {}, SETTLED):
        assert folder.results["settings"] == SETTLED


def test_runs_of_earlier_versions_name_what_their_gate_noted(tmp_path):
    folder = tmp_path / "run"
    make_run(folder, augment="ae", **{"augment.fraction": None, "augment.strength": 0.5})
    results = json.loads((folder / "results.json").read_text())
    del results["settings"]
    results["augment"] = {"ae": {"on": "data", "fraction": 0.5, "target": None, "originals": {}}}
    record = Record(folder, CONFIG | {"augment": "ae", "augment.fraction": None, "augment.strength": 0.5}, results)
    assert record.setting("augment") == {"augment": "ae", "ae on": "data, fraction 0.5", "strength": 0.5}


def test_another_part_that_is_compared_is_named_as_a_whole(tmp_path):
    runs = [({"model": model, "seed": seed}, {"fd": 1.0 + seed}) for model in ("gan", "vae") for seed in (0, 1)]
    make_grid(tmp_path / "grid", runs)
    table = Report(*read([tmp_path / "grid"])).main_tables()[0]
    assert by_column(table, "vae")["setting"] == "model vae, model.lr 0.1, augment none"


def test_options_that_seeds_differ_in_are_shown_as_a_span(tmp_path):
    report = settled_grid(tmp_path / "grid", {"noise": {"on": "data", "fraction": 0.5, "deviation": 0.1}})
    second = tmp_path / "grid/noise-1/results.json"
    second.write_text(second.read_text().replace('"deviation": 0.1', '"deviation": 0.14'))
    row = by_column(Report(*read([tmp_path / "grid"])).main_tables()[0], "noise")
    assert row["setting"] == "augment noise, noise on data, fraction 0.5, deviation 0.1 to 0.14"
    assert "deviation 0.1," not in report.main_tables()[0].note


def test_arms_at_other_fractions_are_not_chosen_alike(tmp_path):
    """Of one place; what adapts has no fraction, and the same fractions of a sweep are alike."""
    alike = settled_grid(tmp_path / "alike", SETTLED | {"diffaug": {"on": "critic", "fraction": 0.7, "target": None}})
    assert "Not chosen alike" not in alike.main_tables()[0].note
    noise = {"on": "data", "fraction": 1.0, "target": None}
    other = settled_grid(tmp_path / "other", SETTLED | {"noise": noise})
    warning = "Not chosen alike: on the data, classic varies 0.5; noise varies 1 of the images."
    assert warning in other.main_tables()[0].note
    assert warning in " ".join(other.main_tables()[0].to_text().split())


@pytest.mark.parametrize(("split_seed", "warns"), [(0, True), (None, False)])
def test_seeds_that_share_a_subset_are_said_to(tmp_path, split_seed, warns):
    report = settled_grid(tmp_path / "grid", SETTLED, **{"data.split_seed": split_seed})
    words = " All seeds share the training subset of --data.split_seed 0: nothing here generalises over data."
    note = report.main_tables()[0].note
    assert note.endswith(words) if warns else "generalises" not in note


def test_curves_are_of_the_looks_that_all_arms_have(tmp_path):
    cells = []
    for arm, looks in {"none": (64, 128, 256), "ae": (32, 64, 96, 256)}.items():
        for seed in (0, 1):
            config = make_run(tmp_path / f"{arm}-{seed}", looks=looks, augment=arm, seed=seed)
            cells.append({"folder": f"{arm}-{seed}", "config": config})
    (tmp_path / "ablation.json").write_text(json.dumps({"commands": [], "cells": cells}))
    comparison = compare(read([tmp_path])[0])[0]
    curves = pictures._curves(comparison, "fd")
    assert {arm: images for arm, (images, _) in curves.items()} == {"none": [64, 256], "ae": [64, 256]}
    assert [one.mean for one in curves["ae"][1]] == [2.0, 1.25]


def one_spaced(path: Path) -> str:
    """The text of a file, of which columns are no wider than their cells."""
    return " ".join(path.read_text().split())


def test_all_forms_are_written(grid, tmp_path):
    page = Report(*read([grid])).write(tmp_path / "report")
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == sorted(FILES)
    text = page.read_text()
    assert "23 of 24 runs finished" in text and "python run.py ablate" in text
    assert "://" not in text  # nothing is fetched
    rows = list(csv.reader((tmp_path / "report/tables.csv").read_text().splitlines()))
    assert rows[2][:2] == ["none", "4"]
    assert "\\toprule" in (tmp_path / "report/tables.tex").read_text()
    assert "| ae | 4 |" in one_spaced(tmp_path / "report/tables.md")


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
    text = one_spaced(tmp_path / "report/tables.md")
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
    assert f"{other} | it is no run of this project" in one_spaced(tmp_path / "report/tables.md")
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
@pytest.mark.parametrize("width, dark", [(420, False), (1300, True)])
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


def test_numbers_end_where_the_names_of_their_columns_end():
    rows = [["  one", "-12.5 %", "7", "5 GB"], ["another one", "baseline", "", "-"]]
    header, first, second = aligned(["run", "change", "num", "size"], rows)
    assert first.startswith("  one ") and second.startswith("another one ")  # what begins with spaces keeps them
    for name, *cells in (("change", "-12.5 %", "baseline"), ("num", "7"), ("size", "5 GB", "-")):
        ends = {line.index(cell) + len(cell) for line, cell in zip((header, first, second), (name, *cells))}
        assert len(ends) == 1, name
    words = aligned(["run", "why"], [["a", "it is damaged"], ["b", ""]])
    assert words[0].index("why") == words[1].index("it") and words[2] == "b"
    assert aligned(["run", "0.50"], [["1", "0.500"]])[1].split() == ["1", "0.500"]  # digits are kept
    assert aligned(["a", "b"], [["x", "1.0"]], "pipe")[1:] == ["|:----|----:|", "| x   | 1.0 |"]
    assert len(aligned(["a", "b"], [])) == 1


def test_values_of_a_representation_stand_below_their_names():
    values = {"num_components": 8, "mse": 0.25, "mse_pca": 0.5, "bits_per_dimension": 1.5}
    title, header, mse, bits = representation_table(values | {"knn": None})
    assert title == "Representation of held-out images:"
    for line, cell, name in ((mse, "0.2500", "latents"), (mse, "0.5000", "PCA, 8 dims"), (bits, "1.500", "latents")):
        assert line.index(cell) + len(cell) == header.index(name) + len(name)
