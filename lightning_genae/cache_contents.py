"""The contents of a cache: how much of each kind, how old, and the removal of unused files."""

import re
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from lightning_genae.report import aligned

DAY = 24 * 3600
FILE_NAME = re.compile(r"([0-9a-f]{16})([.-].*)?")  # names of files of a cache; all others are ignored


@dataclass
class Entry:
    """A cached file with its side files.

    Attributes:
        path: of the cached file, which a killed process may not have finished.
        files: the file and its side files: key, hashes, unfinished files, lock.
    """

    path: Path
    files: list[Path] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(stat.st_blocks * 512 for stat in _stats(self.files))

    @property
    def used(self) -> float:
        """Time of the last use or write, in seconds since 1970."""
        files = [self.path] if self.path.exists() else [path for path in self.files if path.suffix != ".lock"]
        return max((stat.st_mtime for stat in _stats(files)), default=0.0)

    @property
    def unfinished(self) -> list[Path]:
        """Files that a process is writing, or was writing when it ended."""
        return [path for path in self.files if ".unfinished" in path.name]

    def remove(self, files: list[Path]) -> int:
        """Removes some of the files, unless a process holds the lock; returns the number of bytes freed."""
        try:
            with FileLock(f"{self.path}.lock").acquire(timeout=0):
                size = sum(stat.st_blocks * 512 for stat in _stats(files))
                for path in files:
                    path.unlink(missing_ok=True)
                if not self.path.exists():
                    Path(f"{self.path}.lock").unlink(missing_ok=True)
                return size
        except Timeout:
            return 0


def entries(cache: Path) -> dict[str, list[Entry]]:
    """The entries of a cache by kind, the name of their subfolder.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: the folder is not a cache.
    """
    if not cache.is_dir():
        raise FileNotFoundError(f"--cache: expected a folder, got '{cache}', which is none")
    found = {}
    for folder in sorted(path for path in cache.iterdir() if path.is_dir() and not path.is_symlink()):
        groups: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(path for path in folder.iterdir() if path.is_file() and not path.is_symlink()):
            if name := FILE_NAME.fullmatch(path.name):
                groups[name[1]].append(path)
        if groups:
            found[folder.name] = [Entry(_main(files, key), files) for key, files in groups.items()]
    if not found and any(path.is_file() for path in cache.rglob("*")):
        raise ValueError(f"--cache: expected a folder that runs have as their --cache; got '{cache}', which is another")
    return found


def table(cache: Path) -> list[str]:
    """Lines about a cache: for every kind the number of files, their size and when they were used."""
    rows, total, now = [], 0, time.time()
    for kind, of_kind in entries(cache).items():
        whole = [entry for entry in of_kind if entry.path.exists()]
        left = sum(len(entry.unfinished) for entry in of_kind)
        size = sum(entry.size for entry in of_kind)
        ages = sorted((now - entry.used) / DAY for entry in whole)
        used = f"{ages[0]:.0f} to {ages[-1]:.0f} days ago" if ages else "-"
        rows.append([kind, str(len(whole)), _in_words(size), used, str(left or "")])
        total += size
    lines = aligned(["kind", "number", "size", "last used", "unfinished"], rows)
    return [f"'{cache}' holds {_in_words(total)}:", *(f"  {line}" for line in lines)]


def prune(cache: Path, days: float) -> int:
    """Removes files that were not used for this many days, and files that killed processes left, but nothing that a
    process has locked. Returns the number of bytes freed."""
    oldest, freed = time.time() - days * DAY, 0
    for of_kind in entries(cache).values():
        for entry in of_kind:
            files = entry.files if entry.used < oldest else entry.unfinished
            freed += entry.remove(files) if files else 0
    return freed


def _main(files: list[Path], key: str) -> Path:
    """The cached file among its side files; the name of its lock begins with its name."""
    locks = [path.with_name(path.name.removesuffix(".lock")) for path in files if path.suffix == ".lock"]
    arrays = [path for path in files if path.suffix in (".npy", ".npz") and ".unfinished" not in path.name]
    main = [path for path in locks if path.suffix != ".sha256"]
    return (arrays or main or [files[0].with_name(key)])[0]


def _stats(files: list[Path]) -> list:
    return [path.stat() for path in files if path.exists()]


def _in_words(size: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
