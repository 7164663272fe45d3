"""Whether a recurrent network tells samples from real sequences, the score of TimeGAN (Yoon et al., NeurIPS 2019)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_genae.metrics._metric import SampleMetric, Samples
from lightning_genae.metrics._recurrent import Recurrent, stretches, train
from lightning_genae.series import with_mask


class DiscriminativeMetric(SampleMetric):
    """`discriminative_score`, |accuracy - 1/2| of a classifier of real and generated sequences, equally many of both,
    that is trained on a half of them and tested on the other; from 0, it cannot tell them, to 1/2.

    A coin would score 0.399 / sqrt(n) in the mean, where n is the number of sequences in the test, half of them real.
    """

    kinds = ("series", "masked")

    def measure(self, samples: Samples) -> dict[str, float]:
        return {}  # a network is trained: only at the end

    def at_the_end(self, samples: Samples) -> dict[str, float]:
        return {"discriminative_score": abs(self.accuracy(samples) - 0.5)}

    def floor(self, fresh: Samples) -> dict[str, float]:
        return self.at_the_end(fresh)

    def accuracy(self, samples: Samples) -> float:
        """Share of real and generated sequences in the test that are classified rightly."""
        x, valid, is_real = self._halves(samples)
        ends = (valid.sum(1) - 1).clamp(min=0)

        def logits(network, chosen):
            return network(x[chosen])[torch.arange(len(chosen)), ends[chosen], 0]

        def loss(network, chosen):
            return F.binary_cross_entropy_with_logits(logits(network, chosen), is_real[chosen])

        half = len(x) // 2
        network = train(lambda: Recurrent(x.shape[1], 1, x.std()), loss, half)
        test = torch.arange(half, len(x))
        return float(((logits(network, test) > 0) == is_real[test].bool()).double().mean())

    def _halves(self, samples: Samples) -> tuple[Tensor, Tensor, Tensor]:
        """Sequences (N, C, L) with their masks, where they are valid (N, L), and 1 for the real ones (N,): first what
        is trained on, then as many to test, with as many real as generated ones in both."""
        real, fake = (
            stretches(images, self.kind, seed) for seed, images in enumerate((self.real.images, samples.images))
        )
        num = min(len(real[0]), len(fake[0])) // 2
        values, valid = (torch.cat([a[:num], b[:num], a[num : 2 * num], b[num : 2 * num]]) for a, b in zip(real, fake))
        is_real = torch.tensor([1.0, 0.0]).repeat_interleave(num).repeat(2)
        return with_mask(values, valid, self.kind), valid, is_real
