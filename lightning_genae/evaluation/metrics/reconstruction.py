"""The similarity of held-out images and their reconstructions, for models with an encoder."""

from collections.abc import Callable
from types import MappingProxyType

import torch
from torch import Tensor

from lightning_genae.evaluation import fidelity
from lightning_genae.evaluation.metrics._metric import SampleMetric, Samples, Value
from lightning_genae.evaluation.models import Generative, reconstructs


class ReconstructionMetric(SampleMetric):
    """`mse`, `psnr`, `ssim`, and the other values of `fidelity.py`, for reconstructions of all held-out images.

    Attributes:
        lpips: distance of two sets of images (N, C, H, W); see `fidelity.lpips`. None: no LPIPS.
    """

    values = MappingProxyType(
        {
            "mse": Value("squared error of reconstructions", ".4f", False, is_ratio=True),
            "psnr": Value("PSNR, dB", ".2f", True),
            "ssim": Value("SSIM", ".3f", True),
            "lpips": Value("LPIPS", ".3f", False, is_ratio=True),
            "spectral_convergence": Value("spectral error of reconstructions", ".3f", False, is_ratio=True),
        }
    )
    order = 90

    lpips: Callable[[Tensor, Tensor], Tensor] | None = None

    def measure(self, samples: Samples) -> dict[str, float]:
        return {}  # samples are not reconstructions

    @torch.no_grad()
    def of_model(self, model: Generative) -> dict[str, float]:
        if not reconstructs(model):
            return {}
        assert self.real.images is not None
        return fidelity.of_reconstructions(model, self.real.images, self.lpips, self.modality)
