"""The two-step parse: first the choices, then their options."""

import argparse
import re
from collections.abc import Callable, Iterable
from typing import NoReturn

import yaml
from jsonargparse import SUPPRESS, ArgumentParser

from lightning_genae import registry
from lightning_genae.config.file import read_config, without_replaced
from lightning_genae.config.nested import as_arguments, as_plain, expand, flatten, nest
from lightning_genae.config.overview import overview
from lightning_genae.config.parser import add_classes, new_parser, parse_arguments
from lightning_genae.config.words import is_given, last_value
from lightning_genae.deferred import without_collection
from lightning_genae.errors import UserError
from lightning_genae.received import check_config, check_type

# Lightning's options that run.py offers without the prefix
TRAINER_ALIASES = ("accelerator", "devices", "strategy", "precision")


class CommandLine:
    """The options that the command line accepts.

    Args:
        selectors: option to package, e.g. {"model": "lightning_genae.models"}.
        defaults: option to the default choice.
        composed: selector whose choices can be combined (`ae+classic`) to a function that imports and returns the
            class that combines them; its signature defines further options.
        run_options: function whose signature and docstring define the options without a prefix.
        sections: prefix to a function that imports and returns the class whose signature defines the options.
        skip: parameters of classes that are not options, because the program sets them.
        hidden: sections that are left out of the help.
        replaced: former option to its replacement, in words.
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
        """The resolved config as nested plain values; None if only help or the config was printed.

        Raises:
            UserError: an argument is wrong; the message is one line.
        """
        asked, _ = self._step_one(argv, self.selectors)
        if asked.help and not any([asked.config, *(getattr(asked, name) for name in self.selectors)]):
            print(overview(self.selectors, self.defaults, self.composed, self.run_options))
            return None
        with without_collection():
            names, file, rest = self._choose(argv)
            parser = self._parser(names)
        if asked.help:
            groups = parser.groups or {}
            for option, choice in self._choices(names).items():
                groups[option].description = f"Any of {', '.join(choice.names())} may be --{option}."
            parser.print_help()
            return None
        arguments = [*as_arguments(without_replaced(file, rest)), *rest]
        check_config(asked.config or "", flatten(file), lambda name: is_given(f"--{name}", rest))
        self._check_replaced(parser, arguments)
        config = self._resolve(parser, names, arguments)
        if asked.print_config:
            print(yaml.safe_dump(config, sort_keys=False), end="")
            return None
        return config

    def names(self, argv: list[str]) -> dict[str, str]:
        """What is chosen by every selector, and by every choice that these arguments' parts have."""
        return self._choose(argv, quiet=True)[0]

    def options(self, argv: list[str]) -> set[str]:
        """Names of all options for the parts that these arguments choose."""
        return {option.removeprefix("--") for option in _options(self._parser(self.names(argv)))}

    def _choose(self, argv: list[str], quiet: bool = False) -> tuple[dict[str, str], dict, list[str]]:
        """What is chosen, which exists; a config file's options of that, and the arguments that choose nothing."""
        words, _ = self._step_one(argv, self.selectors)
        file = {} if words.config is None else nest(read_config(words.config), self.selectors)
        names = {name: self._take(name, default, words, file, quiet) for name, default in self.defaults.items()}
        for name, package in self.selectors.items():
            for part in self._parts(name, names[name]):
                registry.check(f"--{name}", package, part)
        choices = self._choices(names)
        words, rest = self._step_one(argv, [*self.selectors, *choices])
        for option, choice in choices.items():
            names[option] = self._take(option, choice.default, words, file, quiet)
            choice.load(f"--{option}", names[option])
        return names, file, rest

    def _take(self, option: str, default: str, words: argparse.Namespace, file: dict, quiet: bool) -> str:
        """What is chosen by an option, which is taken out of the config file's; the options of another choice, too."""
        section, _, key = option.partition(".")
        options = expand(file.get(section, {}), key) if key else file.get(section, {})
        in_file = options.pop(key or "name", default)
        chosen = getattr(words, option)
        if option.partition(".")[0] in file:
            file[section] = options
        if chosen in (None, in_file):
            return in_file
        if section in file:
            if not quiet:
                print(f"--{option} {chosen} replaces the config file's; its options of --{option}.* are left out")
            file[section] = {name: value for name, value in options.items() if key and not name.startswith(f"{key}.")}
        return chosen

    def _choices(self, names: dict[str, str]) -> dict[str, registry.Choice]:
        """The choices that the chosen parts have in their turn, by their options."""
        return {
            f"{name}.{option}": choice
            for name, package in self.selectors.items()
            for part in self._parts(name, names[name])
            for option, choice in getattr(registry.load(package, part), "choices", {}).items()
        }

    def _check_replaced(self, parser: ArgumentParser, arguments: list[str]) -> None:
        """Raises UserError for an option that there was once, where what there is instead is an option now."""
        known = _options(parser)
        for option, instead in self.replaced.items():
            if is_given(option, arguments) and option not in known and instead.partition(",")[0] in known:
                raise UserError(f"{option}: expected {instead}; got '{last_value(option, arguments)}'")

    def _step_one(self, argv: list[str], selectors: Iterable[str]) -> tuple[argparse.Namespace, list[str]]:
        parser = _RaisingParser(add_help=False, allow_abbrev=False)
        for name in selectors:
            parser.add_argument(f"--{name}", f"--{name}.name", dest=name)
        parser.add_argument("--config")
        parser.add_argument("-h", "--help", action="store_true")
        parser.add_argument("--print_config", action="store_true")
        aliases = "|".join(TRAINER_ALIASES)
        return parser.parse_known_args([re.sub(rf"^--trainer\.({aliases})(?==|$)", r"--\1", word) for word in argv])

    def _parser(self, names: dict[str, str]) -> ArgumentParser:
        """The parser for the options of these parts, cached because a grid uses few of them many times."""
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
            chosen = {option for part in classes for option in getattr(part, "choices", {})}
            add_classes(parser, name, [*self._around(name), *classes], self.skip.get(name, set()) | chosen)
        choices = self._choices(names)
        for option, choice in choices.items():
            add_classes(parser, option, [choice.load(f"--{option}", names[option])], self._skipped_of(choice.package))
            differing = choice.defaults.get(names[option], {})
            _set_defaults(parser, option, differing)
        for name, load in self.sections.items():
            parser.add_class_arguments(load(), name, skip=self.skip.get(name))
        parser.add_function_arguments(self.run_options, as_group=True)
        for action in parser._actions:
            # jsonargparse adds a .help option to options that take a class
            check_type(f"--{action.dest.removesuffix('.help')}", getattr(action, "_typehint", None) or str)
            prefix = action.dest.partition(".")[0]
            # a whole section as one value is not offered: the selector takes a name
            if prefix in self.hidden or action.dest in [*self.selectors, *self.sections, *choices]:
                action.help = SUPPRESS
        return parser

    def _parts(self, selector: str, choice: str) -> list[str]:
        """The choices that a combined choice consists of."""
        if selector not in self.composed:
            return [choice]
        parts = choice.split("+")
        if len(set(parts)) < len(parts):
            raise UserError(f"--{selector}: expected every choice once; got '{choice}'")
        return parts

    def _skipped_of(self, package: str) -> set[str]:
        """Parameters of a package's classes that are no options."""
        return set().union(*(self.skip.get(name, set()) for name in self.selectors if self.selectors[name] == package))

    def _around(self, selector: str) -> list[type]:
        return [self.composed[selector]()] if selector in self.composed else []

    def _resolve(self, parser: ArgumentParser, names: dict[str, str], arguments: list[str]) -> dict:
        config = parse_arguments(parser, arguments)
        defaults = as_plain(parser.get_defaults())
        for name in self.hidden:  # they are many and differ by version, so only those that were set are kept
            config[name] = {key: value for key, value in config[name].items() if value != defaults[name][key]}
        for option in names.keys() - self.selectors.keys():
            section, _, key = option.partition(".")
            inner = {"name": names[option], **config[section].pop(key, {})}
            config[section] = expand({key: inner}, key) | config[section]
        selected = {name: {"name": names[name], **config.pop(name, {})} for name in self.selectors}
        return selected | config


def _set_defaults(parser: ArgumentParser, section: str, values: dict[str, object]) -> None:
    """Defaults of a choice's options; one whose default is None may be left open as null."""
    for action in parser._actions:
        if values.get(action.dest.removeprefix(f"{section}."), "") is None:
            action._typehint |= None  # type: ignore[attr-defined]  # of an option with a type
    parser.set_defaults({f"{section}.{name}": value for name, value in values.items()})


def _options(parser: ArgumentParser) -> set[str]:
    """All that can be typed, with dashes."""
    return {option for action in parser._actions for option in action.option_strings}


class _RaisingParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        option = re.split("[/:]", message.removeprefix("argument "))[0]
        raise UserError(f"{option}: expected a value; got none")
