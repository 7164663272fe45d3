"""The registry: the name of a file is its name on the command line, without registration.

A file `lightning_genae/models/gan.py` makes `--model gan` exist. The first line of its
module docstring is the help text of the choice, and its only public class is the class of the choice. A name with a
leading underscore is not a choice.

An installed package adds choices by entry points, in the groups lightning_genae.models, .augment, .data, .metrics and
.extractors. The value names a module with one public class, or a class:

    [project.entry-points."lightning_genae.models"]
    linear = "their_package.linear"

Nothing else is imported by name: a config file or a checkpoint can only choose among files here and entry points of
installed packages.
"""

import ast
import difflib
import importlib
import importlib.util
import inspect
import os
import re
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from lightning_genae.errors import UserError

OWN = "lightning_genae"  # the distribution that this file belongs to
GROUPS = {  # of entry points, by the package that they add to
    "lightning_genae.models": "lightning_genae.models",
    "lightning_genae.augment": "lightning_genae.augment",
    "datamodules": "lightning_genae.data",
    "lightning_genae.evaluation.metrics": "lightning_genae.metrics",
    "lightning_genae.evaluation.extractors": "lightning_genae.extractors",
}
RENAMED = {"rae": "rnn_ae", "aegan": "vaegan"}  # former to current names of choices
# safe in paths, lists (a,b) and combinations (a+b)
NAME = re.compile("[a-z0-9][a-z0-9_-]*", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Choice:
    """An option of a choice that chooses in its turn, such as `--augment.autoencoder NAME`; the options of what it
    chooses are `--augment.autoencoder.OPTION`. A class says which it has by `choices = {"autoencoder": Choice(...)}`,
    and gets {"name": NAME, "OPTION": VALUE, ...}.

    Attributes:
        package: where the choices are.
        default: name of one.
        methods: that a class must have to be one.
        renamed: values of once, to what is typed now.
        defaults: of options of a name, where they are not those of its class.
    """

    package: str
    default: str
    methods: tuple[str, ...] = ()
    renamed: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, dict[str, object]] = field(default_factory=dict)

    def load(self, option: str, name: str) -> type:
        """The class of this name.

        Raises:
            UserError: there is none, or it lacks a method.
            ImportError: another package gives it, and it cannot be imported.
        """
        if name in self.renamed:
            raise UserError(f"{option}: expected {self.renamed[name]}, as it is called now; got '{name}'")
        if name in names(self.package):
            check(option, self.package, name)
            found = load(self.package, name)
            lacking = [method for method in self.methods if not hasattr(found, method)]
            if not lacking:
                return found
            hint = f", which has no {' and no '.join(lacking)}"
        else:
            hint = f"; it is called {RENAMED[name]} now" if name in RENAMED else suggest(name, self.names())
        raise UserError(f"{option}: expected one of {', '.join(self.names())}; got '{name}'{hint}")

    def names(self) -> list[str]:
        """All names that can be chosen; of other packages those that can be imported."""
        found = {}
        for name in names(self.package):
            with suppress(ImportError, UserError):
                found[name] = load(self.package, name)
        return [name for name, choice in found.items() if self._is_one(choice)]

    def _is_one(self, choice: type) -> bool:
        return all(hasattr(choice, method) for method in self.methods)


def names(package: str) -> list[str]:
    """Names of the choices of a package, sorted, found without importing the package or its extensions."""
    return sorted({*_files(package), *_outside(package)})


def summary(package: str, name: str) -> str:
    """First line of the docstring of the file, or of the class that an entry point names, read without importing it.
    For choices of other packages also the package, or what is wrong with them."""
    if fault := _fault(package, name):
        return fault
    if name in (files := _files(package)):
        return _first_line(files[name])
    (entry,) = _outside(package)[name]
    try:
        module, name_in_it = _target(entry)
        return f"{_first_line(_file(module), name_in_it)} ({_distribution(entry).name})".lstrip()
    except (OSError, SyntaxError, ValueError) as error:
        return f"({_distribution(entry).name}, whose file cannot be read: {' '.join(str(error).split())[:100]})"


def check(option: str, package: str, name: str) -> None:
    """Raises UserError, with the list of choices, if the name does not exist or several packages define it."""
    choices = names(package)
    if name not in choices:
        hint = "; `python run.py ablate` compares several" if "," in name else suggest(name, choices)
        hint = f"; it is called {RENAMED[name]} now" if RENAMED.get(name) in choices else hint
        raise UserError(f"{option}: expected one of {', '.join(choices)}; got '{name}'{hint}")
    if fault := _fault(package, name):
        raise UserError(f"{option}: {fault}")


def load(package: str, name: str) -> type[Any]:
    """The one public class that the file defines, or the class of an entry point.

    Raises:
        UserError: there is no such choice, several packages define it, or its file does not define one public class.
        ImportError: a choice of another package cannot be imported or is not a class.
    """
    option = package.rpartition(".")[2]
    check(option, package, str(name))
    if name in _outside(package):
        (entry,) = _outside(package)[name]
        return _load_outside(option, entry)
    module = _import(option, package, name)
    public = _public_classes(module)
    if len(public) != 1:
        found = ", ".join(choice.__name__ for choice in public) or "none"
        raise UserError(f"{_shown(module)}: expected one public class; got {found}; others' names begin with _")
    return public[0]


def _import(option: str, package: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(f"{package}.{name}")
    except ImportError as error:
        path = _files(package)[name]
        raise ImportError(f"{option}: '{path}' cannot be imported: {error}", name=error.name) from error


def check_call(choice: type, method: str, expected: str, *arguments: object, **named: object) -> None:
    """Checks that a class, or a method of it, can be called as its family is.

    Args:
        choice: the class.
        method: its name; "" for the class itself.
        expected: the signature, in words for the error.
        arguments: with which it is called, `self` among those of a method; their values do not matter.
        named: the same, by name.

    Raises:
        UserError: it takes other arguments.
    """
    try:
        inspect.signature(getattr(choice, method) if method else choice).bind(*arguments, **named)
    except TypeError as error:
        raise UserError(
            f"{described(choice)}: expected {expected}; got one that cannot be called so: {error}"
        ) from error


def described(choice: type) -> str:
    """A class and its file, for an error that whoever writes them has to mend."""
    module = sys.modules.get(choice.__module__)
    return f"{choice.__name__} ({_shown(module) if module else choice.__module__})"


def _shown(module: ModuleType) -> str:
    """The file of a module, as it lies in this project or below the current folder, if it is there."""
    path = Path(getattr(module, "__file__", None) or module.__name__)
    for folder in (Path(__file__).parents[1], Path.cwd()):
        if path.is_relative_to(folder):
            return str(path.relative_to(folder))
    return str(path)


def name_of(choice: type) -> str:
    """The name of the choice that a class belongs to."""
    entry = _entry_of(choice)
    return entry.name if entry else choice.__module__.rpartition(".")[2]


def origin(choice: type) -> str | None:
    """Name and version of the package that adds a class; None for classes of this project."""
    entry = _entry_of(choice)
    return _named(entry) if entry else None


def suggest(word: str, choices: list[str] | dict[str, str]) -> str:
    """'; did you mean X?' if one of the choices is close to the word, else empty; for a dict, X is the value."""
    close = difflib.get_close_matches(word, choices, n=1)
    shown = choices[close[0]] if close and isinstance(choices, dict) else "".join(close)
    return f"; did you mean '{shown}'?" if close else ""


def has_outside() -> bool:
    """Whether other installed packages add choices."""
    return bool(_entry_points())


def _files(package: str) -> dict[str, Path]:
    """The files of this project's choices by name."""
    spec = importlib.util.find_spec(package)
    assert spec and spec.submodule_search_locations, f"{package} is no package"
    folder = spec.submodule_search_locations[0]
    # listdir, because a start asks a hundred times, and Path.glob is slow
    files = [name for name in os.listdir(folder) if name.endswith(".py") and not name.startswith("_")]
    return {name.removesuffix(".py"): Path(folder, name) for name in files}


@cache
def _entry_points() -> list[EntryPoint]:
    """The entry points of all installed packages that add choices, cached because the search takes milliseconds."""
    found = entry_points()
    return [entry for group in GROUPS.values() for entry in found.select(group=group)]


def _outside(package: str) -> dict[str, list[EntryPoint]]:
    """Entry points of other packages for a package of this project, by name."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in _entry_points():
        if entry.group == GROUPS.get(package):
            found.setdefault(entry.name, []).append(entry)
    return found


def _fault(package: str, name: str) -> str | None:
    """What is wrong with a name that other packages define; None if it is valid."""
    entries = _outside(package).get(name, [])
    sources = [OWN] * (name in _files(package)) + [_named(entry) for entry in entries]
    if len(sources) > 1:
        return f"expected '{name}' from one package; got it from {' and from '.join(sources)}; uninstall all but one"
    if entries and not NAME.fullmatch(name):
        return f"expected a name of letters, digits, - and _; got '{name}' from {sources[0]}; uninstall it"
    return None


def _load_outside(option: str, entry: EntryPoint) -> type:
    try:
        found = entry.load()
        classes = [found] if isinstance(found, type) else _public_classes(found)
        if len(classes) != 1:
            raise TypeError(f"'{entry.value}' must be a class, or a module that defines one public class")
    except Exception as error:
        raise ImportError(
            f"{option}: expected to import '{entry.name}' of {_named(entry)}; got {type(error).__name__}: "
            f"{error}; install what it needs, or uninstall {_distribution(entry).name}"
        ) from error
    return classes[0]


def _public_classes(module: ModuleType) -> list[type]:
    """The public classes that a module defines itself."""
    return [
        value
        for key, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and not key.startswith("_")
    ]


def _entry_of(choice: type) -> EntryPoint | None:
    """The entry point of an imported class; None for a class of this project."""
    for entry in _entry_points():
        path, name = _target(entry)
        module = sys.modules.get(path)
        if module and choice in ([getattr(module, name, None)] if name else _public_classes(module)):
            return entry
    return None


def _target(entry: EntryPoint) -> tuple[str, str]:
    """The module and the class, which may be empty, of an entry point; unlike entry.module, it never raises."""
    module, _, name = entry.value.partition("[")[0].partition(":")
    return module.strip(), name.strip()


def _distribution(entry: EntryPoint) -> Distribution:
    assert entry.dist is not None  # only an entry point made by hand has none
    return entry.dist


def _named(entry: EntryPoint) -> str:
    """The name and the version of the package that an entry point belongs to."""
    return f"{_distribution(entry).name} {_distribution(entry).version}"


def _file(module: str) -> Path:
    """The file of a module, found without importing its parent packages, unlike find_spec of a dotted name.

    Raises:
        FileNotFoundError: the module has no file.
    """
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec and not rest and spec.origin:
        return Path(spec.origin)
    for folder in (spec and spec.submodule_search_locations) or []:
        path = Path(folder, *rest)
        for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
            if file.is_file():
                return file
    raise FileNotFoundError(f"no file of the module '{module}'")


def _first_line(path: Path, name: str = "") -> str:
    """First line of the docstring of a class in a file, or of the file if it has no class of this name."""
    tree = ast.parse(path.read_bytes())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    docstring = ast.get_docstring(classes[0]) if classes else ast.get_docstring(tree)
    return (docstring or "").partition("\n")[0]
