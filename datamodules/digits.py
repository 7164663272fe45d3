"""scikit-learn's handwritten digits: 1,797 grey images of 8x8 in ten classes, in its wheel."""

import torch
from jsonargparse.typing import NonNegativeInt, PositiveInt
from sklearn.datasets import load_digits

from datamodules._base import ImageDataModule, Images, split_off


class Digits(ImageDataModule):
    """scikit-learn's 8x8 digits; 597 of 1,797 images are held out, always the same.

    Args:
        batch_size: images in a batch of one process.
        num_train: size of the training subset, with the classes in proportion. null: all 1,200.
        split_seed: chooses the training subset.
        num_workers: processes that load batches; 0 is fastest for images in memory.
    """

    num_heldout = 597

    def __init__(
        self,
        batch_size: PositiveInt = 64,
        num_train: PositiveInt | None = None,
        split_seed: int = 0,
        num_workers: NonNegativeInt = 0,
    ):
        super().__init__(batch_size, num_train, split_seed, num_workers)

    def load(self) -> tuple[Images, Images, int]:
        digits = load_digits()
        images = torch.from_numpy(digits.images * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
        labels = torch.from_numpy(digits.target).long()
        train, heldout = split_off(Images(images, labels), self.num_heldout, seed=0)
        return train, heldout, 10
