"""Augmentation with little data: every arm of low_data/arms.yaml against none, over seeds, on held-out images.

    python benchmarks/low_data.py                   the CPU tier
    python benchmarks/low_data.py --tier gpu        the GPU tier
    python benchmarks/low_data.py --dry_run         how many runs there are, and about how long they take

It calls `python run.py ablate --arms` for every set of training images, with what else is on its command line, and
then `python run.py compare`, which puts the sets on one page. The same command goes on where it stopped. Arms differ in
their augmentation alone: updates, networks, training subset, initialisation and the order of real batches are equal for
a seed. The results in low_data/ are those of an earlier script; low_data/README.md says how they were made.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUN = [sys.executable, str(HERE.parent / "run.py")]
ALL = "--model gan --metrics.looks 10 --logger none"
# data, training images, seeds, options: chosen so that `none` has passed its best point
DIGITS = "--data digits --data.batch_size 64 --model.lr 1e-3 --steps 3000"
FASHION = "--data fashion_mnist --data.batch_size 32 --model.lr 1e-3 --metrics.num_samples 2000 --precision bf16-mixed"
CIFAR = "--data cifar10 --data.batch_size 64 --model.width 64 --model.lr 2e-4 --steps 40000"
TIERS = {
    "cpu": [
        ("digits", 200, 5, DIGITS),
        ("digits", 100, 3, DIGITS),
        ("fashion_mnist", 500, 5, f"{FASHION} --steps 2000"),
        ("digits", 500, 3, DIGITS),
    ],
    "gpu": [
        *(("fashion_mnist", num, 5, f"{FASHION} --model.width 32 --steps 30000") for num in (100, 500, 2000, 60_000)),
        *(("cifar10", num, 5, CIFAR) for num in (2_500, 5_000, 10_000, 50_000)),
    ],
}


def main() -> int:
    parser = new_parser(__doc__)
    parser.add_argument("--tier", choices=TIERS, default="cpu")
    parser.add_argument("--data", nargs="+", help="only these data sets of the tier")
    parser.add_argument("--num_train", nargs="+", type=int, help="only these numbers of training images")
    parser.add_argument("--runs", type=Path, default=Path("runs/low_data"))
    given, others = parser.parse_known_args()
    wanted = [
        (given.runs / given.tier / f"{one[0]}-{one[1]}", options_of(one))
        for one in TIERS[given.tier]
        if one[0] in (given.data or [one[0]]) and one[1] in (given.num_train or [one[1]])
    ]
    if not wanted:
        parser.error(f"--data, --num_train: expected {', '.join(f'{one[0]} {one[1]}' for one in TIERS[given.tier])}")
    status = ablate(wanted, others)
    begun = [str(folder) for folder, _ in wanted if (folder / "ablation.json").is_file()]
    if len(begun) > 1 and status < 2:
        status = max(status, subprocess.call([*RUN, "compare", *begun, "--out", str(given.runs / given.tier)]))
    return status


def new_parser(description: str | None) -> argparse.ArgumentParser:
    """That of a study, whose options of its own come before those of `ablate`."""
    return argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="All other options go to `python run.py ablate` and replace those from here: --seed 0,1 --workers 4",
    )


def ablate(studies: Iterable[tuple[Path, list[str]]], others: list[str]) -> int:
    """Calls `ablate` for every folder and its options, and with what else was given; returns the worst exit status."""
    status = 0
    for folder, words in studies:  # abs: a signal that ended it is a negative number
        status = max(status, abs(subprocess.call([*RUN, "ablate", *words, "--folder", str(folder), *others])))
    return status


def options_of(one: tuple[str, int, int, str]) -> list[str]:
    """What `ablate` is told of one set of training images, except for its folder."""
    _, num, seeds, options = one
    words = ["--arms", str(HERE / "low_data/arms.yaml"), *ALL.split(), *options.split()]
    return [*words, "--data.num_train", str(num), "--seed", f"0..{seeds - 1}"]


if __name__ == "__main__":
    sys.exit(main())
