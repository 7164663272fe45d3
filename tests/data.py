"""Small data sets as values, and values as a modality can be, for tests."""

import torch
from torch import Tensor

from lightning_genae.data import modalities
from lightning_genae.data.dataset import Dataset, Images
from lightning_genae.data.modalities import Modality
from lightning_genae.data.modalities.image import Image


def project(x: Tensor, modality: str, has_mask: bool = False) -> Tensor:
    """Values (N, C, H, W) as data of a modality can be."""
    return modalities.new(modality, has_mask).project(x)


def images_of(images: Tensor, labels: Tensor | None = None) -> Images:
    """Stored images with labels, all 0 if none are given."""
    return Images(images, torch.zeros(len(images), dtype=torch.long) if labels is None else labels)


def dataset_of(
    train: Tensor | Images, heldout: Tensor | Images | None = None, modality: Modality | None = None, **about
) -> Dataset:
    """A data set of stored images; unless others are given, what is held out is what is trained on too.

    Args:
        about: other parts of the data set (pool, validation), and what else `Dataset` takes.
    """
    sides = {"train": train, "heldout": train if heldout is None else heldout}
    sides |= {name: about.pop(name) for name in ("pool", "validation") if name in about}
    sides = {name: images_of(part) if isinstance(part, Tensor) else part for name, part in sides.items()}
    sides = {"pool": sides["train"], "validation": sides["heldout"], **sides}
    return Dataset(**sides, modality=modality or Image(), **about)
