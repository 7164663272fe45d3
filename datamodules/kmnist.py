"""Kuzushiji-MNIST: 70,000 cursive Japanese characters, 28x28 grey (Clanuwat et al. 2018, arXiv 1812.01718)."""

from torchvision import datasets

from datamodules._idx import IdxDataModule


class KMNISTDataModule(IdxDataModule):
    """KMNIST: 60,000 images to train and 10,000 held out, in ten classes.

    Args:
        root: folder with the four IDX files, plain or gzipped, or with torchvision's KMNIST/raw. null: data.
        download: fetch the files to the root if they are not there.
        batch_size: images in a batch of one process.
        num_train: size of the training subset, with the classes in proportion. null: all.
        split_seed: chooses the training subset.
        num_workers: processes that load batches; 0 is fastest for images in memory.
    """

    dataset = datasets.KMNIST
