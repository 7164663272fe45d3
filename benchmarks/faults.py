"""Runs of every family and augmentation whose disk is full, at sizes drawn at random, against runs that had room.

    python benchmarks/faults.py --out benchmarks/robustness/faults.md           as root, who may mount

Every run has its folder and its cache on a file system in memory that is too small for it, and $TMPDIR on another one.
It has to end with status 3 and one line; given room, the same command has to end as the undisturbed run did, see
kills.py.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.kills import SHORT, Child, chosen, compare, new_parser, options

ROOM = "64M"


def main(out: Path | None, times: int, only: list[str], seed: int) -> None:
    """Writes the table; the exit status says whether something was lost."""
    chance = random.Random(seed)
    rows, lost = [], []
    for name, words in chosen(only).items():
        ended, differences = fill((*words, *options(name), *SHORT), times, chance)
        rows.append((name, ended, len(differences)))
        lost += [f"{name}: {difference}" for difference in differences]
        print(name, ended, differences, flush=True)
    text = table(rows, lost, times)
    print(text)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text)
    sys.exit(bool(lost))


def fill(words: tuple, times: int, chance: random.Random) -> tuple[list[int], list[str]]:
    """How often a run ended for want of space, and what was lost or said badly.

    Raises:
        RuntimeError: a run that had room failed.
    """
    ended, differences = 0, []
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", folder], check=True)
        try:
            os.chdir(folder)
            status, said = Child(words).wait(600)
            if status:
                raise RuntimeError(f"{words} failed: {said}")
            needed = sum(path.stat().st_size for path in Path().rglob("*") if path.is_file())
            with tempfile.TemporaryDirectory() as elsewhere:
                whole = Path(shutil.copytree("run", f"{elsewhere}/whole"))
                for _ in range(times):
                    status, difference = once(words, whole, round(chance.uniform(0.02, 1) * needed))
                    ended += status == 3
                    differences += difference
        finally:
            os.chdir("/")
            subprocess.run(["umount", "-l", folder], check=True)
    return ended, differences


def once(words: tuple, whole: Path, size: int) -> tuple[int, list[str]]:
    """The exit status of a run with so many bytes of room, and what was wrong then or after it got more."""
    for path in ("run", "cache"):
        shutil.rmtree(path, ignore_errors=True)
    resize(str(size))
    status, said = Child(words).wait(600)
    lines = [line for line in said.splitlines() if line.startswith("run.py: ")]
    wrong = []
    if status not in (0, 3) or "Traceback" in said:
        wrong.append(f"status {status} with {size:,} bytes: {said.strip()[-200:]}")
    if status == 3 and not (lines and "space" in lines[-1]):
        wrong.append(f"it was not said that the disk is full: {said.strip()[-200:]}")
    resize(ROOM)
    again, said = Child(words).wait(600)
    return status, wrong + (compare(whole, Path("run")) if again == 0 else [f"with room: {said.strip()[-200:]}"])


def resize(size: str) -> None:
    """Gives the file system of the current folder another size."""
    subprocess.run(["mount", "-o", f"remount,size={size}", os.getcwd()], check=True)


def table(rows: list, lost: list[str], times: int) -> str:
    """The table as Markdown."""
    lines = [
        "# Full disks",
        "",
        f"By `python benchmarks/faults.py`: runs of 12 batches in {times} file systems each that hold 2 to 100 % of "
        "what a run writes, then, with room, the same command again; $TMPDIR on another file system. Equal means what "
        "it means in [kills.md](kills.md).",
        "",
        f"{sum(row[1] for row in rows)} of {times * len(rows)} runs ended for want of space, **{len(lost)} lost**.",
        "",
        "| run | ended with status 3 | lost |",
        "|---|---|---|",
        *(f"| {name} | {ended} of {times} | {num} |" for name, ended, num in rows),
        "",
        *(f"- {line}" for line in lost),
    ]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    parser = new_parser(__doc__)
    parser.add_argument("--times", type=int, default=5, help="sizes of each run")
    given = parser.parse_args()
    main(given.out.absolute() if given.out else None, given.times, given.only, given.seed)
