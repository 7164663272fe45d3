"""Contenders that are timed by turns, so that all of them have the same share of a machine's moods.

Each is a process of its own, with its own threads, which works while it has the turn and otherwise sleeps. What it does
is a function of a file in this folder, which gets `turn` and its options, and calls `turn()` after every block of work:

    def bare(turn, size):
        while True:
            ...                # the block that is timed
            turn()

The first block is not timed: it warms up. A function may `turn.note(...)` what goes into the table beside the seconds.
"""

import importlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PIPES = "SPEED_PIPES"  # environment variable: file descriptors of a contender


class Times(NamedTuple):
    """What the blocks of a contender took, one value for each round.

    Attributes:
        wall: seconds.
        cpu: seconds of all threads of its first process.
        notes: what it said of itself.
    """

    wall: list[float]
    cpu: list[float]
    notes: dict

    @property
    def seconds(self) -> float:
        """The median."""
        return statistics.median(self.wall)


class Turn:
    """A contender's side of the pipes. A process without them, such as another rank of a training, never waits."""

    def __init__(self) -> None:
        pipes = os.environ.pop(PIPES, None)
        self.receives, self.sends = (
            [os.fdopen(int(pipe), mode) for pipe, mode in zip(pipes.split(), "rw")] if pipes else (None, None)
        )
        self.start = self.cpu = 0.0
        self.notes: dict = {}

    def note(self, **values: Any) -> None:
        self.notes |= values

    def __call__(self) -> None:
        """Ends a block and waits for the next turn."""
        if self.sends is None:
            return
        wait_for_device()
        block = {"wall": time.perf_counter() - self.start, "cpu": time.process_time() - self.cpu, "notes": self.notes}
        print(json.dumps(block), file=self.sends, flush=True)
        if not self.receives.readline():
            os._exit(0)  # no more turns; an orderly end of a training would take seconds
        self.start, self.cpu = time.perf_counter(), time.process_time()


class Contender:
    """A process that runs `function(turn, **options)`; see above.

    Args:
        function: of a file in this folder.
        threads: of its process. None: as many as torch takes by itself.
        folder: the process's current one.
        options: plain values.
    """

    def __init__(self, function: Callable, threads: int | None, folder: Path, **options: Any):
        self.name = f"{Path(function.__code__.co_filename).stem}:{function.__name__}"
        self.log = Path(folder, f"{function.__name__}-{time.monotonic_ns()}.log")
        reads, theirs_to_write = os.pipe()
        theirs_to_read, writes = os.pipe()
        pipes = (theirs_to_read, theirs_to_write)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), PIPES: " ".join(map(str, pipes))}
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        with self.log.open("w") as log:
            command = [sys.executable, __file__, self.name, json.dumps(options)]
            self.process = subprocess.Popen(
                command,
                env=environment,
                cwd=folder,
                stdout=log,
                stderr=log,
                pass_fds=pipes,
                start_new_session=True,  # to end its own processes with it
            )
        for pipe in pipes:
            os.close(pipe)
        self.receives, self.sends = os.fdopen(reads), os.fdopen(writes, "w")

    def ended_block(self) -> dict:
        """What the block took that the contender is working on.

        Raises:
            RuntimeError: it ended.
        """
        line = self.receives.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended: {self.log.read_text()[-1500:]}")
        return json.loads(line)

    def block(self) -> dict:
        """What the next block takes."""
        print("go", file=self.sends, flush=True)
        return self.ended_block()

    def close(self) -> None:
        self.sends.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.receives.close()


def by_turns(contenders: dict[str, dict], rounds: int, folder: Path | None = None) -> dict[str, Times]:
    """The times of contenders, each of which works for one block in every round.

    Args:
        contenders: by name; arguments of `Contender` beside its folder, of which only `function` has to be there.
        rounds: how many.
        folder: for their files. None: a temporary one.
    """
    with ExitStack() as stack:
        path = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        started = {}
        for name, options in contenders.items():
            started[name] = Contender(**{"threads": None, "folder": path, **options})
            stack.callback(started[name].close)
            started[name].ended_block()  # one after another, since files that they share are made by the first
        times = {name: Times([], [], {}) for name in started}
        for _ in range(rounds):
            for name, contender in started.items():
                block = contender.block()
                times[name].wall.append(block["wall"])
                times[name].cpu.append(block["cpu"])
                times[name].notes.update(block["notes"])
    return times


def wait_for_device() -> None:
    """Waits until a GPU has done what was asked of it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def train_by_turns(turn: Turn, words: list[str], block: int) -> None:
    """A contender: the training of `python run.py WORDS`, in blocks of batches; everything else is as in any run."""
    import torch
    from pytorch_lightning import Callback

    import run

    class Pause(Callback):
        def on_train_batch_end(self, trainer, *arguments) -> None:
            if trainer.datamodule.batches % block == 0:
                turn.note(threads=torch.get_num_threads(), images=block * trainer.datamodule.batch_size)
                turn()

    fit = run.fit

    def paused_fit(trainer, *arguments):
        trainer.callbacks.append(Pause())
        fit(trainer, *arguments)

    run.fit = paused_fit
    # no checkpoint within a block just because the others' turns took as long as the time between two
    words = [*words, "--checkpoint_seconds", "1000000", "--folder", f"run-{os.getpid()}"]
    if "LOCAL_RANK" in os.environ:  # another process of this training
        words[-1] = os.environ["SPEED_FOLDER"]
    os.environ["SPEED_FOLDER"] = words[-1]
    if run.main(words):
        raise SystemExit(f"run.py {' '.join(words)} failed")


if __name__ == "__main__":
    turn = Turn()
    file, function = sys.argv[1].split(":")
    getattr(importlib.import_module(file), function)(turn, **json.loads(sys.argv[2]))
