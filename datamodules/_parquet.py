"""Pictures in Parquet files, as Hugging Face's hub has them; read by its package `datasets`."""

import io
import logging
import os
import shutil
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp
from typing import IO, Any

import torch
from torch import Tensor

from datamodules import _files

log = logging.getLogger("lightning_genae")
SUFFIX = ".parquet"


def parquets(root: Path) -> list[str]:
    """The Parquet files of a root: itself, or those in the folder or in its folder data, sorted."""
    if root.is_file():
        return [str(root)] if root.suffix.lower() == SUFFIX else []
    found = (path for folder in (root, root / "data") for path in folder.glob(f"*{SUFFIX}"))
    return sorted(str(path) for path in found if path.stem != "metadata")  # which imagefolder may have beside pictures


class Parquet:
    """The pictures in the rows of Parquet files; a name is the number of a row.

    Args:
        root: that was given.
        paths: of the files, of the same columns.

    Raises:
        ValueError: `datasets` is not installed, a file is damaged, or there is not exactly one column of images.
    """

    def __init__(self, root: Path, paths: list[str]):
        try:
            import datasets  # slow, and seldom needed
            from pyarrow import parquet
        except ImportError as error:
            raise ValueError(
                f"--data.root: '{root}' holds Parquet files, for which the package datasets is needed; "
                "pip install datasets"
            ) from error
        self.paths, self.root = paths, str(root)
        files: list[Any] = []
        for path in paths:
            try:
                files.append(parquet.ParquetFile(path))
            except (OSError, ValueError) as error:
                reason = str(error).partition("\n")[0]
                raise ValueError(f"--data.root: '{path}' cannot be read as Parquet: {reason}") from error
            features = datasets.Features.from_arrow_schema(files[-1].schema_arrow)
            if path == paths[0]:
                self.features = features
            if others := _differing(self.features, features):
                raise ValueError(
                    f"--data.root: expected the columns of '{paths[0]}' in '{path}', with the same names of classes; "
                    f"they differ in {min(others)}"
                )
        columns = [name for name, kind in self.features.items() if _is_image(kind)]
        if len(columns) != 1:
            raise ValueError(
                f"--data.root: expected one column of images in '{paths[0]}'; got {', '.join(columns) or 'none'} of "
                f"{', '.join(self.features)}"
            )
        self.column = columns[0]
        self.num = sum(file.metadata.num_rows for file in files)

    @cached_property
    def rows(self) -> Any:
        """The rows as files of Arrow in a temporary folder, of which each can be read alone. Only packing needs them;
        raises ValueError if a row has no image."""
        import datasets

        for path in self.paths:
            _check_bytes(path, self.column)
        datasets.disable_progress_bars()
        folder = mkdtemp(prefix="lightning_genae-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)  # with this object, or the process
        rows = datasets.Dataset.from_parquet(self.paths, cache_dir=folder, columns=[self.column])
        return rows.cast_column(self.column, datasets.Image(decode=False))

    def find(self, suffixes: tuple[str, ...], items: str) -> list[str]:
        """The names of all rows; raises FileNotFoundError if there are none."""
        if not self.num:
            raise FileNotFoundError(f"--data.root: expected {items} in '{self.paths[0]}', found no rows")
        others = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        beside = _files.below(Path(self.root), suffixes)[0] if os.path.isdir(self.root) else []
        if beside:
            log.warning(f"{len(beside):,} {items} beside the Parquet files in '{self.root}' are not read")
        log.info(f"{self.num:,} {items} of column {self.column} are read from '{self.paths[0]}'{others}")
        return [str(i) for i in range(self.num)]

    def file(self, name: str) -> "Cell":
        """The picture of a row; raises ValueError if any row has none."""
        return Cell(self.rows, self.column, int(name), f"{self.root}, row {name}")

    def stamps(self, names: list[str]) -> Iterable[tuple]:
        return [*_files.stamps(self.paths), *((name,) for name in names)]

    def labels(self, names: list[str], column: str | None) -> tuple[Tensor, int]:
        """As `Source.labels` says; without a column the classes are those of the only one of Hugging Face's type
        ClassLabel, numbered as it numbers them."""
        if column is None:
            typed = [name for name, kind in self.features.items() if hasattr(kind, "names")]
            if len(typed) > 1:
                log.warning(f"no classes are read: {' and '.join(typed)} hold some; --data.label chooses one")
            if len(typed) != 1:
                return torch.zeros(len(names), dtype=torch.long), 0
            column = typed[0]
        if column not in self.features or column == self.column:
            others = ", ".join(name for name in self.features if name != self.column)
            raise ValueError(f"--data.label: expected one of the columns {others} of '{self.paths[0]}'; got {column}")
        from pyarrow import parquet

        kind, values = self.features[column], parquet.read_table(self.paths, columns=[column])[column].to_pylist()
        for row, value in enumerate(values):
            if value is None or not str(value).strip() or value == -1:  # -1: Hugging Face's of no class
                raise ValueError(f"--data.label: expected a value of {column} for each image; row {row} has none")
        log.info(f"classes are those of column {column}")
        if hasattr(kind, "names"):
            return torch.tensor(values), len(kind.names)
        if len(set(values)) < 2:
            raise ValueError(f"--data.label: expected two classes at least in column {column}; got {values[0]}")
        return _files.numbered([str(value) for value in values]), len(set(map(str, values)))


@dataclass(frozen=True)
class Cell:
    """The picture of a row.

    Attributes:
        rows: of all pictures, with `column`.
        column: that holds them.
        row: from 0.
        about: how errors name it.
    """

    rows: Any
    column: str
    row: int
    about: str

    def open(self, mode: str) -> IO[bytes]:
        """The picture, to be read."""
        return io.BytesIO(self.rows[self.row][self.column]["bytes"])

    def __str__(self) -> str:
        return self.about


def _is_image(kind: object) -> bool:
    """Whether a column has images: by Hugging Face's type, or as a struct with the bytes of a file."""
    return type(kind).__name__ == "Image" or (isinstance(kind, dict) and "bytes" in kind)


def _differing(first: Mapping[str, object], second: Mapping[str, object]) -> set[str]:
    """Names of the columns that are not in both, or number other classes."""
    both = set(first) & set(second)
    named = {name for name in both if getattr(first[name], "names", None) != getattr(second[name], "names", None)}
    return named | (set(first) ^ set(second))


def _check_bytes(path: str, column: str) -> None:
    """Raises ValueError if a row of a file lacks the bytes of its image, as `datasets` writes those of files that it
    may find."""
    from pyarrow import compute, parquet

    file, lacking = parquet.ParquetFile(path), 0
    for i in range(file.num_row_groups):
        group = file.metadata.row_group(i)
        of_bytes = (group.column(k) for k in range(group.num_columns))
        known = next((one.statistics for one in of_bytes if one.path_in_schema == f"{column}.bytes"), None)
        if known is not None and known.has_null_count:
            lacking += known.null_count
        else:
            images = file.read_row_group(i, columns=[column])[column]
            lacking += compute.struct_field(images, "bytes").null_count
    if lacking:
        raise ValueError(
            f"--data.root: expected an image in every row of '{path}'; {lacking:,} of {file.metadata.num_rows:,} hold "
            f"its path alone, or nothing; write the images' bytes into column {column}, or give their folder"
        )
