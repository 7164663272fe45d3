"""Launches the runs of a grid on this machine; slurm.py does so on a cluster.

The state of a run is read from its folder, because a cluster without accounting does not say how a job ended.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from lightning_genae.ablation.grid import Cell
from lightning_genae.threads import limit

SERVER = "from lightning_genae.ablation.workers import main; main()"


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


def run_py() -> Path:
    """The path of run.py, found without importing it, because run.py imports this package."""
    spec = importlib.util.find_spec("run")
    assert spec and spec.origin, "run.py is not installed"
    return Path(spec.origin).resolve()


def python_path() -> dict[str, str]:
    """Environment variables with which Python finds this project, and imports nothing from the current folder."""
    paths = [str(run_py().parent), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def error_of(status: int, log: Path) -> str:
    """The one-line error of a run, from the end of its log."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}, for want of memory perhaps"
    if not log.is_file():
        return f"exit status {status}"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        lines = file.read().decode(errors="replace").replace("\r", "\n").splitlines()
    errors = [line.removeprefix("run.py: ").removeprefix("error: ") for line in lines if line.startswith("run.py: ")]
    return errors[-1] if errors else next((line for line in reversed(lines) if line.strip()), f"exit status {status}")


def wait_for_another(log: Path, seconds: float = 60) -> None:
    """Waits for a run of a killed ablation, whose log is given, to notice that and end."""
    folder = log.with_suffix("")
    if folder.is_dir():
        with suppress(Timeout), FileLock(folder / ".lock").acquire(timeout=seconds):
            pass


class Local:
    """Runs on this machine, some at a time, in processes that share their imports: see workers.py.

    Args:
        workers: runs at a time; each gets an equal part of the cores, or a GPU.
        num_gpus: of this machine.
        devices: of a run; if 1, each run gets a separate GPU.
    """

    def __init__(self, workers: int, num_gpus: int = 0, devices: int = 1):
        self.environments = [_visible(slot, num_gpus, devices) for slot in range(workers)]
        self.num_threads = limit(workers)
        self.tasks: dict[str, Task] = {}  # that run or wait, by log
        self.server: subprocess.Popen | None = None
        self.rest = b""  # of a line that has not arrived whole

    def submit(self, tasks: list[Task]) -> None:
        if not tasks:
            return
        self.server = self.server or self._start()
        self.tasks |= {str(task.log): task for task in tasks}
        assert self.server.stdin
        with suppress(BrokenPipeError):  # `active` says that the server has ended
            self.server.stdin.writelines(json.dumps([task.words, str(task.log)]).encode() + b"\n" for task in tasks)
            self.server.stdin.flush()

    def active(self) -> set[Path]:
        """Logs of the tasks that run or wait.

        Raises:
            RuntimeError: the process that starts them has ended.
        """
        while self.server and self.tasks and (data := self._read()) is not None:
            *lines, self.rest = (self.rest + data).split(b"\n")
            for log, status in map(json.loads, lines):
                task = self.tasks.pop(log)
                if status:
                    task.error.write_text(error_of(status, task.log) + "\n")
            if not data:
                raise RuntimeError(f"the process that starts the runs has ended: {self._last_words()}")
        return {task.log for task in self.tasks.values()}

    def close(self) -> None:
        """Stops all runs; the same command resumes them."""
        if self.server:
            self.server.communicate()  # closes the server's input, on which it ends
            self.errors.close()
        self.server, self.tasks, self.rest = None, {}, b""

    def _start(self) -> subprocess.Popen:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115, until `close`
        threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(self.num_threads))}  # the most of a run
        # ignored by the server and its runs, so that the end of the input ends them, not Ctrl-C
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            server = subprocess.Popen(
                [sys.executable, "-c", SERVER, json.dumps(self.environments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                env={**os.environ, **python_path(), **threads},
            )
        finally:
            signal.signal(signal.SIGINT, handler)
        assert server.stdout
        os.set_blocking(server.stdout.fileno(), False)
        return server

    def _read(self) -> bytes | None:
        """What the server has written since the last call; None if that is nothing, empty at its end."""
        assert self.server and self.server.stdout
        with suppress(BlockingIOError):
            return os.read(self.server.stdout.fileno(), 2**16)
        return None

    def _last_words(self) -> str:
        """How the server ended, from what it said."""
        assert self.server
        status = self.server.wait()
        self.errors.seek(0)
        lines = [line for line in self.errors.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else f"exit status {status}"


def _visible(slot: int, num_gpus: int, devices: int) -> dict[str, str]:
    """The variables that show a run its GPU; without GPUs there are none."""
    if not num_gpus:
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(num_gpus))))
    every = visible.split(",")
    return {"CUDA_VISIBLE_DEVICES": every[slot % len(every)] if devices == 1 else visible}
