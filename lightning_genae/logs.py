"""Logging of this project: to standard output, by the first process only."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("lightning_genae")


def configure_logging(debug: bool) -> None:
    """Shows this project's messages on the first process, and messages of libraries only with --debug."""
    log.handlers = [logging.StreamHandler(sys.stdout)]
    log.propagate = False
    log.setLevel(logging.INFO if is_first() else logging.ERROR)
    if not debug:
        if not sys.warnoptions:  # the user may ask Python for warnings
            warnings.simplefilter("ignore")
        for name in ("pytorch_lightning", "lightning", "lightning_fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def silent() -> Iterator[None]:
    """A context in which this project's messages are not shown, but for errors."""
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def is_first() -> bool:
    """Whether this is the first process of a run, by the variables that Lightning reads; its import takes seconds."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
    return next((os.environ[name] for name in names if name in os.environ), "0") == "0"
