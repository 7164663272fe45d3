"""What installed packages add by entry points: tests/plugin is one; others are written here to be wrong."""

import importlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import run
from lightning_genae import cache, registry, weights
from lightning_genae.ablation import workers
from tests.conftest import ROOT, shell
from tests.test_workers import same

MODELS, METRICS = "lightning_genae.models", "lightning_genae.evaluation.metrics"
PLUGIN = ROOT / "tests/plugin"
WORDS = ("--model", "tiny", "--augment", "dim", "--data", "shuffles", "--metrics.features", "waves", "--steps", "4")
WITHOUT_TORCH = "import sys, run; status = run.main(sys.argv[1:]); assert 'torch' not in sys.modules; sys.exit(status)"


def install(folder: Path, name: str, groups: dict[str, dict[str, str]]) -> None:
    """Writes what an installer does of a package's entry points."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = (
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in of.items()) for group, of in groups.items()
    )
    (info / "entry_points.txt").write_text("\n".join(lines))


def install_tiny(folder: Path) -> None:
    shutil.copytree(PLUGIN / "genae_tiny", folder / "genae_tiny", ignore=shutil.ignore_patterns("__pycache__"))
    install(folder, "genae-tiny", tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]["entry-points"])


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, for this process and those that it starts; nothing of it stays imported."""
    before = set(sys.modules)
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    registry._entry_points.cache_clear()
    yield folder
    registry._entry_points.cache_clear()
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def broken(site: Path, **models: str) -> None:
    install(site, "genae-wrong", {MODELS: models})


def test_a_run_of_parts_from_outside(site, tmp_path, accelerator, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)  # whose picture of the latents would take longer than all else
    install_tiny(site)
    given = ("--data.batch_size", "20", "--logger", "none", "--accelerator", accelerator, "--folder", "run")
    done = shell(*WORDS, *given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mean brightness" in done.stdout and "left out: contrast, contrast (it wants" in done.stdout
    results = json.loads(Path("run/results.json").read_text())
    metrics, protocol = results["metrics"], results["protocol"]
    assert protocol["floor"]["brightness"] == 0.5  # as of every image of the data set
    assert protocol["added"] == {"brightness": "genae-tiny 1.0"}
    assert protocol["extractor"] == "waves" and protocol["package"] == "genae-tiny 1.0"
    assert results["augment"]["dim"]["on"] == "data"
    assert weights.read(Path("run/model.safetensors"))["model"] == "tiny"  # though its file is linear.py

    # the same model again, from its run folder; it has not learnt much, and is not as bright as the data
    assert run.main(["sample", "run", "--num", "8"]) == 0
    assert run.main(["evaluate", "run", "--cache", "runs/cache"]) == 0, capsys.readouterr().err
    again = json.loads(Path("run/results.json").read_text())["evaluations"][0]
    assert again["metrics"]["brightness"] == metrics["brightness"] != 0.5
    assert again["protocol"]["source"] == protocol["source"]


def test_help_and_wrong_names_are_quick_and_import_nothing(site, tmp_path):
    install_tiny(site)
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])}
    for words, status, texts in (
        (
            ["--help"],
            0,
            ["tiny           Autoencoder of two matrices. (genae-tiny)", "Halves the brightness. (genae-t"],
        ),
        (["--model", "tny"], 2, ["tiny, vae, vaegan; got 'tny'; did you mean 'tiny'?"]),
    ):
        before = os.times()
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        after = os.times()  # of the processor: others work on the machine too
        assert after.children_user + after.children_system - before.children_user - before.children_system < 1
        assert done.returncode == status, done.stderr
        assert all(text in done.stdout + done.stderr for text in texts)


def test_entry_points_are_looked_for_once(site, monkeypatch):
    calls = []
    looked_for = registry.entry_points
    monkeypatch.setattr(registry, "entry_points", lambda: calls.append(1) or looked_for())
    install_tiny(site)
    assert "tiny" in registry.names(MODELS) and "shuffles" in registry.names("datamodules")
    assert "brightness" in registry.names(METRICS) and "waves" in registry.names(
        "lightning_genae.evaluation.extractors"
    )
    assert registry.load(MODELS, "tiny").__name__ == "Linear"
    assert len(calls) == 1


def test_names_and_origins(site):
    install_tiny(site)
    linear, shuffles = registry.load(MODELS, "tiny"), registry.load("datamodules", "shuffles")
    assert [registry.name_of(one) for one in (linear, shuffles)] == ["tiny", "shuffles"]
    assert registry.origin(linear) == "genae-tiny 1.0"
    gan = registry.load(MODELS, "gan")
    assert registry.name_of(gan) == "gan" and registry.origin(gan) is None


def test_a_name_that_two_packages_give(site, capsys):
    broken(site, gan="genae_wrong", tiny="genae_wrong", two="genae_wrong")
    install_tiny(site)
    assert run.main(["--model", "gan"]) == 2
    error = "--model: expected 'gan' from one package; got it from lightning_genae and from genae-wrong 1.0; uninstall"
    assert error in (printed := capsys.readouterr().err) and printed.count("\n") == 1
    assert run.main(["--model", "tiny"]) == 2
    printed = capsys.readouterr().err
    assert "genae-wrong 1.0" in printed and "genae-tiny 1.0" in printed
    registry.check("--model", MODELS, "ae")  # which no one else gives
    assert run.main(["--help"]) == 0
    assert "gan            expected 'gan' from one package; got it from" in capsys.readouterr().out


@pytest.mark.parametrize(
    "value, code, cause",
    [
        ("nowhere", "", "ModuleNotFoundError: No module named 'nowhere'"),
        ("genae_wrong", "import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("genae_wrong", "class Half(", "SyntaxError: '(' was never closed"),
        ("genae_wrong", "raise OSError('no\\nGPU')", "OSError: no GPU"),
        ("genae_wrong:There", "class Here: pass", "AttributeError: module 'genae_wrong' has no attribute 'There'"),
        ("genae_wrong:one", "one = 1", "TypeError: "),
        (
            "genae_wrong",
            "from pathlib import Path",
            "TypeError: 'genae_wrong' must be a class, or a module that defines",
        ),
        (
            "genae_wrong",
            "class One: pass\nclass Two: pass",
            "TypeError: 'genae_wrong' must be a class, or a module that",
        ),
        ("no module at all!", "", ""),
        ("", "", ""),
    ],
)
def test_what_cannot_be_imported_is_named_with_its_package(site, capsys, value, code, cause):
    (site / "genae_wrong.py").write_text(code)
    broken(site, wrong=value)
    assert run.main(["--model", "wrong"]) == 3
    error = capsys.readouterr().err
    assert "expected to import 'wrong' of genae-wrong 1.0; got " + cause in error and error.count("\n") == 1
    assert "uninstall genae-wrong" in error
    assert run.main(["--help"]) == 0 and "(genae-wrong" in capsys.readouterr().out  # it hinders nothing else


@pytest.mark.parametrize("name", ["_hidden", "a+b", "a,b", "../up", "a.b"])
def test_names_that_are_none(site, name):
    """They would be parts of lists, compositions and paths."""
    broken(site, **{name: "genae_wrong"})
    with pytest.raises(ValueError, match=r"--model: expected a name of letters.*; got .* from genae-wrong 1.0"):
        registry.check("--model", MODELS, name)
    assert registry.summary(MODELS, name).startswith("expected a name of letters")


def test_a_class_of_several_has_its_own_summary(site):
    """Also in a package without an __init__.py; none is imported."""
    (site / "space/inner").mkdir(parents=True)
    (site / "space/inner/both.py").write_text('"""File."""\nraise OSError\nclass One:\n    """Class.\n\n    More."""\n')
    (site / "space/inner/latin.py").write_bytes('# coding: latin-1\n"""Modèle."""'.encode("latin-1"))
    install(site, "a", {MODELS: {"one": "space.inner.both:One", "other": "space.inner.both:Other [extra]"}})
    install(site, "b", {MODELS: {"latin": "space.inner.latin", "lost": "space.inner.lost"}})
    texts = {name: registry.summary(MODELS, name) for name in ("one", "other", "latin", "lost")}
    lost = "(b, whose file cannot be read: no file of the module 'space.inner.lost')"
    assert texts == {"one": "Class. (a)", "other": "File. (a)", "latin": "Modèle. (b)", "lost": lost}
    assert not any(name.startswith("space") for name in sys.modules)


def test_a_received_folder_installs_nothing(tmp_path):
    """Packages are looked for where Python imports from, which the current folder is no part of."""
    install(tmp_path, "evil", {MODELS: {"evil": "evil"}})
    (tmp_path / "evil.py").write_text("open('mark', 'w')")
    done = shell("--model", "evil", cwd=tmp_path)
    assert done.returncode == 2 and "expected one of aae," in done.stderr and "evil," not in done.stderr
    assert not Path("mark").exists()


@pytest.mark.parametrize("name", ["genae_tiny.linear", "genae_tiny.linear:Linear", "linear", "genae-tiny"])
def test_a_config_does_not_name_modules_of_installed_packages(site, capsys, name):
    install_tiny(site)
    Path("config.yaml").write_text(f"model: '{name}'\nsteps: 2\n")
    assert run.main(["--config", "config.yaml"]) == 2
    error = capsys.readouterr().err
    assert "--model: expected one of" in error and f"tiny, vae, vaegan; got '{name}'" in error
    assert "genae_tiny" not in sys.modules


@pytest.mark.parametrize("kind", ["", ": type[Evil] | None", ": Evil | None", ": object", ": Callable | None"])
def test_no_option_of_theirs_takes_a_class(site, capsys, kind):
    """Of such an option jsonargparse would import what a config file of somebody's names."""
    (site / "genae_wrong.py").write_text(
        "from collections.abc import Callable\nclass Evil: pass\n"
        f"class Model:\n    def __init__(self, part{kind} = None): pass\n"
    )
    broken(site, wrong="genae_wrong:Model")
    (site / "evil.py").write_text("import genae_wrong\nopen('mark', 'w')\nclass Evil(genae_wrong.Evil): pass\n")
    Path("config.yaml").write_text("model: {name: wrong, part: {class_path: evil.Evil}}\nsteps: 2\n")
    assert run.main(["--config", "config.yaml", "--folder", "new"]) == 2
    assert "--model.part: expected numbers, words or lists of them as its type" in capsys.readouterr().err
    assert not Path("mark").exists() and not Path("new").exists()


def test_a_cache_knows_all_files_of_another_package(site):
    """And one file of ours, as it did before there were others."""
    (site / "genae_more/inner").mkdir(parents=True)
    for name in ("__init__", "inner/__init__", "inner/model", "layers"):
        (site / f"genae_more/{name}.py").write_text("")
    (site / "genae_alone.py").write_text("")
    model, alone = importlib.import_module("genae_more.inner.model"), importlib.import_module("genae_alone")
    before = cache.source(model), cache.source(alone), cache.source(cache)
    (site / "genae_more/layers.py").write_text("width = 2")
    after = cache.source(model), cache.source(alone), cache.source(cache)
    assert before[0] != after[0] and before[1:] == after[1:]
    (site / "genae_alone.py").write_text("width = 2")
    assert cache.source(alone) != before[1]


def test_parts_of_other_packages_are_left_to_each_run(site, monkeypatch):
    """What they do while they are imported, such as to start CUDA, may not survive a fork."""
    parsed = []
    monkeypatch.setattr(run.COMMAND_LINE, "parse", parsed.append)
    workers.share_options(["prefetch", "--seed", "0"])
    assert parsed == [["--seed", "0"]]
    install_tiny(site)
    registry._entry_points.cache_clear()
    workers.share_options(["--model", "tiny"])
    assert len(parsed) == 1 and "genae_tiny" not in sys.modules


@pytest.mark.slow
def test_cells_of_parts_of_other_packages(site, tmp_path):
    install_tiny(site)
    words = ("--model", "tiny", "--data", "shuffles", "--metrics.features", "waves", "--steps", "4", "--cache", "cache")
    done = shell("ablate", *words, "--augment", "none,dim", "--folder", "grid", "--accelerator", "cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    alone = shell(*words, "--augment", "dim", "--folder", "alone", "--accelerator", "cpu", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    same(tmp_path / "grid/dim/seed0", tmp_path / "alone")
