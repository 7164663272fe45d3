"""jsonargparse's messages and types in this project's words."""

import re
from argparse import Action
from typing import Any

from jsonargparse import ArgumentParser

from lightning_genae import registry
from lightning_genae.config.words import is_given, last_value

WORDS: dict[object, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
}


def explain(message: str, parser: ArgumentParser, arguments: list[str]) -> str:
    """jsonargparse's message as one line in this project's form."""
    unknown = re.match(r"unrecognized arguments: (\S+)", message, re.IGNORECASE)
    if unknown:
        return _unknown(unknown[1].partition("=")[0], parser)
    without = re.search(r"(--\S+): expected (one|at least one) argument", message)
    if without:
        return f"{without[1]}: expected a value; got none"
    # the second form is that of jsonargparse before 4.48
    missing = re.search(r"""arguments are required: ([^\s,]+)|(?:Key|Option) ["'](\S+)["'] is required""", message)
    if missing:
        name = missing[1] or missing[2]
        option = f"--{name}" if "." in name else name.upper()
        return f"{option}: expected a value; got none"
    wrong = re.match(r'Parser key "([^"]+)"', message)
    if wrong:
        action = next(action for action in parser._actions if action.dest == wrong[1])
        option = option_of(action)
        if _is_section(action):
            expected = f"options of it, such as {option}.NAME VALUE"
        else:
            expected = type_in_words(type_of(action))
        value = last_value(option, arguments)
        return f"{option}: expected {expected}; got " + (
            f"'{value}'" if is_given(option, arguments) else f"the default of its class, {action.default!r}"
        )
    return " ".join(message.removeprefix("argument ").split())


def _unknown(word: str, parser: ArgumentParser) -> str:
    """The message about a word that is not an option."""
    if not word.startswith("-"):
        return f"expected --OPTION VALUE; got '{word}'"
    options = [option for action in parser._actions for option in action.option_strings]
    # compare only within the section: the common prefix `--model.` would make all its options look similar
    section = word.rpartition(".")[0]
    near = {option.rpartition(".")[2]: option for option in options if option.rpartition(".")[0] == section}
    return f"{word}: there is no such option here{registry.suggest(word.rpartition('.')[2], near)}"


def option_of(action: Action) -> str:
    """The name of an argument on the command line: `--seed`, or `RUN` for one without dashes."""
    return (action.option_strings or [action.dest.upper()])[0]


def type_of(action: Action) -> object:
    """The type annotation that an argument was made from."""
    return getattr(action, "_typehint", None) or action.type


def type_in_words(annotation: Any) -> str:
    """A type annotation for people."""
    if annotation in WORDS:
        return WORDS[annotation]
    if hasattr(annotation, "_expression"):  # jsonargparse's restricted numbers, e.g. "v>=0 and v<1"
        signs = {"v>=": "at least ", "v<=": "at most ", "v>": "above ", "v<": "below "}
        return f"{WORDS[annotation._type]} " + re.sub("v[<>]=?", lambda sign: signs[sign[0]], annotation._expression)
    arguments = list(getattr(annotation, "__args__", ()))
    if getattr(annotation, "__origin__", None) is list:
        return f"a list, each {type_in_words(arguments[0])}"
    if arguments:
        # a list last, so that "each" does not refer to what follows
        arguments.sort(key=lambda value: getattr(value, "__origin__", None) is list)
        choices = [str(value) if isinstance(value, str | int) else type_in_words(value) for value in arguments]
        return " or ".join([", ".join(choices[:-1]), choices[-1]]) if len(choices) > 1 else choices[0]
    return getattr(annotation, "__name__", str(annotation))


def _is_section(action: Action) -> bool:
    """Whether an option sets a whole section; jsonargparse adds such options, this project does not offer them."""
    return type(action).__name__ == "_ActionConfigLoad"
