"""Reads files of numbers, .csv, .npy and .npz, as arrays; errors name the position of what may not be a number."""

import csv
import re
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import numpy as np

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)  # float() accepts 1_0 and digits of all scripts
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
NO_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
NO_NAME = re.compile(r"[+-]?[\d.]|(na|n/a|null|none|-)$", re.ASCII | re.IGNORECASE)  # not a column name
DEFAULT_SERIES = "series"  # the column that identifies the series
MAX_BYTES = 4e9  # of the numbers in an .npz
LARGEST = 1e300  # beyond it the range of the numbers may overflow


def read_csv(path: Path, columns: list[str] | None, series: str | None) -> tuple[list[np.ndarray], list[str]]:
    """The series of a CSV, each (length_i, C) in float64, NaN where a cell is empty, and the names of their channels.

    Args:
        path: of the file, in UTF-8, with or without a header.
        columns: the channels, by name or number. None: all except `series`.
        series: the column that identifies the series. None: `series` if it exists, and then `step` is not a channel
            either; otherwise all rows are one series.

    Raises:
        ValueError: a row or cell is wrong; the message names it.
    """
    names, rows = read_rows(path)
    is_default = series is None and DEFAULT_SERIES in names
    name = DEFAULT_SERIES if is_default else series
    by = None if name is None else column(names, name, "--data.series")
    chosen = [i for i, name in enumerate(names) if i != by and not (is_default and name == "step")]
    if columns is not None:
        chosen = [column(names, name, "--data.columns") for name in columns]
    values = numbers(path, names, rows, chosen)
    groups: dict[str, list[int]] = {}
    for i, (_, row) in enumerate(rows):
        groups.setdefault("" if by is None else row[by], []).append(i)
    return [values[group] for group in groups.values()], [names[i] for i in chosen]


def read_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The names of the columns of a CSV, by number where there is no header, and its rows with their lines.

    Raises:
        ValueError: a row is wrong; the message names it.
    """
    rows = _rows(path)
    if len(rows[0][1]) == 1 and (other := next((mark for mark in ";\t" if mark in rows[0][1][0]), None)):
        raise ValueError(
            f"--data.root: '{path}' has {other!r} between its cells; expected ',' between them, and points before "
            "decimals; save it so"
        )
    has_header = not all(NUMBER.fullmatch(cell.strip()) or _is_no_name(cell) for cell in rows[0][1])
    names = [name.strip() for name in rows[0][1]] if has_header else [str(i) for i in range(len(rows[0][1]))]
    rows = rows[has_header:]
    for line, row in rows:
        if len(row) != len(names):
            raise ValueError(f"--data.root: '{path}', line {line}: expected {len(names)} columns, got {len(row)}")
    if len(set(names)) < len(names):
        raise ValueError(f"--data.root: expected columns of different names, got {', '.join(names)} in '{path}'")
    return names, rows


def numbers(path: Path, names: list[str], rows: list[tuple[int, list[str]]], chosen: list[int]) -> np.ndarray:
    """The chosen columns of rows, as `read_rows` gives them, (num_rows, C) in float64, NaN where a cell is empty.

    Raises:
        ValueError: a cell is not a number; the message names it.
    """
    if not rows or not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"--data.root: expected rows of numbers, in columns that are different; got {len(rows)} rows and "
            f"the columns {', '.join(names[i] for i in chosen) or 'none'} in '{path}'"
        )
    cells = [[_number(row[i], path, line, names[i]) for i in chosen] for line, row in rows]
    return np.array(cells, np.float64).reshape(len(rows), len(chosen))


def read_arrays(path: Path) -> list[np.ndarray]:
    """The series of an .npy or .npz, each (length_i, C) in float64, without the NaN at their ends.

    Raises:
        ValueError: the file is damaged, or does not hold numbers.
        MemoryError: there is not enough memory.
    """
    try:
        _check_size(path)
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            arrays = [content] if isinstance(content, np.ndarray) else [content[name] for name in content.files]
    except MemoryError as error:
        raise MemoryError(f"--data.root: '{path}' asks for more memory than there is: {error}") from error
    except Exception as error:  # numpy and zipfile raise many types for a damaged file
        if isinstance(error, OSError) and error.errno:
            raise OSError(f"--data.root: '{path}' cannot be read: {error.strerror}") from error
        raise ValueError(f"--data.root: '{path}' is damaged, or holds other than arrays of numbers: {error}") from error
    # an .npz is a ZIP file, and can hold other files
    if not arrays or any(
        not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf" or not 1 <= array.ndim <= 3
        for array in arrays
    ):
        raise ValueError(
            f"--data.root: expected arrays of numbers, (length, channels) or (num, length, channels); got '{path}'"
        )
    if any(array.size == 0 for array in arrays):
        raise ValueError(f"--data.root: expected arrays of numbers, got an empty one in '{path}'")
    many = [values for array in arrays for values in (array if array.ndim == 3 else [array.reshape(len(array), -1)])]
    if len({values.shape[1] for values in many}) > 1:
        raise ValueError(f"--data.root: expected series of as many channels each, got others in '{path}'")
    return [_trimmed(values.astype(np.float64)) for values in many]


def check(many: list[np.ndarray], path: str) -> None:
    """Raises ValueError for gaps, infinite values, too few steps and constant channels."""
    for i, series in enumerate(many):
        which = f"'{path}'" if len(many) == 1 else f"series {i} of '{path}'"
        if len(series) < 2:
            raise ValueError(f"--data.root: expected at least 2 steps, got {len(series)} in {which}")
        wrong = np.argwhere(~(np.abs(series) <= LARGEST))
        if len(wrong):
            step, channel = wrong[0]
            raise ValueError(
                f"--data.root: expected a finite number at every step, got {series[step, channel]} at step {step}, "
                f"channel {channel} of {which} ({len(wrong)} in all); fill the gaps or cut the series there"
            )
    values = np.concatenate(many)
    constant = np.flatnonzero(values.min(0) == values.max(0))
    if len(constant):
        raise ValueError(
            f"--data.root: expected channels that change, got {values[0, constant[0]]} at every step of "
            f"channel {constant[0]} in '{path}'"
        )


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The rows that are not empty, with their line numbers in the file."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            try:
                rows = [(reader.line_num, row) for row in reader if row]
            except csv.Error as error:
                raise ValueError(f"--data.root: '{path}', line {reader.line_num}: {error}") from error
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(
            f"--data.root: expected UTF-8 text; got '{path}' with the byte 0x{byte:02x}; if it is Latin-1, "
            "`iconv -f latin1 -t utf-8` converts it"
        ) from error
    except OSError as error:
        raise OSError(f"--data.root: '{path}' cannot be read: {error.strerror}") from error
    if not rows:
        raise ValueError(f"--data.root: '{path}' is empty; expected rows of numbers")
    return rows


def _check_size(path: Path) -> None:
    """Raises ValueError if an .npz unpacks to more than MAX_BYTES."""
    if is_zipfile(path):
        with ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise ValueError(f"it unpacks to {size / 1e9:.3g} GB; expected at most {MAX_BYTES / 1e9:.3g}")


def _trimmed(values: np.ndarray) -> np.ndarray:
    """A series (L, C) without the last steps in which all channels are NaN."""
    there = np.flatnonzero(~np.isnan(values).all(1))
    return values[: there[-1] + 1 if len(there) else 0]


def _is_no_name(cell: str) -> bool:
    """Whether a cell of the first row looks like a number, valid or not, rather than the name of a column."""
    cell = cell.strip()
    return not cell or bool(NO_FINITE.fullmatch(cell) or NO_NAME.match(cell))


def column(names: list[str], wanted: str, option: str) -> int:
    """The index of a column, from its name or its number; raises ValueError if there is no such column."""
    if wanted in names:
        return names.index(wanted)
    if re.fullmatch(r"\d+", wanted, re.ASCII) and int(wanted) < len(names):
        return int(wanted)
    raise ValueError(f"{option}: expected one of {', '.join(names)}, or its number; got '{wanted}'")


def _number(cell: str, path: Path, line: int, name: str) -> float:
    """A number; NaN for an empty cell."""
    text = cell.strip()
    if not text:
        return np.nan
    if NUMBER.fullmatch(text) or NO_FINITE.fullmatch(text):
        return float(text)
    is_comma = bool(DECIMAL_COMMA.fullmatch(text))
    remedy = "decimals come after a point" if is_comma else "--data.columns says which columns are used"
    raise ValueError(
        f"--data.root: '{path}', line {line}: expected a number in column '{name}', got '{text[:40]}'; {remedy}"
    )
