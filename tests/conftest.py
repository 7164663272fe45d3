"""What the tests share: the device they run on, a command line in an empty folder, one finished run."""

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import wraps
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: tests run at once, and threads would wait for each other
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as run.py sets it, for those that have more

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell started pytest in the background; tests interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="accelerator that the tests train on: cpu or cuda")


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
    """A run in this process does not silence warnings, which are errors here: see configure_logging, pyproject.toml."""
    monkeypatch.setattr(sys, "warnoptions", ["error"])


@pytest.fixture(autouse=True)
def own_log(monkeypatch):
    """A run in this process takes the log to standard output, see configure_logging; the next test has it again."""
    log = logging.getLogger("lightning_genae")
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "propagate", True)


SAVES = [(Figure, "savefig", Figure.savefig), (FigureCanvasAgg, "print_png", FigureCanvasAgg.print_png)]


def draw_less(words: tuple, save: Callable) -> Callable:
    """A figure's way to save itself, `save`, that leaves blank what takes half of a short run and is looked at nowhere:
    curves, and pictures of a run between the first and the last."""
    steps = next((int(after) for word, after in pairwise(words) if word == "--steps" and after.isdecimal()), 0)

    @wraps(save)  # matplotlib looks at the signature
    def save_some(self, file, *rest, **options):
        name = Path(file).stem if isinstance(file, str | Path) else ""
        is_between = name.isdecimal() and int(name) not in (1, steps)
        if is_between or re.fullmatch("distances|precision-recall|quality-.*", name):
            Image.new("RGB", (8, 8)).save(file)
        else:
            save(self, file, *rest, **options)

    return save_some


@pytest.fixture
def cli(capsys, cache, accelerator, monkeypatch, request):
    """Calls run.py's main in this process; returns (exit status, standard output, standard error).

    Figures that no test looks at are made, but saved blank, and the networks behind discriminative and predictive
    scores learn little; the main job draws all figures, tests/test_series.py knows the scores, slow tests do it all.
    """
    import run
    from lightning_genae.evaluation.metrics import _recurrent

    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr(_recurrent, "NUM_STEPS", 20)

    def call(*words: str):
        if not request.node.get_closest_marker("slow"):
            for one, name, save in SAVES:
                monkeypatch.setattr(one, name, draw_less(words, save))
        words = list(words)
        if words[0] not in ("sample", "compare") and "--cache" not in words:
            words += ["--cache", str(cache)]
        if words[0] not in run.VERBS and "--accelerator" not in words:
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
    """Series, or text by its name; set up."""
    from tests.waves import Waves

    def make(modality: str = "series", has_mask: bool = False) -> Waves:
        datamodule = Waves(modality, has_mask)
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
