"""The defaults of all parts are those that the project's tables were measured with: to change one is to change results.

`python -m tests.test_defaults` writes tests/defaults.yaml anew, after a change that is meant. A part that is not in it,
because it is new, is not asked.
"""

from pathlib import Path

import pytest
import yaml

from callbacks.evaluate import Evaluate
from lightning_genae import registry
from lightning_genae.augment import Composition
from lightning_genae.commands.parse import PACKAGES
from lightning_genae.config.parser import signature

PATH = Path(__file__).with_name("defaults.yaml")
KNOWN = yaml.safe_load(PATH.read_text())


def defaults(part: type) -> dict:
    """The options of a part by their names, as plain values; what it has to be given is none of them."""
    given = {"image_shape", "parts"}
    return {name: default for name, (_, default) in sorted(signature(part).items()) if name not in given}


def load(part: str) -> type:
    """The class that a key of the file, such as "model gan", stands for."""
    whole = {"augment": Composition, "metrics": Evaluate}
    option, _, name = part.partition(" ")
    return registry.load(PACKAGES[option], name) if name else whole[part]


@pytest.mark.parametrize("part", KNOWN)
def test_defaults(part):
    assert defaults(load(part)) == KNOWN[part]


def test_the_file_is_no_echo_of_nothing():
    assert KNOWN["model bigan"]["lr"] == 4e-4 and KNOWN["augment"]["adapt_images"] == 50_000
    assert len(KNOWN) > 25


if __name__ == "__main__":
    parts = [f"{option} {name}" for option, package in PACKAGES.items() for name in registry.names(package)]
    found = {part: defaults(load(part)) for part in [*parts, "augment", "metrics"]}
    PATH.write_text(yaml.safe_dump(found, sort_keys=False))
