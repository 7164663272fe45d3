"""Two processes against one: PITFALLS of two players under DDP."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests import ddp_job
from tests.conftest import ROOT, shell
from tests.test_run import results, weights_equal

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs torch.distributed with gloo")


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """Every two-player model, trained by two processes."""
    out = tmp_path_factory.mktemp("ddp") / "two.json"
    subprocess.run([sys.executable, ddp_job.__file__, str(out), "8"], check=True, timeout=200, capture_output=True)
    return json.loads(out.read_text())


@pytest.mark.parametrize("name", ddp_job.MODELS)
def test_ranks_agree_bit_for_bit(two_processes, name):
    first, second = two_processes[name]["weights"]
    assert first == second


@pytest.mark.parametrize("name", ddp_job.MODELS)
def test_two_processes_equal_one_with_twice_the_batch(two_processes, name):
    one = ddp_job.train(name, devices=1, batch_size=16)[0][0]
    two = torch.tensor(two_processes[name]["weights"][0], dtype=torch.double)
    assert torch.allclose(one, two, rtol=0, atol=1e-12)
    assert (ddp_job.weights(ddp_job.untrained(name)) - one).abs().max() > 1e-3


def test_noise_differs_between_ranks_and_is_the_seeds(two_processes):
    first, second = (torch.tensor(noise) for noise in two_processes["gan"]["noise"])
    assert not torch.isclose(first, second).any()
    alone = ddp_job.train("gan", devices=1, batch_size=8)[1][0]
    assert torch.equal(alone, first)


@pytest.mark.slow
def test_the_command_with_two_devices(tmp_path, cache):
    words = ["--augment", "ae+noise", "--augment.steps", "20", "--steps", "12", "--metrics.features", "pixels"]
    words += ["--augment.on", "critic", "--augment.target", "0.1", "--augment.adapt_images", "2000"]
    words += ["--devices", "2", "--accelerator", "cpu", "--logger", "none", "--cache", str(cache), "--folder", "run"]
    done = shell(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    content = results(tmp_path / "run")
    assert content["status"] == "finished"
    assert content["timing"]["images"] == 12 * 64 * 2
    assert done.stdout.count("Quality report") == 2 * 2  # of both arms, before and after, by the first process alone
    assert Path(tmp_path / "run" / "samples" / "00000012.png").exists()


SHORT = ("--model", "gan", "--devices", "2", "--accelerator", "cpu", "--steps", "40", "--data.batch_size", "16")
SHORT += ("--data.num_train", "100", "--metrics.features", "pixels", "--metrics.num_samples", "50", "--logger", "none")
SHORT += ("--metrics.looks", "1", "--folder", "mine", "--augment", "ada", "--trainer.log_every_n_steps", "1")


def job(fault: str, rank: int, batch: int, *words: str, cwd, cache) -> tuple[subprocess.CompletedProcess, float]:
    """A run of two processes with a fault in one of them, and the seconds that it took."""
    start = time.monotonic()
    command = [sys.executable, str(ROOT / "tests/fault_job.py"), fault, str(rank), str(batch), *SHORT, *words]
    done = subprocess.run([*command, "--cache", str(cache)], cwd=cwd, capture_output=True, text=True, timeout=200)
    return done, time.monotonic() - start


def batches(folder) -> int:
    return torch.load(folder / "mine/checkpoints/last.ckpt", weights_only=True)["Digits"]["batches"]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_fails_ends_the_others(tmp_path, cache, rank):
    done, seconds = job("error", rank, 13, cwd=tmp_path, cache=cache)
    assert done.returncode not in (0, 130)
    assert "this process has failed" in done.stderr
    assert results(tmp_path / "mine")["status"] == "failed"
    assert "this process has failed" in results(tmp_path / "mine")["error"]
    assert seconds < 150  # of which it takes most to start; a collective would wait for half an hour


@pytest.mark.slow
def test_a_loss_that_is_not_finite_in_one_process_stops_both(tmp_path, cache):
    done, _ = job("nan", 1, 13, "--checkpoint_seconds", "0", cwd=tmp_path, cache=cache)
    assert done.returncode != 0
    assert "train/loss_generator is nan in batch 13; the last checkpoint, of batch 10, is good" in done.stderr
    assert batches(tmp_path) == 10


@pytest.mark.slow
def test_a_signal_to_one_process_saves_and_ends_both_and_they_go_on_to_the_same_result(tmp_path, cache):
    """Also the signals of an adaptive augmentation, each process's own: four batches make one, and twenty are no
    multiple of it after ten."""
    done, _ = job("signal", 1, 17, "--checkpoint_seconds", "1000", cwd=tmp_path, cache=cache)
    assert done.returncode == 130, done.stderr
    assert batches(tmp_path) == 20
    done, _ = job("signal", 0, 27, "--checkpoint_seconds", "1000", cwd=tmp_path, cache=cache)
    assert done.returncode == 130 and batches(tmp_path) == 30
    done, _ = job("none", 0, 0, "--checkpoint_seconds", "1000", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    (tmp_path / "mine").rename(tmp_path / "parts")
    done, _ = job("none", 0, 0, "--checkpoint_seconds", "1000", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    assert weights_equal(tmp_path / "mine", tmp_path / "parts")
    assert (tmp_path / "mine/metrics.csv").read_text() == (tmp_path / "parts/metrics.csv").read_text()
