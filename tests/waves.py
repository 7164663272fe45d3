"""A small data set of sequences, to train on in tests."""

import torch
from torch.nn.functional import one_hot

from datamodules._sequences import SequenceDataModule
from lightning_genae.data.dataset import Images
from lightning_genae.data.modalities.audio import Audio
from lightning_genae.data.modalities.series import Series
from lightning_genae.data.modalities.text import Text


class Waves(SequenceDataModule):
    """Sines and cosines of some frequency, 24 steps: the series that tests train on; also with ends, or as if text."""

    def __init__(self, modality: str = "series", has_mask: bool = False, **kwargs):
        super().__init__(**kwargs)
        text = Text(decode=lambda tokens: ["".join("abcde"[i] for i in row) for row in tokens])
        series = Series(has_mask=has_mask, channels=("sine", "cosine"))
        self.modality = {"series": series, "text": text, "audio": Audio(has_mask=has_mask)}[modality]

    def load(self):
        draws = torch.rand(2, 300, 1, 1, 1, generator=torch.Generator().manual_seed(0))
        angle = 2 * torch.pi * (torch.arange(24) * (0.05 + 0.1 * draws[0]) + draws[1])
        waves = 0.8 * torch.cat([angle.sin(), angle.cos()], 1)
        if self.modality.has_mask:
            end = torch.full_like(waves[:, :1], -1.0)
            end[torch.arange(24).expand_as(end) < 10 + 14 * draws[0]] = 1.0
            waves = self.modality.project(torch.cat([waves, end], 1))
        if self.modality.is_categorical:
            letters = torch.bucketize(waves[:, 0, 0].contiguous(), torch.linspace(-0.8, 0.8, 6)[1:-1])
            waves = (255 * one_hot(letters, 5).transpose(1, 2).unsqueeze(2)).to(torch.uint8)
        labels = torch.zeros(len(waves), dtype=torch.long)
        return Images(waves[:200], labels[:200]), Images(waves[200:], labels[200:]), 0
