"""Whether a recurrent network can discriminate samples: the score of TimeGAN (Yoon et al., NeurIPS 2019)."""

from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_genae.data.sequences import apart, num_independent, with_mask
from lightning_genae.evaluation.metrics._metric import SampleMetric, Samples, Value
from lightning_genae.evaluation.metrics._recurrent import MAX_SEQUENCES, Recurrent, stretches, train

MIN_INDEPENDENT = 5  # real sequences in the test set: with fewer, chance scores above 0.12

Labelled = tuple[Tensor, Tensor, Tensor]  # sequences (N, C, L), where they are valid (N, L), and 1 for real ones (N,)


class DiscriminativeMetric(SampleMetric):
    """`discriminative_score`, |accuracy - 1/2| of a classifier of real and generated sequences that is trained on
    half of them, as many real as generated, and tested on the other half; from 0, it cannot discriminate, to 1/2.

    TimeGAN's halves are drawn at random, but windows of a series overlap: a network that memorises its training half
    then recognises real windows. Here no real sequence of one half shares a value with one of the other. The accuracy
    is the mean of the accuracies on real and on generated sequences.

    Chance scores 0.399 / sqrt(n) on average, where n is twice the number of real sequences in the test set that share
    no value; with more samples in the test set it is less, down to 0.282 / sqrt(n).
    """

    values = MappingProxyType(
        {"discriminative_score": Value("discriminative score (0: indistinguishable)", ".3f", False, in_brief=True)}
    )
    order = 12

    modalities = ("series",)
    needs_images = True

    def measure(self, samples: Samples) -> dict[str, float]:
        return {}  # a network is trained: only at the end

    def at_the_end(self, samples: Samples) -> dict[str, float]:
        assert samples.images is not None
        enough = len(apart(samples.places, len(samples.images), 1)[0]) and not self.left_out(len(samples.images))
        return {"discriminative_score": abs(self.accuracy(samples) - 0.5)} if enough else {}

    def floor(self, fresh: Samples) -> dict[str, float]:
        return self.at_the_end(fresh)

    def left_out(self, num_samples: int) -> dict[str, str]:
        assert self.real.images is not None
        first, second = apart(self.real.places, len(self.real.images))
        places = None if self.real.places is None else self.real.places[second]
        num = num_independent(places, len(second)) if len(first) else 0
        reason = f"held-out sequences leave {num} to test on that share no value; it wants {MIN_INDEPENDENT} at least"
        return {} if num >= MIN_INDEPENDENT else {"discriminative_score": reason}

    def accuracy(self, samples: Samples) -> float:
        """Fraction of test sequences that are classified correctly, the mean over real and generated."""
        (x, valid, is_real), test = self._halves(samples)

        def logits(network: Recurrent, x: Tensor, valid: Tensor) -> Tensor:
            return network(x)[torch.arange(len(x)), (valid.sum(1) - 1).clamp(min=0), 0]

        def loss(network: Recurrent, chosen: Tensor) -> Tensor:
            return F.binary_cross_entropy_with_logits(logits(network, x[chosen], valid[chosen]), is_real[chosen])

        network = train(lambda: Recurrent(x.shape[1], 1, x.std()), loss, len(x))
        taken_for_real = logits(network, *test[:2]) > 0
        correct = taken_for_real == test[2].bool()
        return float(sum(correct[test[2] == label].double().mean() for label in (0, 1)) / 2)

    def _halves(self, samples: Samples) -> tuple[Labelled, Labelled]:
        """The training half, with as many real as generated sequences, and the test half."""
        assert self.real.images is not None and samples.images is not None
        sets = (self.real.images, self.real.places), (samples.images, samples.places)
        halves = [
            [images[half] for half in apart(places, len(images), seed)] for seed, (images, places) in enumerate(sets)
        ]
        train, test = (
            [stretches(images, self.modality.has_mask, seed, MAX_SEQUENCES // 2) for seed, images in enumerate(half)]
            for half in zip(*halves)
        )
        num = min(len(values) for values, _ in train)
        return self._together([(values[:num], valid[:num]) for values, valid in train]), self._together(test)

    def _together(self, real_and_fake: list[tuple[Tensor, Tensor]]) -> Labelled:
        values, valid = (torch.cat(parts) for parts in zip(*real_and_fake))
        is_real = torch.tensor([1.0, 0.0]).repeat_interleave(torch.tensor([len(part) for part, _ in real_and_fake]))
        return with_mask(values, valid, self.modality.has_mask), valid, is_real
