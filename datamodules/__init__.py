"""Data sets: one LightningDataModule per file, which builds a `lightning_genae.data.dataset.Dataset`.

To add one, add a file with a subclass of ImageDataModule whose `load` returns the images; `--data its_name`
then exists. Sequences have SequenceDataModule. The contract test is tests/test_datamodules.py.
"""

from datamodules._base import ImageDataModule, PublishedDataModule, split_off
from datamodules._sequences import SequenceDataModule

__all__ = ["ImageDataModule", "PublishedDataModule", "SequenceDataModule", "split_off"]
