"""Feature extractors, one a file. To add one, add a file; `--metrics.features its_name` then exists.

A file has one public class, an `Extractor` (in _extractor.py), built by `__init__(dataset, weights)`: the data,
after its setup, and the path that `--metrics.weights` gives or None; `takes_weights` says whether it wants one. It
raises ValueError for what is wrong, before anything is trained. The contract test is tests/test_extractors.py.
"""
