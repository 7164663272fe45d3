"""What a busy neighbour costs a run: its time beside a process that keeps one core busy, over its time alone.

    python benchmarks/speed_busy.py                             a short main job, twice of each; some minutes
    python benchmarks/speed_busy.py --rounds 3 --model vae      another run

Quiet and busy runs take turns, so that what else the machine does meets both. The number of threads is the run's own
choice: OMP_NUM_THREADS and OMP_WAIT_POLICY are taken out of the environment.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORDS = ("--model", "gan", "--augment", "ae", "--steps", "600", "--augment.steps", "300", "--logger", "csv")
TAKEN_OUT = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="runs of each")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project, or another version of it")
    given, words = parser.parse_known_args()
    found = busy_row(tuple(words) or WORDS, given.rounds, given.root)
    for name in ("quiet", "busy"):
        training, cpu = found[f"{name}_training"], found[f"{name}_cpu"]
        print(f"{name:5}  {found[name]:7.1f} s, of which training {training:.1f} s; {cpu:.1f} s of CPU")
    print(f"ratio  {found['ratio']:7.2f}, of training {found['ratio_training']:.2f}")


def busy_row(words: tuple[str, ...] = WORDS, rounds: int = 2, root: Path = ROOT) -> dict[str, float]:
    """The seconds of a run alone and beside a process that keeps a core busy, in all, of training, and of the CPU:
    medians, and the ratios of the first two.

    Every run is a new process with a cache and a folder of its own, and so trains its autoencoder and classifier.

    Args:
        words: of the run, without --folder and --cache.
        rounds: runs of each.
        root: folder of the project.
    """
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, neighbour in (("quiet", nullcontext), ("busy", busy_core)):
            with neighbour():
                measured = run(words, root)
            for what, value in measured.items():
                seconds.setdefault(f"{name}{what}", []).append(value)
    found = {name: statistics.median(times) for name, times in seconds.items()}
    found["ratio"] = found["busy"] / found["quiet"]
    found["ratio_training"] = found["busy_training"] / found["quiet_training"]
    return found


@contextmanager
def busy_core() -> Iterator[None]:
    """Keeps one core busy."""
    with subprocess.Popen([sys.executable, "-c", "while 1: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def run(words: tuple[str, ...], root: Path) -> dict[str, float]:
    """Seconds of a command from its start to its end (""), of its training, and of the CPU."""
    environment = {name: value for name, value in os.environ.items() if name not in TAKEN_OUT}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(root / "run.py"), *words, "--folder", "run", "--cache", "cache"]
        start, cpu = time.perf_counter(), _cpu()
        done = subprocess.run(
            command, cwd=folder, env={**environment, "PYTHONPATH": str(root)}, capture_output=True, text=True
        )
        seconds = time.perf_counter() - start
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        timing = json.loads(Path(folder, "run", "results.json").read_text())["timing"]
        return {"": seconds, "_training": timing["seconds"], "_cpu": _cpu() - cpu}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # of those that have ended: without the neighbour
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
