"""Checks of config files and folders from others: what they name may be read, but not written to outside their folder.

A run consists of options, tensors and text, which cannot run code. The remaining risk is where it writes: to a path in
a config file, or through a link in a folder.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

PLAIN = (
    int,
    float,
    bool,
    str,
    timedelta,
    type(None),
)  # types of options, in addition to jsonargparse's restricted numbers
WRITTEN = ("folder", "cache", "data.root")  # options that name folders to write to


def check_config(path: str, options: dict[str, object], is_given: Callable[[str], bool]) -> None:
    """Raises ValueError for options of a config file that write outside the current folder and the folder of the file.

    Args:
        path: of the file.
        options: of the file, by their names on the command line.
        is_given: whether the command line has an option of this name, too, which confirms it.
    """
    if options.get("overwrite") and not is_given("overwrite"):
        raise ValueError(f"--overwrite: expected it on the command line; got it from the config file '{path}'")
    for name in WRITTEN:
        value = options.get(name)
        is_only_read = name == "data.root" and not options.get("data.download")
        if (
            value is None
            or "\0" in str(value)
            or is_only_read
            or is_given(name)
            or is_within(str(value), Path(), Path(path).parent)
        ):
            continue
        raise ValueError(
            f"--{name}: expected a folder below the current one or the config file's; got '{value}' from '{path}'; "
            f"--{name} on the command line says that it is meant"
        )


def check_type(option: str, kind: object) -> None:
    """Raises ValueError for an option whose type is not composed of numbers and words.

    For options of other types, jsonargparse would import what a config file names. This project has no such options,
    but classes of other packages may.
    """
    if not _is_plain(kind):
        got = (
            "none"
            if Any in (kind, *get_args(kind)) or "Untyped" in str(kind)  # jsonargparse's word
            else f"the type {kind.__name__ if isinstance(kind, type) else kind}"
        )
        raise ValueError(
            f"{option}: expected numbers, words or lists of them as its type, so that no config file names what is "
            f"imported; got {got}; its class has to be changed"
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
    """Raises ValueError if a link in a folder leads out of it, because writes would go elsewhere.

    W&B's folders are skipped: they contain links to logs elsewhere, and W&B writes only to new folders.

    Args:
        option: that names the folder, for errors.
        folder: need not exist.
        skip: names of entries that are not checked.
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
