"""The data of a run as one value."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor

from lightning_genae.data.modalities import Modality


class Images(NamedTuple):
    """A set of items as they are stored (N, C, H, W), in memory or many on disk, and their labels.

    Args:
        images: uint8, or float32 in [-1, 1]; see lightning_genae/data/storage.py. Many images of a folder stay on disk
            (datamodules/_packs.py): slices of them, and what indices choose, are tensors, as they are of all others.
        labels: int64 (N,), all 0 where there are none.
    """

    images: Tensor
    labels: Tensor

    def subset(self, chosen: Tensor | slice) -> "Images":
        """Those of a slice or of indices (M,); of many on disk without a copy."""
        images = self.images
        return Images(images[chosen] if isinstance(images, Tensor) else images.subset(chosen), self.labels[chosen])

    @property
    def fingerprint(self) -> str:
        """A hash of the images, their shape and their labels; of many on disk by what is kept beside them."""
        images = self.images
        content = hashlib.sha256(str(tuple(images.shape)).encode())
        content.update(images.contiguous().numpy().data if isinstance(images, Tensor) else images.content.encode())
        content.update(self.labels.contiguous().numpy().data)
        return content.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Dataset:
    """All that models, augmentations, evaluation and callbacks know of the data; a data module builds it.

    Args:
        train: what is trained on.
        pool: the training split: `train`, `validation`, and what is left over.
        validation: what choices are made by: neither trained on nor reported.
        heldout: what is reported on, and nothing is chosen by.
        modality: what the items are, with their units.
        num_classes: 0 without labels.
        places: where items are cut from that may share values, windows of series, by the names of the parts above,
            int64 (N, 3): which series, their first step in it, and the step after their last. Two of them share a value
            if these stretches of one series meet. Empty where none does.
        cache_dir: where what takes long to find out about the data is kept. None: nothing is kept.
        fingerprint: a hash of what is trained on. Empty: it is computed, once: every checkpoint holds it.
    """

    train: Images
    pool: Images
    validation: Images
    heldout: Images
    modality: Modality
    num_classes: int = 0
    places: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))
    cache_dir: str | None = None
    fingerprint: str = ""

    def __post_init__(self):
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", self.train.fingerprint)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an item; of sequences (C, 1, L)."""
        return tuple(self.train.images.shape[1:])

    @property
    def item_name(self) -> str:
        """What several items are called."""
        return self.modality.item_name
