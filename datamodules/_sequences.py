"""What data sets of sequences share: they are images one pixel high, so that all that takes images takes them."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from datamodules._base import ImageDataModule, Images, split_off


class SequenceDataModule(ImageDataModule):
    """Batches of sequences of one length L with C channels, as images (B, C, 1, L).

    Attributes:
        kind: what the channels are.

            - series: numbers in data units, scaled to [-1, 1] by what the training data span; stored as float32.
            - masked: the same for sequences of different lengths; beyond its end a sequence is 0, and the last channel,
              one more than the data have, is 1 where there is a value and -1 beyond.
            - text: one channel a token; stored as uint8, 255 in the channel of the token and 0 in the others.
            - audio: frames of log-mel bands, or the wave in one channel, in [-1, 1]; stored as float32.
        noun: what one of them is called in reports.
        places: if sequences may share values, or series, where those of `train_split`, `heldout`, `train` and
            `validation` are cut from, by these names, int64 (N, 3): which series, their first step in it, and the step
            after their last. Two of them share a value if these stretches of one series meet. Else empty.
    """

    kind: Literal["series", "masked", "text", "audio"] = "series"
    noun = "sequences"

    def split(self, split: Images) -> tuple[Images, Images]:
        """As of all data sets, but where sequences are windows of series no value that is trained on is among those
        that choices are made by: these are whole series, with the classes in proportion, or the end of a single one,
        and windows across its border are in neither part."""
        if "train_split" not in self.places:
            return super().split(split)
        free, aside = self._apart(split)
        num_train = len(free) if self.num_train is None else self.num_train
        if num_train > len(free):
            raise ValueError(
                f"--data.num_train: expected at most {len(free)}, the {self.noun} that share nothing with the "
                f"{len(aside)} kept aside to choose by; got {num_train}"
            )
        if num_train < len(free):
            free = split_off(Images(free, split.labels[free]), num_train, self.drawn_by)[1].images
        parts = {"train": free, "validation": aside}
        self.places |= {name: self.places["train_split"][chosen] for name, chosen in parts.items()}
        return tuple(Images(split.images[chosen], split.labels[chosen]) for chosen in parts.values())

    def _apart(self, split: Images) -> tuple[Tensor, Tensor]:
        """Which sequences of the training split may be trained on and which are kept aside, in an order drawn at
        random, so that the first are a sample."""
        order = torch.randperm(len(split.images), generator=torch.Generator().manual_seed(self.drawn_by))
        of, start, end = self.places["train_split"][order].T
        num = self.num_aside(len(order))
        names, where = of.unique(return_inverse=True)
        if len(names) == 1:
            border = start.sort().values[-num]
            return order[end <= border], order[start >= border]
        labels = torch.zeros_like(names).scatter_(0, where, split.labels[order])
        num_names = min(max(1, round(num * len(names) / len(order))), len(names) - 1)
        aside = torch.isin(of, split_off(Images(names, labels), num_names, self.drawn_by)[1].images)
        return order[~aside], order[aside]

    def natural(self, images: Tensor) -> Sequence:
        """What sequences are to people, given as they are stored or as a model makes them, (N, C, 1, L).

        Returns:
            of series an array (N, L, C) in the data's own units, with NaN beyond the end of a sequence; of text a list
            of N strings; of audio an array (N, num_samples) of waves in [-1, 1].
        """
        raise NotImplementedError
