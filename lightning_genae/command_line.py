"""From arguments to a config: the two-step parse that run.py describes its options to.

Step one finds the selectors (`--model gan`) and the config file, and knows the choices from file names
alone, so that a wrong name fails before torch is imported. Step two makes options of the chosen classes'
signatures (`--model.lr`) and of run.py's own functions, with types and help from annotations and docstrings.
Parsing depends on nothing but the arguments and the config file: every process of a run gets the same config.
"""

import argparse
import inspect
import json
import math
import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import yaml
from jsonargparse import SUPPRESS, ArgumentError, ArgumentParser

from lightning_genae import registry
from lightning_genae.received import check_config, check_type

# Lightning's names of options that run.py has without the prefix
TRAINER_ALIASES = ("accelerator", "devices", "strategy", "precision")
# options that say the same in different ways: one on the command line replaces all of a config file's
ALTERNATIVES = (("steps", "epochs"),)
NUMBER = re.compile(r"[+-]?(?!0\d)(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class CommandLine:
    """What the command line accepts.

    Args:
        selectors: option to package, e.g. {"model": "lightning_genae.models"}.
        defaults: option to the default choice.
        composed: selectors whose choices compose (`ae+classic`), to a function that imports and returns the class
            they are parts of; its signature makes options beside theirs.
        run_options: function whose signature and docstring are the options without a prefix.
        sections: prefix to a function that imports and returns the class whose signature makes the options.
        skip: parameters of classes that are no options, because they come from elsewhere.
        hidden: sections that are left out of the help.
        replaced: options that there were once, to what there is instead, in words.
    """

    def __init__(
        self,
        selectors: dict[str, str],
        defaults: dict[str, str],
        composed: dict[str, Callable[[], type]],
        run_options: Callable,
        sections: dict[str, Callable[[], type]],
        skip: dict[str, set[str]],
        hidden: set[str],
        replaced: dict[str, str],
    ):
        self.selectors = selectors
        self.defaults = defaults
        self.composed = composed
        self.run_options = run_options
        self.sections = sections
        self.skip = skip
        self.hidden = hidden
        self.replaced = replaced
        self._parsers: dict[tuple, ArgumentParser] = {}

    def parse(self, argv: list[str]) -> dict | None:
        """The resolved config as nested plain values; None where only help or the config was printed.

        Raises:
            ValueError: an argument is wrong; the message is one line.
        """
        chosen, rest = self._step_one(argv)
        if chosen.help and not any([chosen.config, *(getattr(chosen, name) for name in self.selectors)]):
            print(self._overview())
            return None
        file = {} if chosen.config is None else nest(_read_config(chosen.config), self.selectors)
        names = self._names(chosen, file)
        for name in self.selectors:
            if file.get(name, {}).pop("name", names[name]) != names[name]:
                print(f"--{name} {names[name]} replaces the config file's; its options of --{name}.* are left out")
                del file[name]
        parser = self._parser(names)
        if chosen.help:
            parser.print_help()
            return None
        arguments = [*_as_arguments(_without_replaced(file, rest)), *rest]
        check_config(chosen.config or "", flatten(file), lambda name: _is_given(f"--{name}", rest))
        for option in [option for option in self.replaced if _is_given(option, arguments)]:
            raise ValueError(f"{option}: expected {self.replaced[option]}; got '{_given(option, arguments)}'")
        config = self._resolve(parser, names, arguments)
        if chosen.print_config:
            print(yaml.safe_dump(config, sort_keys=False), end="")
            return None
        return config

    def options(self, argv: list[str]) -> set[str]:
        """Names of the options that there are with the parts that these arguments choose."""
        chosen, _ = self._step_one(argv)
        file = {} if chosen.config is None else nest(_read_config(chosen.config), self.selectors)
        actions = self._parser(self._names(chosen, file))._actions
        return {option.removeprefix("--") for action in actions for option in action.option_strings}

    def _names(self, chosen: argparse.Namespace, file: dict) -> dict[str, str]:
        """What every selector chooses, which exists."""
        names = {
            name: file.get(name, {}).get("name", default) if getattr(chosen, name) is None else getattr(chosen, name)
            for name, default in self.defaults.items()
        }
        for name, package in self.selectors.items():
            for part in self._parts(name, names[name]):
                registry.check(f"--{name}", package, part)
        return names

    def _step_one(self, argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
        parser = _RaisingParser(add_help=False, allow_abbrev=False)
        for name in self.selectors:
            parser.add_argument(f"--{name}", f"--{name}.name", dest=name)
        parser.add_argument("--config")
        parser.add_argument("-h", "--help", action="store_true")
        parser.add_argument("--print_config", action="store_true")
        aliases = "|".join(TRAINER_ALIASES)
        return parser.parse_known_args([re.sub(rf"^--trainer\.({aliases})(?==|$)", r"--\1", word) for word in argv])

    def _parser(self, names: dict[str, str]) -> ArgumentParser:
        """The parser of some parts' options; kept, because a grid is parsed with few of them."""
        key = tuple(names.values())
        if key not in self._parsers:
            self._parsers[key] = self._new_parser(names)
        return self._parsers[key]

    def _new_parser(self, names: dict[str, str]) -> ArgumentParser:
        parser = new_parser(
            f"python run.py {' '.join(f'--{name} {choice}' for name, choice in names.items())} [--OPTION VALUE ...]"
        )
        for name, package in self.selectors.items():
            classes = [registry.load(package, part) for part in self._parts(name, names[name])]
            add_classes(parser, name, [*self._around(name), *classes], self.skip.get(name, set()))
        for name, load in self.sections.items():
            parser.add_class_arguments(load(), name, skip=self.skip.get(name))
        parser.add_function_arguments(self.run_options, as_group=True)
        for action in parser._actions:
            # of an option that takes a class there is also its help
            check_type(f"--{action.dest.removesuffix('.help')}", getattr(action, "_typehint", None) or str)
            prefix = action.dest.partition(".")[0]
            # a whole section as one value is not offered: a selector's name stands there
            if prefix in self.hidden or action.dest in [*self.selectors, *self.sections]:
                action.help = SUPPRESS
        return parser

    def _parts(self, selector: str, choice: str) -> list[str]:
        """The choices that a composed one is made of."""
        if selector not in self.composed:
            return [choice]
        parts = choice.split("+")
        if len(set(parts)) < len(parts):
            raise ValueError(f"--{selector}: expected every choice once; got '{choice}'")
        return parts

    def _around(self, selector: str) -> list[type]:
        return [self.composed[selector]()] if selector in self.composed else []

    def _resolve(self, parser: ArgumentParser, names: dict[str, str], arguments: list[str]) -> dict:
        config = parse_arguments(parser, arguments)
        defaults = as_plain(parser.get_defaults())
        for name in self.hidden:  # too many, and they differ by version: only what was asked for counts
            config[name] = {key: value for key, value in config[name].items() if value != defaults[name][key]}
        selected = {name: {"name": names[name], **config.pop(name, {})} for name in self.selectors}
        return selected | config

    def _overview(self) -> str:
        lines = [
            "usage: python run.py [--OPTION VALUE ...]                          train and evaluate",
            "       python run.py sample RUN [--OPTION VALUE ...]               images of a run",
            "       python run.py evaluate RUN [--metrics.OPTION VALUE ...]     its metrics again",
            "       python run.py prefetch [--OPTION VALUE ...]                 what a run needs, for nodes offline",
            "       python run.py ablate [--OPTION VALUE,VALUE ...]             a grid of runs and its report",
            "       python run.py compare FOLDER ... [--OPTION VALUE ...]       runs side by side",
            "       python run.py cache [--prune]                               what runs share, and its removal",
            "       python run.py --model gan --augment ae --help               options of the chosen parts",
            "       --config FILE takes options from a file, --print_config shows what would be run",
            "",
        ]
        for name, package in self.selectors.items():
            lines.append(f"--{name} (default: {self.defaults[name]})")
            lines += [f"  {choice:14} {registry.summary(package, choice)}" for choice in registry.names(package)]
            if name in self.composed:
                lines.append(f"  or several, one after the other, such as {'+'.join(registry.names(package)[1:3])}")
            lines.append("")
        parser = new_parser("")
        parser.add_function_arguments(self.run_options, as_group=True)
        options = parser.format_help().partition("\n\n")[2]
        return "\n".join([*lines, options])


class _RaisingParser(argparse.ArgumentParser):
    def error(self, message: str):
        option = re.split("[/:]", message.removeprefix("argument "))[0]
        raise ValueError(f"{option}: expected a value; got none")


def add_classes(parser: ArgumentParser, section: str, classes: list[type], skip: set[str]) -> None:
    """Makes one section of the signatures of several classes; an option that two of them have is one option.

    Raises:
        ValueError: it is not the same option: its values or its default differ.
    """
    seen: dict[str, tuple] = {}
    for i, one in enumerate(classes):
        options = signature(one)
        differing = [f"--{section}.{name}" for name in options if seen.get(name, options[name]) != options[name]]
        if differing:
            raise ValueError(
                f"--{section}: expected choices that go together; got some that mean different things by "
                f"{', '.join(sorted(differing))}"
            )
        parser.add_class_arguments(one, section, skip=skip | set(seen), as_group=i == 0)
        if section in parser.groups and (deviations := _deviations(one)):
            group = parser.groups[section]
            group.description = "\n".join(filter(None, [group.description, deviations]))
        seen |= options


def _deviations(one: type) -> str:
    """The paragraph of a class docstring that says where it differs from its papers; empty where there is none."""
    paragraphs = (inspect.getdoc(one) or "").split("\n\n")
    return next((paragraph for paragraph in paragraphs if paragraph.startswith("Deviations:")), "")


@cache
def signature(one: type) -> dict[str, tuple]:
    """Type and default of a class's options by their names, those that it inherits or hands on included."""
    parser = new_parser("")
    parser.add_class_arguments(one, "section")
    return {
        action.dest.removeprefix("section."): (getattr(action, "_typehint", None), action.default)
        for action in parser._actions
        if action.dest.startswith("section.")
    }


def new_parser(usage: str) -> ArgumentParser:
    """A parser that raises instead of exiting and takes no abbreviations."""
    return ArgumentParser(usage=usage, exit_on_error=False, allow_abbrev=False, add_help=False)


def parse_arguments(parser: ArgumentParser, arguments: list[str]) -> dict:
    """The parsed arguments as nested plain values.

    Raises:
        ValueError: with one line that names the option, what was expected and what came.
    """
    try:
        parsed = as_plain(parser.parse_args(_with_flags(parser, arguments)))
    except ArgumentError as error:
        raise ValueError(_explain(str(error), parser, arguments)) from error
    for action in parser._actions:
        _check_value(action, _value(parsed, action.dest), _given(next(iter(action.option_strings), ""), arguments))
    return parsed


def _value(parsed: dict, dest: str) -> object:
    for key in dest.split("."):
        parsed = parsed.get(key) if isinstance(parsed, dict) else None
    return parsed


def _check_value(action, value: object, given: str) -> None:
    """Raises ValueError for a value of the right type that nobody means: jsonargparse takes all that YAML and float()
    take, such as 1_000, 010 and 1e400."""
    option = (action.option_strings or [action.dest.upper()])[0]
    values = value if isinstance(value, list) else [value]
    if any(isinstance(one, str) and (not one.strip() or "\0" in one) for one in values):
        raise ValueError(f"{option}: expected text that is not empty, without the character 0; got {value!r}")
    numbers = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
    words = [word for word in re.split(r"[\[\],\s]+", given) if word not in ("", "null")]
    if numbers and not (all(map(math.isfinite, numbers)) and all(map(NUMBER.fullmatch, words))):
        expected = _in_words(getattr(action, "_typehint", None) or action.type)
        raise ValueError(f"{option}: expected {expected}, finite, in digits as in 1000 or 1e-3; got '{given}'")


def parse_verb(parser: ArgumentParser, arguments: list[str]) -> dict | None:
    """The arguments of a verb; None where help was asked for and printed."""
    if {"-h", "--help"} & set(arguments):
        parser.print_help()
        return None
    return parse_arguments(parser, arguments)


def as_plain(namespace) -> dict:
    """A namespace as nested dicts of plain values; jsonargparse's own number types become int and float, and ~ at the
    beginning of a path the home folder, which a shell does not do in --folder=~/x."""
    return _at_home(json.loads(json.dumps(namespace.as_dict())))


def _at_home(value):
    if isinstance(value, dict):
        return {key: _at_home(entry) for key, entry in value.items()}
    return os.path.expanduser(value) if isinstance(value, str) else value


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


def flatten(config: dict) -> dict:
    """A nested config as {"model": "gan", "model.lr": 0.1, "seed": 0}: the keys are the command line's."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= {key if name == "name" else f"{key}.{name}": entry for name, entry in value.items()}
        else:
            flat[key] = value
    return flat


def _as_arguments(nested: dict) -> list[str]:
    """A nested config as arguments, so that files and the command line are checked alike."""
    flat = flatten(nested).items()
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value, default=str)}" for key, value in flat]


def _without_replaced(file: dict, arguments: list[str]) -> dict:
    """A config file's options but those that the command line says in another way."""
    given = [group for group in ALTERNATIVES if any(_given(f"--{one}", arguments) not in ("", "null") for one in group)]
    return {key: value for key, value in file.items() if not any(key in group for group in given)}


def take_flag(option: str, arguments: list[str], others: bool = True) -> tuple[bool, list[str]]:
    """Whether an option that is true or false was given as true, and the arguments without it; `others` says whether a
    word that follows may be another argument, else it is the option's value.

    Raises:
        ValueError: it was given another value.
    """
    value, rest, words = False, [], list(arguments)
    while words:
        name, equals, given = (word := words.pop(0)).partition("=")
        if name != option:
            rest.append(word)
            continue
        if not equals:
            is_value = words and (words[0].lower() in ("true", "false") or not (others or words[0].startswith("--")))
            given = words.pop(0) if is_value else "true"
        if given.lower() not in ("true", "false"):
            raise ValueError(f"{option}: expected true or false; got '{given}'")
        value = given.lower() == "true"
    return value, rest


def _with_flags(parser: ArgumentParser, arguments: list[str]) -> list[str]:
    """Gives options that are true or false the value true where none follows."""
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


def _read_config(path: str) -> dict:
    try:
        config = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise ValueError(f"--config: expected a file, got '{path}' ({error.strerror})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: of characters and dates that are none
        raise ValueError(f"--config: '{path}' is no YAML: {' '.join(str(error).split())}") from error
    try:
        json.dumps(config, default=str)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"--config: expected plain values in '{path}', got others: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"--config: expected options and values in '{path}', got {_kind_of(config)}")
    return config


def _explain(message: str, parser: ArgumentParser, arguments: list[str]) -> str:
    """jsonargparse's message as one line in this project's form."""
    unknown = re.match(r"unrecognized arguments: (\S+)", message, re.IGNORECASE)
    if unknown:
        word = unknown[1].partition("=")[0]
        if not word.startswith("-"):
            return f"expected --OPTION VALUE; got '{word}'"
        options = [option for action in parser._actions for option in action.option_strings]
        # in the same section if there is one: `--model.` alone would make everything there look alike
        section = word.rpartition(".")[0]
        near = {option.rpartition(".")[2]: option for option in options if option.rpartition(".")[0] == section}
        suggestion = registry.suggest(word.rpartition(".")[2], near)
        return f"{word}: there is no such option here{suggestion}"
    without = re.search(r"(--\S+): expected (one|at least one) argument", message)
    if without:
        return f"{without[1]}: expected a value; got none"
    missing = re.search(r"arguments are required: (\S+)", message)
    if missing:
        name = missing[1].rstrip(",")
        option = f"--{name}" if "." in name else name.upper()
        return f"{option}: expected a value; got none"
    wrong = re.match(r'Parser key "([^"]+)"', message)
    if wrong:
        action = next(action for action in parser._actions if action.dest == wrong[1])
        option = (action.option_strings or [wrong[1].upper()])[0]
        if _is_section(action):
            return f"{option}: expected options of it, such as {option}.NAME VALUE; got '{_given(option, arguments)}'"
        expected = _in_words(getattr(action, "_typehint", None) or action.type)
        return f"{option}: expected {expected}; got '{_given(option, arguments)}'"
    return " ".join(message.removeprefix("argument ").split())


def _is_section(action) -> bool:
    """Whether an option stands for a whole section, as jsonargparse adds one and this project does not offer."""
    return type(action).__name__ == "_ActionConfigLoad"


def _is_given(option: str, arguments: list[str]) -> bool:
    return any(word.partition("=")[0] == option for word in arguments)


def _given(option: str, arguments: list[str]) -> str:
    """The last value that an option was given."""
    pairs = zip(arguments, [*arguments[1:], ""])
    values = [
        word.partition("=")[2] if "=" in word else following
        for word, following in pairs
        if word.partition("=")[0] == option
    ]
    return values[-1] if values else ""


def _in_words(kind) -> str:
    """A type annotation for people."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    if kind in words:
        return words[kind]
    if hasattr(kind, "_expression"):  # jsonargparse's restricted numbers, e.g. "v>=0 and v<1"
        signs = {"v>=": "at least ", "v<=": "at most ", "v>": "above ", "v<": "below "}
        return f"{words[kind._type]} " + re.sub("v[<>]=?", lambda sign: signs[sign[0]], kind._expression)
    arguments = getattr(kind, "__args__", ())
    if getattr(kind, "__origin__", None) is list:
        return f"a list, each {_in_words(arguments[0])}"
    if arguments:
        # a list last, so that "each" is not read on
        arguments = sorted(arguments, key=lambda value: getattr(value, "__origin__", None) is list)
        choices = [str(value) if isinstance(value, str | int) else _in_words(value) for value in arguments]
        return " or ".join([", ".join(choices[:-1]), choices[-1]]) if len(choices) > 1 else choices[0]
    return getattr(kind, "__name__", str(kind))


def _kind_of(value: object) -> str:
    """What kind of value there is in the place of a mapping."""
    if value is None:
        return "nothing"
    return "a list" if isinstance(value, list) else f"'{str(value)[:40]}'"
