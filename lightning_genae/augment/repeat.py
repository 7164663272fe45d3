"""Repeated originals: a control with as few different originals per batch as an augmentation on the data leaves."""

from types import MappingProxyType

import torch
from torch import Tensor

from lightning_genae.augment._augmentation import Augmentation, draw_fraction


class Repeat(Augmentation):
    """Replaces a fraction of each batch by other originals of the same batch, of the same class.

    An augmentation on the data trains for as many batches as `none`, each of fewer originals and their variations. This
    control trains on as few originals, without variations: the gain of `ae` over it is the gain of the variations.
    With a fraction of 1 there is nothing left to repeat, and the batch stays unchanged.
    """

    fractions = MappingProxyType({"data": Augmentation.fractions["data"]})
    shows = False

    def vary(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """The images (B, C, H, W) themselves: a repetition has nothing to show."""
        return images

    def forward(self, images: Tensor, labels: Tensor | None, fraction: float) -> Tensor:
        """The images (B, C, H, W), of which a fraction is replaced by others of the same class, where there are any."""
        replaced = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        replaced[draw_fraction(images, fraction)] = True
        # rows: the images; columns: their possible replacements
        possible = ~replaced if labels is None else ~replaced & (labels[:, None] == labels)
        draws = torch.rand(len(images), len(images), device=images.device).masked_fill(~possible, -1)
        drawn = draws.max(1)
        index = torch.where(replaced & (drawn.values >= 0), drawn.indices, torch.arange(len(images)).to(drawn.indices))
        return images[index]
