"""Kernel distance, KID (Binkowski et al. 2018, arXiv 1801.01401), by torchmetrics."""

from types import MappingProxyType

import torch
from torch import Tensor

from lightning_genae.evaluation.metrics._metric import MAX_IMAGES, Given, SampleMetric, Samples, Value


class KernelMetric(SampleMetric):
    """`kid`, unbiased squared MMD with the kernel (x.y / d + 1)^3: the mean over 20 subsets of at most 500 samples;
    `kid_low`, `kid_high`: 95 % interval."""

    values = MappingProxyType({"kid": Value("KID", ".5f", False, in_brief=True)})
    order = 1

    subset_size, num_subsets = 500, 20
    num_resamples = 200

    def measure(self, samples: Samples) -> dict[str, float]:
        assert self.real.features is not None and samples.features is not None
        return {"kid": kernel_distance(self.real.features, samples.features, self.subset_size, self.num_subsets)}

    def at_the_end(self, samples: Samples) -> dict[str, float]:
        return self.interval(samples)

    def interval(self, samples: Samples) -> dict[str, float]:
        """The 95 % interval of the mean over sets of as many samples, against the same real images, by bootstrap of
        all pairs of at most MAX_IMAGES per side, whose kernel is computed once.

        It is slightly too wide if samples are distributed like real images, because a bootstrap counts the contribution
        of pairs three times, and too narrow for few samples with long tails in few dimensions, because the kernel is of
        third degree; see
        benchmarks/metrics/intervals.md.
        """
        from torchmetrics.image.kid import poly_kernel  # slow, and not needed before the first look

        assert self.real.features is not None and samples.features is not None
        real, fake = (features[:MAX_IMAGES].double() for features in (self.real.features, samples.features))
        within, between = poly_kernel(fake, fake).fill_diagonal_(0), poly_kernel(fake, real).mean(1)
        num, generator = len(fake), torch.Generator().manual_seed(0)
        chosen = (torch.randint(num, (num,), generator=generator) for _ in range(self.num_resamples))
        counts = torch.stack([indices.bincount(minlength=num) for indices in chosen]).double()
        pairs = num**2 - counts.square().sum(1)  # without pairs of a sample and its copy
        distances = (counts @ within * counts).sum(1) / pairs - 2 * counts @ between / num
        low, high = (distances - distances.mean()).quantile(distances.new_tensor([0.025, 0.975])).tolist()
        value = self.measure(samples)["kid"]
        return {"kid_low": value + low, "kid_high": value + high}


def kernel_distance(real: Tensor, fake: Tensor, subset_size: int = 500, num_subsets: int = 20) -> float:
    """KID of features (N, d) and (M, d); its subsets are drawn with a fixed seed."""
    from torchmetrics.image.kid import KernelInceptionDistance  # slow, and not needed before the first look

    subset_size = min(subset_size, len(real), len(fake))
    metric = KernelInceptionDistance(
        feature=Given(real.shape[1]), subsets=num_subsets, subset_size=subset_size, sync_on_compute=False
    )
    metric.update(real, real=True)
    metric.update(fake, real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return float(metric.compute()[0])
