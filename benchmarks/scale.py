"""Many, large and long: what it takes, in seconds and memory, and what stays whole.

    python benchmarks/scale.py                      all of it, an hour on two cores, 20 GB of disk (mostly sparse)
    python benchmarks/scale.py million large        some of it

Every part is done by `python run.py`, each process on one thread; the table is benchmarks/robustness/scale.md, whose
other rows stay.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
OUT = ROOT / "benchmarks" / "robustness" / "scale.md"
TINY = ["--model.network", "mlp", "--model.hidden", "[8]", "--accelerator", "cpu"]
HEAD = ["| what | reached | asked for |", "|---|---|---|"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="of the table; all if none is named")
    parser.add_argument("--work", type=Path, default=Path("runs/scale"), help="folder of what is made")
    given = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for name in given.parts or PARTS:
        work = given.work.resolve() / name
        work.mkdir(parents=True, exist_ok=True)
        write(name, PARTS[name](work))


def write(name: str, rows: list[tuple[str, str, str]]) -> None:
    """Puts the rows of a part into the table, in place of its former ones."""
    print(name, *rows, sep="\n", flush=True)
    OUT.parent.mkdir(exist_ok=True)
    old = OUT.read_text().splitlines() if OUT.is_file() else []
    kept = {line for line in old if line.startswith("| ") and line not in HEAD}
    new = [f"| `{name}`: {what} | {reached} | {asked} |" for what, reached, asked in rows]
    kept = {line for line in kept if not line.startswith(f"| `{name}`:")} | set(new)
    order = {part: place for place, part in enumerate([*PARTS, "long"])}
    ranked = sorted(kept, key=lambda line: (order.get(re.match(r"\| `(\w+)`", line)[1], len(order)), line))
    lines = ["# Many, large and long", "", "By `python benchmarks/scale.py`, every process on one thread of a shared"]
    lines += ["machine of two cores; memory is the largest resident set.", "", *HEAD, *ranked, ""]
    OUT.write_text("\n".join(lines))


def million(work: Path) -> list[tuple[str, str, str]]:
    """The start of a run on a million images of 64x64 and a thousand classes, in a sparse pack."""
    root, cache = work / "images", work / "cache"
    if not (root / "0999" / "0999.png").exists():
        grow_tree(root)
    make_sparse_pack(root, cache)
    words = ["--data", "folder", "--data.root", str(root), "--cache", str(cache), "--steps", "3", *TINY]
    words += ["--logger", "none", "--metrics.features", "pixels", "--folder", str(work / "run")]
    rows = []
    # in pixels, since a classifier learns nothing from a sparse pack
    for when in ("first start (features, distances)", "every other start"):
        seconds, memory = until(words, "Training gan for")
        asked = "30 s, 2 GB" if when.startswith("every") else "-"
        rows.append((f"1,000,000 images of 64x64, 1,000 classes: {when}", f"{seconds:.0f} s, {memory:.2f} GB", asked))
    return rows


def grow_tree(root: Path) -> None:
    """1,000 folders of 1,000 names for one picture each."""
    generator = np.random.default_rng(0)
    for label in range(1000):
        folder = root / f"{label:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        first = folder / "0000.png"
        Image.fromarray(generator.integers(0, 255, (64, 64, 3), np.uint8)).save(first)
        for i in range(1, 1000):
            (folder / f"{i:04d}.png").hardlink_to(first)


def make_sparse_pack(root: Path, cache: Path, every: int = 100) -> None:
    """The pack of these images, of which one in `every` has pixels: reading them all is not what is measured."""
    from datamodules.folder import FolderDataModule

    class Sparse(FolderDataModule):
        def _write_pack(self, paths: list[Path], target: Path) -> None:
            images = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=(len(paths), 3, 64, 64))
            generator = np.random.default_rng(0)
            for i in range(0, len(paths), every):
                images[i] = generator.integers(0, 255, (3, 64, 64), np.uint8)

    data = Sparse(root=str(root))
    data.cache_dir = str(cache)
    data.setup()


def large(work: Path) -> list[tuple[str, str, str]]:
    """Runs on 300 photographs of 512x512 in colour, from their pictures to their metrics."""
    root = work / "images"
    if not root.exists():
        make_photographs(root)
    rows = []
    # the classifier that measures by default takes hours for such images on a CPU
    tiny = [
        "--metrics.features",
        "pixels",
        "--model.width",
        "2",
        "--data.batch_size",
        "8",
        "--accelerator",
        "cpu",
        "--logger",
        "none",
        "--steps",
        "4",
    ]
    for name, words in {
        "gan, ae": ["--model", "gan", "--augment", "ae", "--augment.autoencoder.width", "2", "--augment.steps", "4"],
        "ae, pca": ["--model", "ae", "--augment", "pca"],
    }.items():
        folder = work / name.replace(", ", "-")
        arguments = [*words, *tiny, "--data", "folder", "--data.root", str(root), "--cache", str(work / "cache")]
        seconds, memory = to_its_end([*arguments, "--folder", str(folder), "--overwrite"])
        rows.append((f"300 images of 512x512, {name}: a whole run", f"{seconds:.0f} s, {memory:.2f} GB", "4 GB"))
    seconds, memory = to_its_end(["evaluate", str(work / "ae-pca"), "--cache", str(work / "cache")])
    rows.append(("300 images of 512x512: evaluate, with codes and PCA", f"{seconds:.0f} s, {memory:.2f} GB", "4 GB"))
    return rows


def make_photographs(root: Path) -> None:
    """300 smooth pictures with noise, in two classes."""
    generator = np.random.default_rng(0)
    for i in range(300):
        (root / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(generator.integers(0, 255, (8 + 8 * (i % 2), 8, 3), np.uint8))
        smooth = np.asarray(small.resize((512, 512), Image.Resampling.BICUBIC)).astype(int)
        picture = (smooth + generator.integers(-8, 9, (512, 512, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(picture).save(root / "ab"[i % 2] / f"{i}.jpg")


def neighbours(work: Path) -> list[tuple[str, str, str]]:
    """Eight runs of four arms and two seeds at once, and eight of one command, on an empty cache."""
    short = ["--steps", "20", "--augment.steps", "60", "--data.num_train", "300", "--data.split_seed", "0", *TINY]
    short += ["--logger", "none", "--overwrite"]
    arms = ["ae", "ae+noise", "ae+diffaug", "ae+classic"]
    cells = [
        ["--augment", arm, "--seed", seed, "--folder", str(work / f"{arm}{seed}")] for arm in arms for seed in "01"
    ]
    same = [["--augment", "ae", "--folder", str(work / "same")]] * 8
    rows = []
    for name, commands in {"neighbouring cells": cells, "one cell": same}.items():
        cache = work / f"cache-{name.replace(' ', '-')}"
        shutil.rmtree(cache, ignore_errors=True)
        start = time.perf_counter()
        runs = [started([*words, *short, "--cache", str(cache)]) for words in commands]
        said = [run.communicate()[0] for run in runs]
        done = sum(run.returncode == 0 for run in runs)
        refused = sum("another process is training" in text for text in said)
        made = sum("Training the autoencoder" in text for text in said)
        left = len(list(cache.rglob("*.unfinished*")))
        reached = f"{done} finished, {refused} refused, autoencoders trained: {made}, leftovers: {left}"
        rows.append((f"8 processes at {name}", f"{reached}, {time.perf_counter() - start:.0f} s", "one computation"))
    return rows


def wandb(work: Path) -> list[tuple[str, str, str]]:
    """How long the training of a run takes, and the run, beside a stand-in for W&B's server that does not do well."""
    from tests.wandb_server import KEY, WandbServer

    words = ["--steps", "1500", "--metrics.features", "pixels", "--metrics.looks", "1", "--data.batch_size", "32"]
    words += [*TINY, "--cache", str(work / "cache"), "--overwrite"]
    servers = ("offline", "well", "slow", "vanished", "refused")
    training: dict[str, list[float]] = {how: [] for how in servers}
    whole: dict[str, list[float]] = {how: [] for how in servers}
    # by turns, since others use the machine too; the first round warms caches, and the quickest of the others counts
    for how in servers * 4:
        server = WandbServer(seconds=10 if how == "slow" else 0)
        if how == "refused":
            server.vanish()
        if how == "vanished":
            threading.Timer(15, server.vanish).start()
        online = {} if how == "offline" else {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        seconds, _ = to_its_end([*words, "--folder", str(work / how)], {**os.environ, **online})
        training[how].append(json.loads((work / how / "results.json").read_text())["timing"]["seconds"])
        whole[how].append(seconds)
    quickest = {how: min(seconds[1:]) for how, seconds in training.items()}
    rows = []
    for how, seconds in quickest.items():
        more = f"{seconds / quickest['offline'] - 1:+.0%}"
        reached = f"{seconds:.1f} s of training ({more}), {min(whole[how][1:]):.0f} s in all"
        rows.append((f"W&B {'offline' if how == 'offline' else 'with a server: ' + how}", reached, "+5 %"))
    return rows


def started(words: list[str]) -> subprocess.Popen:
    """`python run.py` with these words; both of its outputs in one."""
    command = [sys.executable, str(ROOT / "run.py"), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until(words: list[str], line: str) -> tuple[float, float]:
    """Seconds and gigabytes of a run until it says a line; it is ended there."""
    start = time.perf_counter()
    run = started(words)
    said = []
    for text in run.stdout:
        said.append(text)
        if line in text:
            break
    else:
        raise SystemExit("".join(said))
    seconds, memory = time.perf_counter() - start, high_water(run.pid)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    return seconds, memory


def high_water(pid: int) -> float:
    """Gigabytes of the largest resident set of a process that runs."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) / 1e6


def to_its_end(words: list[str], environment: dict[str, str] | None = None) -> tuple[float, float]:
    """Seconds and gigabytes of a run."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        command = [sys.executable, str(ROOT / "run.py"), *words]
        run = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(run.pid, 0)
        if status:
            said.seek(0)
            raise SystemExit(said.read())
    return time.perf_counter() - start, usage.ru_maxrss / 1e6


PARTS: dict[str, Callable[[Path], list[tuple[str, str, str]]]] = {
    "million": million,
    "large": large,
    "neighbours": neighbours,
    "wandb": wandb,
}


if __name__ == "__main__":
    main()
