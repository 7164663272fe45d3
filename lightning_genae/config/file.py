"""The file that --config names."""

import json
from pathlib import Path

import yaml

from lightning_genae.config.words import last_value
from lightning_genae.errors import UserError

# alternative options: if the command line has one, all of them in a config file are ignored
ALTERNATIVES = (("steps", "epochs"),)


def read_config(path: str) -> dict:
    """The content of a config file: options and plain values.

    Raises:
        UserError: the file does not exist, or it does not contain a config.
    """
    try:
        config = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise UserError(f"--config: expected a file, got '{path}' ({error.strerror})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: invalid characters and dates
        raise UserError(f"--config: '{path}' is no YAML: {' '.join(str(error).split())}") from error
    try:
        json.dumps(config, default=str)
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"--config: expected plain values in '{path}', got others: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"--config: expected options and values in '{path}', got {_in_words(config)}")
    return config


def without_replaced(config: dict, arguments: list[str]) -> dict:
    """A config file's options, except those for which the command line has an alternative."""
    replaced = {
        option
        for group in ALTERNATIVES
        if any(last_value(f"--{option}", arguments) not in ("", "null") for option in group)
        for option in group
    }
    return {key: value for key, value in config.items() if key not in replaced}


def _in_words(content: object) -> str:
    """A description of content that is not a mapping."""
    if content is None:
        return "nothing"
    return "a list" if isinstance(content, list) else f"'{str(content)[:40]}'"
