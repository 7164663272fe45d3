"""Samples of a model, always the same for a seed, for any number of processes."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lightning_genae.data.modalities import modality_of
from lightning_genae.data.storage import num_at_once
from lightning_genae.evaluation.models import Generative

CHUNK = 250  # samples that are drawn at once, from a separate seed, so that processes can share the work


def draw(model: Generative, num: int, seed: int, label: int | None = None) -> Tensor:
    """Samples of a model as stored images (num, C, H, W) on the CPU, always the same for a seed.

    Args:
        model: to sample from.
        num: number of samples.
        seed: of the noise.
        label: the class of all samples. None: the model draws classes.

    Raises:
        FloatingPointError: the samples are not finite.
    """
    return torch.cat([part for _, part in draw_parts(model, num, seed, label)])


def draw_parts(
    model: Generative, num: int, seed: int, label: int | None = None, rank: int = 0, num_ranks: int = 1
) -> Iterator[tuple[int, Tensor]]:
    """Yields the samples of `draw` in chunks, each with the index of its first sample.

    Args:
        model, num, seed, label: as for `draw`.
        rank: of this process among num_ranks, which draw a part each; concatenated in the order of the ranks, the parts
            are the samples that a single process would draw.
        num_ranks: number of processes.

    Raises:
        FloatingPointError: the samples are not finite.
    """
    shape = getattr(model, "hparams", {}).get("image_shape", (1,))
    modality, chunk = modality_of(model), num_at_once(shape, CHUNK)
    for start in np.array_split(range(0, num, chunk), num_ranks)[rank].tolist():
        chunk_seed = int(np.random.SeedSequence((seed, start)).generate_state(1, np.uint64)[0]) >> 1
        yield start, modality.as_stored(_sample(model, min(chunk, num - start), label, chunk_seed)).cpu()


def _sample(model: Generative, num: int, label: int | None, seed: int) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        samples = model.sample(num, None if label is None else torch.full((num,), label, device=model.device))
    if not samples.isfinite().all():  # as uint8 they would be black images
        raise FloatingPointError("the samples of the model are not all finite numbers; it has diverged")
    return samples
