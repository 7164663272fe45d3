"""Models: one system, a LightningModule, per file. To add one, add a file; `--model its_name` then exists.

What run.py, the callbacks and the contract test in tests/test_models.py require of a model:

- `modalities`: names of the modalities that it supports; None: all of them;
- `__init__(image_shape, num_classes, modality, has_mask, **options)`: the data's (C, H, W), number of classes (0: no
  labels), modality (lightning_genae/data/modalities) and whether the last channel is a mask, then typed options with
  defaults, explained in the class docstring; it calls `save_hyperparameters()`;
- `training_step(batch, batch_idx)`: the batch is (images (B, C, H, W) in [-1, 1], labels (B,)); losses are
  logged as `train/...`;
- `sample(num, labels=None)`: images (num, C, H, W) in [-1, 1], as data can be (`Modality.project`), in evaluation mode,
  drawn with torch's global random numbers, without gradients; a conditional model has the number of its classes as
  `num_conditions`, and draws the classes itself if it gets no labels; the others ignore labels;
- where it has an encoder: `encode(x)` to latents (B, d), `decode(z)` to images, `reconstruct(x)`;
- where it has a likelihood: `log_likelihood(x, num_latents)`, (B,) in nats;
- where it generates pairs of images of two domains: `sample_pairs(num)`;
- where its generator is averaged: an attribute `averaged` (torch's AveragedModel) and `generator`; the
  callback `ema` updates it.

`Model` is what all models of this project share, `TwoPlayers` what those with a critic do.
"""

from lightning_genae.models._contract import check_class, check_hparams
from lightning_genae.models._model import Model
from lightning_genae.models._two_players import TwoPlayers

__all__ = ["Model", "TwoPlayers", "check_class", "check_hparams"]
