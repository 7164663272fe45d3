"""Samples of a model, always the same for a seed, for any number of processes."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from lightning_genae.data.modalities import modality_of
from lightning_genae.data.storage import num_at_once
from lightning_genae.errors import UserError
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


@contextmanager
def made_of(model: Generative, noise: Callable[[int], Tensor]) -> Iterator[None]:
    """A context in which the samples of a model are made of other noise, (num, latent_dim), than it draws.

    Raises:
        UserError: no sample of the context was made of noise, as with models that draw from latents they have seen.
    """
    calls: list[int] = []

    def given(num: int) -> Tensor:
        calls.append(num)
        return noise(num).to(model.device)

    model.__dict__["noise"] = given
    try:
        yield
    finally:
        del model.__dict__["noise"]
    if not calls:
        raise UserError(
            f"--film, --truncation: expected a model that makes its samples of noise; got {type(model).__name__}"
        )


def truncated(model: Generative, limit: float) -> Callable[[int], Tensor]:
    """For `made_of`: noise of normal numbers, drawn again where they are beyond a limit: fewer odd samples, and less
    different ones (the truncation trick of BigGAN, Brock et al. 2019, arXiv 1809.11096)."""
    latent_dim = _latent_dim(model)
    return lambda num: torch.nn.init.trunc_normal_(torch.empty(num, latent_dim), a=-limit, b=limit)


def film(
    model: Generative, num: int, seed: int, label: int | None, num_keys: int, num_between: int
) -> Iterator[Tensor]:
    """Yields stored images (num, C, H, W), frame by frame: from one draw of noise to the next, and back to the first.

    Between two draws noise is cos(a) first + sin(a) next, which is normal, too.

    Args:
        model: whose samples are made of noise.
        num: of images in a frame.
        seed: of the noise, and of the classes, which stay.
        label: the class of all. None: the model draws classes.
        num_keys: draws of noise.
        num_between: frames from one to the next.

    Raises:
        UserError: the model's samples are made of something else.
    """
    keys = torch.randn(num_keys, num, _latent_dim(model), generator=torch.Generator().manual_seed(seed))
    for first, following in zip(keys, keys.roll(-1, 0)):
        for step in range(num_between):
            angle = step / num_between * math.pi / 2
            z = math.cos(angle) * first + math.sin(angle) * following
            with made_of(model, lambda number, z=z: z[:number]):  # type: ignore[misc]
                yield draw(model, num, seed, label)


def _latent_dim(model: Generative) -> int:
    return getattr(model, "hparams", {}).get("latent_dim", 1)
