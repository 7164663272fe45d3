"""scikit-learn's handwritten digits: 1,797 grey images of 8x8 in ten classes, in its wheel."""

import torch

from datamodules._base import ImageDataModule, split_off
from lightning_genae.data.dataset import Images


class Digits(ImageDataModule):
    """scikit-learn's 8x8 digits; 597 of 1,797 images are held out, always the same."""

    num_heldout = 597

    def load(self) -> tuple[Images, Images, int]:
        images, labels = self.kept("digits", {}, _read)
        train, heldout = split_off(Images(images, labels), self.num_heldout, 0, self.kept)
        return train, heldout, 10


def _read() -> list[torch.Tensor]:
    """Images, uint8 (1797, 1, 8, 8), and labels (1797,)."""
    from sklearn.datasets import load_digits  # slow; see ImageDataModule.kept

    digits = load_digits()
    images = torch.from_numpy(digits.images * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
    return [images, torch.from_numpy(digits.target).long()]
