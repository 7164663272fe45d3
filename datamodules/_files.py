"""The files below a folder of somebody's own."""

from collections.abc import Collection
from pathlib import Path


def below(root: Path, suffixes: Collection[str]) -> list[Path]:
    """Files in a folder and its subfolders with one of the suffixes (small letters), sorted, none of them hidden.

    What runs made is left out: runs may lie among the data, and must not be trained on.
    """
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    return [path for path in paths if not (_is_hidden(path, root) or _is_of_a_run(path, root))]


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _is_of_a_run(path: Path, root: Path) -> bool:
    folders = [folder for folder in path.parents if folder != root and folder.is_relative_to(root)]
    return any((folder / "results.json").is_file() for folder in folders)
