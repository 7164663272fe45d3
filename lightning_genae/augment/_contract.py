"""Checks of an augmentation that is new: what its class says, and its variations, before a model is trained."""

from typing import get_args

import torch
from torch import Tensor

from lightning_genae import registry
from lightning_genae.augment._augmentation import Augmentation, Side
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.modalities.image import Image
from lightning_genae.data.storage import to_float
from lightning_genae.errors import UserError

NUM = 8  # training images that are varied to see that they can be
SIDES = set(get_args(Side))


def check_class(augmentation: Augmentation) -> None:
    """Checks what the class says of where it acts.

    Raises:
        UserError: a method is missing or takes other arguments, or `apply_to`, `preferred_sides` or `fractions` is not
            as it should be.
    """
    about = registry.described(type(augmentation))
    if not isinstance(augmentation, Augmentation):
        raise UserError(f"{about}: expected a subclass of lightning_genae.augment.Augmentation; got another class")
    if not hasattr(augmentation, "training"):
        raise UserError(f"{about}: expected super().__init__() at the beginning of its __init__; got none")
    if type(augmentation).vary is Augmentation.vary:
        raise UserError(f"{about}: expected a method vary(self, images, labels); got none")
    registry.check_call(type(augmentation), "vary", "vary(self, images, labels)", None, None, None)
    registry.check_call(
        type(augmentation), "fit", "fit(self, dataset, **trainer_options)", None, None, accelerator=None
    )
    fractions = dict(augmentation.fractions)
    if not fractions.keys() <= SIDES or not all(0 <= fraction <= 1 for fraction in fractions.values()):
        raise UserError(f"{about}: expected fractions in [0, 1] of data, critic or generator; got {fractions}")
    if "generator" in fractions and type(augmentation).matching is Augmentation.matching:
        raise UserError(f"{about}: expected a method matching(self, images), as fractions has generator; got none")
    for side in (augmentation.apply_to, *augmentation.preferred_sides(Image())):
        if side not in fractions:
            raise UserError(f"{about}: expected apply_to one of {' or '.join(fractions)}, its fractions; got '{side}'")


def check_variation(augmentation: Augmentation, dataset: Dataset, side: str, is_within_class: bool) -> None:
    """Varies some training images to see that what comes is such images.

    Args:
        augmentation: fitted.
        dataset: of the images.
        side: data, or critic, where the gradient of the generator has to pass.
        is_within_class: whether it gets the classes.

    Raises:
        UserError: the variations have another shape or type, are not finite, do not repeat from the same seed, have no
            gradient before a critic, or the originals were changed.
    """
    about = registry.described(type(augmentation))
    images, labels = (part[:NUM] for part in dataset.train)
    x = to_float(images)
    passed = x.clone().requires_grad_(side == "critic").clone()  # a copy, because leaves cannot be changed in place
    labels_passed = labels if is_within_class else None
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would seed a GPU's, too
        varied = augmentation.vary(passed, labels_passed)
        torch.default_generator.manual_seed(0)
        again = augmentation.vary(x.clone(), labels_passed)
    if not isinstance(varied, Tensor) or varied.shape != x.shape or varied.dtype != x.dtype:
        got = f"{tuple(varied.shape)} {varied.dtype}" if isinstance(varied, Tensor) else type(varied).__name__
        raise UserError(f"{about}: expected variations {tuple(x.shape)} {x.dtype} as the images; got {got}")
    if not varied.isfinite().all():
        raise UserError(f"{about}: expected finite variations of {dataset.item_name}; got others")
    if not torch.equal(passed, x):
        raise UserError(f"{about}: expected new images; it changes those that it gets: vary `images.clone()`")
    if not torch.allclose(varied, again, atol=1e-3):  # kernels with and without gradients round differently
        raise UserError(
            f"{about}: expected random numbers of torch, which runs seed; got variations that do not repeat"
        )
    if side == "critic" and not varied.requires_grad:
        raise UserError(
            f"{about}: expected variations that gradients pass, before the critic; got none; with fractions = "
            '{"data": 0.5} it is for the data alone'
        )
