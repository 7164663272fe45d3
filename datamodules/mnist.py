"""MNIST: 70,000 handwritten digits, 28x28 grey (LeCun, Cortes & Burges 1998)."""

from torchvision import datasets

from datamodules._idx import IdxDataModule


class MNISTDataModule(IdxDataModule):
    """MNIST: 60,000 images to train and 10,000 held out, in ten classes.

    Args:
        root: folder with the four IDX files, plain or gzipped, or with torchvision's MNIST/raw. null: data.
        download: fetch the files to the root if they are not there.
        batch_size: images in a batch of one process.
        num_train: size of the training subset, with the classes in proportion. null: all.
        split_seed: chooses the training subset.
        num_workers: processes that load batches; 0 is fastest for images in memory.
    """

    dataset = datasets.MNIST
