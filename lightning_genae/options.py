"""Common parts of the options of models: types of numbers, and warnings about settings without effect."""

import logging
from inspect import signature
from typing import TYPE_CHECKING

from jsonargparse.typing import restricted_number_type

log = logging.getLogger("lightning_genae")
MAX_SAMPLES = 100_000  # all are held in memory

if TYPE_CHECKING:
    Decay = float
else:
    Decay = restricted_number_type("Decay", float, [(">=", 0), ("<", 1)])


def warn_unused(option: str, value: object, used: bool, needs: str, section: str = "model") -> None:
    """Warns that a setting has no effect in this combination; None means that it was not set."""
    if value is not None and not used:
        log.warning(f"--{section}.{option} has no effect without {needs}")


def warn_unused_size(network: str, hidden: list[int] | None, width: int | None) -> None:
    """Warns about a size that this kind of network does not use."""
    warn_unused("hidden", hidden, network == "mlp", "--model.network mlp")
    warn_unused("width", width, network != "mlp", "--model.network conv, resnet, fastgan or stylegan2")


def default_of(part: type, option: str) -> object:
    """The default of an option of a model or an augmentation; None where it has no such option."""
    # each may hand on what it lacks
    inits = [vars(base)["__init__"] for base in part.__mro__ if "__init__" in vars(base)]
    parameters = (signature(init).parameters.get(option) for init in inits)
    return next((parameter.default for parameter in parameters if parameter), None)


def chosen_of(option: str, value: str | None, choices: tuple[str, ...], modality: str) -> str:
    """The value of an option that depends on the modality of the data: the first choice by default.

    Raises:
        ValueError: the value is not among the choices.
    """
    if value is not None and value not in choices:
        raise ValueError(
            f"--model.{option}: expected {' or '.join(choices)} for data of modality {modality}; got {value}"
        )
    return value or choices[0]
