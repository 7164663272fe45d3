"""Runs of every family and augmentation, killed again and again, against runs that nobody disturbed.

    python benchmarks/kills.py --out benchmarks/robustness/kills.md

Every run is `run.main` with the words of a command line, in a process of its own, forked so that it need not import
torch; it is killed at a random moment, the same command is given again, until it is finished. What it leaves must be
what the undisturbed run left: weights, averages and optimizers to the bit, metrics.csv to the byte, results.json but
for times. The runs lie in memory (/dev/shm), and $TMPDIR on another file system.
"""

import argparse
import json
import mmap
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from tqdm import tqdm

import callbacks.evaluate
import callbacks.record
import run
from lightning_genae import registry
from tests.conftest import SAVES, draw_less

SHORT = ("--steps", "12", "--metrics.looks", "2", "--metrics.num_samples", "50", "--metrics.features", "pixels")
SHORT += ("--trainer.log_every_n_steps", "3", "--logger", "none", "--accelerator", "cpu", "--checkpoint_seconds", "0")
SHORT += ("--data.batch_size", "16", "--data.num_train", "100", "--folder", "run", "--cache", "cache")
FAMILIES = {name: ("--model", name) for name in registry.names("lightning_genae.models")}
FAMILIES["rnn_ae"] += ("--data", "timeseries", "--data.window", "16")
AUGMENTATIONS = {
    name: ("--model", "gan", "--augment", name) for name in registry.names("lightning_genae.augment") if name != "none"
}
LEARNING = ("ae", "vae")  # augmentations that train a network
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
PHASES = ("set-up", "training", "evaluation", "saving", "the end")


def main(out: Path, kills: int, only: list[str], seed: int) -> None:
    """Writes the table; the exit status says whether something was lost."""
    subjects = chosen(only)
    chance = random.Random(seed)
    rows, lost = [], []
    start = time.monotonic()
    bar = tqdm(total=len(subjects) * len(SIGNALS) * kills, unit="kill")
    for name, words in subjects.items():
        counts: dict[signal.Signals, Counter] = {}
        for number in SIGNALS:
            with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
                os.chdir(folder)
                counts[number], differences = disturb((*words, *options(name), *SHORT), number, kills, chance, bar)
                lost += [f"{name}, {number.name}: {difference}" for difference in differences]
            os.chdir("/")
        rows.append((name, counts))
        text = table(rows, lost, kills, time.monotonic() - start)
        if out:  # as it goes: it takes half an hour
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(text)
    bar.close()
    print(text)
    sys.exit(bool(lost))


def chosen(only: list[str]) -> dict[str, tuple[str, ...]]:
    """The runs of these names, all if none are given, and their words."""
    subjects = {**FAMILIES, **{f"gan, {name}": words for name, words in AUGMENTATIONS.items()}}
    return {name: words for name, words in subjects.items() if not only or name in only}


def new_parser(doc: str) -> argparse.ArgumentParser:
    """The options that this program shares with faults.py."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="file for the table; none: it is only printed")
    parser.add_argument("--only", nargs="*", default=[], help="names of runs, such as gan or 'gan, ae'; none: all")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    return parser


def options(name: str) -> tuple[str, ...]:
    """Options that make a run of a family or an augmentation a short one."""
    augment = name.removeprefix("gan, ")
    return ("--augment.steps", "10") if augment in LEARNING and augment != name else ()


def disturb(words: tuple, number: signal.Signals, kills: int, chance: random.Random, bar: tqdm) -> tuple[Counter, list]:
    """Kills runs so many times; returns the phases in which they were killed, and what was lost.

    Raises:
        RuntimeError: a run that nobody disturbed failed.
    """
    started = time.monotonic()
    status, said = Child(words).wait(600)
    if status != 0:
        raise RuntimeError(f"{words} failed: {said}")
    seconds = time.monotonic() - started
    whole = Path("run").rename("whole")
    phases, differences = Counter(), []
    while sum(phases.values()) < kills:
        shutil.rmtree("run", ignore_errors=True)
        shutil.rmtree("cache", ignore_errors=True)
        status = None
        for _ in range(100):
            is_last = sum(phases.values()) == kills
            child = Child(words)
            status, said = child.wait(600 if is_last else chance.uniform(0, seconds))
            if status is None:
                phase = child.end(number)
                phases[phase] += 1
                bar.update()
            else:
                break
        if status != 0:
            differences.append(f"exit status {status}: {said.strip()[-300:]}")
        else:
            differences += compare(whole, Path("run"))
    return phases, differences


class Child:
    """A run in a process of its own.

    Args:
        words: of the command line.
    """

    def __init__(self, words: tuple):
        self.phase = mmap.mmap(-1, 1)
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115, its process writes to it
        self.process = os.fork()
        if self.process == 0:
            os._exit(self._run(words))

    def wait(self, seconds: float) -> tuple[int | None, str]:
        """The exit status, None after so many seconds, and what it said."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            process, status = os.waitpid(self.process, os.WNOHANG)
            if process:
                self.said.seek(0)
                return os.waitstatus_to_exitcode(status), self.said.read()
            time.sleep(0.002)
        return None, ""

    def end(self, number: signal.Signals) -> str:
        """Kills it, and says in what phase."""
        phase = PHASES[self.phase[0]]
        os.kill(self.process, number)
        if self.wait(120)[0] is None:
            raise RuntimeError(f"{number.name} did not end a run in 120 s, in {phase}")
        return phase

    def _run(self, words: tuple) -> int:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for one, method, save in SAVES:  # curves that are not compared would take half of the time
            setattr(one, method, draw_less(words, save))
        self._mark(callbacks.record.Record, "on_train_start", 0, 1)
        self._mark(callbacks.evaluate.Evaluate, "_run", 2, 1)
        self._mark(callbacks.record.Record, "_save", 3, 1)
        self._mark(callbacks.record.Record, "on_train_end", 3, 4)
        with redirect_stdout(self.said), redirect_stderr(self.said):
            try:
                status = run.main([*words])
            except BaseException as error:
                status = 99
                print(repr(error))
            self.said.flush()
        return status

    def _mark(self, owner: type, name: str, during: int, after: int) -> None:
        call = getattr(owner, name)

        def marked(*arguments, **options):
            self.phase[0] = during
            try:
                return call(*arguments, **options)
            finally:
                self.phase[0] = after

        setattr(owner, name, marked)


def compare(whole: Path, parts: Path) -> list[str]:
    """What a run that was killed lacks or has in another form."""
    differences = []
    states = [torch.load(folder / "checkpoints/last.ckpt", weights_only=True) for folder in (whole, parts)]
    for key in ("state_dict", "optimizer_states"):
        if not same(*(state[key] for state in states)):
            differences.append(f"other {key}")

    if (whole / "metrics.csv").read_bytes() != (parts / "metrics.csv").read_bytes():
        differences.append("another metrics.csv")
    results = [json.loads((folder / "results.json").read_text()) for folder in (whole, parts)]
    keys = results[0].keys() | results[1].keys()
    different = [key for key in sorted(keys - {"timing"}) if results[0].get(key) != results[1].get(key)]
    differences += [f"other {key} in results.json" for key in different]
    left = [path.name for path in parts.rglob("*.unfinished")]
    return differences + [f"left behind: {name}" for name in left]


def same(a: object, b: object) -> bool:
    """Whether nested dicts and lists of tensors are equal to the bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def table(rows: list, lost: list[str], kills: int, seconds: float) -> str:
    """The table as Markdown."""
    total = sum((sum(counts.values(), Counter()) for _, counts in rows), Counter())
    lines = [
        "# Kills",
        "",
        f"By `python benchmarks/kills.py`, {kills} kills a signal, at random moments of a run of 12 batches that saves "
        f"after each of them; {seconds / 60:.0f} minutes on one core. Equal means: weights, averages and optimizers to "
        "the bit, metrics.csv to the byte, results.json but for `timing`.",
        "",
        f"{sum(total.values()):,} kills, **{len(lost)} lost**; "
        + ", ".join(f"{total[phase]:,} in {phase}" for phase in PHASES)
        + ".",
        "",
        f"| run | {' | '.join(number.name for number in SIGNALS)} |",
        f"|---|{'---|' * len(SIGNALS)}",
    ]
    for name, counts in rows:
        cells = []
        for number in SIGNALS:
            bad = sum(line.startswith(f"{name}, {number.name}:") for line in lost)
            cells.append(f"{sum(counts[number].values())} killed, {bad} lost")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", *(f"- {line}" for line in lost)] if lost else [""]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = new_parser(__doc__)
    parser.add_argument("--kills", type=int, default=20, help="of each signal and run")
    given = parser.parse_args()
    main(given.out.absolute() if given.out else None, given.kills, given.only, given.seed)
