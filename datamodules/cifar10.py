"""CIFAR-10: 60,000 photographs, 32x32 colour, in ten classes (Krizhevsky 2009)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision import datasets
from torchvision.datasets.utils import check_integrity

from datamodules._base import PublishedDataModule, check_labels
from lightning_genae.data.dataset import Images


class CIFAR10DataModule(PublishedDataModule):
    """CIFAR-10: 50,000 images to train and 10,000 held out, in ten classes.

    The binary version's files (data_batch_1.bin, ...) are read as they are. The python version is pickled:
    torchvision reads it, and only after each file's checksum was found to be the published one.

    Args:
        root: folder with the .bin files, or with cifar-10-batches-bin or cifar-10-batches-py. null: data.
    """

    def __init__(self, root: str | None = None, **kwargs: Any):
        super().__init__(root, **kwargs)

    def is_there(self) -> bool:
        return self._binary_folder() is not None or self._is_python_version_whole()

    def fetch(self, folder: str) -> None:
        datasets.CIFAR10(folder, download=True)

    def load(self) -> tuple[Images, Images, int]:
        folder = self._binary_folder()
        if folder:
            parts = [_read_binary(folder / f"data_batch_{i}.bin") for i in range(1, 6)]
            train = Images(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))
            return train, _read_binary(folder / "test_batch.bin"), 10
        try:
            return _read_python(self.root, train=True), _read_python(self.root, train=False), 10
        except RuntimeError as error:
            raise FileNotFoundError(
                f"--data.root: expected CIFAR-10's files (cifar-10-batches-bin or cifar-10-batches-py) in "
                f"'{self.root}'; found none that is whole; --data.download true fetches them"
            ) from error

    def _is_python_version_whole(self) -> bool:
        published = datasets.CIFAR10
        files = [*published.train_list, *published.test_list, [published.meta["filename"], published.meta["md5"]]]
        return all(check_integrity(Path(self.root, published.base_folder, name), md5) for name, md5 in files)

    def _binary_folder(self) -> Path | None:
        folders = (Path(self.root), Path(self.root, "cifar-10-batches-bin"))
        return next((folder for folder in folders if (folder / "data_batch_1.bin").is_file()), None)


def _read_binary(path: Path) -> Images:
    """Records of one label byte and 3072 bytes of a 3x32x32 image."""
    if not path.is_file():
        raise FileNotFoundError(f"--data.root: expected '{path}', which is missing")
    content = np.fromfile(path, np.uint8)
    if len(content) == 0 or len(content) % 3073:
        raise ValueError(f"--data.root: expected records of 3073 bytes in '{path}', got {len(content)} bytes")
    records = torch.from_numpy(content.reshape(-1, 3073))
    check_labels(records[:, 0].long(), 10, path)
    return Images(records[:, 1:].reshape(-1, 3, 32, 32).contiguous(), records[:, 0].long())


def _read_python(root: str, train: bool) -> Images:
    dataset = datasets.CIFAR10(root, train=train)
    images = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
    return Images(images, torch.tensor(dataset.targets))
