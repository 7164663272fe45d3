"""Parsers of jsonargparse: options from signatures, checks of values, errors of one line."""

import inspect
import math
import re
from argparse import Action
from functools import cache

from jsonargparse import SUPPRESS, ArgumentError, ArgumentParser

from lightning_genae import registry
from lightning_genae.config.messages import explain, option_of, type_in_words, type_of
from lightning_genae.config.nested import as_plain
from lightning_genae.config.words import last_value
from lightning_genae.errors import UserError

NUMBER = re.compile(r"[+-]?(?!0\d)(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def new_parser(usage: str) -> ArgumentParser:
    """A parser that raises instead of exiting and takes no abbreviations."""
    return ArgumentParser(usage=usage, exit_on_error=False, allow_abbrev=False, add_help=False)


def add_classes(parser: ArgumentParser, section: str, classes: list[type], skip: set[str]) -> None:
    """Adds a section with the options of several classes; an option that two classes have is added once.

    Raises:
        UserError: two classes define an option with different types or defaults.
    """
    seen: dict[str, tuple] = {}
    for i, part in enumerate(classes):
        options = signature(part)
        if "name" in options:
            raise UserError(
                f"{registry.described(part)}: expected options of other names than name, which is that of the choice"
            )
        differing = [name for name in options if seen.get(name, options[name]) != options[name]]
        if differing:
            others = [other for other in classes[:i] if set(signature(other)) & set(differing)]
            raise UserError(
                f"--{section}: expected choices that go together; got some that mean different things by "
                f"{', '.join(f'--{section}.{name}' for name in sorted(differing))}: "
                f"{', '.join(registry.described(one) for one in (*others, part))}"
            )
        parser.add_class_arguments(part, section, skip=skip | set(seen), as_group=i == 0, fail_untyped=False)
        group = (parser.groups or {}).get(section)
        if group is not None and (deviations := _deviations(part)):
            group.description = "\n".join(filter(None, [group.description, deviations]))
        seen |= options


def _deviations(part: type) -> str:
    """The paragraph of a class docstring that says where it differs from its papers; empty if there is none."""
    paragraphs = (inspect.getdoc(part) or "").split("\n\n")
    return next((paragraph for paragraph in paragraphs if paragraph.startswith("Deviations:")), "")


@cache
def signature(part: type) -> dict[str, tuple]:
    """Type and default of a class's options by name, including those that it inherits or passes on."""
    parser = new_parser("")
    parser.add_class_arguments(part, "section", fail_untyped=False)
    return {
        action.dest.removeprefix("section."): (getattr(action, "_typehint", None), action.default)
        for action in parser._actions
        # jsonargparse adds a .help option to options that take a class
        if action.dest.startswith("section.") and action.default is not SUPPRESS
    }


def parse_verb(parser: ArgumentParser, arguments: list[str]) -> dict | None:
    """The arguments of a verb; None if help was asked for and printed."""
    if {"-h", "--help"} & set(arguments):
        parser.print_help()
        return None
    return parse_arguments(parser, arguments)


def parse_arguments(parser: ArgumentParser, arguments: list[str]) -> dict:
    """The parsed arguments as nested plain values.

    Raises:
        UserError: an argument is wrong; the message is one line with the option, what was expected and what came.
    """
    try:
        parsed = as_plain(parser.parse_args(_with_flags(parser, arguments)))
    except ArgumentError as error:
        raise UserError(explain(str(error), parser, arguments)) from error
    for action in parser._actions:
        _check_value(action, _value(parsed, action.dest), last_value(next(iter(action.option_strings), ""), arguments))
    return parsed


def _value(parsed: dict, dest: str) -> object:
    value: object = parsed
    for key in dest.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _check_value(action: Action, value: object, text: str) -> None:
    """Raises UserError for a value of the right type that is likely a mistake: jsonargparse accepts all that YAML
    and float() accept, such as 1_000, 010 and 1e400.

    Args:
        action: of the parser, for the option.
        value: as parsed.
        text: as typed; empty for a default.
    """
    values = value if isinstance(value, list) else [value]
    if any(isinstance(entry, str) and (not entry.strip() or "\0" in entry) for entry in values):
        raise UserError(f"{option_of(action)}: expected text that is not empty, without the character 0; got {value!r}")
    numbers = [entry for entry in values if isinstance(entry, int | float) and not isinstance(entry, bool)]
    words = [word for word in re.split(r"[\[\],\s]+", text) if word not in ("", "null")]
    if numbers and not (all(map(math.isfinite, numbers)) and all(map(NUMBER.fullmatch, words))):
        raise UserError(
            f"{option_of(action)}: expected {type_in_words(type_of(action))}, finite, in digits as in 1000 or 1e-3; "
            f"got '{text}'"
        )


def _with_flags(parser: ArgumentParser, arguments: list[str]) -> list[str]:
    """Adds the value true to boolean options without a value."""
    flags = {
        option
        for action in parser._actions
        for option in action.option_strings
        if getattr(action, "_typehint", None) is bool
    }
    following = [*arguments[1:], "--"]
    return [
        f"{word}=true" if word in flags and after.startswith("--") else word
        for word, after in zip(arguments, following)
    ]
