"""What a command says while it works: this project's own lines, by its first process alone."""

import logging
import os
import sys
import warnings

log = logging.getLogger("lightning_genae")


def configure_logging(debug: bool) -> None:
    """Lets this project speak, on the first process, and keeps the libraries' notes for --debug."""
    log.handlers = [logging.StreamHandler(sys.stdout)]
    log.propagate = False
    log.setLevel(logging.INFO if is_first() else logging.ERROR)
    if not debug:
        if not sys.warnoptions:  # whoever asks Python for warnings gets them
            warnings.simplefilter("ignore")
        for name in ("pytorch_lightning", "lightning", "lightning_fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)


def is_first() -> bool:
    """Whether this is the first process of a run, as Lightning finds it, whose import takes seconds."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
    return next((os.environ[name] for name in names if name in os.environ), "0") == "0"
