"""Where the pictures of a data set lie: in a folder, in a zip archive, read as it is, or in Parquet files."""

import csv
import errno
import io
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol
from zipfile import BadZipFile, ZipFile

from torch import Tensor

from datamodules import _files
from datamodules._parquet import Parquet, parquets

log = logging.getLogger("lightning_genae")


class File(Protocol):
    """A file to read; its string names it in errors."""

    def open(self, mode: str) -> IO[bytes]: ...


class Source(Protocol):
    """Files below a root, by names that `find` gives."""

    root: str

    def find(self, suffixes: tuple[str, ...], items: str) -> list[str]:
        """Sorted names of all files with one of the suffixes, except hidden ones; raises FileNotFoundError if none."""

    def file(self, name: str) -> File:
        """The file of a name, which begins with the root."""

    def stamps(self, names: list[str]) -> Iterable[tuple]:
        """What changes when one of the files does."""

    def labels(self, names: list[str], column: str | None) -> tuple[Tensor, int]:
        """A label for each name, int64 (N,), by a column that says the classes, or by subfolders, and the number of
        classes, 0 if there are none; raises ValueError for what is not as it should be."""


class Folder:
    """The files below a folder.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path):
        self.path, self.root = path, str(path)

    def find(self, suffixes: tuple[str, ...], items: str) -> list[str]:
        return _files.find(self.path, suffixes, items)

    def file(self, name: str) -> Path:
        return Path(name)

    def stamps(self, names: list[str]) -> Iterable[tuple]:
        return _files.stamps(names)

    def labels(self, names: list[str], column: str | None) -> tuple[Tensor, int]:
        return _labels_by(column, self, names) if column else _files.classes(names, self.root, "image")


class Archive:
    """The files in a zip archive, below the folder that holds them all if there is one.

    Args:
        path: of the archive.

    Raises:
        ValueError: it is none, or damaged.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self.zip = ZipFile(path)
        except BadZipFile as error:
            raise ValueError(
                f"--data.root: expected a folder or a zip archive, got '{path}', which is neither, or damaged ({error})"
            ) from error
        self.names = [name for name in self.zip.namelist() if not name.endswith("/") and _is_seen(name)]
        first = {PurePosixPath(name).parts[0] for name in self.names}
        is_within = len(first) == 1 and all("/" in name for name in self.names)
        self.root = first.pop() if is_within else ""

    def find(self, suffixes: tuple[str, ...], items: str) -> list[str]:
        found = sorted(name for name in self.names if PurePosixPath(name).suffix.lower() in suffixes)
        if not found:
            raise FileNotFoundError(
                f"--data.root: expected {items} ({', '.join(suffixes)}) in '{self.path}', found none"
            )
        if len(found) < len(self.names):
            log.info(f"{len(found):,} files of '{self.path}' are read, {len(self.names) - len(found):,} skipped")
        return found

    def file(self, name: str) -> "Archived":
        return Archived(self, name)

    def stamps(self, names: list[str]) -> Iterable[tuple]:
        return [*_files.stamps([str(self.path)]), *((name,) for name in names)]

    def labels(self, names: list[str], column: str | None) -> tuple[Tensor, int]:
        return _labels_by(column, self, names) if column else _files.classes(names, self.root, "image")


@dataclass(frozen=True)
class Archived:
    """A file in an archive.

    Attributes:
        archive: that holds it.
        name: within it.
    """

    archive: Archive
    name: str

    def open(self, mode: str) -> IO[bytes]:
        """The file, to be read.

        Raises:
            FileNotFoundError: it is not there.
            PermissionError: it is encrypted, or packed by a method that Python's zipfile does not know.
        """
        try:
            return self.archive.zip.open(self.name)
        except KeyError as error:
            raise FileNotFoundError(errno.ENOENT, "there is no such file in the archive") from error
        except (RuntimeError, NotImplementedError) as error:
            raise PermissionError(errno.EACCES, str(error)) from error

    def __str__(self) -> str:
        return f"{self.archive.path}/{self.name}"


def source_of(root: Path) -> Source:
    """The folder, the archive or the Parquet files at a path.

    Raises:
        FileNotFoundError: there is none of them.
        ValueError: it is another file, or a damaged one.
    """
    if not root.exists():
        raise FileNotFoundError(
            f"--data.root: expected a folder of images, a zip archive or a Parquet file of them, got '{root}', which "
            "is none"
        )
    if paths := parquets(root):
        return Parquet(root, paths)
    return Archive(root) if root.is_file() else Folder(root)


def _labels_by(column: str, source: Source, names: list[str]) -> tuple[Tensor, int]:
    """A label for each name, int64 (N,), by a column of the source's metadata.csv, and the number of classes.

    Raises:
        ValueError: there is no such file or column, or a name has no row, or all are of one class.
    """
    start = os.path.join(source.root, "")
    file = source.file(start + _files.METADATA)
    try:
        with file.open("rb") as content:
            text = content.read().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ValueError(f"--data.label: expected '{file}' with a column {column}, found no such file") from error
    except OSError as error:
        raise ValueError(f"--data.label: '{file}' cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"--data.label: expected text in UTF-8 in '{file}'; got other bytes ({error})") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = list(reader.fieldnames or [])
    if lacking := [name for name in ("file_name", column) if name not in columns]:
        there = ", ".join(columns) or "none"
        raise ValueError(f"--data.label: expected a column {lacking[0]} in '{file}'; got {there}")
    by_name: dict[str, str] = {}
    for row in reader:
        name, label = os.path.normpath(row["file_name"]), row[column]
        if not (label or "").strip():
            raise ValueError(
                f"--data.label: expected a value of {column} for each image in '{file}'; '{name}' has none"
            )
        if by_name.setdefault(name, label) != label:
            raise ValueError(
                f"--data.label: expected one row for '{name}' in '{file}'; got {by_name[name]} and {label}"
            )
    wanted = [os.path.normpath(name[len(start) :]) for name in names]
    if without := [name for name, row in zip(names, wanted) if row not in by_name]:
        raise ValueError(f"--data.label: expected a row for each image in '{file}'; '{without[0]}' has none")
    if others := sorted(by_name.keys() - set(wanted)):
        log.info(f"WARNING: {len(others):,} rows of '{file}' are of no image that is there, such as '{others[0]}'")
    values = [by_name[row] for row in wanted]
    classes = sorted(set(values))
    if len(classes) < 2:
        raise ValueError(
            f"--data.label: expected two classes at least in column {column} of '{file}'; got {classes[0]}"
        )
    log.info(f"{len(classes)} classes, by the column {column} of '{file}'")
    return _files.numbered(values), len(classes)


def _is_seen(name: str) -> bool:
    return not any(part.startswith((".", "__MACOSX")) and part != ".." for part in PurePosixPath(name).parts)
