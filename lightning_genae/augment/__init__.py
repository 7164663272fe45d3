"""Augmentations, one a file. To add one, add a file; `--augment its_name` then exists.

A file has one public class, an `Augmentation` (in _augmentation.py), which says

- by its `__init__(**options)`: typed options with defaults, explained in the class docstring; two that are composed
  (`--augment ae+classic`) share the options that they both have;
- by `vary(images, labels)`: a variation of every image; differentiable, if it can act on the critic;
- where it needs to: `check(dataset)`, which raises ValueError for what is wrong before anything is trained,
  and `fit(dataset, **trainer_options)`, which learns what it needs from `dataset.train` alone;
- by class attributes: where it acts (`apply_to`) and how many images it varies there (`fractions`) if the
  user does not say; `strength`, if it has one, is what the quality report is drawn over;
- by `modalities`: of what data it can make variations, if not of all;
- where it has an autoencoder: `reconstruct(images)`.

Where augmentations act, how often, and how that adapts is `_composition.py`; what their variations are worth is
`_quality.py`. The contract test is tests/test_augment.py.
"""

from lightning_genae.augment._augmentation import Augmentation
from lightning_genae.augment._composition import Composition
from lightning_genae.augment._quality import STRENGTHS, examples

__all__ = ["STRENGTHS", "Augmentation", "Composition", "examples"]
