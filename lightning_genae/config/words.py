"""Reads single options from the words of a command line, before there is a parser for all options."""

from lightning_genae.errors import UserError


def written(value: object) -> str:
    """The value of an option as users write it."""
    return "null" if value is None else str(value)


def is_given(option: str, arguments: list[str]) -> bool:
    """Whether an option is among the arguments, with or without a value."""
    return any(word.partition("=")[0] == option for word in arguments)


def last_value(option: str, arguments: list[str]) -> str:
    """The last value of an option; empty if there is none."""
    pairs = zip(arguments, [*arguments[1:], ""])
    values = [
        word.partition("=")[2] if "=" in word else following
        for word, following in pairs
        if word.partition("=")[0] == option
    ]
    return values[-1] if values else ""


def take_flag(option: str, arguments: list[str], positionals: bool = True) -> tuple[bool, list[str]]:
    """Whether a boolean option is true, and the arguments without it.

    Args:
        option: with its dashes.
        arguments: all words.
        positionals: whether the word after the option may be a positional argument; if not, it is the option's value.

    Raises:
        UserError: the option has a value other than true or false.
    """
    is_true, rest, words = False, [], list(arguments)
    while words:
        name, equals, value = (word := words.pop(0)).partition("=")
        if name != option:
            rest.append(word)
            continue
        if not equals:
            is_value = words and (
                words[0].lower() in ("true", "false") or not (positionals or words[0].startswith("--"))
            )
            value = words.pop(0) if is_value else "true"
        if value.lower() not in ("true", "false"):
            raise UserError(f"{option}: expected true or false; got '{value}'")
        is_true = value.lower() == "true"
    return is_true, rest
