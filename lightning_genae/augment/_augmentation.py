"""What every augmentation is."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from lightning_genae.data.dataset import Dataset

Side = Literal["data", "critic"]


class Augmentation(nn.Module):
    """An augmentation of images in [-1, 1].

    Unless the user says otherwise, all augmentations vary the same fraction of the images, so that what is compared is
    how they vary them: half of them on the data, 0.7 of them on the critic (by benchmarks/low_data.py, of
    autoencoders).

    Attributes:
        apply_to: data or critic, where it acts unless the user says otherwise.
        apply_to_without_critic: the same for a model without a critic of images. None: as `apply_to`.
        fractions: where it can act, and the share of the images that it varies there unless the user says otherwise;
            what is not differentiable acts on the data alone.
        shows: whether its variations differ from the images, so that the quality report has something to measure.
        modalities: of data that it is for, by their names; None: all of them.
        target: of the overfitting signal, for an augmentation whose fraction adapts unless the user says otherwise.
    """

    apply_to: Side = "data"
    apply_to_without_critic: Side | None = None
    fractions: Mapping[Side, float] = MappingProxyType({"data": 0.5, "critic": 0.7})
    shows = True
    modalities: ClassVar[tuple[str, ...] | None] = None
    target: float | None = None

    def check(self, dataset: Dataset) -> None:
        """Raises ValueError for what cannot work, before anything is trained."""

    def fit(self, dataset: Dataset, **trainer_options) -> None:
        """Learns what it needs.

        Args:
            dataset: `dataset.train` is all of it that may be looked at.
            trainer_options: for Lightning's Trainer, such as accelerator and callbacks.
        """

    def vary(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """A variation (B, C, H, W) of every image (B, C, H, W) in [-1, 1] of the classes (B,), if they are known."""
        raise NotImplementedError

    def forward(self, images: Tensor, labels: Tensor | None, fraction: float) -> Tensor:
        """The images (B, C, H, W), of which a share, drawn at random, is varied."""
        chosen = draw_fraction(images, fraction)
        if len(chosen) == 0:
            return images
        # in float32, whatever the model's precision: it is what an autoencoder was trained in
        varied = self.vary(images[chosen].float(), None if labels is None else labels[chosen])
        return images.index_copy(0, chosen, varied.to(images.dtype))

    def settings(self) -> dict[str, object]:
        """What options of which nothing was said came to, if that is not their default; nothing for most."""
        return {}

    def quality(self, dataset: Dataset, extractor, images: Tensor, real: Tensor) -> dict[str, float]:
        """What else than its variations tells what the augmentation is worth, by name; nothing for most."""
        return {}


def draw_fraction(images: Tensor, fraction: float) -> Tensor:
    """Indices of a share of the images, rounded at random so that it is right on average for small batches too."""
    num = int(fraction * len(images) + torch.rand(()).item())
    return torch.randperm(len(images), device=images.device)[:num]
