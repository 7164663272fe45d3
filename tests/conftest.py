"""What the tests share: the device they run on, a command line in an empty folder, one finished run."""

import os
import re
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: tests run at once, and threads would wait for each other

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="accelerator that the tests train on: cpu or cuda")


@pytest.hookimpl(wrapper=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    """Tests that share what takes long to make run in one process, one after the other; all others wherever there is
    time, so that no process has a long file left when the others are done."""
    for item in items:
        fixtures = item._fixtureinfo.name2fixturedefs
        shared = [name for name, (*_, last) in fixtures.items() if last.scope == "module"]
        group = "main job" if "finished" in fixtures else item.path.stem if shared else None
        if group:
            item.add_marker(pytest.mark.xdist_group(group))
    return (yield)


@pytest.fixture(scope="session")
def accelerator(request) -> str:
    return {"cpu": "cpu", "cuda": "gpu"}[request.config.getoption("--device")]


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """A cache of this session's own, which its processes share, as runs do."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    (folder / "cache").mkdir(exist_ok=True)
    return folder / "cache"


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Every test runs in an empty folder, without the W&B settings of whoever runs it."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture(autouse=True)
def warnings_count(monkeypatch):
    """A run in this process does not silence warnings, which are errors here: see quieten and pyproject.toml."""
    monkeypatch.setattr(sys, "warnoptions", ["error"])


CURVES = re.compile(r"(distances|precision-recall|gate-.*)\.png")


def save_without_curves(self, file, save=Figure.savefig, **options) -> None:
    """Stands for a figure's savefig."""
    is_curves = isinstance(file, Path) and CURVES.fullmatch(file.name)
    Image.new("RGB", (8, 8)).save(file) if is_curves else save(self, file, **options)


@pytest.fixture
def cli(capsys, cache, accelerator, monkeypatch, request):
    """Calls run.py's main in this process; returns (exit status, standard output, standard error).

    Its three figures of curves are made, but saved blank: to draw them takes half of so short a run. The main job draws
    them, and so do slow tests.
    """
    import run

    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr(Figure, "savefig", save_without_curves)

    def call(*words: str):
        words = list(words)
        if words[0] not in ("sample", "compare"):
            words += ["--cache", str(cache)]
        if words[0] not in run.VERBS:
            words += ["--accelerator", accelerator]
        if words[0] not in run.VERBS and not any(word.startswith("--logger") for word in words):
            words += ["--logger", "none"]
        status = run.main(words)
        return status, *capsys.readouterr()

    return call


def shell(*words: str, cwd: Path) -> subprocess.CompletedProcess:
    """Runs `python run.py ...` as a user would, in a process and a folder of its own, without a W&B account."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *words],
        cwd=cwd,
        env={**environment, "NETRC": str(cwd / "netrc")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="session")
def finished(tmp_path_factory, accelerator, cache):
    """The main job with few steps, by the real command: (completed process, the folder it ran in)."""
    folder = tmp_path_factory.mktemp("main_job")
    words = ["--model", "gan", "--augment", "ae", "--steps", "60", "--augment.steps", "60", "--cache", str(cache)]
    return shell(*words, "--accelerator", accelerator, cwd=folder), folder


@pytest.fixture
def run_folder(finished) -> Path:
    """The run folder of the finished main job."""
    (config,) = finished[1].glob("runs/digits/gan-ae/*/seed0/config.yaml")
    return config.parent


@pytest.fixture
def digits(cache):
    """The digits, set up."""
    from datamodules.digits import Digits

    datamodule = Digits(num_train=200)
    datamodule.cache_dir = str(cache)
    datamodule.setup()
    return datamodule


@pytest.fixture
def waves(cache):
    """Series, masked ones or text by its name; set up."""
    from tests.waves import Waves

    def make(kind: str = "series") -> Waves:
        datamodule = Waves(kind)
        datamodule.cache_dir = str(cache)
        datamodule.setup()
        return datamodule

    return make


@pytest.fixture
def picture_folder(tmp_path) -> Path:
    """A folder of 60 colour images, 12x10, in three classes."""
    generator = np.random.default_rng(0)
    for i in range(60):
        folder = tmp_path / "pictures" / "abc"[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (10, 12, 3), np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "pictures"


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
