"""Feature extractors, one per file. To add one, add a file; `--metrics.features its_name` then exists.

A file has one public class, an `Extractor`, built by `__init__(dataset, weights)`: the data,
after its setup, and the path of `--metrics.weights` or None; `takes_weights` says whether it needs one. It
raises ValueError for what cannot work before anything is trained. The contract test is tests/test_extractors.py.
"""

from lightning_genae.evaluation.extractors._extractor import PACKAGE, Extractor, build, given_file, load_state, to_rgb

__all__ = ["PACKAGE", "Extractor", "build", "given_file", "load_state", "to_rgb"]
