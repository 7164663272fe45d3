"""Images as they are stored (uint8, or float32) and as modules see them (float32 in [-1, 1]), and what else there is.

A sequence is an image one pixel high, (channels, 1, length), whose rows are its channels over time.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

# what data can be; a data module says it by its `kind`, and tells models and metrics:
# - image: also points in the plane (2, 1, 1);
# - series: numbers over time, scaled to [-1, 1];
# - masked: series of different lengths, padded with 0; their last channel is 1 where there is a value and -1 beyond;
# - text: tokens over time, 1 in the channel of the token and -1 in the others;
# - audio: frames of a sound over time, or its wave.
Kind = Literal["image", "series", "masked", "text", "audio"]
KINDS: tuple[Kind, ...] = get_args(Kind)

CHUNK = 250  # samples that are drawn at once, from a seed of their own, so that processes can share the work
AT_ONCE = 2**25  # values of images that are looked at together: 128 MB in float32


def check_kind(option: str, model_class: type, kind: str) -> None:
    """Raises ValueError if a model does not take data of this kind."""
    if kind not in model_class.kinds:
        name = model_class.__module__.rpartition(".")[2]
        raise ValueError(
            f"{option}: expected one for data of kind {kind} (--data); got {name}, which is for "
            f"{', '.join(model_class.kinds)}"
        )


def to_uint8(images: Tensor) -> Tensor:
    """Images in [-1, 1], clamped, to uint8, as they would be stored."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def as_stored(images: Tensor) -> Tensor:
    """Images in [-1, 1] as a data set holds them: uint8, or float32 if they are points or sequences (H = 1)."""
    return images.float() if images.shape[2] == 1 else to_uint8(images)


def to_float(images: Tensor) -> Tensor:
    """Stored images to float32 in [-1, 1]; the inverse of `as_stored`."""
    return images if images.is_floating_point() else images.float() / 127.5 - 1


def num_at_once(image_shape: Sequence[int], most: int, values: int = AT_ONCE) -> int:
    """How many images of a shape (C, H, W) are looked at together: `most`, or fewer large ones."""
    return max(1, min(most, values // math.prod(image_shape)))


def blocks(images, most: int, values: int = AT_ONCE) -> Iterator[Tensor]:
    """Stored images (N, C, H, W), in memory or not, `most` at a time, or fewer large ones."""
    yield from images.split(num_at_once(images.shape[1:], most, values))


def chosen_of(images, index: Tensor):
    """The stored images of these indices (M,); many of those that lie on disk stay there."""
    return images[index] if isinstance(images, Tensor) else images.subset(index)


def settle(x: Tensor, kind: Kind) -> Tensor:
    """Values (B, C, H, W) as data of this kind can be: in [-1, 1]; of text one token a place, the likeliest; of masked
    series with 0 beyond the end."""
    if kind == "text":
        return torch.full_like(x, -1.0).scatter_(1, x.argmax(1, keepdim=True), 1.0)
    if kind == "masked":
        values, there = x[:, :-1].clamp(-1, 1), valid(x)[:, None, None].to(x.dtype)
        return torch.cat([values * there, 2 * there - 1], 1)
    return x.clamp(-1, 1)


def valid(x: Tensor) -> Tensor:
    """Where masked series (B, C + 1, 1, L) have values, bool (B, L): before their end, and a series ends once."""
    return (x[:, -1, 0] > 0).cumprod(1).bool()


def lengths(x: Tensor) -> Tensor:
    """Steps (B,) of masked series (B, C + 1, 1, L) before their end."""
    return valid(x).sum(1)


def as_input(model, images: Tensor) -> Tensor:
    """Stored images on a model's device and in its precision, in [-1, 1]."""
    return to_float(images.to(model.device)).to(model.dtype)


def draw(model, num: int, seed: int, label: int | None = None) -> Tensor:
    """Samples of a model as they are stored, (num, C, H, W) on the CPU, always the same for a seed.

    Args:
        label: the class of all of them; None leaves it to the model.
    """
    return torch.cat([part for _, part in draw_parts(model, num, seed, label)])


def draw_parts(
    model, num: int, seed: int, label: int | None = None, rank: int = 0, num_ranks: int = 1
) -> Iterator[tuple[int, Tensor]]:
    """The samples of `draw`, some at a time, each with the number of the first; nothing of none.

    Args:
        rank: of this process among num_ranks, which draw a part each; in the order of the ranks the parts are what
            one process would draw.
    """
    shape = getattr(model, "hparams", {}).get("image_shape", (1,))
    chunk = num_at_once(shape, CHUNK)
    for start in np.array_split(range(0, num, chunk), num_ranks)[rank].tolist():
        chunk_seed = int(np.random.SeedSequence((seed, start)).generate_state(1, np.uint64)[0] >> 1)
        yield start, as_stored(_sample(model, min(chunk, num - start), label, chunk_seed)).cpu()


def _sample(model, num: int, label: int | None, seed: int) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        samples = model.sample(num, None if label is None else torch.full((num,), label, device=model.device))
    if not samples.isfinite().all():  # as bytes they would be black images
        raise FloatingPointError("the samples of the model are not all finite numbers; it has diverged")
    return samples
