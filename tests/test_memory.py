"""Whether a batch fits into the memory is known before the training, with the batch size that does."""

import copy
from pathlib import Path

import pytest
import torch

import run
from callbacks.count_memory import CountMemory, _Follow
from lightning_genae import memory
from lightning_genae.commands import memory as check
from lightning_genae.commands.build import build_datamodule
from lightning_genae.commands.length import rehearse
from lightning_genae.commands.parse import parse_run

MEMINFO = "MemTotal:       24684096 kB\nMemFree:  9 kB\nMemAvailable:   2000 kB\n"


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Writes files that the system has: meminfo, own, and those below cgroup."""
    monkeypatch.setattr(memory, "MACHINE", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "OWN", tmp_path / "own")
    monkeypatch.setattr(memory, "CONTROL", tmp_path / "cgroup")

    def write(path: str, content: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)

    return write


def test_a_rehearsal_does_not_say_again_what_the_model_said(monkeypatch, tmp_path, cli):
    """Its memory is counted, and its batches are timed, with models of their own."""
    monkeypatch.setattr(check, "MOST", 1e12)  # the memory is counted
    words = ("--model", "gan", "--model.clip", "0.1", "--data.num_train", "100", "--steps", "8", "--logger", "none")
    words += ("--metrics.features", "pixels", "--metrics.num_samples", "20", "--folder", str(tmp_path / "run"))
    status, output, error = cli(*words)
    assert status == 0, error
    assert output.count("--model.clip has no effect without --model.loss wgan") == 1


def test_memory_of_the_machine(system):
    assert memory.available() is None
    system("meminfo", MEMINFO)
    assert memory.available() == 2000 * 1024


def test_memory_of_a_container(system):
    """The tightest limit of the group and those around it, plus files that are given back; "max" is none."""
    system("meminfo", MEMINFO)
    system("own", "0::/job/step\n")
    for group, limit, used in (("", "max", "7"), ("job/", "900000", "500000"), ("job/step/", "max", "300000")):
        system(f"cgroup/{group}memory.max", limit)
        system(f"cgroup/{group}memory.current", used)
    assert memory.available() == 400_000
    system("cgroup/job/memory.stat", "anon 5\ninactive_file 1000\nactive_file 77\n")
    assert memory.available() == 401_000
    system("cgroup/job/step/memory.max", "300500")
    assert memory.available() == 500
    system("cgroup/job/step/memory.max", "200000")
    assert memory.available() == 0


def test_memory_of_a_container_of_the_first_version(system):
    system("meminfo", MEMINFO)
    system("own", "3:cpu:/other\n2:memory:/job\n")
    system("cgroup/memory/job/memory.limit_in_bytes", "900000")
    system("cgroup/memory/job/memory.usage_in_bytes", "800000")
    system("cgroup/memory/job/memory.stat", "total_inactive_file 50\n")
    assert memory.available() == 100_050


def test_tensors_are_followed_while_they_live():
    """A kilobyte; a view, which takes nothing; in place, the same; two at a time; after the first is freed, one."""
    found: list[int] = []
    with _Follow(found):
        first = torch.zeros(256)
        view = first[:9]
        first.add_(1)
        second = torch.zeros(512)
        del first, view
        third = torch.zeros(1)
    assert found[0] == 1024 and found[-1] == 2048 + 4 and max(found) == 3072
    assert found.count(3072) == 1 and second is not third


def test_lines_by_hand():
    """1000 + 10 n and 4 n, which is above only from 167 images on, not 3 n or a decrease; and by peaks alone."""
    small, larger = [1020, 8, 6, 500], [1040, 16, 12, 400]
    assert check.lines_through(small, larger) == [(1000, 10)]
    assert check.lines_through([1000, 8, 6], [1000, 16, 12]) == [(1000, 0), (0, 4)]
    assert check.lines_through([5, 30], [7, 40, 8]) == [(20, 5)]


def config_of(*words: str) -> dict:
    return parse_run(run.COMMAND_LINE, ["--model", "gan", "--logger", "none", *words])


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--model.network", "mlp"),
        ("--model.network", "fastgan", "--model.reconstruct", "1"),
        ("--model.n_critic", "2", "--model.loss", "wgan-gp"),
    ],
)
def test_what_a_batch_takes_follows_from_small_ones(words):
    config = config_of(*words)
    datamodule = build_datamodule(config)
    lines = check.counted(config, datamodule)
    whole = copy.copy(datamodule)
    whole.batch_size = 40
    counter = CountMemory()
    rehearse(config, whole, [counter])
    assert max(fixed + 40 * each for fixed, each in lines) == pytest.approx(max(counter.bytes), rel=0.01)


def test_a_batch_that_does_not_fit_is_refused_before_anything_is_trained(cli, monkeypatch):
    """And the batch size that the message names is taken."""
    monkeypatch.setattr(memory, "available", lambda: 4_000_000)
    words = ["--model", "gan", "--steps", "2", "--metrics.looks", "1", "--metrics.num_samples", "20"]
    status, _, error = cli(*words, "--data.batch_size", "500")
    assert status == 2 and error.count("\n") == 1
    assert error.startswith("run.py: error: --data.batch_size: expected at most ")
    assert (
        error.endswith(" and 0.004 GB of memory are free; got 500\n") and "a batch of 500 images of 8x8 takes" in error
    )
    assert not Path("runs", "digits").exists()
    fits = int(error.split("at most ")[1].split(",")[0])
    assert 4 < fits < 500
    status, _, error = cli(*words, "--data.batch_size", str(fits))
    assert status == 0, error
    status, _, error = cli(*words, "--data.batch_size", str(2 * fits))
    assert status == 2 and f"expected at most {fits}," in error
    monkeypatch.setattr(memory, "available", lambda: 100_000)
    status, _, error = cli(*words)
    assert status == 2 and "--data.batch_size: expected a smaller --model.width or more memory, since" in error
