"""Functions for data sets of the user's files: finding files, and classes by subfolder."""

import logging
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from stat import S_ISLNK

import torch
from torch import Tensor

log = logging.getLogger("lightning_genae")
MAX_NAMED = 5  # names of skipped files in a message
METADATA = "metadata.csv"  # of Hugging Face's imagefolder: a row a file, with its name in the column file_name


def find(root: Path, suffixes: tuple[str, ...], items: str) -> list[str]:
    """Paths of all files below the root with one of the suffixes, sorted, except hidden files and those of runs.
    Skipped files are counted and named in the log. Links are followed, and each folder is entered once.

    Args:
        root: a folder.
        suffixes: in lower case, with the dot.
        items: what the files are, in the plural, for errors.

    Raises:
        FileNotFoundError: the folder does not exist, or contains no such file.
        OSError: a folder cannot be read.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"--data.root: expected a folder of {items}, got '{root}', which is none")
    paths, skipped = below(root, suffixes)
    if not paths:
        raise FileNotFoundError(f"--data.root: expected {items} ({_in_words(suffixes)}) in '{root}', found none")
    if skipped:
        named = ", ".join(f"'{os.path.relpath(path, root)}' ({why})" for path, why in skipped[:MAX_NAMED])
        more = f" and {len(skipped) - MAX_NAMED:,} more" if len(skipped) > MAX_NAMED else ""
        log.info(f"{len(paths):,} files of '{root}' are read, {len(skipped):,} skipped: {named}{more}")
    return paths


def below(root: Path, suffixes: tuple[str, ...]) -> tuple[list[str], list[tuple[str, str]]]:
    """The paths that `find` finds, and those that it skips, each with the reason; raises OSError as it does."""
    skipped: list[tuple[str, str]] = []
    return list(_walk(str(root), suffixes, skipped, {os.path.realpath(root)})), skipped


def classes(paths: list[str], root: Path | str, item: str) -> tuple[Tensor, int]:
    """A label for each path, int64 (N,), and the number of classes, which is 0 with fewer than two subfolders.

    Raises:
        ValueError: there are subfolders, and a file in none of them.
    """
    start = len(os.path.join(root, ""))
    first = [name if deeper else "" for name, deeper, _ in (path[start:].partition(os.sep) for path in paths)]
    names = sorted(set(first) - {""})
    if len(names) < 2:
        return torch.zeros(len(paths), dtype=torch.long), 0
    if "" in first:
        loose = paths[first.index("")]
        raise ValueError(f"--data.root: expected every {item} in a subfolder, its class, but '{loose}' is in none")
    return numbered(first), len(names)


def numbered(names: list[str]) -> Tensor:
    """The class of each name, int64 (N,), numbered from 0 in the order of the sorted names."""
    labels = {name: label for label, name in enumerate(sorted(set(names)))}
    return torch.tensor([labels[name] for name in names])


def stamps(paths: list[str]) -> Iterator[tuple[str, int, int]]:
    """Path, size and modification time of each file, which change when a file does."""
    resolve = cache(os.path.realpath)
    for path in paths:
        folder, _, name = path.rpartition(os.sep)
        full, stamp = os.path.join(resolve(folder), name), os.lstat(path)
        if S_ISLNK(stamp.st_mode):  # use the target of a link
            full, stamp = os.path.realpath(full), os.stat(path)
        yield full, stamp.st_size, stamp.st_mtime_ns


def _walk(folder: str, suffixes: tuple[str, ...], skipped: list, entered: set[str]) -> Iterator[str]:
    """Files below a folder, sorted by name in each folder; paths are strings, because there may be a million."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise OSError(f"--data.root: '{folder}' cannot be read: {error.strerror}") from error
    for entry in entries:
        is_folder = entry.is_dir()
        why = _why_not_entered(entry, entered) if is_folder else _why_not_taken(entry, suffixes)
        if why:
            skipped.append((entry.path, why))
        elif is_folder:
            entered.add(os.path.realpath(entry.path))
            yield from _walk(entry.path, suffixes, skipped, entered)
        else:
            yield entry.path


def _why_not_entered(folder: os.DirEntry, entered: set[str]) -> str:
    if folder.name.startswith("."):
        return "hidden"
    if os.path.isfile(os.path.join(folder.path, "results.json")):  # pictures of runs must not be trained on
        return "of a run"
    return "a link to a folder that is read already" if os.path.realpath(folder.path) in entered else ""


def _why_not_taken(file: os.DirEntry, suffixes: tuple[str, ...]) -> str:
    if file.name.startswith("."):
        return "hidden"
    if os.path.splitext(file.name)[1].lower() not in suffixes:
        return "what --data.label reads" if file.name == METADATA else "another suffix"
    if not file.is_file():
        return "no file" if os.path.exists(file.path) else "a link to nothing"
    return ""


def _in_words(suffixes: tuple[str, ...]) -> str:
    return ", ".join(suffix or "or without suffix" for suffix in suffixes)
