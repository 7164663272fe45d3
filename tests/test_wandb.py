"""W&B never holds up a run, whatever its server does."""

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

import callbacks.wandb_run as wandb_run
from callbacks._background import Background
from callbacks.wandb_run import WandbRun
from lightning_genae.data.drawing.grids import save_film, save_grid
from tests.conftest import ROOT
from tests.test_run import results
from tests.wandb_server import KEY, WandbServer

CONFIG = {"model": {"name": "gan"}, "augment": {"name": "none"}, "data": {"name": "digits"}, "seed": 0}


class Stuck:
    """A W&B run whose server answers when it is let."""

    def __init__(self):
        self.free, self.calls = threading.Event(), []

    def log(self, values: dict) -> None:
        self.free.wait(10)
        self.calls.append(values)

    def finish(self, exit_code: int) -> None:
        self.free.wait(10)
        self.calls.append(exit_code)


@pytest.fixture
def stuck(monkeypatch) -> Stuck:
    run = Stuck()
    monkeypatch.setattr(WandbRun, "experiment", run)
    monkeypatch.setattr(wandb_run, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(wandb_run, "INIT_SECONDS", 0.05)
    monkeypatch.setattr(wandb_run, "UPLOAD_SECONDS", 2.5)
    return run


def test_a_training_waits_neither_for_what_it_logs_nor_long_at_the_end(stuck, tmp_path, caplog):
    batches = iter(range(100))
    logger = WandbRun(tmp_path, CONFIG, lambda: {"batches": next(batches)}, resume=False)
    start = time.perf_counter()
    for i in range(50):
        logger.log_metrics({"loss": float(i)})
    logger.finalize("success")
    assert time.perf_counter() - start < 2.4
    with caplog.at_level(logging.INFO, "lightning_genae"):
        logger.wait()
    assert 2.5 <= time.perf_counter() - start < 20
    assert "is still uploading" in caplog.text and "`wandb sync " in caplog.text
    background = logger.background
    assert background is None
    stuck.free.set()
    while len(stuck.calls) < 51:
        time.sleep(0.01)
    # in their order, each where the training was when it logged it
    assert stuck.calls == [*({"loss": float(i), "batches": i} for i in range(50)), 0]


def test_what_ends_in_time_is_not_spoken_of(stuck, tmp_path, caplog):
    stuck.free.set()
    logger = WandbRun(tmp_path, CONFIG, dict, resume=False)
    logger.log_metrics({"loss": 1.0})
    logger.finalize("success")
    with caplog.at_level(logging.INFO, "lightning_genae"):
        logger.wait()
    assert stuck.calls == [{"loss": 1.0}, 0] and not caplog.text
    logger.wait()  # there is nothing more to wait for


def test_a_failure_is_said_once_and_nothing_more_is_tried(caplog):
    background, done = Background("W&B"), []
    background.do(lambda: done.append(1))
    background.do(lambda: 1 / 0)
    background.do(lambda: done.append(2))
    background.end()
    assert background.is_done(5) and done == [1]
    assert caplog.text.count("W&B has failed (division by zero)") == 1


# a process of its own for each, as W&B's service keeps the first server of a process; and less patience
IMPATIENT = """
import sys, callbacks.wandb_run as wandb_run, run
wandb_run.INIT_SECONDS, wandb_run.UPLOAD_SECONDS = 5, 10
sys.exit(run.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["well", "slow", "vanished", "refused"])
def test_a_run_with_a_server(tmp_path, how):
    """Its results are there before the upload is; what was not sent, or not in time, is there for `wandb sync`."""
    server = WandbServer(seconds=12 if how == "slow" else 0)
    if how == "refused":
        server.vanish()
    words = ["--steps", "100", "--metrics.features", "pixels", "--folder", "run", "--cache", str(tmp_path / "cache")]
    environment = {**os.environ, "WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "PYTHONPATH": str(ROOT)}
    run = subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=environment,
    )  # fmt: skip
    said, finished = [], None
    with run:
        for line in run.stdout:
            said.append(line)
            if line.startswith("Training gan") and how == "vanished":
                threading.Timer(1, server.vanish).start()
            if line.startswith("Next, "):  # the end of the report, which comes before any waiting
                finished = results(Path("run"))["status"]
    said = "".join(said)
    assert run.returncode == 0, said
    assert results(Path("run"))["status"] == "finished"
    assert finished == "finished"
    assert any(b"train/loss_critic" in path.read_bytes() for path in Path("run/wandb").rglob("*.wandb")), said
    assert how == "well" or "wandb sync" in said
    assert how != "well" or any("file_stream" in path for path in server.paths)


def test_runs_of_a_process_are_written_where_each_was_begun(tmp_path, monkeypatch):
    """W&B's service keeps the folder in which the first of them was begun."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        logger = WandbRun(Path("run"), CONFIG, lambda: {"batches": 0}, resume=False)
        logger.log_metrics({"x": 1.0})
        logger.finalize("success")
        logger.wait()
        assert list(Path("run/wandb").glob("offline-run-*/*.wandb"))


def test_wandb_keeps_pictures_and_films(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    save_film(tmp_path / "film.gif", torch.rand(3, 4, 1, 8, 8), num_columns=2)
    save_grid(tmp_path / "grid.png", torch.rand(4, 1, 8, 8), num_columns=2)
    logger = WandbRun(tmp_path / "run", CONFIG, lambda: {"batches": 0}, resume=False)
    logger.log_image("grid", [str(tmp_path / "grid.png")])
    logger.log_video("film", [str(tmp_path / "film.gif")])
    logger.finalize("success")
    logger.wait()
    (kept,) = (tmp_path / "run" / "wandb").glob("offline-run-*/files/media")
    for kind, name in (("images", "grid.png"), ("videos", "film.gif")):
        (path,) = (kept / kind).iterdir()
        assert path.name.startswith(name[:4]) and path.read_bytes() == (tmp_path / name).read_bytes()


SLOW_PANDAS = """
import threading, time
time.sleep(0.5)
IMPORTED_BY = threading.current_thread().name
"""
BEGIN = """
import sys
import callbacks.wandb_run as wandb_run
from callbacks._background import Background
run = object.__new__(wandb_run.WandbRun)
run.waiting, run.background = [lambda: __import__("pandas")], None
run.begin()
print(sys.modules["pandas"].IMPORTED_BY)
"""


def test_the_thread_of_the_training_finds_pandas_whole(tmp_path):
    """scikit-learn looks into sys.modules for it, and fails where W&B's thread has imported half of it."""
    (tmp_path / "pandas.py").write_text(SLOW_PANDAS)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", BEGIN], env=environment, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "MainThread", done.stderr
