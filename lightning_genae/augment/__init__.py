"""Augmentations, one per file. To add one, add a file; `--augment its_name` then exists.

A file has one public class, an `Augmentation` (in _augmentation.py), which says

- by its `__init__(**options)`: typed options with defaults, explained in the class docstring; composed augmentations
  (`--augment ae+classic`) share the options that they have in common;
- by `vary(images, labels)`: a variation of every image; differentiable if it can be applied to the critic;
- where it needs to: `check(dataset)`, which raises ValueError for what cannot work before anything is trained,
  and `fit(dataset, **trainer_options)`, which learns what it needs from `dataset.train` alone;
- by class attributes: what it is applied to (`apply_to`) and the fraction of images that it varies there (`fractions`)
  if the user does not say; the quality report covers a grid of `strength`, if it has one;
- by `modalities`: the data that it can vary, if not all;
- where it has an autoencoder: `reconstruct(images)`.

`_composition.py` says what augmentations are applied to, how often, and how that adapts; `_quality.py` measures their
variations. The contract test is tests/test_augment.py.
"""

from lightning_genae.augment._augmentation import Augmentation
from lightning_genae.augment._composition import Composition
from lightning_genae.augment._quality import STRENGTHS, examples

__all__ = ["STRENGTHS", "Augmentation", "Composition", "examples"]
