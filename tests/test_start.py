"""What a run imports and computes before its first batch: nothing that it finds in the cache, and little of others."""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from callbacks import wandb_run
from callbacks.wandb_run import WandbRun
from datamodules import _base
from datamodules.digits import Digits
from lightning_genae.commands import fit
from lightning_genae.commands.build import build_augment, build_model
from lightning_genae.commands.parse import parse_run
from lightning_genae.deferred import without_collection
from lightning_genae.evaluation import evaluation
from lightning_genae.evaluation.evaluation import Evaluation
from tests.conftest import ROOT, shell
from tests.test_wandb import CONFIG

SLOW = ("torchvision", "torch._dynamo.convert_frame", "scipy", "sklearn", "pandas", "torchmetrics.functional", "wandb")
SLOW += ("matplotlib.pyplot", "triton.runtime")


def python(code: str, *words: str, cwd: Path) -> subprocess.CompletedProcess:
    """Runs code in a process of its own, without W&B's variables."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240)


OPTIONS = f"""
import sys, run
for words in (["--help"], ["--model", "gan", "--augment", "ae", "--print_config"]):
    assert run.main(words) == 0
assert "pytorch_lightning" in sys.modules  # else this shows nothing
print("\\nimported:", [name for name in {SLOW} if name in sys.modules])
"""


def test_help_and_print_config_import_no_slow_package(tmp_path):
    done = python(OPTIONS, cwd=tmp_path)
    assert done.stdout.splitlines()[-1:] == ["imported: []"], done.stderr


DEFERRED = """
import sys
from lightning_genae.deferred import defer, OptimizedModule
defer()
defer()
import torch, pytorch_lightning
from pytorch_lightning.core.module import Metric, MetricCollection
from pytorch_lightning.utilities.compile import OptimizedModule as imported

def loaded():
    return ["torch._dynamo.convert_frame" in sys.modules, "torchmetrics.functional" in sys.modules]

assert loaded() == [False, False] and imported is OptimizedModule
assert not isinstance(3, imported) and not issubclass(torch.nn.Linear, imported)
layer = torch.nn.Linear(1, 1)
optimizer = torch.optim.Adam(layer.parameters())
layer(torch.ones(1, 1)).sum().backward()
optimizer.step()
optimizer.zero_grad()
off = torch.compiler.disable(lambda x: x + 1)
assert off(1) == 2 and loaded() == [False, False]

compiled = torch.compile(layer)
assert loaded() == [True, False] and isinstance(compiled, imported) and not isinstance(layer, imported)
assert issubclass(type(compiled), imported) and imported is not torch._dynamo.OptimizedModule
assert off(1) == 2
layer(torch.ones(1, 1)).sum().backward()
optimizer.step()

import torchmetrics, torchmetrics.metric
assert torchmetrics.__version__ and loaded() == [True, False]
from torchmetrics.image import KernelInceptionDistance  # of a submodule: the whole, as ever
assert loaded() == [True, True] and torchmetrics.functional.accuracy
assert issubclass(KernelInceptionDistance, Metric)
assert torchmetrics.Metric is torchmetrics.metric.Metric is Metric
assert torchmetrics.MetricCollection is MetricCollection and type(torchmetrics).__name__ == "module"
assert torchmetrics.__spec__.loader.get_source("torchmetrics")
try:
    torchmetrics.nothing_such
except AttributeError:
    print("all of it")
"""


def test_deferred_packages_are_whole_when_they_are_needed(tmp_path):
    done = python(DEFERRED, cwd=tmp_path)
    assert done.stdout == "all of it\n", done.stderr


DEFERRED_MODULES = """
import sys
from lightning_genae.deferred import defer
defer()
import torch, pytorch_lightning
from torch.utils.flop_counter import FlopCounterMode
import torchvision.utils
from torchvision.ops import roi_align
from torchvision.ops.roi_align import is_compile_supported
assert not {"matplotlib.pyplot", "triton.runtime", "torch._dynamo.convert_frame"} & set(sys.modules)
whole = torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]])
assert roi_align(torch.ones(1, 1, 2, 2), whole, 1).item() == 1

assert is_compile_supported("cpu") == torch._dynamo.utils.is_compile_supported("cpu")
assert is_compile_supported is not torch._dynamo.utils.is_compile_supported
from torch._dynamo.utils import counters
assert counters is torch._dynamo.utils.counters is torch._dynamo.convert_frame.counters
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)) == 2 and counters["stats"]["unique_graphs"] == 1

with FlopCounterMode(display=False) as counter:
    torch.ones(2, 3) @ torch.ones(3, 5)
assert counter.get_total_flops() == 2 * 2 * 3 * 5 and isinstance(counter, torch.utils.flop_counter.FlopCounterMode)
assert torch.utils.flop_counter.register_flop_formula and "matplotlib.pyplot" not in sys.modules

from torchmetrics import MeanMetric
metric = MeanMetric()
metric.update(3.0)
figure, axes = metric.plot()
assert [line.get_ydata()[0] for line in axes.get_lines()][:1] == [3.0] and "matplotlib.pyplot" in sys.modules
from torchmetrics.utilities.plot import plot_curve
print("all of it")
"""


def test_deferred_modules_are_whole_when_they_are_needed(tmp_path):
    done = python(DEFERRED_MODULES, cwd=tmp_path)
    assert done.stdout == "all of it\n", done.stderr


def test_imports_are_not_interrupted_for_garbage_and_all_else_is():
    with pytest.raises(KeyError), without_collection():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()
    gc.disable()
    with without_collection():
        pass
    assert not gc.isenabled()
    gc.enable()


IN_TWO_THREADS = """
import sys, threading, time
from pathlib import Path
from lightning_genae import deferred
Path("package").mkdir()
Path("package/__init__.py").write_text("import shared\\nfrom package.inner import VALUE")
Path("package/inner.py").write_text("VALUE = 3")
Path("package/outer.py").write_text("VALUE = 4")
Path("shared.py").write_text("import time; time.sleep(1); import other")
Path("other.py").write_text("")
sys.path.insert(0, "")
deferred.NAMES["package"] = {}
deferred._locks["package"] = threading.RLock()
deferred.defer()
import package
thread = threading.Thread(target=lambda: __import__("shared"))
thread.start()
time.sleep(0.3)
import package.outer  # while the other thread imports what the package needs
thread.join()
assert (package.inner.VALUE, package.outer.VALUE, package.VALUE) == (3, 4, 3)
from package import inner
assert inner is sys.modules["package.inner"] and type(inner.__spec__.loader).__name__ == "SourceFileLoader"
print("both")
"""


def test_threads_that_import_do_not_wait_for_each_other(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", IN_TWO_THREADS]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30)
    assert done.stdout == "both\n", done.stderr


OTHER_RELEASE = """
import sys
from lightning_genae import deferred
deferred.NAMES["torchmetrics"]["Metric"] = deferred._of_torchmetrics("moved_elsewhere", "Metric")
deferred.defer()
from torchmetrics import Metric
assert "torchmetrics.functional" in sys.modules and Metric.__name__ == "Metric"
"""


def test_another_release_of_a_deferred_package_is_imported_at_once(tmp_path):
    done = python(OTHER_RELEASE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


FIRST_BATCH = f"""
import os, sys, run
fit = run.fit
def stopped(trainer, *arguments):
    from pytorch_lightning import Callback
    class First(Callback):
        def on_train_batch_start(self, *arguments):
            print("\\nimported:", [name for name in {SLOW} if name in sys.modules], flush=True)
            os._exit(0)
    trainer.callbacks.append(First())
    fit(trainer, *arguments)
run.fit = stopped
run.main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("data", ["digits", "folder"])
def test_a_run_with_warm_caches_imports_no_slow_package_before_its_first_batch(tmp_path, cache, picture_folder, data):
    words = ["--model", "gan", "--augment", "ae", "--augment.steps", "60", "--cache", str(cache), "--data", data]
    if data == "folder":
        words += ["--data.root", str(picture_folder), "--data.image_size", "8", "--data.batch_size", "8"]
        words += ["--metrics.num_samples", "100"]
    python(FIRST_BATCH, *words, "--folder", "first", cwd=tmp_path)
    done = python(FIRST_BATCH, *words, "--folder", "second", cwd=tmp_path)
    assert done.stdout.splitlines()[-1:] == ["imported: []"], done.stderr


def test_data_and_splits_come_from_the_cache(tmp_path, monkeypatch):
    def digits(folder: Path, seed: int = 0):
        datamodule = Digits(num_train=100, split_seed=seed)
        datamodule.cache_dir = str(folder)
        before = list(folder.rglob("*"))
        datamodule.setup()
        assert list(folder.rglob("*")) == before  # a command with a mistake leaves nothing
        datamodule.keep()
        return datamodule.dataset

    def same(one, other) -> bool:
        parts = ("train", "pool", "validation", "heldout")
        return all(getattr(one, name).fingerprint == getattr(other, name).fingerprint for name in parts)

    (tmp_path / "file").touch()
    without = digits(tmp_path / "file")  # a cache that cannot be written to
    first, other = digits(tmp_path / "cache"), digits(tmp_path / "cache", seed=1)
    assert same(first, without) and not same(first, other)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)  # an import of it fails
    monkeypatch.setitem(sys.modules, "sklearn.model_selection", None)
    assert same(digits(tmp_path / "cache"), first) and same(digits(tmp_path / "cache", seed=1), other)
    monkeypatch.setattr(_base, "version", lambda name: "another")
    with pytest.raises(ImportError):
        digits(tmp_path / "cache")


def test_scores_of_real_images_come_from_the_cache(digits, tmp_path, monkeypatch):
    dataset = replace(digits.dataset, cache_dir=str(tmp_path / "cache"))
    expected = Evaluation(dataset, "pixels").protocol
    assert expected["floor"]["kid"] and next(iter(expected["floor"])) == "fd"
    measured, values_of = [], evaluation.metrics.values_of
    monkeypatch.setattr(evaluation.metrics, "values_of", lambda *given: measured.append(1) or values_of(*given))
    again = Evaluation(dataset, "pixels").protocol
    assert json.dumps(again) == json.dumps(expected) and not measured  # in the same order, too
    Evaluation(replace(dataset, train=dataset.train.subset(slice(50)), fingerprint=""), "pixels")
    assert measured  # a distance to what was trained on
    measured.clear()
    Evaluation(dataset, "pixels", num_samples=50)
    assert measured


@pytest.mark.parametrize("name", ["ae", "classic"])
def test_the_quality_report_comes_from_the_cache(digits, tmp_path, cache, monkeypatch, name):
    import run

    def report(*words: str) -> dict:
        steps = ["--augment.steps", "20", "--augment.on", "critic"] if name == "ae" else []
        config = parse_run(run.COMMAND_LINE, ["--augment", name, *steps, "--cache", str(tmp_path / "cache"), *words])
        model = build_model(config, digits.served)
        augment = build_augment(config, digits.served, model)
        augment.fit(digits.served, accelerator="cpu")
        monkeypatch.setattr(augment, "quality", lambda *given, of=augment.quality: measured.append(1) or of(*given))
        torch.manual_seed(3)
        quality = fit.measure_quality(augment, config, digits, extractor)
        drawn.append(torch.rand(1))
        return quality

    measured, drawn = [], []
    extractor = Evaluation(digits.dataset, "pixels").extractor
    first, second = report(), report()
    assert json.dumps(first) == json.dumps(second) and measured == [1]
    assert drawn[0] == drawn[1]  # the report does not touch the numbers of the training
    option = "--augment.strength" if name == "ae" else "--augment.shift"
    assert report(option, "0.25") != first and measured == [1, 1]


class Asked:
    """A W&B run that keeps what it is asked."""

    def __init__(self):
        self.calls, self.threads = [], set()

    def log(self, values: dict) -> None:
        self.calls.append(values)
        self.threads.add(threading.current_thread().name)

    def finish(self, exit_code: int) -> None:
        self.calls.append(exit_code)


def test_wandb_starts_with_the_first_batch_and_loses_nothing(monkeypatch, tmp_path):
    run, created = Asked(), []
    monkeypatch.setattr(WandbRun, "create", lambda self: created.append(1) or run)
    logger = WandbRun(tmp_path, CONFIG, dict, resume=False)
    assert hasattr(logger, "experiment") and logger.experiment is not None and not created  # as Lightning asks
    logger.log_metrics({"x": 0})
    assert logger.background is None and not created
    wandb_run.Begin(logger).on_train_batch_end(None, None)
    logger.log_metrics({"x": 1})
    logger.finalize("success")
    logger.wait()
    assert run.calls == [{"x": 0}, {"x": 1}, 0] and run.threads == {"W&B"}
    logger.experiment.log({"y": 2})  # in a model, for example
    assert run.calls[-1] == {"y": 2}


def test_wandb_of_a_run_that_ends_before_its_first_batch(tmp_path, caplog):
    logger = WandbRun(Path("run"), CONFIG, dict, resume=False)
    logger.log_hyperparams({"remembered": 17})
    logger.log_metrics({"x": 1.5})
    logger.finalize("failed")
    assert "W&B has failed" not in caplog.text
    (path,) = Path("run/wandb").glob("offline-run-*/*.wandb")
    end = time.monotonic() + 10
    while b"remembered" not in path.read_bytes():  # W&B's own process writes it, and outlives the run
        assert time.monotonic() < end
        time.sleep(0.05)


def test_wandb_that_cannot_start_says_so_once_and_the_run_goes_on(monkeypatch, tmp_path, caplog):
    def fail(self):
        raise OSError("no room")

    monkeypatch.setattr(WandbRun, "create", fail)
    logger = WandbRun(tmp_path, CONFIG, dict, resume=False)
    for _ in range(3):
        logger.log_metrics({"x": 1})
        logger.begin()
    logger.finalize("success")
    logger.wait()
    assert caplog.text.count("W&B has failed (no room); the run goes on without it") == 1


@pytest.mark.parametrize("value", ["online", "offline", "disabled", "elsewhere"])
def test_settings_of_wandb_that_may_be_wrong_are_looked_at_before_the_training(monkeypatch, tmp_path, value):
    assert not wandb_run._may_be_wrong()
    monkeypatch.setenv("WANDB_MODE", value)
    assert wandb_run._may_be_wrong() == (value == "elsewhere")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_BASE_URL", "http://localhost")
    assert wandb_run._may_be_wrong()
    monkeypatch.delenv("WANDB_BASE_URL")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    assert wandb_run._may_be_wrong()


@pytest.mark.slow
def test_wandb_offline_is_complete(tmp_path, cache):
    words = ["--steps", "40", "--augment.steps", "60", "--augment", "ae", "--augment.on", "critic", "--folder", "run"]
    words += ["--cache", str(cache)]
    done = shell(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "run/wandb").glob("offline-run-*/*.wandb")
    content = path.read_bytes()
    for part in (b"train/loss_critic", b"val/fd", b"augment.strength", b"strengths-ae", b"batches"):
        assert part in content, part
    pictures = {one.name.split("_")[0] for one in path.parent.glob("files/media/images/*.png")}
    assert {"augmented", "reconstructions", "samples", "quality-ae", "strengths-ae", "nearest"} <= pictures


@pytest.mark.slow
def test_wandb_of_a_run_that_is_interrupted_early(tmp_path, cache):
    words = ["--steps", "100000", "--metrics.looks", "1", "--folder", "run", "--cache", str(cache)]
    command = [sys.executable, str(ROOT / "run.py"), *words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("Training gan"):
                threading.Timer(3, process.send_signal, [signal.SIGINT]).start()
    assert process.returncode == 130
    (path,) = (tmp_path / "run/wandb").glob("offline-run-*/*.wandb")
    assert b"model.latent_dim" in path.read_bytes()
