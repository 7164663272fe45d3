"""Files that somebody else made, with payloads that would leave a mark: a run folder, a config, data, a cache."""

import os
import pickle
import shutil
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import yaml
from jsonargparse.typing import PositiveInt
from torch import nn
from torchvision import datasets

import run
from datamodules.audio import AudioDataModule
from datamodules.cifar10 import CIFAR10DataModule
from datamodules.folder import FolderDataModule
from datamodules.mnist import MNISTDataModule
from datamodules.timeseries import TimeSeriesDataModule
from lightning_genae import registry
from lightning_genae.augment._training import trained
from lightning_genae.commands.build import build_datamodule
from lightning_genae.commands.runs import open_run
from lightning_genae.evaluation.evaluation import reference
from lightning_genae.evaluation.extractors._extractor import fetched
from lightning_genae.evaluation.extractors.classifier import ClassifierFeatures
from lightning_genae.evaluation.extractors.dinov2 import SHA256 as DINO
from lightning_genae.evaluation.extractors.inception import SHA256 as INCEPTION
from lightning_genae.evaluation.extractors.pixels import PixelFeatures
from lightning_genae.models.ae import Autoencoder
from lightning_genae.received import check_type
from tests.test_report import make_grid

SMALL = ("--steps", "2", "--metrics.features", "pixels", "--metrics.num_samples", "100")


class Payload:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """The file that a payload would make; `evil` is a module that would too."""
    path = tmp_path / "mark"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/evil.py").write_text(f"open({str(path)!r}, 'w')\nclass Evil: pass\n")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    yield path
    assert not path.exists()


@pytest.fixture(scope="module")
def made(tmp_path_factory, cache) -> Path:
    """A run folder, made once."""
    folder = tmp_path_factory.mktemp("made") / "run"
    words = ("--model", "ae", *SMALL, "--logger", "none", "--accelerator", "cpu")
    assert run.main([*words, "--folder", str(folder), "--cache", str(cache)]) == 0
    return folder


@pytest.fixture
def received(made) -> Path:
    """A run folder of somebody's, which is not called as it was."""
    shutil.copytree(made, "received")
    config = yaml.safe_load(Path("received/config.yaml").read_text()) | {"folder": "received"}
    Path("received/config.yaml").write_text(yaml.safe_dump(config))
    return Path("received")


def poison(path: Path, mark: Path, how: str) -> None:
    """Makes a file a pickle with a payload, in one of its forms."""
    if how == "pickle":
        path.write_bytes(pickle.dumps(Payload(mark)))
    elif how == "torch":
        torch.save({"state_dict": Payload(mark), "hyper_parameters": {}}, path)
    else:  # what Lightning before 2.6.6 imported and called
        state = torch.load(path, weights_only=True)
        state["hyper_parameters"] |= {"_instantiator": "evil.Evil", "_class_path": "evil.Evil"}
        torch.save(state, path)


def test_the_payload_works(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "made"))).close()
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("how", ["pickle", "torch", "instantiator"])
def test_checkpoints(received, cli, mark, how):
    poison(received / "checkpoints/last.ckpt", mark, how)
    (received / "model.safetensors").unlink()  # which would do instead
    config, results = (received / "config.yaml").read_text(), (received / "results.json").read_text()
    assert cli("sample", str(received))[0] == 2
    assert cli("evaluate", str(received))[0] == 2
    words = ("--model", "ae", *SMALL)
    assert cli(*words, "--augment", "ae", "--augment.checkpoint", str(received), "--folder", "a")[0] == 2
    if how != "instantiator":  # of which the weights alone are taken
        start = ("--model", "vaegan", "--model.variational", "false", "--model.start", str(received))
        assert cli(*start, *SMALL, "--folder", "b")[0] == 2
    (received / "results.json").write_text(results.replace('"finished"', '"running"'))
    assert cli(*words, "--folder", str(received))[0] in (1, 2)
    assert (received / "config.yaml").read_text() == config


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_caches(digits, tmp_path, mark, how):
    """Features, a classifier and an autoencoder."""
    data = replace(digits.dataset, cache_dir=str(tmp_path / "cache"))
    makers = {
        "features": lambda: reference(PixelFeatures(data), data.heldout.images[:50], data.cache_dir),
        "classifier": lambda: ClassifierFeatures(data, num_steps=1),
        "autoencoder": lambda: trained(Autoencoder, {}, 1, data, {"accelerator": "cpu"}),
    }
    for kind, make in makers.items():
        make()
        (path,) = (path for path in (tmp_path / "cache" / kind).iterdir() if not path.suffix)
        poison(path, mark, how)
        with pytest.raises(ValueError, match=r"--cache: .* is damaged"):
            make()


@pytest.mark.parametrize("kind", ["images", "sounds"])
def test_packs(picture_folder, tmp_path, mark, kind):
    datamodule = FolderDataModule(str(picture_folder), batch_size=8) if kind == "images" else AudioDataModule()
    datamodule.cache_dir = str(tmp_path / "cache")
    datamodule.setup()
    packs = [path for path in (tmp_path / "cache").rglob("*") if path.suffix in (".npy", ".npz")]
    assert packs
    for path in packs:
        payload = np.array([Payload(mark)], object)
        if path.suffix == ".npy":
            np.save(path, payload, allow_pickle=True)
        else:
            np.savez(path, images=payload, counts=payload)
    again = type(datamodule)(str(picture_folder), batch_size=8) if kind == "images" else AudioDataModule()
    again.cache_dir = datamodule.cache_dir
    with pytest.raises(ValueError, match=r"--cache: .* is damaged"):
        again.setup()


def test_data_of_arrays(tmp_path, mark):
    np.save(tmp_path / "a.npy", np.array([Payload(mark)] * 50, object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", a=np.array([Payload(mark)] * 50, object))
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as file:
        file.writestr("../../mark", "")
    for name in ("a.npy", "b.npz", "c.npz"):
        with pytest.raises(ValueError, match=r"--data.root"):
            TimeSeriesDataModule(str(tmp_path / name), window=8, batch_size=4).setup()


def test_pickled_cifar10(tmp_path, mark):
    """Read by torchvision, but only files whose checksum is the published one."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("batches.meta", "test_batch", *(f"data_batch_{i}" for i in range(1, 6))):
        (folder / name).write_bytes(pickle.dumps(Payload(mark)))
    datamodule = CIFAR10DataModule(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="found none that is whole"):
        datamodule.setup()


def test_a_picture_that_is_a_program(picture_folder, tmp_path, monkeypatch, mark):
    """PostScript, which Pillow gives to Ghostscript, whatever the file is called."""
    gs = tmp_path / "bin/gs"
    gs.parent.mkdir()
    gs.write_text(f"#!/bin/sh\ntouch {mark}\necho 9.0\n")
    gs.chmod(0o755)
    monkeypatch.setenv("PATH", f"{gs.parent}:{os.environ['PATH']}")
    picture = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 12 10\n%%EndComments\nshowpage\n%%EOF\n"
    (picture_folder / "a/evil.png").write_text(picture)
    datamodule = FolderDataModule(str(picture_folder), batch_size=8)
    datamodule.cache_dir = str(tmp_path / "cache")
    with pytest.raises(ValueError, match=r"evil.png' is a broken image"):
        datamodule.setup()


TAG = "!!python/object/apply:builtins.open [{mark}, w]"
CLASS = {"class_path": "evil.Evil", "init_args": {}}


@pytest.mark.parametrize("key", ["plugins", "profiler", "callbacks", "logger", "strategy", "accelerator"])
@pytest.mark.parametrize("value", [CLASS, "evil.Evil", [CLASS]], ids=["dict", "name", "list"])
def test_no_option_of_a_trainer_imports_a_class(cli, mark, key, value):
    Path("config.yaml").write_text(yaml.safe_dump({"trainer": {key: value}, "steps": 2}))
    assert cli("--config", "config.yaml", "--folder", "new")[0] == 2
    assert cli(f"--trainer.{key}.class_path", "evil.Evil", "--folder", "new")[0] == 2
    assert not Path("new").exists()


@pytest.mark.parametrize(
    "config",
    [
        {"model": CLASS},
        {"model": "evil"},
        {"model": "evil.Evil"},
        {"model": {"name": "evil:Evil"}},
        {"model": "../../evil"},
        {"data": {"name": "../../evil"}},
        {"data": {"name": "evil.Evil"}},
        {"augment": "ae+../evil"},
        {"augment": {"name": "ae", "perturb": CLASS}},
        {"metrics": {"features": CLASS}},
        {"metrics": {"features": "evil.Evil"}},
        {"metrics": CLASS},
        {"trainer": CLASS},
        {"strategy": "evil.Evil", "steps": 2},
        {"logger": CLASS},
    ],
    ids=str,
)
def test_no_name_in_a_config_imports_a_module(cli, mark, config):
    Path("config.yaml").write_text(yaml.safe_dump(config))
    assert cli("--config", "config.yaml", "--folder", "new")[0] == 2
    assert not Path("new").exists()


def test_options_are_numbers_and_words():
    """No class among the types of any option: of one jsonargparse would import what it is given."""
    for kind in (int, str | None, list[PositiveInt], Literal["a"], timedelta | dict[str, int] | None):
        check_type("--model.x", kind)
    for kind in (nn.Module, type[int], Callable, Callable[[int], int], int | nn.Module, list[nn.Module], Any, Path):
        with pytest.raises(ValueError, match=r"--model.x: expected numbers, words or lists"):
            check_type("--model.x", kind)
    line = run.COMMAND_LINE
    choices = [["--model", name] for name in registry.names("lightning_genae.models")]
    choices += [["--data", name] for name in registry.names("datamodules")]
    choices += [["--augment", name] for name in registry.names("lightning_genae.augment")]
    for chosen in choices:
        for action in line._parser(line.names(chosen))._actions:
            check_type(action.dest, getattr(action, "_typehint", None) or str)


@pytest.mark.parametrize("verb", ["config", "sample", "evaluate", "compare"])
def test_yaml_makes_no_objects(received, cli, mark, verb):
    (received / "config.yaml").write_text(f"model: {TAG.format(mark=mark)}\nsteps: 2\n")
    words = ("--config", str(received / "config.yaml")) if verb == "config" else (verb, str(received))
    status, _, error = cli(*words)
    assert status == (0 if verb == "compare" else 2), error  # which looks at results.json alone


@pytest.mark.parametrize("section", ["model", "data"])
@pytest.mark.parametrize("name", ["evil", "../../modules/evil", "...evil", "ae.evil", "_options", "", None, 3, ["ae"]])
def test_names_in_a_run_folder(received, cli, mark, section, name):
    config = yaml.safe_load((received / "config.yaml").read_text())
    config[section]["name"] = name
    (received / "config.yaml").write_text(yaml.safe_dump(config))
    status, _, error = cli("evaluate", str(received))
    assert status == 2 and ("expected one of" in error or f"is damaged; expected --{section} in it" in error)


@pytest.fixture
def victim(tmp_path):
    """A folder of somebody's, which stays as it is."""
    folder = tmp_path / "victim"
    (folder / "samples").mkdir(parents=True)
    (folder / "file").write_text("mine")
    (folder / "samples/00000001.png").write_text("mine")

    def content() -> dict:
        return {path: path.is_file() and path.read_text() for path in folder.rglob("*")}

    before = content()
    yield folder
    assert content() == before


@pytest.mark.parametrize(
    "option, value",
    [
        ("folder", "{victim}/new"),
        ("folder", "../victim/new"),
        ("folder", "link/new"),
        ("cache", "{victim}"),
        ("overwrite", True),
        ("data", {"name": "mnist", "root": "{victim}", "download": True}),
    ],
)
def test_a_config_does_not_say_where_to_write(tmp_path, monkeypatch, capsys, victim, option, value):
    """The command line does."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    Path("link").symlink_to(victim)
    text = yaml.safe_dump({"steps": 2, option: value}).replace("{victim}", str(victim))
    Path("config.yaml").write_text(text)
    assert run.main(["--config", "config.yaml", "--logger", "none"]) == 2
    name = "data.root" if option == "data" else option
    assert f"--{name}: expected" in (error := capsys.readouterr().err) and "command line" in error
    assert not Path("runs").exists()


def test_a_config_writes_below_its_own_folder(tmp_path, monkeypatch, received):
    """As one that repeats a run from elsewhere."""
    text = yaml.safe_dump({"folder": str(tmp_path / "received"), "cache": str(tmp_path / "received/cache")})
    (received / "again.yaml").write_text(text)
    monkeypatch.chdir("/")
    assert run.COMMAND_LINE.parse(["--config", str(tmp_path / "received/again.yaml")])["folder"]


@pytest.mark.parametrize("name", ["samples-seed0.npz", "results.json.unfinished", "latents.png", "samples", ".lock"])
def test_links_in_a_run_folder(received, cli, victim, name):
    """No verb writes through one, nor clears what is behind it."""
    target = victim / ("samples" if name == "samples" else "file")
    if (received / name).is_dir():
        shutil.rmtree(received / name)
    (received / name).unlink(missing_ok=True)
    (received / name).symlink_to(target)
    words = ("--model", "ae", *SMALL, "--folder", str(received))
    for call in (("sample", "received"), ("evaluate", "received"), words, (*words, "--overwrite")):
        status, _, error = cli(*call)
        assert status == 2 and f"'received/{name}' leads to" in error


def test_a_linked_report(cli, victim):
    make_grid(Path("grid"), [({"augment": "a", "seed": i}, {"fd": 1.0}) for i in (0, 1)])
    Path("grid/report").symlink_to(victim)
    status, _, error = cli("compare", "grid")
    assert status == 2 and "'grid/report' leads to" in error


def test_a_linked_log_of_a_grid(cli, victim):
    Path("grid/none").mkdir(parents=True)
    Path("grid/ablation.json").write_text('{"commands": [], "cells": []}')
    Path("grid/none/seed0.log").symlink_to(victim / "file")
    words = ("--augment", "none,noise", "--folder", "grid", *SMALL)
    status, _, error = cli("ablate", *words)
    assert status == 2 and "'grid/none/seed0.log' leads to" in error


def test_links_in_a_cache(victim, tmp_path, capsys):
    Path("cache").mkdir()
    Path("cache/features").symlink_to(victim)
    assert run.main([*SMALL, "--logger", "none", "--cache", "cache", "--folder", "new"]) == 2
    assert "--cache: expected a folder without links that lead out of it" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["ours", "theirs"])
def test_a_run_folder_does_not_say_where_its_cache_is_nor_fetches(received, victim, tmp_path, monkeypatch, kind):
    """Samples of sounds need the data again, whose packs are written to the cache."""
    (tmp_path / "here").mkdir()
    shutil.move("received", "here")
    monkeypatch.chdir(tmp_path / "here")
    config = yaml.safe_load(Path("received/config.yaml").read_text())
    config["cache"] = str(victim) if kind == "theirs" else "own/cache"
    config["data"] = {"name": "mnist", "root": str(victim), "download": True}
    Path("received/config.yaml").write_text(yaml.safe_dump(config))
    opened = open_run("received")[1]
    assert opened["cache"] == ("runs/cache" if kind == "theirs" else "own/cache")
    with pytest.raises(FileNotFoundError, match="found none"):
        build_datamodule(opened)


def test_what_is_fetched_is_what_was_published(tmp_path, monkeypatch):
    """Weights, by SHA-256, whether they come or are there; torchvision's data, by its own checksums."""
    assert all(len(bytes.fromhex(one)) == 32 for one in (DINO, INCEPTION))
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    assert INCEPTION.startswith(Path(URL_INCEPTION_V3).stem.rpartition("-")[2])
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    (tmp_path / "evil.pth").write_bytes(b"evil")
    url = (tmp_path / "evil.pth").as_uri()
    with pytest.raises(ValueError, match=r"could not be fetched .*invalid hash value"):
        fetched(url, DINO, "DINOv2")
    assert not list((tmp_path / "hub/checkpoints").iterdir())
    (tmp_path / "hub/checkpoints/evil.pth").write_bytes(b"evil")
    with pytest.raises(ValueError, match="is not the published file"):
        fetched(url, DINO, "DINOv2")


def test_data_that_are_not_the_published_ones_are_not_kept(tmp_path, monkeypatch):
    (tmp_path / "server").mkdir()
    for name, _ in datasets.MNIST.resources:
        (tmp_path / "server" / name).write_bytes(b"evil")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path / "server"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    datamodule = MNISTDataModule(root=str(tmp_path / "data"), download=True)
    for _ in range(2):  # the second time it is not there either
        with pytest.raises(ValueError, match=r"--data.download: expected to fetch the files, but it failed"):
            datamodule.prepare_data()
    server.shutdown()
    server.server_close()
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file() and path.name != ".download.lock"]
