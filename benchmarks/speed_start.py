"""Seconds from a command to the first step of its GAN, with an empty cache: what precedes a training.

    python benchmarks/speed_start.py                          both data sets, and where the time goes
    python benchmarks/speed_start.py --emoji package          pictures of `npm pack emoji-datasource-twitter` instead

The folder has 1,600 colour images of 64x64 in eight classes: drawn, or emoji where their package is unpacked, whose
groups are the classes. MNIST is Fashion-MNIST where Debian's package dataset-fashion-mnist is installed, and otherwise
drawn images of its size. The arm is `--model gan --augment ae`, with what a user gets who sets nothing else.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[1]
FASHION = Path("/usr/share/datasets/fashion-mnist")
NUM, NUM_CLASSES, SIDE = 1600, 8, 64
FIRST_STEP = "Training gan for"  # what the command says when all that precedes is done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emoji", type=Path, help="the package's folder")
    given = parser.parse_args()
    print(f"folder of {NUM:,} images of 64x64: {folder_64(given.emoji, show=True):.1f} s")
    print(f"MNIST, 60,000 images of 28x28: {mnist(show=True):.1f} s")


def folder_64(emoji: Path | None = None, show: bool = False) -> float:
    """Seconds before the first step on a folder of 1,600 colour images of 64x64 in eight classes.

    Args:
        emoji: folder of the unpacked package emoji-datasource-twitter, whose pictures are used. None: drawn pictures.
        show: print what the command says, with the seconds at which it does.
    """
    with tempfile.TemporaryDirectory() as work:
        root = Path(work, "images")
        if emoji is None:
            draw_folder(root)
        else:
            copy_emoji(emoji, root)
        return seconds_before(["--data", "folder", "--data.root", str(root)], Path(work), show)


def mnist(show: bool = False) -> float:
    """Seconds before the first step on 60,000 grey images of 28x28 in ten classes; see `folder_64`."""
    with tempfile.TemporaryDirectory() as work:
        words = ["--data", "fashion_mnist"]
        if not FASHION.is_dir():
            draw_mnist(Path(work, "data", "FashionMNIST", "raw"))
            words += ["--data.root", str(Path(work, "data"))]
        return seconds_before(words, Path(work), show)


def seconds_before(words: list[str], work: Path, show: bool = False) -> float:
    """Seconds until `python run.py` with these words has done all that precedes the first step of its GAN."""
    words = ["--model", "gan", "--augment", "ae", "--accelerator", "cpu", "--logger", "none", *words]
    command = [sys.executable, str(ROOT / "run.py"), *words, "--cache", str(work / "cache"), "--folder"]
    start = time.perf_counter()
    with (work / "errors").open("w+") as errors:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        run = subprocess.Popen(
            [*command, str(work / "run")], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
        try:
            for line in run.stdout:
                seconds = time.perf_counter() - start
                if show:
                    print(f"{seconds:6.1f} s  {line.rstrip()[:110]}", flush=True)
                if FIRST_STEP in line:
                    return seconds
        finally:
            run.kill()
            run.wait()
        errors.seek(0)
        raise SystemExit(f"the command ended before its first step: {errors.read()[-2000:]}")


def draw_folder(root: Path) -> None:
    """Pictures of shapes on smooth grounds: the class is the shape, and its place, size and colours vary."""
    generator = np.random.default_rng(0)
    for i in range(NUM):
        label = i % NUM_CLASSES
        ground = Image.fromarray(generator.integers(0, 255, (4, 4, 3), np.uint8))
        picture = ground.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        centre, radius = generator.uniform(20, 44, 2), generator.uniform(8, 18)
        colour = tuple(generator.integers(0, 255, 3).tolist())
        draw = ImageDraw.Draw(picture)
        if label < 6:
            draw.regular_polygon((*centre, radius), label + 3, int(generator.integers(360)), fill=colour)
        else:
            box = [*(centre - radius), *(centre + radius)]
            draw.ellipse(box, outline=colour, fill=colour if label == 6 else None, width=4)
        folder = root / f"{label}"
        folder.mkdir(parents=True, exist_ok=True)
        noise = generator.normal(0, 6, (SIDE, SIDE, 3))
        Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{i:04d}.png")


def copy_emoji(package: Path, root: Path) -> None:
    """Emoji of 64x64 by their groups; the largest group fills up what others lack of 200."""
    groups: dict[str, list[Path]] = {}
    for emoji in json.loads((package / "emoji.json").read_text()):
        for form in (emoji, *emoji.get("skin_variations", {}).values()):
            path = package / "img" / "twitter" / "64" / form["image"]
            if path.is_file():
                groups.setdefault(emoji["category"], []).append(path)
    largest, *others = sorted(groups, key=lambda name: -len(groups[name]))[:NUM_CLASSES]
    chosen = {name: sorted(set(groups[name]))[:200] for name in others}
    rest = np.random.default_rng(0).permutation(sorted(set(groups[largest])))
    chosen[largest] = list(rest[: NUM - sum(map(len, chosen.values()))])
    for label, paths in enumerate(chosen.values()):
        (root / str(label)).mkdir(parents=True)
        for path in paths:
            (root / str(label) / path.name).write_bytes(path.read_bytes())


def draw_mnist(raw: Path) -> None:
    """Files of Fashion-MNIST's form: blurred random shapes, of which each class has its own, and noise."""
    generator = np.random.default_rng(0)
    raw.mkdir(parents=True)
    shapes = [generator.integers(0, 255, (7, 7), np.uint8) for _ in range(10)]
    large = np.stack(
        [np.asarray(Image.fromarray(shape).resize((28, 28), Image.Resampling.BICUBIC)) for shape in shapes]
    )
    for name, num in (("train", 60_000), ("t10k", 10_000)):
        labels = generator.integers(0, 10, num).astype(np.uint8)
        images = (large[labels] + generator.normal(0, 40, (num, 28, 28))).clip(0, 255).astype(np.uint8)
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
            with gzip.open(raw / f"{name}-{kind}-ubyte.gz", "wb", compresslevel=1) as file:
                file.write(header + values.tobytes())


if __name__ == "__main__":
    main()
