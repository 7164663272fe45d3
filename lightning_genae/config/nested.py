"""A config as nested dicts of plain values, with one key for each option, and as arguments."""

import json
import os
from typing import Any

from jsonargparse import Namespace


def nest(flat: dict, selectors: dict[str, str]) -> dict:
    """A config with keys like "model.lr", or sections, or both; the value of "model" may be the name alone."""
    nested: dict = {}
    for key, value in flat.items():
        section, _, option = str(key).partition(".")
        if option:
            nested.setdefault(section, {})[option] = value
        elif isinstance(value, dict):
            nested.setdefault(section, {}).update(value)
        elif section in selectors:
            nested.setdefault(section, {})["name"] = str(value)
        else:
            nested[section] = value
    return nested


def expand(section: dict, choice: str) -> dict:
    """A section whose choice has options in a mapping, {"autoencoder": {"name": "ae", "width": 8}}, with one key for
    each, {"autoencoder": "ae", "autoencoder.width": 8}."""
    chosen = section.get(choice)
    if not isinstance(chosen, dict):
        return section
    options = {choice if name == "name" else f"{choice}.{name}": value for name, value in chosen.items()}
    return {name: value for name, value in section.items() if name != choice} | options


def collect(section: dict, choice: str) -> dict:
    """What `expand` was given: a choice and its options, in one mapping."""
    inner = {name: value for name, value in section.items() if name.startswith(f"{choice}.")}
    options = {"name": section[choice]} | {name.removeprefix(f"{choice}."): value for name, value in inner.items()}
    return {name: value for name, value in section.items() if name not in inner} | {choice: options}


def is_open(section: dict, option: str) -> bool:
    """Whether an option is there and left open, as null."""
    return option in section and section[option] is None


def flatten(config: dict) -> dict:
    """A nested config as {"model": "gan", "model.lr": 0.1, "seed": 0}: the keys are the command line's."""
    flat: dict = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= {key if name == "name" else f"{key}.{name}": entry for name, entry in value.items()}
        else:
            flat[key] = value
    return flat


def as_arguments(nested: dict) -> list[str]:
    """A nested config as arguments, so that files and the command line are checked alike."""
    flat = flatten(nested).items()
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value, default=str)}" for key, value in flat]


def as_plain(namespace: Namespace) -> dict:
    """A namespace as nested dicts of plain values; jsonargparse's own number types become int and float, and a
    leading ~ becomes the home folder, because shells do not expand --folder=~/x."""
    return _at_home(json.loads(json.dumps(namespace.as_dict())))


def _at_home(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _at_home(entry) for key, entry in value.items()}
    return os.path.expanduser(value) if isinstance(value, str) else value
