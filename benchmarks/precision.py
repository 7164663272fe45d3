"""What bf16-mixed does to the Frechet distance: a GAN with DiffAugment on 1,000 images of Fashion-MNIST, or on digits.

    python benchmarks/precision.py                  five seeds of 1,000 batches; a quarter of an hour on two cores
    python benchmarks/precision.py --data digits --steps 2000 --seeds 15       five minutes
    python benchmarks/precision.py --table          the table again, from the runs there are

It calls `python run.py ablate`: runs of a seed differ in --precision alone. The table is speed/precision.md, its
numbers speed/precision.json; those of digits are speed/precision-digits.*.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from lightning_genae.ablation.statistics import compare  # noqa: E402  # of this checkout

PRECISIONS = ("32-true", "bf16-mixed")
DATA = {"fashion_mnist": "--data.num_train 1000 --metrics.num_samples 2000", "digits": ""}
WORDS = "--model gan --augment diffaug --data {} --metrics.looks 1 --logger none"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", choices=DATA, default="fashion_mnist")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=Path("runs/precision"))
    parser.add_argument("--cache", default="runs/cache")
    parser.add_argument("--machine", default="2 cores", help="in words, for the table")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    name = "precision" if given.data == "fashion_mnist" else f"precision-{given.data}"
    command = WORDS.format(f"{given.data} {DATA[given.data]}".strip())
    if not given.table:
        words = [*command.split(), "--steps", str(given.steps), "--cache", given.cache, "--folder", str(given.runs)]
        words += ["--precision", ",".join(PRECISIONS), "--seed", f"0..{given.seeds - 1}", "--workers", "2"]
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        if status := subprocess.call([sys.executable, str(HERE.parent / "run.py"), "ablate", *words], env=environment):
            return status
    found = {precision: read(given.runs, precision) for precision in PRECISIONS}
    text, numbers = table(found, command, given.machine)
    folder = HERE / "speed"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    (folder / f"{name}.json").write_text(json.dumps(numbers, indent=2) + "\n")
    print(text)
    return 0


def read(runs: Path, precision: str) -> dict[int, dict]:
    """The results of the finished runs of a precision, by seed."""
    results = {}
    for path in sorted(runs.glob(f"precision={precision}/seed*/results.json")):
        content = json.loads(path.read_text())
        if content["status"] == "finished":
            assert content["precision"] == precision
            results[int(path.parent.name.removeprefix("seed"))] = content
    return results


def table(found: dict[str, dict[int, dict]], command: str, machine: str) -> tuple[str, dict]:
    """The runs as Markdown and as numbers.

    Args:
        found: results.json by seed, of both precisions.
        command: of the runs, without their precision and seed.
        machine: in words.
    """
    seeds = sorted(set.intersection(*(set(runs) for runs in found.values())))
    fd = {name: {seed: runs[seed]["metrics"]["fd"] for seed in seeds} for name, runs in found.items()}
    seconds = {name: {seed: _seconds(runs[seed]) for seed in seeds} for name, runs in found.items()}
    before, after = PRECISIONS
    difference = compare({after: fd[after]}, fd[before])[after]
    lines = [f"| seed | FD in {before} | FD in {after} | difference | s in {before} | s in {after} |"]
    lines.append("|" + "---|" * 6)
    for seed in seeds:
        first, second = fd[before][seed], fd[after][seed]
        times = " | ".join(f"{seconds[name][seed]:.0f}" for name in PRECISIONS)
        lines.append(f"| {seed} | {first:.2f} | {second:.2f} | {second - first:+.2f} | {times} |")
    means = {name: statistics.mean(fd[name].values()) for name in PRECISIONS}
    spread = {name: statistics.stdev(fd[name].values()) for name in PRECISIONS}
    lines.append(
        f"| mean | {means[before]:.2f} | {means[after]:.2f} | {difference.mean:+.2f} | "
        + " | ".join(f"{statistics.mean(seconds[name].values()):.0f}" for name in PRECISIONS)
        + " |"
    )
    lines.append(f"| standard deviation | {spread[before]:.2f} | {spread[after]:.2f} | | | |")
    steps = found[before][seeds[0]]["timing"]["batches"]
    text = (
        f"# Frechet distance in float32 and in bf16-mixed\n\nBy `python benchmarks/precision.py`: `{command}`, "
        f"{steps:,} batches of 64, on {machine}, two runs at a time of one thread each. Runs of a seed differ in "
        "`--precision` alone; lower is better. Seconds are of training without evaluation, on the clock, beside other "
        "work.\n\n" + "\n".join(lines) + f"\n\nPaired difference: {difference.mean:+.2f}, 95 % interval "
        f"{difference.low:+.2f} to {difference.high:+.2f}; the spread over seeds in float32 is {spread[before]:.2f}.\n"
    )
    numbers = {"command": command, "steps": steps, "machine": machine, "fd": fd, "seconds": seconds}
    numbers |= {"mean": means, "std": spread, "difference": difference._asdict()}
    return text, numbers


def _seconds(results: dict) -> float:
    return results["timing"]["seconds"] - results["timing"]["evaluation_seconds"]


if __name__ == "__main__":
    sys.exit(main())
