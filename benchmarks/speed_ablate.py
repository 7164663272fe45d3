"""What runs of a grid cost that share their imports: `ablate` over a shell loop of the same commands.

    python benchmarks/speed_ablate.py               20 cells of 100 batches, by both; some minutes on two cores
    python benchmarks/speed_ablate.py --seeds 2     fewer of them

Both begin with the classifier and the reference that all runs share, and without any run. Every run has one thread,
unless OMP_NUM_THREADS says otherwise, so that what it computes is the same to the bit, which is checked.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
AUGMENTS = ("none", "diffaug")
WORDS = ("--model", "gan", "--steps", "100", "--cache", "cache")


class Cost(NamedTuple):
    """What a way to run all cells took.

    Attributes:
        wall: seconds.
        cpu: seconds of all processes.
    """

    wall: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help=f"of each of {', '.join(AUGMENTS)}")
    given = parser.parse_args()
    loop, ablation = measure(given.seeds)
    num = given.seeds * len(AUGMENTS)
    for name, cost in {"shell loop": loop, "ablate": ablation}.items():
        print(f"{name:10}  {cost.wall / num:6.2f} s a cell, {cost.cpu / num:6.2f} s of CPU, {num} cells")
    print(f"{'ratio':10}  {ablation.wall / loop.wall:6.2f}            {ablation.cpu / loop.cpu:6.2f}")


def measure(seeds: int = 10, words: tuple[str, ...] = WORDS, augments: tuple[str, ...] = AUGMENTS) -> tuple[Cost, Cost]:
    """What a shell loop and `ablate` take, with its default number of workers, for the same cells.

    Args:
        seeds: how many.
        words: options of all cells; the folder of the cache is in the current one.
        augments: one after another, each with all seeds.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run("prefetch", *words, "--augment", augments[0], "--seed", "0", cwd=folder)
        cells = [("--augment", augment, "--seed", str(seed)) for augment in augments for seed in range(seeds)]
        loop = cost(*[(*words, *cell, "--folder", "-".join(cell[1::2])) for cell in cells], cwd=folder)
        grid = ("--augment", ",".join(augments), "--seed", f"0..{seeds - 1}")
        ablation = cost(("ablate", *words, *grid, "--folder", "grid"), cwd=folder)
        check(folder, cells)
    return loop, ablation


def cost(*commands: tuple[str, ...], cwd: Path) -> Cost:
    """What commands take, one after another."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    for command in commands:
        run(*command, cwd=cwd)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(time.perf_counter() - start, cpu)


def run(*words: str, cwd: Path) -> None:
    """Runs `python run.py ...`, whose output it shows if that fails."""
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "run.py"), *words]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def check(folder: Path, cells: list[tuple[str, ...]]) -> None:
    """Raises SystemExit unless every cell of the grid has a run of its own command, and what that measured."""
    for cell in cells:
        mine, alone = folder / "grid" / cell[1] / f"seed{cell[3]}", folder / "-".join(cell[1::2])
        if (mine / "metrics.csv").read_text() != (alone / "metrics.csv").read_text():
            raise SystemExit(f"{' '.join(cell)}: expected the same of both, got other metrics")


if __name__ == "__main__":
    main()
