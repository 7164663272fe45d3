"""The two-step parse: first the choices, then their options."""

import argparse
import re
from collections.abc import Callable

import yaml
from jsonargparse import SUPPRESS, ArgumentParser

from lightning_genae import registry
from lightning_genae.config.file import read_config, without_replaced
from lightning_genae.config.nested import as_arguments, as_plain, flatten, nest
from lightning_genae.config.overview import overview
from lightning_genae.config.parser import add_classes, new_parser, parse_arguments
from lightning_genae.config.words import is_given, last_value
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
        chosen, rest = self._step_one(argv)
        if chosen.help and not any([chosen.config, *(getattr(chosen, name) for name in self.selectors)]):
            print(overview(self.selectors, self.defaults, self.composed, self.run_options))
            return None
        file = {} if chosen.config is None else nest(read_config(chosen.config), self.selectors)
        names = self._names(chosen, file)
        for name in self.selectors:
            if file.get(name, {}).pop("name", names[name]) != names[name]:
                print(f"--{name} {names[name]} replaces the config file's; its options of --{name}.* are left out")
                del file[name]
        parser = self._parser(names)
        if chosen.help:
            parser.print_help()
            return None
        arguments = [*as_arguments(without_replaced(file, rest)), *rest]
        check_config(chosen.config or "", flatten(file), lambda name: is_given(f"--{name}", rest))
        for option in [option for option in self.replaced if is_given(option, arguments)]:
            raise UserError(f"{option}: expected {self.replaced[option]}; got '{last_value(option, arguments)}'")
        config = self._resolve(parser, names, arguments)
        if chosen.print_config:
            print(yaml.safe_dump(config, sort_keys=False), end="")
            return None
        return config

    def options(self, argv: list[str]) -> set[str]:
        """Names of all options for the parts that these arguments choose."""
        chosen, _ = self._step_one(argv)
        file = {} if chosen.config is None else nest(read_config(chosen.config), self.selectors)
        actions = self._parser(self._names(chosen, file))._actions
        return {option.removeprefix("--") for action in actions for option in action.option_strings}

    def _names(self, chosen: argparse.Namespace, file: dict) -> dict[str, str]:
        """The choice of every selector, checked to exist."""
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
            add_classes(parser, name, [*self._around(name), *classes], self.skip.get(name, set()))
        for name, load in self.sections.items():
            parser.add_class_arguments(load(), name, skip=self.skip.get(name))
        parser.add_function_arguments(self.run_options, as_group=True)
        for action in parser._actions:
            # jsonargparse adds a .help option to options that take a class
            check_type(f"--{action.dest.removesuffix('.help')}", getattr(action, "_typehint", None) or str)
            prefix = action.dest.partition(".")[0]
            # a whole section as one value is not offered: the selector takes a name
            if prefix in self.hidden or action.dest in [*self.selectors, *self.sections]:
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

    def _around(self, selector: str) -> list[type]:
        return [self.composed[selector]()] if selector in self.composed else []

    def _resolve(self, parser: ArgumentParser, names: dict[str, str], arguments: list[str]) -> dict:
        config = parse_arguments(parser, arguments)
        defaults = as_plain(parser.get_defaults())
        for name in self.hidden:  # they are many and differ by version, so only those that were set are kept
            config[name] = {key: value for key, value in config[name].items() if value != defaults[name][key]}
        selected = {name: {"name": names[name], **config.pop(name, {})} for name in self.selectors}
        return selected | config


class _RaisingParser(argparse.ArgumentParser):
    def error(self, message: str):
        option = re.split("[/:]", message.removeprefix("argument "))[0]
        raise UserError(f"{option}: expected a value; got none")
