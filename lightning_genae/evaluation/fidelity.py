"""The similarity of images and their reconstructions, by torchmetrics and by measures of the modality."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lightning_genae.data.modalities import Modality
from lightning_genae.data.storage import as_input, blocks, num_at_once, to_float
from lightning_genae.evaluation.extractors import given_file, load_state, to_rgb
from lightning_genae.evaluation.models import Reconstructing

MAX_VALUES = 2**21  # of images that are compared at once: 8 MB in float32; SSIM needs a hundred times as much


def fidelity(
    x: Tensor,
    x_hat: Tensor,
    lpips: Callable[[Tensor, Tensor], Tensor] | None = None,
    modality: Modality | None = None,
) -> dict[str, float]:
    """Measures of images and reconstructions (N, C, H, W) in [-1, 1], by name.

    `mse` per pixel, `psnr` in dB, `ssim` (Wang et al. 2004; not for images below 6 pixels), `lpips` if its distance is
    passed (Zhang et al. 2018, arXiv 1801.03924), and measures of the modality.
    """
    # slow, and not needed before the first look
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    size = _size_of_blocks(x)
    if size < len(x):
        return mean_of_blocks(
            [(len(a), fidelity(a, b, lpips, modality)) for a, b in zip(x.split(size), x_hat.split(size))]
        )
    values = {"mse": (x_hat - x).square().mean(), "psnr": peak_signal_noise_ratio(x_hat, x, data_range=(-1.0, 1.0))}
    if min(x.shape[2:]) > 5:  # SSIM's window reaches five pixels over the border
        ssim = structural_similarity_index_measure(x_hat, x, data_range=(-1.0, 1.0))
        values["ssim"] = ssim  # type: ignore[assignment]  # a pair only if asked for, with the map
    if lpips is not None:
        values["lpips"] = lpips(x, x_hat)
    of_modality = {} if modality is None else modality.fidelity(x, x_hat)
    return {name: float(value) for name, value in values.items()} | of_modality


@torch.no_grad()
def of_reconstructions(model: Reconstructing, images: Tensor, *options: Any) -> dict[str, float]:
    """`fidelity` of a model's reconstructions of stored images (N, C, H, W), in blocks that fit into memory.

    Args:
        model: with `reconstruct`.
        images: stored images (N, C, H, W).
        options: `lpips` and `modality` of `fidelity`.
    """

    def of_block(block: Tensor) -> dict[str, float]:
        x_hat = torch.cat([model.reconstruct(as_input(model, part)).float().cpu() for part in blocks(block, 500)])
        return fidelity(to_float(block), x_hat, *options)

    return mean_of_blocks([(len(block), of_block(block)) for block in images.split(_size_of_blocks(images))])


def _size_of_blocks(images: Tensor) -> int:
    """The number of images (N, C, H, W) to compare at once: SSIM needs a hundred times their memory."""
    return num_at_once(images.shape[1:], len(images), MAX_VALUES)


def mean_of_blocks(values: list[tuple[int, dict[str, float]]]) -> dict[str, float]:
    """The values of all images from those of blocks, each with its number of images.

    They are means, except psnr, which follows from the mean squared error.
    """
    if len(values) == 1:
        return values[0][1]
    total = sum(num for num, _ in values)
    means = {name: sum(num * block[name] for num, block in values) / total for name in values[0][1]}
    return means | {"psnr": 10 * math.log10(4 / max(means["mse"], 1e-300))}


def lpips(weights: str) -> Callable[[Tensor, Tensor], Tensor]:
    """LPIPS on AlexNet, with torchmetrics' learned weights of its layers: a distance of images (N, C, H, W) in [-1, 1].

    Args:
        weights: path of torchvision's alexnet-owt-7be5be79.pth.

    Raises:
        ValueError: the file is damaged or of another network.
        FileNotFoundError: there is no file.
    """
    from torchmetrics.functional.image.lpips import _LPIPS  # its public version downloads AlexNet

    path = given_file(weights, "--metrics.lpips")
    state = load_state(path, "AlexNet", "--metrics.lpips")
    network = _LPIPS(net="alex", pnet_rand=True)
    # "slice2.3.weight" there is "features.3.weight" in torchvision's file
    try:
        network_state = {name: state[f"features.{name.partition('.')[2]}"] for name in network.net.state_dict()}
        network.net.load_state_dict(network_state)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"--metrics.lpips: '{path}' does not hold AlexNet's weights, or is damaged") from error

    @torch.no_grad()
    def distance(x: Tensor, x_hat: Tensor) -> Tensor:
        parts = zip(x.split(100), x_hat.split(100))
        return torch.cat([network(to_rgb(a), to_rgb(b)).flatten() for a, b in parts]).mean()

    return distance
