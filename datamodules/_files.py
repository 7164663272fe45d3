"""What data sets of people's own files share: which files are there, and their classes by subfolder."""

from pathlib import Path

import torch
from torch import Tensor


def find(root: Path, suffixes: tuple[str, ...], noun: str) -> list[Path]:
    """All files below the root with one of the suffixes, sorted, but hidden ones and what runs made.

    Args:
        root: a folder.
        suffixes: in lower case, with the dot.
        noun: what the files are, in the plural, for errors.

    Raises:
        FileNotFoundError: there is no such folder, or no such file in it.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"--data.root: expected a folder of {noun}, got '{root}', which is none")
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    paths = [path for path in paths if not (_is_hidden(path, root) or _is_of_a_run(path, root))]
    if not paths:
        raise FileNotFoundError(f"--data.root: expected {noun} ({_in_words(suffixes)}) in '{root}', found none")
    return paths


def classes(paths: list[Path], root: Path, noun: str) -> tuple[Tensor, int]:
    """A label a path, int64 (N,), and the number of classes; 0 where there is less than two subfolders."""
    parts = [path.relative_to(root).parts for path in paths]
    names = sorted({part[0] for part in parts if len(part) > 1})
    if len(names) < 2:
        return torch.zeros(len(paths), dtype=torch.long), 0
    loose = next((path for path, part in zip(paths, parts) if len(part) == 1), None)
    if loose:
        raise ValueError(f"--data.root: expected every {noun} in a subfolder, its class, but '{loose}' is in none")
    return torch.tensor([names.index(part[0]) for part in parts]), len(names)


def stamps(paths: list[Path]) -> list[tuple[str, int, int]]:
    """What changes when a file does: its full path, size and time."""
    return [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _is_of_a_run(path: Path, root: Path) -> bool:
    """Whether a run made the file: runs may lie in the folder, and must not be trained on."""
    folders = [folder for folder in path.parents if folder != root and folder.is_relative_to(root)]
    return any((folder / "results.json").is_file() for folder in folders)


def _in_words(suffixes: tuple[str, ...]) -> str:
    return ", ".join(suffix or "or without suffix" for suffix in suffixes)
