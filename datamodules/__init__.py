"""Data sets: one LightningDataModule per file, with the base class in _base.py.

To add one, add a file with a subclass of ImageDataModule whose `load` returns the images; `--data its_name`
then exists. Nothing here knows lightning_genae: run.py hands over the augmentation as a value.
"""
