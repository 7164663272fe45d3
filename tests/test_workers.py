"""Processes that share their imports: what each starts from, and what ends it. Most tests have a stand-in for run.py,
and a server that imports nothing beforehand."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from filelock import FileLock
from safetensors.torch import load_file

from lightning_genae import threads
from lightning_genae.ablation import launch
from lightning_genae.ablation.launch import Local, Task
from tests.conftest import ROOT, shell
from tests.test_run import results

SHORT = ("--steps", "20", "--metrics.num_samples", "100", "--metrics.features", "pixels")
STAND_IN = """
import json, os, signal, sys, threading, time
import numpy as np
import numpy.random

IMPORTED_IN, runs = os.getpid(), []

def main(words):
    runs.append(words)
    if words[0] == "show":
        names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PYTHONSAFEPATH")
        shown = {name: os.environ.get(name) for name in names}
        shown |= {"in": IMPORTED_IN, "parent": os.getppid(), "process": os.getpid(), "runs": len(runs)}
        shown |= {"argv": sys.argv, "main": sys.modules["__main__"].__spec__, "threads": threading.active_count()}
        shown |= {"drawn": np.random.rand(), "input": sys.stdin.read(), "tasks": len(os.listdir("/proc/self/task"))}
        shown |= {f"signal {number}": signal.getsignal(number) for number in (2, 10, 12, 15)}
        shown |= {"blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, []))}
        shown |= {"files": len(os.listdir("/proc/self/fd"))}
        print(json.dumps(shown))
    elif words[0] == "fail":
        print("run.py: error: --model.lr: too large", file=sys.stderr)
        return 2
    elif words[0] == "raise":
        raise RuntimeError("a mistake of this project")
    elif words[0] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif words[0] == "wait":  # writes its number, and what it was asked by
        asked = []
        signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
        print(os.getpid(), flush=True)
        while not asked:
            time.sleep(0.01)
        print("asked", asked)
        return 130
    return 0
"""
LIGHT = "from lightning_genae.ablation import workers; workers.OWN = workers.OTHERS = (); workers.main()"
OWNER = """
import sys, time
from pathlib import Path
from lightning_genae.ablation import launch
launch.SERVER, launch.run_py = sys.argv[1], lambda: Path(sys.argv[2])
launcher = launch.Local(workers=1)
launcher.submit([launch.Task(["wait"], Path("wait.log"))])
while True:
    launcher.active()
    time.sleep(0.05)
"""


@pytest.fixture
def local(tmp_path, monkeypatch):
    """Makes launchers whose runs are those of the stand-in; they are closed in the end."""
    path = tmp_path / "stand-in" / "run.py"
    path.parent.mkdir()
    path.write_text(STAND_IN)
    monkeypatch.setattr(launch, "run_py", lambda: path)
    monkeypatch.setattr(launch, "SERVER", LIGHT)
    made = []

    def make(*arguments, **options) -> Local:
        made.append(Local(*arguments, **options))
        return made[-1]

    yield make
    for launcher in made:
        launcher.close()


def until(condition: Callable[[], object], seconds: float = 60) -> object:
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return value


def run_all(launcher: Local, *words: str) -> list[Task]:
    """Runs tasks of one word each, which are also the names of their logs."""
    tasks = [Task([word], Path(f"{number}.log")) for number, word in enumerate(words)]
    launcher.submit(tasks)
    until(lambda: not launcher.active())
    return tasks


def process_of(log: Path) -> int:
    """The process of a task that waits."""
    return int(until(lambda: log.is_file() and log.read_text().strip()).split()[0])


def is_alive(process: int) -> bool:
    state = Path(f"/proc/{process}/stat")
    return state.is_file() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_every_task_begins_clean_also_after_one_that_failed(local, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    tasks = run_all(local(workers=1), "show", "fail", "show", "kill", "raise", "show")
    shown = [json.loads(task.log.read_text()) for task in tasks if task.words == ["show"]]
    first = shown[0]
    assert len({one["process"] for one in shown}) == 3
    for one in shown:
        assert one["in"] == one["parent"] == first["in"], "the server has imported what they share"
        assert one["runs"] == 1 and one["threads"] == one["tasks"] == 1
        assert (
            one["argv"] == [str(launch.run_py()), "show"] and one["main"] is None
        )  # for Lightning's further processes
        assert one["OMP_NUM_THREADS"] == "3" and one["PYTHONSAFEPATH"] == "1"
        assert one["CUDA_VISIBLE_DEVICES"] == os.environ.get("CUDA_VISIBLE_DEVICES")
        assert one["input"] == "" and one["files"] == first["files"] == 4
        assert one["blocked"] == 0
        assert [one[f"signal {number}"] for number in (2, 10, 12, 15)] == [signal.SIG_IGN, *[signal.SIG_DFL] * 3]
    assert len({one["drawn"] for one in shown}) == 3  # as in processes of their own
    errors = [task.error.read_text() if task.error.is_file() else None for task in tasks]
    assert errors[1] == "--model.lr: too large\n" and errors[3].startswith("killed by SIGKILL")
    assert errors[4] == "RuntimeError: a mistake of this project\n"
    assert errors[0] is errors[2] is errors[5] is None


def test_cores_and_gpus_are_divided(local, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(threads, "num_cores", lambda: 8)
    launcher = local(workers=3, num_gpus=2)
    tasks = [Task(["wait"], Path(f"{number}.log")) for number in range(3)]
    launcher.submit([*tasks, Task(["show"], Path("last.log"))])
    for task in tasks:
        process_of(task.log)
    assert launcher.active() == {Path(name) for name in ("0.log", "1.log", "2.log", "last.log")}
    assert not Path("last.log").exists()  # it waits for a free place, which then is the second GPU's
    os.kill(process_of(Path("1.log")), signal.SIGTERM)
    until(lambda: Path("last.log") not in launcher.active())
    shown = json.loads(Path("last.log").read_text())
    assert shown["CUDA_VISIBLE_DEVICES"] == "1" and shown["OMP_NUM_THREADS"] == "2"
    assert Local(workers=1, num_gpus=2, devices=2).environments == [{"CUDA_VISIBLE_DEVICES": "0,1"}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    places = [environment["CUDA_VISIBLE_DEVICES"] for environment in Local(workers=3, num_gpus=2).environments]
    assert places == ["4", "7", "4"]


def test_who_stops_all_waits_until_they_have_saved(local):
    launcher = local(workers=2)
    tasks = [Task(["wait"], Path(f"{number}.log")) for number in range(3)]
    launcher.submit(tasks)
    processes = [process_of(task.log) for task in tasks[:2]]
    launcher.close()
    assert not any(map(is_alive, processes)) and launcher.active() == set()
    for task in tasks[:2]:
        assert task.log.read_text().endswith("asked [15]\n")
        assert not task.error.exists()  # it is no failure: the same command goes on
    assert not tasks[2].log.exists()
    run_all(launcher, "show")  # another server


def test_what_does_not_stop_is_killed(local, monkeypatch):
    monkeypatch.setattr(
        launch, "SERVER", f"from lightning_genae.ablation import workers as w; w.SECONDS_TO_END=1; {LIGHT}"
    )
    launcher = local(workers=1)
    launcher.submit([Task(["wait"], Path("wait.log"))])
    process = process_of(Path("wait.log"))
    os.kill(process, signal.SIGSTOP)
    launcher.close()
    assert not is_alive(process)


@pytest.mark.parametrize("killed", ["owner", "server"])
def test_tasks_end_with_those_that_started_them(local, killed):
    words = [sys.executable, "-c", OWNER, LIGHT, str(launch.run_py())]
    with open("owner.log", "w") as log:
        owner = subprocess.Popen(words, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)})
    process = process_of(Path("wait.log"))
    server = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(owner.pid if killed == "owner" else server, signal.SIGKILL)
    owner.wait(60)
    until(lambda: not is_alive(process) and not is_alive(server))
    assert Path("wait.log").read_text().endswith("asked [15]\n")
    if killed == "server":
        assert "the process that starts the runs has ended: exit status -9" in Path("owner.log").read_text()


def test_signals_for_all_do_not_end_the_server(local):
    """Such as those of a job's end, which go to every process; the launcher says what ends."""
    launcher = local(workers=1)
    run_all(launcher, "show")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        launcher.server.send_signal(number)
    assert not run_all(launcher, "show")[0].error.exists()


def test_a_server_that_cannot_start_says_why(local, monkeypatch):
    monkeypatch.setattr(launch, "SERVER", "import torchh")
    launcher = local(workers=1)
    launcher.submit([Task(["show"], Path("show.log"))])
    with pytest.raises(RuntimeError, match="has ended: ModuleNotFoundError: No module named 'torchh'"):
        until(lambda: not launcher.active())


def test_a_run_of_a_killed_ablation_is_waited_for(local):
    Path("run").mkdir()
    launcher = local(workers=1)
    with FileLock("run/.lock"):
        launcher.submit([Task(["show"], Path("run.log"))])
        until(lambda: Path("run.log").exists())
        time.sleep(0.2)
        assert launcher.active() and not Path("run.log").read_text()
    until(lambda: not launcher.active())
    assert "process" in Path("run.log").read_text()


@pytest.mark.parametrize("shares", [True, False])
def test_runs_import_nothing_from_the_current_folder(tmp_path, monkeypatch, shares):
    """Such as a received one, in which somebody works; also where processes cannot share imports."""
    mark = tmp_path / "mark"
    for name in ("run", "numpy", "lightning_genae", "filelock", "json"):
        Path(f"{name}.py").write_text(f"open({str(mark)!r}, 'w')\nraise SystemExit(9)\n")
    monkeypatch.setattr(launch, "SERVER", LIGHT.replace("; ", f"; workers.SHARES = {shares}; ", 1))
    launcher = Local(workers=1)
    (task,) = run_all(launcher, "--model=wrong")
    launcher.close()
    assert "--model: expected one of" in task.error.read_text()
    assert not mark.exists()


SHARED = """
import os, sys, threading
import torch
from lightning_genae.ablation import workers

def cuda(*_):
    raise SystemExit("CUDA was asked for, and a fork cannot use it again")

torch._C._cuda_getDeviceCount = torch._C._cuda_init = cuda
workers.share_imports()
workers.share_options(sys.argv[1:])
import run
import numpy as np
assert threading.active_count() == len(os.listdir("/proc/self/task")) == 1
assert not os.path.exists("runs") and not os.listdir(".")
before = set(sys.modules)
parsers = len(run.COMMAND_LINE._parsers)
assert parsers == 1
torch._C._cuda_getDeviceCount = lambda: 0
run.main(sys.argv[1:])
late = {name.partition(".")[0] for name in set(sys.modules) - before}
print("LATE", *sorted(late), len(set(sys.modules) - before), len(run.COMMAND_LINE._parsers) - parsers)
"""


@pytest.mark.slow
def test_what_runs_share_is_imported_once_and_starts_nothing(tmp_path):
    words = ("--augment", "ae", *SHORT, "--logger", "wandb", "--accelerator", "cpu")
    done = subprocess.run(
        [sys.executable, "-c", SHARED, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("LATE")]
    *_, modules, parsers = line.split()
    assert int(modules) < 60 and parsers == "0", line


def same(cell: Path, alone: Path) -> None:
    """What two commands of the same options computed is the same, to the bit."""
    assert (cell / "metrics.csv").read_text() == (alone / "metrics.csv").read_text()
    first, second = (load_file(path / "model.safetensors") for path in (cell, alone))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    one, other = results(cell), results(alone)
    assert one["status"] == other["status"] == "finished"
    for key in ("metrics", "best", "protocol", "augment", "settings", "warnings"):
        assert one[key] == other[key], key


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_cells_are_to_the_bit_what_their_own_commands_give(tmp_path, workers):
    """Also after and beside a cell that fails, and one that trains what the others share."""
    shared = ("--metrics.num_samples", "100", "--data.num_train", "200", "--steps", "20")
    arms = {"noise": {"augment": "noise"}, "broken": {"augment": "ae", "augment.checkpoint": "nowhere"}}
    arms |= {"ae": {"augment": "ae", "augment.steps": 30}, "none": {"augment": "none"}}
    (tmp_path / "arms.yaml").write_text(yaml.safe_dump(arms, sort_keys=False))
    words = ("--arms", "arms.yaml", *shared, "--cache", "cache", "--folder", "grid", "--workers", workers)
    done = shell("ablate", *words, cwd=tmp_path)
    assert done.returncode == 1 and "1 of 4 runs have no results" in done.stdout, done.stderr
    assert "arm=broken/seed0 failed: --augment.checkpoint: expected a checkpoint" in done.stdout
    for arm, mine in {"noise": (), "ae": ("--augment.steps", "30"), "none": ()}.items():
        words = ("--augment", arm, *mine, *shared, "--cache", "cache-alone", "--folder", arm)
        alone = shell(*words, cwd=tmp_path)
        assert alone.returncode == 0, alone.stderr
        same(next(tmp_path.glob(f"grid/arm={arm}/**/results.json")).parent, tmp_path / arm)


@pytest.mark.slow
def test_cells_of_two_processes(tmp_path):
    """Lightning starts the second process itself, by the command line of the first."""
    words = (*SHORT, "--devices", "2", "--accelerator", "cpu", "--logger", "none", "--cache", "cache")
    done = shell("ablate", "--augment", "none,noise", *words, "--folder", "grid", "--workers", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    alone = shell("--augment", "none", *words, "--folder", "alone", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    same(tmp_path / "grid/none/seed0", tmp_path / "alone")
