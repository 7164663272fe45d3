"""The registry: a file's name is the name typed on the command line, and nothing has to be registered.

A file `lightning_genae/models/gan.py` makes `--model gan` exist. Its module docstring's first line is the
help text of the choice, its one public class is what the choice builds. A name with a leading underscore
is not a choice.
"""

import ast
import difflib
import importlib
import importlib.util
from pathlib import Path

from lightning_genae.errors import UserError


def names(package: str) -> list[str]:
    """Names of the choices in a package, sorted, found without importing it."""
    return sorted(path.stem for path in _folder(package).glob("*.py") if not path.stem.startswith("_"))


def summary(package: str, name: str) -> str:
    """First line of the file's docstring, read without importing the file."""
    docstring = ast.get_docstring(ast.parse((_folder(package) / f"{name}.py").read_text()))
    return (docstring or "").partition("\n")[0]


def check(option: str, package: str, name: str) -> None:
    """Raises UserError, with the list of choices, if there is no file of this name."""
    choices = names(package)
    if name not in choices:
        hint = "; `python run.py ablate` compares several" if "," in name else suggest(name, choices)
        raise UserError(f"{option}: expected one of {', '.join(choices)}; got '{name}'{hint}")


def load(package: str, name: str) -> type:
    """The one public class that the file defines.

    Raises:
        UserError: there is no such file; a name may come from a file of somebody else's.
    """
    check(package.rpartition(".")[2], package, str(name))
    module = importlib.import_module(f"{package}.{name}")
    public = [
        value
        for key, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and not key.startswith("_")
    ]
    assert len(public) == 1, f"{module.__file__} must define one public class, found {public}"
    return public[0]


def suggest(word: str, choices: list[str] | dict[str, str]) -> str:
    """'; did you mean X?' if one of the choices is close to the word, else nothing; of a dict, X is its value."""
    close = difflib.get_close_matches(word, choices, n=1)
    shown = choices[close[0]] if close and isinstance(choices, dict) else "".join(close)
    return f"; did you mean '{shown}'?" if close else ""


def _folder(package: str) -> Path:
    return Path(importlib.util.find_spec(package).submodule_search_locations[0])
