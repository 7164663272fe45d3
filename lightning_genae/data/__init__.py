"""The data of a run as one value (dataset.py), how it is stored and served, and its modalities.

Everything here can be imported by data sets (`datamodules/`), models, augmentations, evaluation and callbacks alike; it
imports none of them.
"""
