"""Seconds from the start of `python run.py --model gan --augment ae` to its first batch, over `import torch`.

    python benchmarks/speed_imports.py            a minute on two cores; run nothing beside it

Caches are warm: a first run, not counted, trains the classifier and the autoencoder, measures the floor and the quality
report, and lets Python compile everything. Each round starts the command in a new folder, then `import torch` alone.
Both are real processes of one thread; CPU time is that of all threads of the process.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = ["--model", "gan", "--augment", "ae"]
# the real command until Lightning says that the first batch begins; two times on the last line of its output
COMMAND = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
import run

fit = run.fit


def timed_fit(trainer, *arguments):
    from pytorch_lightning import Callback

    class First(Callback):
        def on_train_batch_start(self, *arguments):
            print(f"\\n{{time.time()}} {{time.process_time()}}", flush=True)
            os._exit(0)

    trainer.callbacks.append(First())
    fit(trainer, *arguments)


run.fit = timed_fit
sys.exit(run.main(sys.argv[1:]))
"""
TORCH = "import time, torch; print(time.time(), time.process_time())"


class Times(NamedTuple):
    """Seconds of every round.

    Attributes:
        wall: from the start of the process.
        cpu: of the process, all threads together.
    """

    wall: list[float]
    cpu: list[float]


def first_step(rounds: int) -> tuple[Times, Times]:
    """The times to the first batch of the command, with warm caches, and those of `import torch`, by turns."""
    first, torch = Times([], []), Times([], [])
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + 1):
            words = [*OPTIONS, "--folder", f"{folder}/{number}", "--cache", f"{folder}/cache"]
            for times, code, arguments in ((first, COMMAND, words), (torch, TORCH, [])):
                wall, cpu = _until(code, arguments)
                if number > 0:  # the first one fills the caches
                    times.wall.append(wall)
                    times.cpu.append(cpu)
    return first, torch


def _until(code: str, arguments: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds until a process says so in the last line of its output."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    environment |= {"OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # bytecode is a cache, too
    start = time.time()
    process = subprocess.run([sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True)
    if process.returncode:
        raise RuntimeError(f"the command failed: {process.stderr[-1000:]}")
    now, cpu = map(float, process.stdout.splitlines()[-1].split())
    return now - start, cpu


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    first, torch = first_step(parser.parse_args().rounds)
    print("| seconds, median | to the first batch | import torch | ratio |\n|---|---|---|---|")
    for name in Times._fields:
        ours, theirs = (statistics.median(getattr(times, name)) for times in (first, torch))
        print(f"| {name} | {ours:.2f} | {theirs:.2f} | {ours / theirs:.2f} |")


if __name__ == "__main__":
    main()
