"""Data of the speed benchmarks: what is there already, or drawn; times do not depend on what images show."""

import gzip
from pathlib import Path

import numpy as np
from PIL import Image

FASHION = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist


def mnist_words() -> list[str]:
    """Options of a run for 60,000 images of 28x28 in ten classes: Fashion-MNIST, which has MNIST's format and size."""
    if FASHION.is_dir():
        return ["--data", "fashion_mnist"]
    root = Path("runs", "speed", "idx").resolve()
    if not (root / "t10k-labels-idx1-ubyte.gz").is_file():
        draw_idx(root)
    return ["--data", "fashion_mnist", "--data.root", str(root)]


def draw_idx(root: Path, num: int = 60_000) -> None:
    """Files of MNIST's format with random images."""
    generator = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", num), ("t10k", num // 6)):
        images = generator.integers(0, 256, (count, 28, 28), np.uint8)
        labels = generator.integers(0, 10, count).astype(np.uint8)
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
            with gzip.open(root / f"{name}-{kind}-ubyte.gz", "wb", compresslevel=1) as file:
                file.write(header + values.tobytes())


def draw_folder(root: Path, num: int, side: int = 64, num_classes: int = 8) -> None:
    """Colour PNG files in a subfolder for each class: smooth random pictures with some noise, of 5 to 10 kB each."""
    generator = np.random.default_rng(0)
    for i in range(num):
        folder = root / f"{i % num_classes}"
        folder.mkdir(parents=True, exist_ok=True)
        smooth = Image.fromarray(generator.integers(0, 256, (4, 4, 3), np.uint8))
        picture = np.asarray(smooth.resize((side, side), Image.Resampling.BICUBIC))
        noisy = picture + generator.normal(0, 6, picture.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{i:05d}.png")
