"""The data of a run as one value."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor

from lightning_genae.data.modalities import Modality


class Images(NamedTuple):
    """A set of stored items (N, C, H, W), in memory or on disk, and their labels.

    Args:
        images: uint8, or float32 in [-1, 1]; see lightning_genae/data/storage.py. Many images of a folder stay on disk
            (datamodules/_packs.py): slices and indices of them return tensors, as those of all others.
        labels: int64 (N,), all 0 if there are none.
    """

    images: Tensor
    labels: Tensor

    def subset(self, chosen: Tensor | slice) -> "Images":
        """The items of a slice or of indices (M,); items on disk are not copied."""
        images = self.images
        return Images(images[chosen] if isinstance(images, Tensor) else images.subset(chosen), self.labels[chosen])

    @property
    def fingerprint(self) -> str:
        """A hash of the images, their shape and their labels; for images on disk, of the hash stored with them."""
        images = self.images
        content = hashlib.sha256(str(tuple(images.shape)).encode())
        content.update(images.contiguous().numpy().data if isinstance(images, Tensor) else images.content.encode())
        content.update(self.labels.contiguous().numpy().data)
        return content.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Everything that models, augmentations, evaluation and callbacks know about the data; a data module builds it.

    Args:
        train: the training subset.
        pool: the whole training split: `train`, `validation`, and the rest.
        validation: for choices: neither trained on nor reported.
        heldout: for reported results; nothing is chosen by it.
        modality: of the items, with their units.
        num_classes: 0 without labels.
        places: positions of windows of series, which may share values, by the names of the parts above, int64 (N, 3):
            index of the series, first step in it, and the step after the last. Two windows of a series share a value if
            these intervals overlap. Empty: no items share values.
        cache_dir: folder for results about the data that take long to compute. None: there is none, as in tests of
            models alone; autoencoders that augment and an `Evaluation` need one, and every data module gives one.
        fingerprint: a hash of the training subset, stored in every checkpoint. Empty: it is computed, once.
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

    def __post_init__(self) -> None:
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", self.train.fingerprint)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an item; of sequences (C, 1, L)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def item_name(self) -> str:
        """The plural name of items, such as images."""
        return self.modality.item_name
