"""Two processes against one: PITFALLS of two players under DDP."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests import ddp_job
from tests.conftest import shell
from tests.test_run import results

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
    assert done.stdout.count("Quality gate") == 2 * 2  # of both arms, before and after, by the first process alone
    assert Path(tmp_path / "run" / "samples" / "00000012.png").exists()
