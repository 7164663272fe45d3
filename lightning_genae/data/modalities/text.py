"""Text: windows of tokens, which are characters or parts of words."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lightning_genae.data.modalities._modality import Modality
from lightning_genae.data.storage import to_float


@dataclass(frozen=True, eq=False)
class Text(Modality):
    """Windows (V, 1, L) with one channel for each of V tokens, stored as uint8; samples of a model are float32.

    Args:
        decode: from lists of tokens to texts.
    """

    decode: Callable[[list[list[int]]], list[str]] | None = None

    item_name = "texts"
    is_sequence = True
    is_categorical = True
    losses = ("ce", "mse", "bce", "l1")
    likelihoods = ("categorical", "bernoulli", "gaussian")
    layout = (16, 1)

    def default_features(self, num_classes: int, num_values: int) -> tuple[str, ...]:
        return ("rocket",)

    def project_values(self, x: Tensor) -> Tensor:
        """One token per position: the likeliest."""
        return torch.full_like(x, -1.0).scatter_(1, x.argmax(1, keepdim=True), 1.0)

    def bound(self, output: Tensor) -> Tensor:
        """The probabilities of the tokens, from [0, 1] to [-1, 1]."""
        return 2 * output.softmax(1) - 1

    def apply_change(self, x: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """The tokens of `after` where they differ from `before`, otherwise those of `x`, (N, V, 1, L)."""
        changes = after.argmax(1, keepdim=True) != before.argmax(1, keepdim=True)
        return torch.where(changes, after, x)

    def inverse_transform(self, images: Tensor) -> list[str]:
        """The texts (N,) of windows, with the largest channel at each position."""
        assert self.decode is not None  # a data set gives it; a model's modality reads nothing
        return self.decode(tokens_of(images))

    def num_characters(self, images: Tensor) -> int:
        return sum(map(len, self.inverse_transform(images)))

    def joined(self, images: Tensor, places: Tensor | None) -> list[str]:
        """The texts of stored windows (N, V, 1, L), with overlapping windows joined, so that each token occurs once.

        Args:
            images: stored windows (N, V, 1, L).
            places: positions of the windows, (N, 3); see lightning_genae/data/dataset.py. None: no windows overlap.
        """
        if places is None:
            return self.inverse_transform(images)
        joined: list[list[int]] = []
        reached = 0
        for (_, start, end), window in sorted(zip(places.tolist(), tokens_of(images))):
            if start < reached:
                joined[-1] += window[reached - start :]
            else:
                joined.append(window)
            reached = end
        assert self.decode is not None
        return self.decode(joined)

    def draw(
        self,
        path: Path,
        images: Tensor,
        num_columns: int,
        rows: tuple[str, ...] = ("",),
        titles: tuple[str, ...] = (),
        behind: Tensor | None = None,
    ) -> Path:
        from lightning_genae.data.drawing.texts import save_page

        return save_page(path, self.inverse_transform(images), num_columns, rows)

    def write(self, stem: Path, samples: Tensor) -> dict[Path, str]:
        """A picture, and a file with one text per line."""
        picture = stem.with_suffix(".png")
        self.draw(picture, to_float(samples), num_columns=len(samples))
        return {picture: "a picture", stem.with_suffix(".txt"): f"{len(samples)} texts, a line each"}


def tokens_of(images: Tensor) -> list[list[int]]:
    """The tokens (N, L) of windows (N, V, 1, L): the largest channel at each position."""
    return images.argmax(1).squeeze(1).tolist()
