"""The data sets in MNIST's format: IDX files (LeCun, Cortes & Burges 1998), plain or gzipped."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from datamodules._base import PublishedDataModule, check_labels
from lightning_genae.data.dataset import Images

MAX_BYTES = 1_000_000_000  # of a file, unpacked; those of MNIST have 47 million


class IdxDataModule(PublishedDataModule):
    """MNIST and its drop-in replacements: 28x28 grey images, ten classes, 60,000 to train and 10,000 held out.

    A subclass names the torchvision data set, which knows the addresses and checksums of the download.

    Args:
        root: folder with the four IDX files, plain or gzipped, or with torchvision's NAME/raw. null: data, then
            the folder of Debian's package, if there is one.
    """

    published: type[datasets.MNIST]
    system_folders: tuple[str, ...] = ()

    def __init__(self, root: str | None = None, **kwargs: Any):
        super().__init__(root, **kwargs)
        self.folders = [Path(self.root), Path(self.root, self.published.__name__, "raw")]
        if root is None:
            self.folders += map(Path, self.system_folders)

    def is_there(self) -> bool:
        return self._folder() is not None

    def fetch(self, folder: str) -> None:
        self.published(folder, download=True)

    def load(self) -> tuple[Images, Images, int]:
        folder = self._folder()
        if folder is None:
            raise FileNotFoundError(
                f"--data.root: expected the files of {self.published.__name__} (train-images-idx3-ubyte, plain or .gz, "
                f"...) in '{self.root}'; found none; --data.download true fetches them"
            )
        splits = [Images(_read_images(folder, name), _read_labels(folder, name)) for name in ("train", "t10k")]
        for split in splits:
            if len(split.images) != len(split.labels):
                raise ValueError(
                    f"--data.root: '{folder}' holds {len(split.images)} images but {len(split.labels)} labels"
                )
        train, heldout = splits
        return train, heldout, 10

    def _folder(self) -> Path | None:
        """The first folder with the images."""
        return next((folder for folder in self.folders if _find(folder, "train-images-idx3-ubyte")), None)


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _existing(folder: Path, name: str) -> Path:
    path = _find(folder, name)
    if path is None:
        raise FileNotFoundError(
            "--data.root: one of the four files is missing; expected images and labels of both splits"
        )
    return path


def _read_images(folder: Path, name: str) -> Tensor:
    return _read_idx(_existing(folder, f"{name}-images-idx3-ubyte"), 3).unsqueeze(1)


def _read_labels(folder: Path, name: str) -> Tensor:
    path = _existing(folder, f"{name}-labels-idx1-ubyte")
    labels = _read_idx(path, 1).long()
    check_labels(labels, 10, path)
    return labels


def _read_idx(path: Path, num_dims: int) -> Tensor:
    """uint8 tensor of an IDX file: a magic number 0, 0, 8, dimensions; their sizes; the bytes."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(MAX_BYTES)  # a damaged file may unpack to any size
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"--data.root: '{path}' is damaged: {error}") from error
    start = 4 + 4 * num_dims
    sizes = np.frombuffer(content, ">u4", num_dims, offset=4).tolist() if len(content) >= start else []
    data = content[start:]
    if content[:4] != bytes([0, 0, 8, num_dims]) or 0 in sizes or len(data) != math.prod(sizes):
        raise ValueError(
            f"--data.root: '{path}' is no IDX file of bytes in {num_dims} dimensions, or is cut short; fetch it anew"
        )
    return torch.from_numpy(np.frombuffer(data, np.uint8).reshape(sizes).copy())
