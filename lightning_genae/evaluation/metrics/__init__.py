"""Metrics of samples against real images, one file each. To add one, add a file; every run then reports it.

A file has one public class, a `SampleMetric` with `measure(samples)`, which returns values by name, and `values`, which
describes each: its label, format and direction, for the tables of runs, ablations and `--metric`. It gets the held-out
images, their features and the data set, and computes once what it needs of them. `at_the_end` adds values that take too
long during training, `of_model` values of the model itself; `modalities` lists the modalities that it supports, if not
all. The contract test is tests/test_metrics.py.
"""

from lightning_genae import registry
from lightning_genae.evaluation.metrics._metric import MAX_IMAGES, SampleMetric, Samples, Value

PACKAGE = "lightning_genae.evaluation.metrics"
__all__ = ["MAX_IMAGES", "PACKAGE", "SampleMetric", "Samples", "Value", "known_values"]


def known_values() -> dict[str, Value]:
    """The descriptions of the values of all metrics, by name, in the order of tables."""
    metrics: list[type[SampleMetric]] = [registry.load(PACKAGE, name) for name in registry.names(PACKAGE)]
    return {
        name: value
        for metric in sorted(metrics, key=lambda metric: metric.order)
        for name, value in metric.values.items()
    }
