"""What a classifier says of the samples: its score, as the Inception Score (arXiv 1606.03498), and class coverage."""

from types import MappingProxyType

import torch
from torchmetrics.image.inception import InceptionScore

from lightning_genae.evaluation.metrics._metric import Given, SampleMetric, Samples, Value


class ClassMetric(SampleMetric):
    """Values of the extractor's own classifier; none if it has none.

    `classifier_score`: exp of the mean KL divergence of a sample's classes to those of all samples, from 1 to the
    number of classes, by torchmetrics, without splits; higher is better, but copies of one image a class are best.
    `class_coverage`: share of the classes of real images that samples have at least a tenth as often.
    """

    values = MappingProxyType(
        {
            "classifier_score": Value("classifier score", ".3f", True),
            "class_coverage": Value("class coverage", ".3f", True),
        }
    )
    order = 3

    def measure(self, samples: Samples) -> dict[str, float]:
        if samples.logits is None or self.real.logits is None:
            return {}
        score = InceptionScore(feature=Given(samples.logits.shape[1]), splits=1, sync_on_compute=False)
        score.update(samples.logits)
        with torch.random.fork_rng(devices=[]):  # it permutes the samples
            value = float(score.compute()[0])
        num_classes = samples.logits.shape[1]
        real, fake = (
            logits.argmax(1).bincount(minlength=num_classes) / len(logits)
            for logits in (self.real.logits, samples.logits)
        )
        found = (fake[real > 0] >= real[real > 0] / 10) & (fake[real > 0] > 0)
        return {"classifier_score": value, "class_coverage": float(found.double().mean())}
