"""Runs of a grid on a Slurm cluster: as job arrays, by submitit (https://github.com/facebookincubator/submitit), or as
sbatch files to submit by hand. A run is `python run.py ...` in its own process: Lightning uses those that srun started.

Nothing is submitted twice. Each array has a unique name, which is written to a file before sbatch is called; the ids of
its jobs are written after. A call that finds the first note without the second looks for the name in the queue. If
squeue does not answer, the queue is unknown and nothing is submitted.
"""

import json
import logging
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import DelayedSubmission, FailedJobError, JobPaths

from lightning_genae.ablation.launch import Task, error_of, python_path, run_py, wait_for_another
from lightning_genae.files import write_text

ALL_OR_NONE = "--kill-on-bad-exit=1"  # else a process would wait for hours for another one that failed
MAX_ARRAY = 1000  # jobs of an array
MAX_REQUEUES = 100  # of a job whose time is up
SECONDS_TO_ANSWER = 60
PARAMETERS = {"limit": "slurm_array_parallelism", "partition": "slurm_partition", "time": "slurm_time"}
NAME = "lightning_genae"  # of jobs
JOBS = "jobs"  # folder of submitit's files, in the grid's
log = logging.getLogger("lightning_genae")


def check_cluster() -> None:
    """Raises OSError on a machine without Slurm."""
    if not shutil.which("srun"):  # submitit checks the same
        raise OSError(
            "--launcher: expected a machine with Slurm's sbatch and squeue for slurm, got one without; --launcher "
            "print writes files that another one can submit"
        )


class Job:
    """What submitit calls in a separate process; a requeued job continues from the last checkpoint.

    Args:
        task: to be done.
    """

    def __init__(self, task: Task):
        self.task = task

    def __call__(self) -> int:
        task = self.task
        task.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(run_py()), *task.words]
        is_first = os.environ.get("SLURM_PROCID", "0") == "0"
        # torch would take all cores of a node that other jobs use too
        environment = {"OMP_NUM_THREADS": os.environ.get("SLURM_CPUS_PER_TASK", "1"), **os.environ}
        if is_first:
            wait_for_another(task.log)
        with task.log.open("a") if is_first else open(os.devnull, "w") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, preexec_fn=_ignore_signals
            )
            while (status := self._poll()) is None:
                pass
        if is_first and status:
            task.error.write_text(error_of(status, task.log) + "\n")
        return status

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Called by submitit when the job is preempted or its time is up."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        return submitit.helpers.DelayedSubmission(Job(self.task))

    def _poll(self) -> int | None:
        try:
            return self.process.wait(1)  # not longer, because `checkpoint` waits, too, in a signal's handler
        except subprocess.TimeoutExpired:
            return None


def _ignore_signals() -> None:
    """Slurm signals all processes of a job; only the parent process handles the signal, and asks the run to stop."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


class Slurm:
    """Job arrays of a Slurm cluster.

    Args:
        folder: of the grid, visible to all nodes.
        options: `time`, `partition` and `limit` (jobs of an array at a time); all others are passed to sbatch.
        devices: processes of a run.

    Raises:
        ValueError: Slurm refuses the jobs, or an sbatch file cannot hold the options.
        OSError: there is no Slurm here, or it does not say what is queued.
    """

    def __init__(self, folder: Path, options: dict[str, str], devices: int):
        check_options(options, whole=("limit", "time"))
        check_path(folder.resolve())
        known = {PARAMETERS[key]: value for key, value in options.items() if key in PARAMETERS}
        self.parameters: dict[str, Any] = {
            key: int(value) if value.isdigit() else value for key, value in known.items()
        }
        self.parameters |= {"tasks_per_node": devices, "slurm_setup": _exports(python_path())}
        self.parameters["slurm_srun_args"] = [ALL_OR_NONE]
        rest = {key.replace("_", "-"): value for key, value in options.items() if key not in PARAMETERS}
        self.name = rest.pop("job-name", NAME)
        self.parameters["slurm_additional_parameters"] = rest
        self.jobs = folder / JOBS
        self.submitted, self.submitting = self.jobs / "submitted.json", self.jobs / "submitting.json"
        self.max_array = max_array()
        self.last: set[Path] | None = None  # the last answer of the queue
        self.answers = True
        self._executor(self.name)  # fails early if there is no Slurm
        private(self.jobs)
        if self.submitting.is_file() and not self._take_up():
            self.submitting.unlink()  # the array was never submitted, or all its jobs have ended

    def submit(self, tasks: list[Task]) -> None:
        for start in range(0, len(tasks), self.max_array):
            self._submit(tasks[start : start + self.max_array])

    def active(self) -> set[Path]:
        """Logs of tasks that are queued or run, those of earlier calls too; the last answer if Slurm gives none.

        Raises:
            OSError: Slurm has never answered.
        """
        submitted = _read(self.submitted)
        if not submitted:
            return set()
        try:
            queued = queue()
        except OSError as error:
            if self.last is None:
                raise
            if self.answers:
                log.warning(f"{error}; waiting for an answer")
            self.answers = False
            return self.last
        self.answers = True
        self.last = {Path(path) for path, job_id in submitted.items() if job_id in queued}
        return self.last

    def close(self) -> None:
        """Does nothing: queued jobs continue, and the same command watches them again."""

    def _submit(self, tasks: list[Task]) -> None:
        name = f"{self.name}-{secrets.token_hex(6)}"
        note = {"name": name, "tasks": [[task.words, str(task.log)] for task in tasks]}
        write_text(self.submitting, json.dumps(note))
        executor = self._executor(name)
        private(self.jobs / name)
        os.environ.pop("SBATCH_JOB_NAME", None)  # it would replace the name in the file
        try:
            with executor.batch():  # an array; jobs of map_array have no separate checkpoints
                jobs = [executor.submit(Job(task)) for task in tasks]
        except FailedJobError as error:
            # sbatch also fails when it times out after the jobs were queued
            if not self._take_up():
                reason = str(error).strip().splitlines()[-1]
                raise ValueError(
                    f"--launcher: expected a cluster that takes the jobs; sbatch says: {reason}"
                ) from error
        else:
            self._note(tasks, [job.job_id for job in jobs])

    def _executor(self, name: str) -> submitit.AutoExecutor:
        """The executor of one array, whose files lie in a separate folder."""
        check_cluster()
        executor = submitit.AutoExecutor(self.jobs / name, cluster="slurm", slurm_max_num_timeout=MAX_REQUEUES)
        executor.update_parameters(name=name, **self.parameters)
        return executor

    def _take_up(self) -> bool:
        """Takes over an array whose submission was interrupted; False if none of its jobs is queued."""
        begun = _read(self.submitting)
        ids = [job_id for job_id, name in queue().items() if name == begun["name"]]
        if not ids:
            return False
        tasks = [Task(words, Path(path)) for words, path in begun["tasks"]]
        array = ids[0].partition("_")[0]
        job_ids = [f"{array}_{i}" for i in range(len(tasks))] if len(tasks) > 1 else [array]
        for task, job_id in zip(tasks, job_ids):
            pickle = JobPaths(private(self.jobs / begun["name"]), job_id).submitted_pickle
            if not pickle.exists():  # jobs wait a minute for it
                delayed = DelayedSubmission(Job(task))
                delayed.set_timeout(self.parameters.get("slurm_time", 5), MAX_REQUEUES)
                delayed.dump(pickle)
        self._note(tasks, job_ids)
        return True

    def _note(self, tasks: list[Task], job_ids: list[str]) -> None:
        new = {str(task.log): job_id for task, job_id in zip(tasks, job_ids)}
        write_text(self.submitted, json.dumps(_read(self.submitted) | new))
        self.submitting.unlink()
        self.last = (self.last or set()) | {task.log for task in tasks}


def queue() -> dict[str, str]:
    """Ids of the user's jobs that are queued or run, and their names.

    Raises:
        OSError: squeue fails.
    """
    words = ["squeue", "-h", "-r", "-u", str(os.getuid()), "-o", "%i %j"]
    # the user's settings for squeue could hide jobs
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS_TO_ANSWER, env=environment)
        done.check_returncode()
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        said = said.decode(errors="replace") if isinstance(said, bytes) else said
        raise OSError(
            f"--launcher: expected squeue to say what is queued, got: {' '.join(said.split())}; the same command looks "
            "again, and submits nothing before it knows"
        ) from error
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def max_array() -> int:
    """The number of jobs that an array can have at this site; Slurm's default if it is unknown."""
    try:
        words = ["scontrol", "show", "config"]
        config = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS_TO_ANSWER).stdout
    except (OSError, subprocess.SubprocessError):
        return MAX_ARRAY
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", config, re.MULTILINE)
    return max(1, min(MAX_ARRAY, int(found[1]))) if found else MAX_ARRAY


def write_sbatch(folder: Path, tasks: list[Task], options: dict[str, str], devices: int) -> list[Path]:
    """Writes sbatch files, and the commands that their arrays run, for a cluster that cannot be reached from here.

    Raises:
        ValueError: an sbatch file cannot hold an option, a path or a word.
    """
    check_options(options, whole=("limit",))
    for path in (folder.resolve(), Path.cwd()):
        check_path(path)
    command = [sys.executable, str(run_py())]
    for word in [*command, *(word for task in tasks for word in task.words)]:
        if "\n" in word:
            raise ValueError(f"--launcher: expected words of one line for print, got {word!r}")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("array*.sbatch"):
        old.unlink()
    commands = folder / "commands.txt"
    commands.write_text("".join(f"{shlex.join([*command, *task.words])}\n" for task in tasks))
    defaults = {"job-name": NAME, "ntasks-per-node": str(devices), "open-mode": "append"}
    defaults |= {"chdir": str(Path.cwd()), "output": str(folder.resolve() / "%A_%a.out")}
    settings = defaults | {key.replace("_", "-"): value for key, value in options.items() if key != "limit"}
    most = max_array()
    paths: list[Path] = []
    for first in range(0, len(tasks), most):
        num = min(most, len(tasks) - first)
        line = f'"$((SLURM_ARRAY_TASK_ID + {first + 1}))p"'
        text = [
            "#!/bin/bash",
            f"#SBATCH --array=0-{num - 1}%{options.get('limit', num)}",
            "#SBATCH --requeue",
            *(f"#SBATCH --{key}={shlex.quote(value)}" for key, value in settings.items()),
            "# a run that is started again resumes from its last checkpoint, or reports that it is finished",
            f'eval "srun {ALL_OR_NONE} $(sed -n {line} {shlex.quote(str(commands.resolve()))})"',
            "",
        ]
        paths.append(folder / ("array.sbatch" if len(tasks) <= most else f"array-{len(paths)}.sbatch"))
        paths[-1].write_text("\n".join(text))
    return paths


def check_options(options: dict[str, str], whole: tuple[str, ...] = ()) -> None:
    """Raises ValueError for options that an sbatch file cannot hold: Slurm reads one option per line, and its quoting
    differs from the shell's.

    Args:
        options: names and values.
        whole: names of options that must be whole numbers above 0.
    """
    for key, value in options.items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", key) or key == "array":
            raise ValueError(f"--slurm.{key.split()[0] if key.split() else ''}: there is no such option here")
        if key in whole and not re.fullmatch("[1-9][0-9]*", value):
            raise ValueError(f"--slurm.{key}: expected a whole number above 0; got '{value}'")
        if not value.isprintable() or "\\" in value:
            raise ValueError(f"--slurm.{key}: expected text of one line without backslashes; got {value!r}")


def check_path(path: Path) -> None:
    """Raises ValueError for a path that Slurm would misread: it replaces % by, for example, a job's id."""
    if not str(path).isprintable() or set("%\\") & set(str(path)):
        raise ValueError(
            f"--folder: expected a folder for a cluster whose path has neither %, backslashes nor line breaks; got "
            f"{str(path)!r}"
        )


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


def _read(path: Path) -> dict:
    return json.loads(path.read_text()) if path.is_file() else {}


def _exports(variables: dict[str, str]) -> list[str]:
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
