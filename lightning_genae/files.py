"""Atomic writes: after a kill, a full disk or a loss of power, a file has its old or its new content."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".unfinished"  # suffix of a file being written; after a kill, the next process overwrites it


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path to write to; the file replaces `path` at the end if nothing was raised.

    It lies in the same folder, because a move from another file system, such as that of $TMPDIR, is a copy, which can
    be interrupted. Only one process at a time may write a file.

    Raises:
        OSError: for example, the disk is full; the file at `path` is unchanged.
    """
    path = Path(path)
    unfinished = path.with_name(f"{path.name}{UNFINISHED}")
    try:
        with naming_full_disk(path):
            yield unfinished
        sync(unfinished)
        os.replace(unfinished, path)
    except Exception:
        unfinished.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Turns the RuntimeError that torch.save raises on a full disk into an OSError."""
    try:
        yield
    except RuntimeError as error:
        if "unexpected pos" not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file atomically."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Flushes a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
