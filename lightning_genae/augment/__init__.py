"""Augmentations, one a file. To add one, add a file; `--augment its_name` then exists.

What the data modules, run.py, the callbacks and the contract test in tests/test_augment.py ask of one, a
torch module:

- `__init__(**options)`: typed options with defaults, explained in the class docstring;
- `check(datamodule)`: raises ValueError for what is wrong, before anything is trained;
- `fit(datamodule, **trainer_options)`: trains what it needs on `datamodule.train` alone, with a Trainer of
  these options;
- `forward(images, labels)`: the batch, float in [-1, 1], (B, C, H, W), in which some images are replaced;
- `vary(images, labels)`: a variation of every image;
- `quality(datamodule, extractor)`: what the variations are worth, as plain values, measured before the
  model trains; empty where there is nothing to measure;
- where it has an autoencoder: `reconstruct(images)`.
"""
