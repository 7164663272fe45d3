"""Metrics of samples against real images, one file each. To add one, add a file; every run then reports it.

A file has one public class, a `SampleMetric` with `measure(samples)`, which returns values by name, and `values`, which
describes each: its label, format and direction, for the tables of runs, ablations and `--metric`. It gets the held-out
images, their features and the data set, and computes once what it needs of them. `at_the_end` adds values that take too
long during training, `of_model` and `of_model_at_the_end` values of the model itself; `modalities` lists the modalities
that it supports, if not all. The contract test is tests/test_metrics.py.
"""

from lightning_genae import registry
from lightning_genae.data import modalities
from lightning_genae.data.dataset import Dataset
from lightning_genae.evaluation.metrics._contract import check_class, floor, merged, values_of
from lightning_genae.evaluation.metrics._metric import MAX_IMAGES, SampleMetric, Samples, Value

PACKAGE = "lightning_genae.evaluation.metrics"
__all__ = [
    "MAX_IMAGES",
    "PACKAGE",
    "SampleMetric",
    "Samples",
    "Value",
    "floor",
    "known_values",
    "merged",
    "new",
    "values_of",
]


def known_values() -> dict[str, Value]:
    """The descriptions of the values of all metrics, by name, in the order of tables."""
    return {
        name: value
        for metric in sorted(_classes(), key=lambda metric: metric.order)
        for name, value in metric.values.items()
    }


def new(real: Samples, dataset: Dataset) -> list[SampleMetric]:
    """The metrics that support the modality of the data, with the held-out images as reference.

    Raises:
        UserError: a metric's class is not as it should be.
    """
    return [metric(real, dataset) for metric in _classes() if modalities.supports(metric, dataset.modality)]


def _classes() -> list[type[SampleMetric]]:
    metrics = [registry.load(PACKAGE, name) for name in registry.names(PACKAGE)]
    for metric in metrics:
        check_class(metric)
    return metrics
