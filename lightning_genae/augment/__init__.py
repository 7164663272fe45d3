"""Augmentations ("arms"), one a file. To add one, add a file; `--augment its_name` then exists.

A file has one public class, an `Arm` (in _arm.py), which says

- by its `__init__(**options)`: typed options with defaults, explained in the class docstring; two arms that are
  composed (`--augment ae+classic`) share the options that they both have;
- by `vary(images, labels)`: a variation of every image; differentiable, if it can stand before a critic;
- where it needs to: `check(dataset)`, which raises ValueError for what is wrong before anything is trained,
  and `fit(dataset, **trainer_options)`, which learns what it needs from `dataset.train` alone;
- by class attributes: where it stands (`place`) and how many images it varies there (`fractions`) if the
  user does not say; `strength`, if it has one, is what the quality gate is drawn over;
- by `modalities`: of what data it can make variations, if not of all;
- where it has an autoencoder: `reconstruct(images)`.

Where arms stand, how often they act and how that adapts is `lightning_genae/augmentation.py`; what their
variations are worth `lightning_genae/gate.py`. The contract test is tests/test_augment.py.
"""
