"""Kuzushiji-MNIST: 70,000 cursive Japanese characters, 28x28 grey (Clanuwat et al. 2018, arXiv 1812.01718)."""

from torchvision import datasets

from datamodules._idx import IdxDataModule


class KMNISTDataModule(IdxDataModule):
    """KMNIST: 60,000 images to train and 10,000 held out, in ten classes."""

    published = datasets.KMNIST
