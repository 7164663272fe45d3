"""How many threads a run takes, and that it stays with them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import run
from callbacks import try_threads
from callbacks.try_threads import TryThreads
from lightning_genae import threads
from lightning_genae.commands import build, length
from lightning_genae.commands import threads as choice
from lightning_genae.commands.parse import parse_run
from lightning_genae.evaluation.extractors.pixels import PixelFeatures
from tests.conftest import ROOT
from tests.test_interruption import SHORT, at_batch  # noqa: F401, a fixture
from tests.test_run import results, weights_equal

TINY = ("--model", "gan", "--model.network", "mlp", "--model.hidden", "[8]", *SHORT)


@pytest.fixture(autouse=True)
def as_before():
    number = torch.get_num_threads()
    yield
    threads.use(number)


@pytest.fixture
def machine(monkeypatch):
    """Pretends that there are two cores, that OMP_NUM_THREADS is not set and that batches take given seconds, by number
    of threads; every batch is enough work to be measured unless `small`. Returns the numbers tried."""

    def pretend(seconds: dict[int, float], small: bool = False) -> list[int]:
        clock, tried = [0.0], []

        def perf_counter() -> float:
            tried.append(torch.get_num_threads())
            clock[0] += seconds[torch.get_num_threads()]
            return clock[0]

        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr(threads, "num_cores", lambda: 2)
        monkeypatch.setattr(try_threads, "time", SimpleNamespace(perf_counter=perf_counter))
        monkeypatch.setattr(threads, "LITTLE", 1e9 if small else 0)
        return tried

    return pretend


@pytest.mark.parametrize(
    ("seconds", "number"),
    [
        ({1: [1.0], 2: [0.81]}, 1),
        ({1: [1.0], 2: [0.8]}, 2),
        ({1: [1.0], 2: [20.0]}, 1),
        ({1: [1.0], 2: [0.6], 4: [0.5]}, 2),
        ({1: [1.0], 2: [0.9], 4: [0.75]}, 4),
        ({1: [1.0, 1.0, 9.0], 2: [0.9, 0.9, 0.9]}, 1),  # something else ran for a while
    ],
)
def test_more_threads_are_taken_where_they_are_clearly_faster(seconds, number):
    assert threads.best(seconds) == number


def test_what_is_tried():
    assert [threads.candidates(most) for most in (1, 2, 3, 8)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8]]


@pytest.mark.parametrize(
    ("environment", "processes", "most"),
    [
        ({}, 1, 8),
        ({}, 3, 2),
        ({}, 9, 1),
        ({"OMP_NUM_THREADS": "3"}, 1, 3),
        ({"OMP_NUM_THREADS": "3"}, 4, 2),
        ({"OMP_NUM_THREADS": "4,2"}, 1, 4),
        ({"OMP_NUM_THREADS": "16"}, 1, 8),
        ({"OMP_NUM_THREADS": "all"}, 1, 8),
        ({"SLURM_CPUS_PER_TASK": "2"}, 1, 2),
        ({"SLURM_CPUS_PER_TASK": "99"}, 1, 8),
    ],
)
def test_what_bounds_the_choice(monkeypatch, environment, processes, most):
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    assert threads.limit(processes) == most


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_cores_of_others_do_not_count(monkeypatch):
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert threads.num_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP says how it is set")
def test_threads_wait_asleep_without_an_environment_variable(monkeypatch):
    monkeypatch.setenv("OMP_DISPLAY_ENV", "TRUE")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = [sys.executable, "-c", "import run; run.main(['--help']); import torch"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in said


def test_the_faster_number_is_taken_and_said_and_kept(cli, machine, at_batch):  # noqa: F811
    tried = machine({1: 0.1, 2: 0.06})
    assert cli(*TINY, "--folder", "whole")[1].count("2 threads: a batch takes 100 ms with 1, 60 ms with 2;") == 1
    assert tried.count(1) == tried.count(2) == 2 * (1 + TryThreads.num_rounds) and tried[:4] == [1, 1, 2, 2]
    assert results("whole")["threads"] == 2
    assert torch.get_num_threads() == 2

    def killed(trainer):
        raise KeyboardInterrupt

    at_batch(7, killed)
    assert cli(*TINY, "--folder", "parts")[0] == 130
    at_batch(-1)
    tried = machine({1: 0.1, 2: 2.0})  # one thread would be faster now
    threads.use(1)
    status, output, _ = cli(*TINY, "--folder", "parts")
    assert status == 0 and not tried and " thread" not in output
    assert torch.get_num_threads() == results("parts")["threads"] == 2
    assert weights_equal("whole", "parts")
    assert cli(*TINY, "--threads", "2", "--folder", "given")[0] == 0
    assert weights_equal("whole", "given") and not tried


def test_one_thread_is_taken_where_two_bring_little(cli, machine):
    machine({1: 0.1, 2: 0.09})
    output = cli(*TINY, "--folder", "mine")[1]
    assert "1 thread: a batch takes 100 ms with 1, 90 ms with 2; --threads 1 gives the same numbers again" in output
    assert results("mine")["threads"] == torch.get_num_threads() == 1


def test_little_work_is_not_measured(cli, machine, monkeypatch):
    tried = machine({1: 0.1, 2: 0.01}, small=True)
    output = cli(*TINY, "--folder", "mine")[1]
    assert "1 thread: a batch is too little work for more (0.00" in output and "--threads sets the number" in output
    assert not tried and torch.get_num_threads() == 1
    monkeypatch.setattr(choice, "rehearse", None)  # what was counted is kept
    assert cli(*TINY, "--folder", "again", "--seed", "1")[1].count("1 thread: a batch is too little work") == 1


def test_with_one_core_nothing_is_measured_or_said(cli, machine, monkeypatch):
    tried = machine({1: 0.1, 2: 0.01})
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert " thread" not in cli(*TINY, "--folder", "mine")[1]
    assert not tried and results("mine")["threads"] == 1


def test_another_number_for_a_resumed_run_is_said(cli, at_batch, machine):  # noqa: F811
    def killed(trainer):
        raise KeyboardInterrupt

    at_batch(7, killed)
    assert cli(*TINY, "--folder", "mine", "--threads", "1")[0] == 130
    at_batch(-1)
    output = cli(*TINY, "--folder", "mine", "--threads", "2")[1]
    assert "WARNING: --threads: this run began with 1; with 2 the last digits of its results differ" in output
    assert results("mine")["threads"] == 2


def test_sample_and_evaluate_take_the_number_of_the_run(cli, monkeypatch):
    assert cli(*TINY, "--folder", "mine", "--threads", "2")[0] == 0
    monkeypatch.delenv("OMP_NUM_THREADS")
    for cores, words, number in ((4, (), 2), (1, (), 1), (4, ("--threads", "3"), 3)):
        monkeypatch.setattr(threads, "num_cores", lambda cores=cores: cores)
        for verb in ("sample", "evaluate"):
            threads.use(4)
            assert cli(verb, "mine", *words)[0] == 0
            assert torch.get_num_threads() == number


def test_operations_are_those_of_the_layers_and_recurrent_ones_are_not_counted(digits, waves):
    def counted(datamodule, *words) -> dict:
        config = parse_run(run.COMMAND_LINE, ["--accelerator", "cpu", *words])
        return choice._work(config, datamodule)

    # one layer each way, of 64 images of 64 pixels and 16 latents: forward, and backward to weights and inputs
    work = counted(digits, "--model", "ae", "--model.network", "mlp", "--model.hidden", "[]")
    assert work == {"operations": 2 * 64 * 64 * 16 * (2 + 3), "is_whole": True}
    assert not counted(waves(), "--model", "rnn_ae", "--data", "timeseries", "--data.root", "x")["is_whole"]


def test_a_model_that_fails_is_left_to_its_training(monkeypatch, digits, machine):
    machine({1: 0.1, 2: 0.1})
    config = parse_run(run.COMMAND_LINE, ["--accelerator", "cpu"])

    class Broken(build.build_model(config, digits.dataset).__class__):
        def training_step(self, *args):
            raise RuntimeError("broken")

    monkeypatch.setattr(length, "build_model", lambda config, data: Broken(data.image_shape, 10))
    assert choice.choose_threads(config, digits) == 1
    with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:  # the trial's own is closed
        torch.ones(2, 2) @ torch.ones(2, 2)
    assert counter.get_total_flops() == 16


def test_large_extractors_take_all_threads(digits):
    seen = []
    extractor = PixelFeatures(digits.dataset)
    extractor.prepare = lambda images: seen.append(torch.get_num_threads()) or images.float()
    images = digits.dataset.heldout.images[:2]
    for is_large, (number, most) in ((False, (1, 2)), (True, (1, 2)), (True, (3, None))):
        extractor.is_large = is_large
        threads.use(number, most)
        extractor(images)
        assert torch.get_num_threads() == number
    assert seen == [1, 2, 3]


def test_data_do_not_depend_on_the_number(cli, monkeypatch):
    from datamodules.digits import Digits

    seen, setup = [], Digits.setup
    monkeypatch.setattr(Digits, "setup", lambda self, *args: (seen.append(torch.get_num_threads()), setup(self))[1])
    threads.use(3)
    assert cli("prefetch", "--metrics.features", "pixels", "--threads", "2")[0] == 0
    assert seen == [1] and torch.get_num_threads() == 2


def test_workers_of_an_ablation_share_the_cores(cli, monkeypatch):
    monkeypatch.setattr("lightning_genae.ablation.command.num_cores", lambda: 4)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    words = ("ablate", *TINY, "--seed", "0,1", "--dry_run", "true")
    assert "with 4 at a time" in cli(*words)[1]
    assert "with 2 at a time" in cli(*words, "--threads", "2")[1]
    assert "with 1 at a time" in cli(*words, "--threads", "9")[1]
    assert not Path("runs").exists() or not list(Path("runs").rglob("results.json"))


def test_the_number_is_no_part_of_what_a_run_is(cli):
    assert cli(*TINY, "--threads", "2")[0] == 0
    (path,) = Path("runs").rglob("results.json")
    status, output, _ = cli(*TINY)
    assert status == 0 and "This run is finished" in output
    assert json.loads(path.read_text())["threads"] == 2
