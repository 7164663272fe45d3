"""Random convolutions of sequences, as in ROCKET (Dempster et al. 2020, arXiv 1910.13051); nothing is trained."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_genae.cache import hash_weights
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.sequences import values_and_valid
from lightning_genae.data.storage import to_float
from lightning_genae.evaluation.extractors._extractor import Extractor

WIDTHS = (7, 9, 11)  # of kernels, in steps


class RocketFeatures(Extractor):
    """The fraction of positive values in each kernel's output, and their maximum; for masked sequences also the length.

    Fractions and maxima are each divided by their mean standard deviation over the training split, so that both
    count. Frechet distances of some hundred sequences need few features: there are far fewer kernels than ROCKET's
    10,000, always the same for a shape, and each sees all channels.

    Args:
        dataset: of sequences; of its `pool` at most the first 5,000 are used.
        weights: not used.
        num_kernels: half the number of features.
    """

    modalities = ("series", "text", "audio")

    def __init__(self, dataset: Dataset, weights: str | None = None, num_kernels: int = 32):
        channels, _, length = dataset.image_shape
        has_mask = dataset.modality.has_mask
        network = _Kernels(num_kernels, channels - has_mask, length, has_mask)
        images = dataset.pool.images
        network.fit(to_float(images[:500]))
        description = {"extractor": "rocket", "weights": "", "resize": "none"}
        super().__init__(network, 2 * num_kernels + has_mask, to_float, description)
        stds = self(images[:5000]).std(0)[: 2 * num_kernels].view(2, num_kernels)
        network.factors /= stds.mean(1).clamp(min=1e-6)
        network.centre = self(images[:5000]).mean(0)
        description["weights"] = hash_weights(network)


class _Kernels(nn.Module):
    """Kernels of random width and dilation.

    ROCKET's weights sum to 0 over time, so that a kernel sees the shape of a sequence and not its level, which a model
    can get wrong too: here this holds for every second kernel. Dilations are powers of two, to have few convolutions.
    """

    weight: Tensor
    dilation: Tensor
    bias: Tensor
    factors: Tensor
    centre: Tensor

    def __init__(self, num: int, channels: int, length: int, has_mask: bool):
        super().__init__()
        self.has_mask = has_mask
        generator = np.random.default_rng(0)
        weight, dilations = np.zeros((num, channels, max(WIDTHS))), []
        for i in range(num):
            width = min(generator.choice(WIDTHS), max(3, length - 1 + length % 2))  # odd, so that it has a centre
            kernel = generator.standard_normal((channels, width))
            margin = (max(WIDTHS) - width) // 2
            weight[i, :, margin : margin + width] = kernel - (i % 2) * kernel.mean(1, keepdims=True)
            most = math.log2(max(1, (length - 1) / (width - 1)))
            dilations.append(2 ** int(generator.uniform(0, most)))
        self.register_buffer("weight", torch.from_numpy(weight).float())
        self.register_buffer("dilation", torch.tensor(dilations))
        self.register_buffer("bias", torch.zeros(num))
        self.register_buffer("factors", torch.ones(2))
        self.register_buffer("centre", torch.zeros(()))
        self.dilations = sorted(set(dilations))

    def fit(self, images: Tensor) -> None:
        """Scales outputs to a standard deviation of 1, and lets biases be quantiles of them, spread evenly as in
        MiniRocket (Dempster et al. 2021, arXiv 2012.08791), from sequences (N, C, 1, L)."""
        values, valid = values_and_valid(images, self.has_mask)
        outputs = self.outputs(values).movedim(1, 2)[valid]
        stds = outputs.std(0).clamp(min=1e-6)
        num = len(stds)
        fractions = np.arange(1, num + 1) * (math.sqrt(5) - 1) / 2 % 1
        columns = (outputs / stds).T.double().numpy()
        quantiles = torch.tensor([np.quantile(column, fraction) for column, fraction in zip(columns, fractions)])
        self.weight /= stds[:, None, None]
        # slightly above, because outputs for tokens can equal a quantile, and rounding would decide their sign
        self.bias = -(quantiles.float() + 1e-3)

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, 2 num), of masked sequences (N, 2 num + 1), of sequences (N, C, 1, L) in [-1, 1]."""
        values, valid = values_and_valid(images, self.has_mask)
        outputs, lengths = self.outputs(values) + self.bias[:, None], valid.sum(1, keepdim=True)
        fractions = ((outputs > 0) & valid[:, None]).sum(2) / lengths.clamp(min=1)
        maxima = torch.where(valid[:, None], outputs, -torch.inf).amax(2).where(lengths > 0, 0)
        features = [fractions * self.factors[0], maxima * self.factors[1]]
        if self.has_mask:
            features.append(lengths / valid.shape[1] * self.factors[0])
        return torch.cat(features, 1) - self.centre  # kernels of features (KID) depend on where 0 is

    def outputs(self, values: Tensor) -> Tensor:
        """Outputs (N, num, L) of the kernels, without biases, for values (N, C, L), 0 beyond their ends."""
        outputs = values.new_empty(len(values), len(self.weight), values.shape[2])
        for dilation in self.dilations:
            these = self.dilation == dilation
            outputs[:, these] = F.conv1d(values, self.weight[these], padding="same", dilation=dilation)
        return outputs
