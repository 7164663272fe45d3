"""Files that are whole at any moment: after a kill, a full disk and a loss of power there is the old one or the new."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".unfinished"  # ending of what is being written; a killed process leaves it, the next one writes over it


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path beside the given one, to write to; what was written takes its place where nothing was raised.

    It lies in the same folder, because a move from another file system, such as that of $TMPDIR, is a copy that can end
    half-way. One process at a time may write a file.

    Raises:
        OSError: the disk is full, say; the file is what it was.
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
    """Turns what torch.save says of a file that did not grow as it was written into the OSError that it is."""
    try:
        yield
    except RuntimeError as error:
        if "unexpected pos" not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


def write_text(path: str | Path, text: str) -> None:
    """Writes a file that is whole at any moment."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Has the disk take what was written to a file, or the names in a folder, before it returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
