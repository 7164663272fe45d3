"""Classifier predictions on samples: a score like the Inception Score (arXiv 1606.03498), and class coverage."""

from types import MappingProxyType

import torch

from lightning_genae.evaluation.metrics._metric import Given, SampleMetric, Samples, Value


class ClassMetric(SampleMetric):
    """Values of the extractor's own classifier; none if it has none.

    `classifier_score`: exp of the mean KL divergence of a sample's classes to those of all samples, from 1 to the
    number of classes, by torchmetrics, without splits; higher is better, but one image per class is best.
    `class_coverage`: fraction of the real classes that are at least a tenth as frequent in samples.
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
        from torchmetrics.image.inception import InceptionScore  # slow, and not needed before the first look

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
