"""What data sets of sequences share: they are images one pixel high, so that all that takes images takes them."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from datamodules._base import ImageDataModule


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
    """

    kind: Literal["series", "masked", "text", "audio"] = "series"
    noun = "sequences"

    def natural(self, images: Tensor) -> Sequence:
        """What sequences are to people, given as they are stored or as a model makes them, (N, C, 1, L).

        Returns:
            of series an array (N, L, C) in the data's own units, with NaN beyond the end of a sequence; of text a list
            of N strings; of audio an array (N, num_samples) of waves in [-1, 1].
        """
        raise NotImplementedError
