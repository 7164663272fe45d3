"""Metrics of samples against real images, one file each. To add one, add a file; every run then reports it.

A file has one public class, a `SampleMetric` (in _metric.py), a torchmetrics Metric, which says by
`measure(samples)` what it measures, as values by name, and by `values` what is said of each: its label, format and
direction, with which it stands in the tables of runs, in ablations and behind `--metric`. It gets the held-out images,
their features and the data set, and works out once what it needs of them. `at_the_end` adds what takes too long during
training, `of_model` what is measured of the model itself; `modalities` says of what data it speaks, if not of all. The
contract test is tests/test_metrics.py.
"""

from lightning_genae import registry
from lightning_genae.evaluation.metrics._metric import SampleMetric, Samples, Value

PACKAGE = "lightning_genae.evaluation.metrics"
__all__ = ["PACKAGE", "SampleMetric", "Samples", "Value", "known_values"]


def known_values() -> dict[str, Value]:
    """What is said of the values of all metrics, by their names, in the order of tables."""
    metrics = [registry.load(PACKAGE, name) for name in registry.names(PACKAGE)]
    return {
        name: value
        for metric in sorted(metrics, key=lambda metric: metric.order)
        for name, value in metric.values.items()
    }
