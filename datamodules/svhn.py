"""SVHN, street view house numbers: 99,289 colour images of 32x32 in ten classes (Netzer et al. 2011)."""

from pathlib import Path
from typing import Any

import torch
from scipy.io import loadmat
from torchvision import datasets

from datamodules._base import PublishedDataModule, check_labels
from lightning_genae.data.dataset import Images


class SVHNDataModule(PublishedDataModule):
    """SVHN: 73,257 images to train and 26,032 held out, in ten classes.

    Args:
        root: folder with train_32x32.mat and test_32x32.mat. null: data.
    """

    def __init__(self, root: str | None = None, **kwargs: Any):
        super().__init__(root, **kwargs)

    def is_there(self) -> bool:
        return all(self._path(split).is_file() for split in ("train", "test"))

    def fetch(self, folder: str) -> None:
        for split in ("train", "test"):
            datasets.SVHN(folder, split, download=True)

    def load(self) -> tuple[Images, Images, int]:
        return self._read("train"), self._read("test"), 10

    def _path(self, split: str) -> Path:
        return Path(self.root, f"{split}_32x32.mat")

    def _read(self, split: str) -> Images:
        path = self._path(split)
        if not path.is_file():
            raise FileNotFoundError(
                f"--data.root: expected '{path}', which is missing; --data.download true fetches it"
            )
        try:
            content = loadmat(path)
            images = torch.from_numpy(content["X"].transpose(3, 2, 0, 1).copy())
            labels = torch.from_numpy(content["y"].astype("int64").ravel())
            labels = torch.where(labels == 10, 0, labels)  # the file calls a zero 10
            if images.dtype != torch.uint8 or images.shape != (len(labels), 3, 32, 32):
                raise ValueError(f"it holds images {tuple(images.shape)} and {len(labels)} labels")
        except Exception as error:  # scipy raises many kinds for a damaged file
            raise ValueError(f"--data.root: '{path}' is damaged: {error}") from error
        check_labels(labels, 10, path)
        return Images(images, labels)
