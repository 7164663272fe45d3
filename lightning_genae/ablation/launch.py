"""Launches the runs of a grid on this machine; slurm.py does so on a cluster.

Both launchers are submitit's (https://github.com/facebookincubator/submitit). A run is `python run.py ...` in its
own process: Lightning starts more processes for several devices, or uses those that srun started. The state of a run is
read from its folder, because a cluster without accounting does not say how a job ended.
"""

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import submitit
from filelock import FileLock, Timeout
from submitit.core.utils import environment_variables

from lightning_genae.ablation.grid import Cell

INTERRUPTED = 130  # exit status
JOBS = "jobs"  # folder of submitit's files, in the grid's


class Task(NamedTuple):
    """Something that a launcher starts.

    Attributes:
        words: after `python run.py`.
        log: file for its output; the error of a failed task is written beside it.
    """

    words: list[str]
    log: Path

    @property
    def error(self) -> Path:
        return self.log.with_suffix(".error")

    @classmethod
    def of(cls, cell: Cell) -> "Task":
        return cls(cell.words, cell.folder.with_suffix(".log"))


class Job:
    """What submitit calls in a separate process; a requeued job continues from the last checkpoint.

    Args:
        task: to be done.
        environment: variables added to those of the process.
        stop: the job ends when this file exists.
        owner: process id; the job ends when this process does. None: the job does not depend on a process.
    """

    def __init__(self, task: Task, environment: dict[str, str], stop: Path | None = None, owner: int | None = None):
        self.task = task
        self.environment = environment
        self.stop = stop
        self.owner = owner

    def __call__(self) -> int:
        task = self.task
        task.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(run_py()), *task.words]
        is_first = os.environ.get("SLURM_PROCID", "0") == "0"
        environment = {**os.environ, **self.environment}
        # torch would take all cores of a node that other jobs use too
        environment.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK", "1"))
        if is_first:
            self._wait_for_another()
        with task.log.open("a") if is_first else open(os.devnull, "w") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, preexec_fn=_ignore_signals
            )
            while (status := self._poll()) is None:
                if self._is_over():
                    self._end()
                    return INTERRUPTED
        if is_first and status:
            task.error.write_text(_error(status, task.log) + "\n")
        return status

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Called by submitit when the job is preempted or its time is up."""
        self._end()
        return submitit.helpers.DelayedSubmission(Job(self.task, self.environment, self.stop, self.owner))

    def _poll(self) -> int | None:
        try:
            return self.process.wait(1)
        except subprocess.TimeoutExpired:
            return None

    def _is_over(self) -> bool:
        """Whether the result is no longer wanted."""
        return bool(self.stop and self.stop.exists()) or not (self.owner is None or _is_alive(self.owner))

    def _end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def _wait_for_another(self, seconds: float = 60) -> None:
        """Waits for a job of a killed ablation to notice that and end."""
        folder = self.task.log.with_suffix("")
        if folder.is_dir():
            with suppress(Timeout), FileLock(folder / ".lock").acquire(timeout=seconds):
                pass


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _ignore_signals() -> None:
    """Slurm signals all processes of a job; only the parent process handles the signal, and asks the run to stop."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def run_py() -> Path:
    """The path of run.py, found without importing it, because run.py imports this package."""
    spec = importlib.util.find_spec("run")
    assert spec and spec.origin, "run.py is not installed"
    return Path(spec.origin).resolve()


def private(folder: Path) -> Path:
    """Makes a folder that no other user can read or write, because submitit runs the pickles that it finds there.

    Raises:
        ValueError: the folder is a link.
        PermissionError: the folder belongs to another user.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.is_symlink():
        raise ValueError(f"--folder: expected a folder of this ablation's own at '{folder}', got a link; remove it")
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    return folder


def python_path() -> dict[str, str]:
    """Environment variables with which Python finds this project, and imports nothing from the current folder."""
    paths = [str(run_py().parent), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def _error(status: int, log: Path) -> str:
    """The one-line error of a run, from the end of its log."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}, for want of memory perhaps"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        lines = file.read().decode(errors="replace").replace("\r", "\n").splitlines()
    errors = [line.removeprefix("run.py: ").removeprefix("error: ") for line in lines if line.startswith("run.py: ")]
    return errors[-1] if errors else next((line for line in reversed(lines) if line.strip()), f"exit status {status}")


class Local:
    """Runs on this machine, some at a time.

    Args:
        folder: of the grid.
        workers: runs at a time; each gets an equal part of the cores, or a GPU.
        num_gpus: of this machine.
        devices: of a run; if 1, each run gets a separate GPU.
    """

    def __init__(self, folder: Path, workers: int, num_gpus: int = 0, devices: int = 1):
        # a new folder for every call: submitit runs any pickle whose name is the process's number
        self.executor = submitit.LocalExecutor(tempfile.mkdtemp(prefix="local-", dir=private(folder / JOBS)))
        self.executor.update_parameters(timeout_min=60 * 24 * 365)
        self.workers = workers
        self.num_gpus = num_gpus
        self.devices = devices
        self.stop = folder / JOBS / "stop"
        self.stop.unlink(missing_ok=True)
        self.num_threads = max(1, (os.cpu_count() or 1) // workers)
        self.waiting: list[Task] = []
        self.running: dict[int, tuple[Task, submitit.Job]] = {}

    def submit(self, tasks: list[Task]) -> None:
        self.waiting += tasks

    def active(self) -> set[Path]:
        """Logs of the tasks that run or wait; starts waiting tasks where a worker is free."""
        self.running = {slot: (task, job) for slot, (task, job) in self.running.items() if not job.done()}
        for slot in range(self.workers):
            if slot not in self.running and self.waiting:
                task = self.waiting.pop(0)
                self.running[slot] = (task, self._start(Job(task, self._environment(slot), self.stop, os.getpid())))
        return {task.log for task in [*self.waiting, *(task for task, _ in self.running.values())]}

    def cancel(self) -> None:
        """Stops all runs; the same command resumes them."""
        self.waiting = []
        self.stop.touch()
        while any(not job.done() for _, job in self.running.values()):
            time.sleep(0.2)
        self.stop.unlink()
        self.running = {}

    def _start(self, job: Job) -> submitit.Job:
        handler = signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # inherited by jobs, so that `stop` ends them, not Ctrl-C
        try:
            with environment_variables(**python_path()):
                return self.executor.submit(job)
        finally:
            signal.signal(signal.SIGINT, handler)

    def _environment(self, slot: int) -> dict[str, str]:
        environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(self.num_threads))}
        if self.num_gpus:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(self.num_gpus))))
            devices = visible.split(",")
            environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)] if self.devices == 1 else visible
        return environment
