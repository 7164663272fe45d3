"""Where the runs of a grid run: on this machine, in arrays of a Slurm cluster, or in sbatch files for others to submit.

Both launchers are submitit's (https://github.com/facebookincubator/submitit). A run is `python run.py ...` in a process
of its own: Lightning starts further ones for several devices, or finds those that srun started. What a run is at is
told by its own folder, because a cluster without accounting does not say how a job ended.
"""

import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import submitit
from filelock import FileLock, Timeout

from lightning_genae.ablation.grid import Cell

MAX_ARRAY = 1000  # jobs of an array; Slurm's default limit is 1001
INTERRUPTED = 130  # exit status
JOBS = "jobs"  # folder of submitit's files, in the grid's
PARAMETERS = {"limit": "slurm_array_parallelism", "partition": "slurm_partition", "time": "slurm_time"}


class Task(NamedTuple):
    """Something that a launcher starts.

    Attributes:
        words: after `python run.py`.
        log: file for what it prints; its error, if it fails, goes beside it.
    """

    words: list[str]
    log: Path

    @property
    def error(self) -> Path:
        return self.log.with_suffix(".error")

    @classmethod
    def of(cls, cell: Cell, overwrite: bool = False) -> "Task":
        return cls([*cell.words, *["--overwrite"] * overwrite], cell.folder.with_suffix(".log"))


class Job:
    """What submitit calls in a process of its own; a job that is to be requeued goes on from the last checkpoint.

    Args:
        task: to be done.
        environment: variables that it gets beside those of its process.
        stop: the job ends when this file is there.
        owner: the job ends with this process; None: with none.
    """

    def __init__(self, task: Task, environment: dict[str, str], stop: Path | None = None, owner: int | None = None):
        self.task = task
        self.environment = environment
        self.stop = stop
        self.owner = owner

    def __call__(self) -> int:
        task = self.task
        task.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(_run_py()), *task.words]
        is_first = os.environ.get("SLURM_PROCID", "0") == "0"
        environment = {**os.environ, **self.environment}
        # beside other jobs of a node torch would take all of its cores
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
        """Called by submitit when the job has to make room or its time is up."""
        self._end()
        return submitit.helpers.DelayedSubmission(Job(self.task, self.environment, self.stop, self.owner))

    def _poll(self) -> int | None:
        try:
            return self.process.wait(1)
        except subprocess.TimeoutExpired:
            return None

    def _is_over(self) -> bool:
        """Whether nobody wants the result any more."""
        return bool(self.stop and self.stop.exists()) or not (self.owner is None or _is_alive(self.owner))

    def _end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def _wait_for_another(self, seconds: float = 60) -> None:
        """Lets one that an ablation left behind when it was killed notice that and end."""
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
    """Slurm signals all processes of a job, but this is for the one above, which asks the run to stop."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def _run_py() -> Path:
    """The program, found without importing it: it is what imports this package."""
    return Path(importlib.util.find_spec("run").origin).resolve()


def _error(status: int, log: Path) -> str:
    """The one line in which a run says what was wrong, from the end of what it printed."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}, for want of memory perhaps"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        lines = file.read().decode(errors="replace").replace("\r", "\n").splitlines()
    own = [line.removeprefix("run.py: ").removeprefix("error: ") for line in lines if line.startswith("run.py: ")]
    return own[-1] if own else next((line for line in reversed(lines) if line.strip()), f"exit status {status}")


class Local:
    """Runs on this machine, some at a time.

    Args:
        folder: of the grid.
        workers: how many at a time; each gets its share of the cores, or a GPU.
        num_gpus: of this machine.
        devices: of a run; of one each run has a GPU of its own.
    """

    def __init__(self, folder: Path, workers: int, num_gpus: int = 0, devices: int = 1):
        self.executor = submitit.LocalExecutor(folder / JOBS)
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
        """Logs of what runs or waits; starts what there is room for."""
        self.running = {slot: (task, job) for slot, (task, job) in self.running.items() if not job.done()}
        for slot in range(self.workers):
            if slot not in self.running and self.waiting:
                task = self.waiting.pop(0)
                self.running[slot] = (task, self._start(Job(task, self._environment(slot), self.stop, os.getpid())))
        return {task.log for task in [*self.waiting, *(task for task, _ in self.running.values())]}

    def cancel(self) -> None:
        """Stops what runs; the same command goes on with it."""
        self.waiting = []
        self.stop.touch()
        while any(not job.done() for _, job in self.running.values()):
            time.sleep(0.2)
        self.stop.unlink()
        self.running = {}

    def _start(self, job: Job) -> submitit.Job:
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which jobs inherit: `stop` ends them, not Ctrl-C
        try:
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


class Slurm:
    """Job arrays of a Slurm cluster.

    Args:
        folder: of the grid, which all nodes see.
        options: `time`, `partition` and `limit` (jobs of an array at a time); others are sbatch's.
        devices: processes of a run.

    Raises:
        ValueError: there is no Slurm here, or it refuses the jobs.
    """

    def __init__(self, folder: Path, options: dict[str, str], devices: int):
        try:
            self.executor = submitit.AutoExecutor(folder / JOBS, cluster="slurm", slurm_max_num_timeout=100)
        except RuntimeError as error:
            raise ValueError(
                "--launcher: expected a machine with Slurm's sbatch and squeue for slurm, got one without; --launcher "
                "print writes files that another one can submit"
            ) from error
        own = {
            PARAMETERS[key]: int(value) if value.isdigit() else value
            for key, value in options.items()
            if key in PARAMETERS
        }
        rest = {key.replace("_", "-"): value for key, value in options.items() if key not in PARAMETERS}
        self.executor.update_parameters(
            name="lightning_genae", tasks_per_node=devices, slurm_additional_parameters=rest, **own
        )
        self.known = folder / JOBS / "submitted.json"

    def submit(self, tasks: list[Task]) -> None:
        submitted = self._submitted()
        for start in range(0, len(tasks), MAX_ARRAY):
            part = tasks[start : start + MAX_ARRAY]
            try:
                with self.executor.batch():  # an array; not by map_array, whose jobs have no checkpoint of their own
                    jobs = [self.executor.submit(Job(task, {})) for task in part]
            except submitit.core.utils.FailedJobError as error:
                reason = str(error).strip().splitlines()[-1]
                raise ValueError(
                    f"--launcher: expected a cluster that takes the jobs; sbatch says: {reason}"
                ) from error
            submitted |= {str(task.log): job.job_id for task, job in zip(part, jobs)}
        self.known.write_text(json.dumps(submitted))

    def active(self) -> set[Path]:
        """Logs of what is queued or runs, submitted by an earlier call too."""
        submitted = self._submitted()
        if not submitted:
            return set()
        arrays = ",".join(sorted({job_id.partition("_")[0] for job_id in submitted.values()}))
        words = ["squeue", "-h", "-r", "-j", arrays, "-o", "%i"]
        done = subprocess.run(words, capture_output=True, text=True)
        queued = set(done.stdout.split())
        return {Path(log) for log, job_id in submitted.items() if job_id in queued}

    def cancel(self) -> None:
        """Nothing: what is queued goes on; the same command looks after it again."""

    def _submitted(self) -> dict[str, str]:
        return json.loads(self.known.read_text()) if self.known.is_file() else {}


def write_sbatch(folder: Path, tasks: list[Task], options: dict[str, str], devices: int) -> Path:
    """An sbatch file, and the commands that its array runs, for a site whose Slurm cannot be reached from here."""
    folder.mkdir(parents=True, exist_ok=True)
    commands = folder / "commands.txt"
    commands.write_text("".join(f"{shlex.join([sys.executable, str(_run_py()), *task.words])}\n" for task in tasks))
    limit = options.get("limit", str(len(tasks)))
    given = {key.replace("_", "-"): value for key, value in options.items() if key != "limit"}
    own = {"job-name": "lightning_genae", "ntasks-per-node": str(devices)}
    own |= {"chdir": str(Path.cwd()), "output": str(folder.resolve() / "%A_%a.out")}
    given = own | given
    path = folder / "array.sbatch"
    path.write_text(
        "\n".join(
            [
                "#!/bin/bash",
                f"#SBATCH --array=0-{len(tasks) - 1}%{limit}",
                "#SBATCH --requeue",
                *(f"#SBATCH --{key}={value}" for key, value in given.items()),
                "# a run that is started again goes on from its last checkpoint, or says that it is finished",
                f'eval "srun $(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {shlex.quote(str(commands.resolve()))})"',
                "",
            ]
        )
    )
    return path
