"""Metrics of samples against real images, one file each. To add one, add a file; every run then reports it.

A file has one public class, a `SampleMetric` (in _metric.py), a torchmetrics Metric, which says by
`measure(samples)` what it measures, as values by name. It gets the held-out images, their features and the data set,
and works out once what it needs of them. `at_the_end` adds what takes too long during training, `of_model` what is
measured of the model itself; `modalities` says of what data it speaks, if not of all. The contract test is
tests/test_metrics.py.
"""
