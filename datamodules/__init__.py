"""Data sets: one LightningDataModule per file, which builds a `lightning_genae.data.dataset.Dataset`.

To add one, add a file with a subclass of ImageDataModule; `--data its_name` then exists. Sequences have
SequenceDataModule. What is asked of it:

- `load()`: the training split, the held-out split and the number of classes (0: no labels); a split is
  `Images(images, labels)` with images (N, C, H, W), uint8, or float32 in [-1, 1], and labels (N,), int64, in 0 to the
  number of classes, all 0 where there are none; the held-out split is the same one whatever the run's seed;
- typed options with defaults as arguments of `__init__(self, ..., **kwargs)`, explained in the class docstring, which
  passes `kwargs` on;
- `modality`, of the class or set by `load` with the units of the data, where they are no images;
- without defaults that work in an empty folder: a classmethod `example(folder)`, for the tests.

The contract test is tests/test_datamodules.py.
"""

from datamodules._base import ImageDataModule, PublishedDataModule, split_off
from datamodules._sequences import SequenceDataModule

__all__ = ["ImageDataModule", "PublishedDataModule", "SequenceDataModule", "split_off"]
