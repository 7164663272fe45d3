"""What somebody else made: config files and folders. They name what is read, never where to write outside themselves.

A run is made of options, tensors and text; none of them runs code. What is left is where it writes: by a path in a
config file, or by a link in a folder.
"""

import os
from datetime import timedelta
from pathlib import Path
from types import UnionType
from typing import Literal, Union, get_args, get_origin

PLAIN = (int, float, bool, str, timedelta, type(None))  # types of options, beside jsonargparse's restricted numbers
WRITTEN = ("folder", "cache", "data.root")  # options that name folders to write to


def check_config(path: str, options: dict[str, object], is_given) -> None:
    """Raises ValueError for options of a config file that write elsewhere than below the current folder or its own.

    Args:
        path: of the file.
        options: of the file, by their names on the command line.
        is_given: tells of an option whether the command line gives it too, and so means it.
    """
    if options.get("overwrite") and not is_given("overwrite"):
        raise ValueError(f"--overwrite: expected it on the command line; got it from the config file '{path}'")
    for name in WRITTEN:
        value = options.get(name)
        is_read_alone = name == "data.root" and not options.get("data.download")
        if (
            value is None
            or "\0" in str(value)
            or is_read_alone
            or is_given(name)
            or is_within(str(value), Path(), Path(path).parent)
        ):
            continue
        raise ValueError(
            f"--{name}: expected a folder below the current one or the config file's; got '{value}' from '{path}'; "
            f"--{name} on the command line says that it is meant"
        )


def check_type(option: str, kind: object) -> None:
    """Raises ValueError for an option that is not made of numbers and words.

    Of one that takes a class or an object jsonargparse would import what a config file names. No option of this project
    is of that kind; those of other packages' classes are their own.
    """
    if not _is_plain(kind):
        shown = getattr(kind, "__name__", str(kind))
        raise ValueError(
            f"{option}: expected numbers, words or lists of them, so that no config file names what is imported; got "
            f"the type {shown}; the package that adds it has to change it"
        )


def _is_plain(kind: object) -> bool:
    if get_origin(kind) in (list, dict, Union, UnionType):
        return all(map(_is_plain, get_args(kind)))
    number = isinstance(kind, type) and issubclass(kind, int | float) and hasattr(kind, "_expression")
    return kind in PLAIN or number or get_origin(kind) is Literal


def is_within(path: str | Path, *folders: Path) -> bool:
    """Whether a path, with all links followed, lies in one of the folders."""
    target = Path(path).expanduser().resolve()
    return any(target.is_relative_to(folder.resolve()) for folder in folders)


def check_links(option: str, folder: str | Path, skip: tuple[str, ...] = ()) -> None:
    """Raises ValueError if a link in a folder leads out of it, since what is written there would go elsewhere.

    W&B's own folders are not looked into: it links to logs elsewhere, and writes to new folders alone.

    Args:
        option: that names the folder.
        folder: there may be none.
        skip: names of entries that are not looked at.
    """
    root = Path(folder)
    for here, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = Path(here, name)
            if path.is_symlink() and name not in skip and not is_within(path, root):
                raise ValueError(
                    f"{option}: expected a folder without links that lead out of it; '{path}' leads to "
                    f"'{path.resolve()}'; remove the link"
                )
        folders[:] = [name for name in folders if name not in ("wandb", *skip)]
