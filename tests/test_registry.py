"""The registry: file names are choices, known before torch is imported."""

import os
import subprocess
import sys

import pytest

from lightning_genae import registry
from lightning_genae.commands.parse import PACKAGES
from tests.conftest import ROOT

CHOICES = [(package, name) for package in PACKAGES.values() for name in registry.names(package)]


@pytest.mark.parametrize("package, name", CHOICES)
def test_every_choice_has_a_class_and_a_summary(package, name):
    assert registry.load(package, name).__doc__
    assert registry.summary(package, name).endswith(".")


def test_choices():
    assert {"ae", "gan"} <= set(registry.names("lightning_genae.models"))
    assert not any(name.startswith("_") for _, name in CHOICES)


def test_a_wrong_name_lists_the_choices_and_the_nearest():
    with pytest.raises(
        ValueError, match=r"--data: expected one of .*cifar10, digits.*; got 'digit'; did you mean 'digits'\?"
    ):
        registry.check("--data", "datamodules", "digit")


def test_help_is_quick_and_without_torch(tmp_path):
    code = "import sys, run; status = run.main(sys.argv[1:]); assert 'torch' not in sys.modules; sys.exit(status)"
    environment = {"PYTHONPATH": str(ROOT)}
    for words, status, text in ([["--help"], 0, "fashion_mnist"], [["--model", "gna"], 2, "did you mean 'gan'"]):
        before = os.times()
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        after = os.times()  # of the processor: others work on the machine too
        assert after.children_user + after.children_system - before.children_user - before.children_system < 1
        assert done.returncode == status, done.stderr
        assert text in done.stdout + done.stderr
