"""What is in a cache: how much of each kind, how old, and the removal of what nobody uses."""

import re
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from lightning_genae.report import aligned

DAY = 24 * 3600
OWN = re.compile(r"([0-9a-f]{16})([.-].*)?")  # names of files in a cache; others in the folder are somebody's


@dataclass
class Entry:
    """A file that processes share, with what lies beside it.

    Attributes:
        path: of the file; of one that a killed process left, of what there is of it.
        files: it, and its own: what it was made from, hashes, unfinished ones, its lock.
    """

    path: Path
    files: list[Path] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(stat.st_blocks * 512 for stat in _stats(self.files))

    @property
    def used(self) -> float:
        """When it was used last, or written to, in seconds since 1970."""
        files = [self.path] if self.path.exists() else [path for path in self.files if path.suffix != ".lock"]
        return max((stat.st_mtime for stat in _stats(files)), default=0.0)

    @property
    def unfinished(self) -> list[Path]:
        """What was being written when the process ended, or is just now."""
        return [path for path in self.files if ".unfinished" in path.name]

    def remove(self, files: list[Path]) -> int:
        """Removes some of the files, unless a process holds the lock; returns how many bytes that freed."""
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
    """The entries of a cache by their kind, which is the folder that they are in.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is no cache.
    """
    if not cache.is_dir():
        raise FileNotFoundError(f"--cache: expected a folder, got '{cache}', which is none")
    found = {}
    for folder in sorted(path for path in cache.iterdir() if path.is_dir() and not path.is_symlink()):
        groups: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(path for path in folder.iterdir() if path.is_file() and not path.is_symlink()):
            if name := OWN.fullmatch(path.name):
                groups[name[1]].append(path)
        if groups:
            found[folder.name] = [Entry(_main(files, key), files) for key, files in groups.items()]
    if not found and any(path.is_file() for path in cache.rglob("*")):
        raise ValueError(f"--cache: expected a folder that runs have as their --cache; got '{cache}', which is another")
    return found


def table(cache: Path) -> list[str]:
    """Lines about a cache: of every kind how many there are, their size and when they were used."""
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
    """Removes what was not used for so many days, and what killed processes left; never what a process holds the lock
    of. Returns how many bytes that freed."""
    oldest, freed = time.time() - days * DAY, 0
    for of_kind in entries(cache).values():
        for entry in of_kind:
            files = entry.files if entry.used < oldest else entry.unfinished
            freed += entry.remove(files) if files else 0
    return freed


def _main(files: list[Path], key: str) -> Path:
    """The file that the others are about; its lock has its name."""
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
