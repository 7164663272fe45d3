"""Base class of data sets of sequences: overlapping windows never share values between parts."""

import torch
from torch import Tensor

from datamodules._base import ImageDataModule, split_off
from lightning_genae.data.dataset import Images
from lightning_genae.data.modalities import Modality
from lightning_genae.data.modalities.series import Series


class SequenceDataModule(ImageDataModule):
    """Batches of sequences of one length L with C channels, as images (B, C, 1, L)."""

    modality: Modality = Series()

    def split(self, pool: Images, num_heldout: int) -> tuple[Images, Images]:
        """Like `ImageDataModule.split`, except for windows of series: there, the validation set shares no values with
        the training set. It consists of whole series, with the classes in proportion, or of the end of a single series;
        windows across its border are in neither part.

        Raises:
            ValueError: there are fewer than `num_train`, or too few for validation.
        """
        if "pool" not in self.places:
            return super().split(pool, num_heldout)
        free, aside = self._apart(pool, num_heldout)
        num_train = len(free) if self.num_train is None else self.num_train
        if num_train > len(free):
            raise ValueError(
                f"--data.num_train: expected at most {len(free)}, the {self.modality.item_name} that share nothing "
                f"with the {len(aside)} kept aside to choose by; got {num_train}"
            )
        if num_train < len(free):
            free = split_off(Images(free, pool.labels[free]), num_train, self.drawn_by)[1].images
        parts = {"train": free, "validation": aside}
        self.places = {**self.places, **{name: self.places["pool"][chosen] for name, chosen in parts.items()}}
        train, validation = (Images(pool.images[chosen], pool.labels[chosen]) for chosen in parts.values())
        return train, validation

    def _apart(self, pool: Images, num_heldout: int) -> tuple[Tensor, Tensor]:
        """Which sequences of the training split may be trained on and which are kept aside, in random order, so
        that the first ones are a random sample."""
        order = torch.randperm(len(pool.images), generator=torch.Generator().manual_seed(self.drawn_by))
        of, start, end = self.places["pool"][order].T
        num = self.num_aside(len(order), num_heldout)
        names, where = of.unique(return_inverse=True)
        if len(names) == 1:
            border = start.sort().values[-num]
            return order[end <= border], order[start >= border]
        labels = torch.zeros_like(names).scatter_(0, where, pool.labels[order])
        num_names = min(max(1, round(num * len(names) / len(order))), len(names) - 1)
        aside = torch.isin(of, split_off(Images(names, labels), num_names, self.drawn_by)[1].images)
        return order[~aside], order[aside]
