"""Fashion-MNIST: 70,000 photographs of clothing, 28x28 grey (Xiao, Rasul & Vollgraf 2017, arXiv 1708.07747)."""

from torchvision import datasets

from datamodules._idx import IdxDataModule


class FashionMNISTDataModule(IdxDataModule):
    """Fashion-MNIST: 60,000 images to train and 10,000 held out, in ten classes.

    Args:
        root: folder with the four IDX files, plain or gzipped, or with torchvision's FashionMNIST/raw.
            null: data, then Debian's package dataset-fashion-mnist.
        download: fetch the files to the root if they are not there.
        batch_size: images in a batch of one process.
        num_train: size of the training subset, with the classes in proportion. null: all.
        split_seed: chooses the training subset.
        num_workers: processes that load batches; 0 is fastest for images in memory.
    """

    dataset = datasets.FashionMNIST
    other_folders = ("/usr/share/datasets/fashion-mnist",)
