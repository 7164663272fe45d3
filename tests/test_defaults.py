"""The defaults of all parts are those that the project's tables were measured with: to change one is to change results.

`python -m tests.test_defaults` writes tests/defaults.yaml anew, after a change that is meant.
"""

from pathlib import Path

import pytest
import yaml

from callbacks.evaluate import Evaluate
from lightning_genae import registry
from lightning_genae.augmentation import Augmentation
from lightning_genae.command_line import signature
from run import PACKAGES

PATH = Path(__file__).with_name("defaults.yaml")
PARTS = {
    f"{option} {name}": (package, name) for option, package in PACKAGES.items() for name in registry.names(package)
}


def defaults(part: type) -> dict:
    """The options of a part by their names, as plain values; what it has to be given is none of them."""
    given = {"image_shape", "arms"}
    return {name: default for name, (_, default) in sorted(signature(part).items()) if name not in given}


@pytest.mark.parametrize("part", PARTS)
def test_defaults(part):
    known = yaml.safe_load(PATH.read_text())
    assert defaults(registry.load(*PARTS[part])) == known[part]


def test_defaults_of_augmentations_and_evaluations():
    known = yaml.safe_load(PATH.read_text())
    assert defaults(Augmentation) == known["augment"] and defaults(Evaluate) == known["metrics"]
    assert known.keys() == {*PARTS, "augment", "metrics"}  # none is left behind
    assert known["model gan"]["lr"] == 4e-4  # and the file is no echo of nothing


if __name__ == "__main__":
    found = {part: defaults(registry.load(*given)) for part, given in PARTS.items()}
    found |= {"augment": defaults(Augmentation), "metrics": defaults(Evaluate)}
    PATH.write_text(yaml.safe_dump(found, sort_keys=False))
