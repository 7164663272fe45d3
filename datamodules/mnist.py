"""MNIST: 70,000 handwritten digits, 28x28 grey (LeCun, Cortes & Burges 1998)."""

from torchvision import datasets

from datamodules._idx import IdxDataModule


class MNISTDataModule(IdxDataModule):
    """MNIST: 60,000 images to train and 10,000 held out, in ten classes."""

    published = datasets.MNIST
