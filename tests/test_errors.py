"""Whose mistake an error is: exit statuses, and the line that is printed."""

import errno
import os
import re
from pathlib import Path

import pytest
import torch
from torch.nn.functional import interpolate

from lightning_genae.cache import report_damage
from lightning_genae.errors import Damaged, UserError, format_error, status_of
from lightning_genae.models.ae import Autoencoder

OF_LIBRARIES = (
    "only one of size or scale_factor should be defined",
    "Expected more than 1 value per channel when training, got input size torch.Size([1, 4])",
    "expected square matrix",
    "a --model.lr: is named, but not at the beginning",
)


@pytest.mark.parametrize(
    "error, status",
    [
        (ValueError("--model.lr: expected a number above 0; got 'abc'"), 2),
        (ValueError("--folder: 'run/config.yaml' is damaged"), 2),
        (ValueError("--slurm.job-name: expected text of one line"), 2),
        (ValueError("RUN: expected a run folder; got 'x'"), 2),
        (ValueError("FOLDER: expected a folder without links"), 2),
        (UserError("network: expected mlp for points"), 2),
        (Damaged("--cache: 'x' is damaged", "delete it"), 2),
        *((ValueError(message), 1) for message in OF_LIBRARIES),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), 1),
        (FileNotFoundError("--data.root: expected a folder"), 2),
        (OSError(errno.ENAMETOOLONG, "File name too long"), 2),
        (OSError(errno.EACCES, "Permission denied"), 3),
        (ImportError("--data: audio needs librosa"), 3),
        (MemoryError(), 3),
        (RuntimeError("the training failed"), 1),
    ],
    ids=lambda value: str(value)[:40],
)
def test_status(error, status):
    assert status_of(error) == status
    assert format_error(error).endswith("--debug shows more)") == (status == 1)


@pytest.mark.parametrize(
    "cause, status", [(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 3), (ValueError("--model.lr: expected"), 1)]
)
def test_a_failed_training_is_the_machines_lack_but_no_mistake_in_the_command(cause, status):
    error = RuntimeError("the training failed")
    error.__cause__ = cause
    assert status_of(error) == status
    assert ("free some space" in format_error(error)) == (status == 3)


def test_a_bug_in_our_own_code_is_no_mistake_of_the_users(cli, monkeypatch):
    """What torch says of a wrong call; beside it the same command with a real mistake."""
    words = ("--model", "ae", "--steps", "2", "--metrics.features", "pixels", "--folder", "new")
    assert cli(*words, "--model.network", "recurrent")[0] == 2

    def encode(self, x):
        return interpolate(x, size=4, scale_factor=2)

    monkeypatch.setattr(Autoencoder, "sample", lambda self, num, labels=None: encode(self, torch.zeros(num, 1, 8, 8)))
    status, _, error = cli(*words)
    assert status == 1
    where = r"\(ValueError in tests/test_errors.py, line \d+; --debug shows more\)\n"
    assert re.fullmatch(r"run.py: error: only one of size or scale_factor should be defined " + where, error)
    assert not Path("new").exists()
    status, _, error = cli(*words, "--debug")
    assert status == 1 and "in encode" in error and error.endswith("--debug shows more)\n")


def test_damage_and_its_remedy_are_told_apart(tmp_path):
    with pytest.raises(Damaged) as info, report_damage("--folder", tmp_path, "mend it; expected so"):
        raise KeyError("; expected")
    error = info.value
    assert error.damage == f"--folder: '{tmp_path}' is damaged ('; expected')"
    assert error.remedy == "mend it; expected so"
    assert str(error) == f"{error.damage}; expected it as it was made; {error.remedy}"
