"""Fashion-MNIST: 70,000 photographs of clothing, 28x28 grey (Xiao, Rasul & Vollgraf 2017, arXiv 1708.07747)."""

from torchvision import datasets

from datamodules._idx import IdxDataModule


class FashionMNISTDataModule(IdxDataModule):
    """Fashion-MNIST: 60,000 images to train and 10,000 held out, in ten classes.

    Debian's package dataset-fashion-mnist is found by itself.
    """

    published = datasets.FashionMNIST
    system_folders = ("/usr/share/datasets/fashion-mnist",)
