"""scikit-learn's handwritten digits: 1,797 grey images of 8x8 in ten classes, in its wheel."""

import torch
from sklearn.datasets import load_digits

from datamodules._base import ImageDataModule, split_off
from lightning_genae.data.dataset import Images


class Digits(ImageDataModule):
    """scikit-learn's 8x8 digits; 597 of 1,797 images are held out, always the same."""

    num_heldout = 597

    def load(self) -> tuple[Images, Images, int]:
        digits = load_digits()
        images = torch.from_numpy(digits.images * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
        labels = torch.from_numpy(digits.target).long()
        train, heldout = split_off(Images(images, labels), self.num_heldout, seed=0)
        return train, heldout, 10
