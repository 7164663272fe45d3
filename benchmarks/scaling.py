"""How times grow: with images, classes, steps, samples and runs. A picture of lines on logarithmic axes, and JSON.

    python benchmarks/scaling.py                 all of it, 12 minutes on two cores, a few GB of disk (mostly sparse)
    python benchmarks/scaling.py classes cells   some of it; the others stay in the picture
    python benchmarks/scaling.py --most 1000     up to that size only, to try the script

Every process has one thread, unless OMP_NUM_THREADS says otherwise. Data are made, not stored: files of images are
sparse, folders are of links to a few pictures, and runs of a grid are copies of one.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from speed_steps import OURS
from speed_table import machine, save
from speed_turns import ROOT, Turn, by_turns, train_by_turns

sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
OUT = ROOT / "benchmarks" / "speed"
BLOCK, ROUNDS = 100, 5  # batches that are timed at once, and how often
TINY = ["--model.network", "mlp", "--model.hidden", "[8]", "--accelerator", "cpu"]
Lines = dict[str, dict[int, float]]  # by name: sizes and values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of the picture: {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--most", type=int, default=10**6, help="largest size")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the results")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"expected some of {', '.join(PARTS)}; got {', '.join(sorted(unknown))}")
    path = given.out / "scaling.json"
    content = json.loads(path.read_text()) if path.is_file() else {"parts": {}}
    for name in given.parts or PARTS:
        start = time.perf_counter()
        measure, sizes, *_ = PARTS[name]
        found = measure([size for size in sizes if size <= given.most])
        content = {"machine": machine("cpu"), "parts": content["parts"] | {name: found}}
        print(f"{name}: {json.dumps(found)}  [{time.perf_counter() - start:.0f} s]", flush=True)
        save(path, content)
    draw(json.loads(path.read_text())["parts"], given.out / "scaling.png")


def images(sizes: list[int]) -> Lines:
    """Milliseconds of a step by the number of training images of 32x32 in colour."""
    contenders = {str(size): {"function": served, "num": size, "num_classes": 0} for size in sizes}
    times = by_turns(contenders, ROUNDS)
    return {"tiny GAN": {int(size): 1e3 * time.seconds / BLOCK for size, time in times.items()}}


def classes(sizes: list[int]) -> Lines:
    """Milliseconds of a step by the number of classes, without and with classes for both players."""
    found: Lines = {}
    for name in ("no", "projection"):
        contenders = {
            str(size): {"function": served, "num": 10_000, "num_classes": size, "conditional": name} for size in sizes
        }
        times = by_turns(contenders, ROUNDS)
        label = {"no": "unconditional", "projection": "conditional"}[name]
        found[label] = {int(size): 1e3 * time.seconds / BLOCK for size, time in times.items()}
    return found


def served(turn: Turn, num: int, num_classes: int, conditional: str = "no") -> None:
    """A contender: a tiny GAN on images in a sparse file, as a folder's pack is served."""
    import torch
    from pytorch_lightning import Callback, Trainer

    from callbacks.ema import Ema
    from datamodules._packs import opened
    from lightning_genae.data.batches import Batches
    from lightning_genae.data.dataset import Dataset, Images
    from lightning_genae.data.modalities.image import Image
    from lightning_genae.models.gan import GAN
    from lightning_genae.profiling import NoProfiler

    class Pause(Callback):
        def on_train_batch_end(self, trainer, *arguments) -> None:
            if trainer.datamodule.batches % BLOCK == 0:
                turn()

    path = Path(f"{num}-{num_classes}-{conditional}.npy")
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(num, 3, 32, 32)).flush()
    labels = torch.arange(num) % max(1, num_classes)
    pack = Images(opened(path), labels)
    few = pack.subset(slice(100))
    dataset = Dataset(pack, pack, few, few, Image(), num_classes, fingerprint="made")
    options = {"network": "mlp", "hidden": [8], "conditional": conditional}
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "limit_val_batches": 0}
    trainer = Trainer(accelerator="cpu", max_epochs=-1, callbacks=[Ema(), Pause()], profiler=NoProfiler(), **quiet)
    trainer.fit(GAN((3, 32, 32), num_classes, **options), datamodule=Batches(dataset))


def steps(sizes: list[int]) -> Lines:
    """Milliseconds of a step by the batch that it is in: of a tiny GAN, with bar, metrics.csv and W&B offline."""
    words = [*OURS, "--augment", "none", *TINY, "--data", "digits"]
    times = by_turns({"run": {"function": train_by_turns, "words": words, "block": BLOCK}}, max(sizes) // BLOCK)
    wall = times["run"].wall  # of which the first is that of the second block
    return {
        "tiny GAN, 8x8": {size: 1e3 * statistics.median(_around(wall, size // BLOCK - 2)) / BLOCK for size in sizes}
    }


def _around(values: list[float], place: int) -> list[float]:
    """A value and some of its neighbours, since single ones hold pictures and other interruptions."""
    return values[max(0, place - 2) : max(1, place + 3)]


def folders(sizes: list[int]) -> Lines:
    """Seconds and memory of a second start, until its first step, by the number of images in a folder."""
    import scale

    os.environ["PYTHONPATH"] = str(ROOT)
    found: Lines = {"seconds to the first step": {}, "memory, GB": {}}
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            root, cache = Path(name, "images"), Path(name, "cache")
            link_tree(root, size)
            scale.make_sparse_pack(root, cache, every=max(1, size // 10_000))
            words = ["--data", "folder", "--data.root", str(root), "--cache", str(cache), "--steps", "3", *TINY]
            words += ["--augment", "none", "--logger", "none", "--metrics.features", "pixels"]
            for folder in ("first", "second"):
                seconds, memory = scale.until([*words, "--folder", f"{name}/{folder}"], "Training gan for")
        found["seconds to the first step"][size], found["memory, GB"][size] = seconds, memory
    return found


def link_tree(root: Path, num: int) -> None:
    """`num` names in folders of at most a thousand, all of a folder for one picture of 64x64."""
    from PIL import Image

    generator = np.random.default_rng(0)
    size = min(1000, num // 10)
    for label in range(num // size):
        folder = root / f"{label:04d}"
        folder.mkdir(parents=True)
        first = folder / "0000.png"
        Image.fromarray(generator.integers(0, 255, (64, 64, 3), np.uint8)).save(first)
        for i in range(1, size):
            (folder / f"{i:04d}.png").hardlink_to(first)


def samples(sizes: list[int]) -> Lines:
    """Seconds of an evaluation by the number of samples, with all metrics: during a training and at its end."""
    from datamodules.digits import Digits
    from lightning_genae.evaluation.evaluation import Evaluation
    from lightning_genae.models.gan import GAN

    found: Lines = {"during a training": {}, "at its end": {}}
    with tempfile.TemporaryDirectory() as cache:
        data = Digits()
        data.cache_dir = cache
        data.setup()
        gan = GAN((1, 8, 8), network="mlp", hidden=[8])
        for size in sizes:
            evaluation = Evaluation(data.served, "pixels", num_samples=size)
            for name, at_the_end in (("during a training", False), ("at its end", True)):
                start = time.perf_counter()
                evaluation.measure(gan, at_the_end)
                found[name][size] = time.perf_counter() - start
    return found


def cells(sizes: list[int]) -> Lines:
    """Seconds of `compare`, the table and report of a grid, by the number of its runs."""
    found: Lines = {"compare": {}}
    with tempfile.TemporaryDirectory() as name:
        work, words = Path(name), ["--model", "gan", "--augment", "none", "--data", "digits", "--steps", "4", *TINY]
        words += ["--metrics.features", "pixels", "--logger", "none", "--cache", str(work / "cache")]
        words += ["--model.lr", "0.0004"]  # what the copies change
        command(*words, "--folder", str(work / "run"))
        for size in sizes:
            grid = work / f"grid{size}"
            copy_runs(work / "run", grid, size)
            start = time.perf_counter()
            command("compare", str(grid))
            found["compare"][size] = time.perf_counter() - start
            shutil.rmtree(grid)
    return found


def copy_runs(run: Path, grid: Path, num: int) -> None:
    """`num` runs of two arms with other seeds and other values than the one they are copies of."""
    generator = np.random.default_rng(0)
    config, results = (run / "config.yaml").read_text(), json.loads((run / "results.json").read_text())
    assert "\nseed: 0\n" in config and "\n  lr: 0.0004\n" in config
    for i in range(num):
        folder = grid / f"{i:05d}"
        folder.mkdir(parents=True)
        rate = "0.0002" if i % 2 else "0.0004"
        text = config.replace("\nseed: 0\n", f"\nseed: {i // 2}\n").replace("\n  lr: 0.0004\n", f"\n  lr: {rate}\n")
        (folder / "config.yaml").write_text(text)
        metrics = {key: value * float(generator.uniform(0.9, 1.1)) for key, value in results["metrics"].items()}
        (folder / "results.json").write_text(json.dumps(results | {"metrics": metrics}))


def command(*words: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *words], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def draw(parts: dict[str, Lines], path: Path) -> None:
    """A panel of each part."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(13, 7.5), layout="constrained")
    for (name, (_, _, xlabel, ylabel)), axis in zip(PARTS.items(), axes.flat):
        for label, line in parts.get(name, {}).items():
            axis.loglog([int(size) for size in line], list(line.values()), "o-", label=label)
        axis.set(xlabel=xlabel, ylabel=ylabel)
        axis.grid(True, which="major", alpha=0.3)
        values = [value for line in parts.get(name, {}).values() for value in line.values()]
        if values:  # whole decades, so that noise does not look like growth
            axis.set_ylim(10 ** math.floor(math.log10(min(values) / 2)), 10 ** math.ceil(math.log10(max(values) * 3)))
            axis.legend(loc="upper left")
        for ticks in (axis.xaxis, axis.yaxis):
            ticks.set_major_formatter("{x:,.10g}")
            ticks.set_minor_formatter(pyplot.NullFormatter())
    figure.savefig(path, dpi=90)


TENS = [1000, 10_000, 100_000, 1_000_000]
PARTS: dict[str, tuple[Callable[[list[int]], Lines], list[int], str, str]] = {
    "images": (images, TENS, "training images, 32x32", "ms a step"),
    "classes": (classes, [2, 10, 100, 1000], "classes", "ms a step"),
    "steps": (steps, [200, 500, 1000, 2000, 5000, 10_000, 20_000], "step", "ms a step"),
    "folders": (folders, TENS, "images in a folder, packed before", "s, GB"),
    "samples": (samples, [1000, 2000, 5000, 10_000, 20_000, 50_000], "samples", "s an evaluation"),
    "cells": (cells, [10, 100, 1000, 10_000], "runs of a grid", "s"),
}


if __name__ == "__main__":
    main()
