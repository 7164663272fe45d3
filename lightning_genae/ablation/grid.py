"""A grid: options with several values, and one run for each combination."""

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lightning_genae.cache import digest
from lightning_genae.config.command_line import TRAINER_ALIASES, CommandLine
from lightning_genae.errors import UserError
from lightning_genae.run_folder import identity

SEPARATOR = re.compile(r""",(?![^\[\]]*\])(?![^{}]*\})""")  # commas that are not inside brackets
RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
MAX_VALUES = 1_000_000  # of a range
UNSET = "-"  # the value shown for an option that a cell's parts do not have


class Cell(NamedTuple):
    """One run of a grid.

    Attributes:
        config: resolved, with the run's folder.
        words: the command line of the run.
        values: of the grid's options in this cell, by name.
        arm: name of the arm; empty in a grid without named arms.
    """

    config: dict
    words: list[str]
    values: dict[str, str]
    arm: str = ""

    @property
    def folder(self) -> Path:
        return Path(self.config["folder"])


class Grid(NamedTuple):
    """The runs of an ablation.

    Attributes:
        cells: every run once.
        axes: options with several values, and their values.
        notes: what the user should know about the grid, a line each.
        arms: names of arms and the options of each as text; empty without named arms.
    """

    cells: list[Cell]
    axes: dict[str, list[str]]
    notes: list[str]
    arms: dict[str, dict[str, str]]


def expand(
    words: list[str], command_line: CommandLine, folder: Path, arms: dict[str, dict[str, str]] | None = None
) -> Grid:
    """The grid of a command line on which any option may have several values.

    `a,b` is a list and `0..4` a range with both ends. An option that the chosen parts of a cell do not have
    (`--augment.strength` with `--augment none`) is left out there; equal cells are merged. Every named arm is combined
    with all of these; an arm's options replace those of the command line.

    Args:
        words: options and values.
        command_line: resolves and checks them.
        folder: of the grid; the folders of its runs lie below.
        arms: name to option to value, as returned by `arms.read_arms`.

    Raises:
        ValueError: an option or value is wrong, or nothing varies.
    """
    arms = arms or {}
    options = {}
    for name, value in pair(words).items():
        try:
            options[name] = split(value)
        except ValueError as error:
            raise UserError(f"--{name}: {error}") from error
    axes = {name: values for name, values in options.items() if len(values) > 1}
    if not axes and len(arms) < 2:
        raise UserError("expected an option with several values, such as --seed 0..4 or --augment none,ae; got none")
    if "config" in axes:
        raise ValueError(f"--config: expected one file; got {','.join(axes['config'])}")
    for name, values in axes.items():
        if len(set(values)) < len(values):
            raise UserError(f"--{name}: expected every value once; got {','.join(values)}")
    notes = _replaced(options, axes, arms)
    cells, left_out = _cells(options, axes, command_line, folder, arms or {"": {}})
    cells.sort(key=lambda cell: cell.config["seed"])  # so that arms have equally many seeds wherever it stops
    unique: dict[str, Cell] = {}
    for cell in cells:
        unique.setdefault(digest({"arm": cell.arm, "config": identity(cell.config)}), cell)
    notes += [f"--{name} is not an option of {parts}, and left out there" for name, parts in sorted(left_out)]
    if len(unique) < len(cells):
        notes.append(f"{len(cells) - len(unique)} of {len(cells)} combinations are equal to others, and run once")
    return Grid(list(unique.values()), axes, notes, arms)


def _replaced(options: dict[str, list[str]], axes: dict[str, list[str]], arms: dict[str, dict[str, str]]) -> list[str]:
    """Notes on options of the command line that arms replace.

    Raises:
        ValueError: such an option varies.
    """
    notes = []
    for name in options:
        replacing = [f"'{arm}'" for arm, arm_options in arms.items() if name in arm_options]
        if replacing and name in axes:
            raise ValueError(
                f"--arms: expected --{name} in arms or with several values on the command line, not both; got "
                f"{','.join(axes[name])} there and values of its own in {', '.join(replacing)}"
            )
        if replacing:
            notes.append(f"--{name} of the command line is replaced in {', '.join(replacing)}")
    return notes


def pair(words: list[str]) -> dict[str, str]:
    """Options, without their dashes, and their values as text; a flag alone is true, the last value counts.

    An option with two names, such as `--model.name` and `--model`, gets the name that a config uses.

    Raises:
        UserError: a word is neither an option nor a value.
    """
    pairs, i = {}, 0
    while i < len(words):
        if not words[i].startswith("--"):
            raise UserError(f"expected --OPTION VALUE; got '{words[i]}'")
        name, equals, value = words[i].removeprefix("--").partition("=")
        if not equals:
            has_value = i + 1 < len(words) and not words[i + 1].startswith("--")
            value = words[i + 1] if has_value else "true"
            i += has_value
        alias = name.removeprefix("trainer.")
        pairs[alias if alias in TRAINER_ALIASES else name.removesuffix(".name")] = value
        i += 1
    return pairs


def split(text: str) -> list[str]:
    """The values of `a,b,0..4`; a list in brackets is one value. Raises ValueError for a range that is too long."""
    values = []
    for part in SEPARATOR.split(text):
        ends = RANGE.fullmatch(part)
        if ends:
            first, last = int(ends[1]), int(ends[2])
            if abs(last - first) >= MAX_VALUES:
                raise ValueError(f"expected at most {MAX_VALUES:,} values; got {part}")
            values += [str(i) for i in range(first, last + (1 if last >= first else -1), 1 if last >= first else -1)]
        else:
            values.append(part)
    return values


def _cells(
    options: dict[str, list[str]],
    axes: dict[str, list[str]],
    command_line: CommandLine,
    folder: Path,
    arms: dict[str, dict[str, str]],
) -> tuple[list[Cell], set[tuple[str, str]]]:
    """A cell for every combination, and pairs of an option that was left out and the part that lacks it."""
    combinations = list(_combinations(options, command_line, arms))
    available: list[set[str]] = []
    for arm, values, chosen in combinations:
        with _naming(arm, arms[arm]):
            available.append(command_line.options(_words(chosen | _file(values))) | {"config", *chosen})
    known = set().union(*available)
    cells, left_out = [], set()
    for (arm, values, chosen), names in zip(combinations, available):
        candidates = [name for name in values if name not in chosen]
        missing = {name for name in candidates if name in known - names and name not in arms[arm]}
        left_out |= {(name, _owner(name, chosen)) for name in missing}
        # an option that no part has is kept, so that the command line reports the error
        kept = {name: values[name] for name in candidates if name not in missing}
        with _naming(arm, arms[arm]):
            cells += _product(arm, chosen, kept, axes, command_line, folder)
    return cells, left_out


def _combinations(
    options: dict[str, list[str]], command_line: CommandLine, arms: dict[str, dict[str, str]]
) -> Iterator[tuple[str, dict[str, list[str]], dict[str, str]]]:
    """Every arm with every choice of parts: its name, all options with their values, the parts."""
    for arm, arm_options in arms.items():
        values = options | {name: [value] for name, value in arm_options.items()}
        for chosen in _choices([name for name in command_line.selectors if name in values], values):
            with _naming(arm, arm_options):
                names = command_line.names(_words(chosen | _file(values)))
            inner = [name for name in names if name in values and name not in command_line.selectors]
            for further in _choices(inner, values):
                yield arm, values, chosen | further


def _choices(names: list[str], options: dict[str, list[str]]) -> Iterator[dict[str, str]]:
    """Every combination of the values of some options."""
    for values in itertools.product(*(options[name] for name in names)):
        yield dict(zip(names, values))


@contextmanager
def _naming(arm: str, arm_options: dict[str, str]) -> Iterator[None]:
    """Adds the arm's name to errors about one of its options."""
    try:
        yield
    except ValueError as error:
        if str(error).partition(":")[0].removeprefix("--") not in arm_options:
            raise
        raise ValueError(f"--arms: '{arm}': {error}") from error


def _product(
    arm: str,
    chosen: dict[str, str],
    options: dict[str, list[str]],
    axes: dict[str, list[str]],
    command_line: CommandLine,
    folder: Path,
) -> list[Cell]:
    """The cells of one arm and choice of parts.

    Every value is parsed once, together with the first values of the other options: parsing every cell would take
    minutes for thousands of cells.
    """
    first = chosen | {name: values[0] for name, values in options.items()}
    base = _parsed(command_line, first)
    resolved: dict[tuple[str, str], Any] = {}
    for name, values in options.items():
        inner = _inner_numbers(values)
        for value in [value for value in values if value not in inner]:
            config = base if value == values[0] else _parsed(command_line, first | {name: value})
            resolved[name, value] = _get(config, name)
        number = type(resolved[name, values[-1]])  # the last value of a range is an end, which was parsed
        resolved |= {(name, value): number(value) for value in inner}
    varied = [name for name in options if name in axes]
    cells = []
    for combination in itertools.product(*(options[name] for name in varied)):
        cell_values = dict(zip(varied, combination))
        config = {name: dict(value) if isinstance(value, dict) else value for name, value in base.items()}
        for name, value in cell_values.items():
            _set(config, name, resolved[name, value])
        labels = {name: (chosen | cell_values).get(name, UNSET) for name in axes}
        config["folder"] = str(folder / _name(labels if not arm else {"arm": arm, **labels}, config["seed"]))
        words = _words({name: value for name, value in (first | cell_values).items() if name != "folder"})
        cells.append(Cell(config, [*words, "--folder", config["folder"]], labels, arm))
    return cells


def _parsed(command_line: CommandLine, options: dict[str, str]) -> dict:
    config = command_line.parse(_words(options))
    assert config is not None  # the words of a grid ask for no help
    return config


def _inner_numbers(values: list[str]) -> set[str]:
    """The numbers between the ends of a range, which are valid if the ends are."""
    numbers = all(re.fullmatch(r"-?\d+", value) for value in values)
    return set(values[1:-1]) if numbers and sorted(values, key=int) in (values, values[::-1]) else set()


def _words(options: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items()]


def _file(options: dict[str, list[str]]) -> dict[str, str]:
    return {"config": options["config"][0]} if "config" in options else {}


def _owner(option: str, chosen: dict[str, str]) -> str:
    section = next((name for name in sorted(chosen, key=len, reverse=True) if option.startswith(f"{name}.")), None)
    return f"--{section} {chosen[section]}" if section else "the other choices"


def _get(config: dict, name: str) -> object:
    section, _, key = name.partition(".")
    return config[section].get(key) if key else config.get(section)


def _set(config: dict, name: str, value: object) -> None:
    section, _, key = name.partition(".")
    if key:
        config[section][key] = value
    elif name != "config":
        config[section] = value


def _name(labels: dict[str, str], seed: int) -> str:
    """A cell's folder, relative to the grid's: its values, then its seed."""
    parts = [
        value if name in ("model", "augment", "data") else f"{name}={value}"
        for name, value in labels.items()
        if name != "seed" and value != UNSET
    ]
    plain = "-".join(parts) or "runs"
    arm = re.sub(r"[^\w.=+-]", "_", plain)[:100]
    # a changed name could equal that of another cell
    suffix = "" if arm == plain else f"-{digest({'arm': plain})[:8]}"
    return f"{arm}{suffix}/seed{seed}"


def describe(grid: Grid) -> list[str]:
    """The size of a grid in words."""
    factors = [f"{len(grid.arms)} arms"] if grid.arms else []
    factors += [f"{len(values)} {name}" for name, values in grid.axes.items()]
    lines = [f"{len(grid.cells):,} runs: {' x '.join(factors)}"]
    for arm, arm_options in grid.arms.items():
        words = " ".join(f"--{name} {value}" for name, value in arm_options.items())
        lines.append(f"  {arm}: {words or 'no options of its own'}")
    lines += [f"  --{name}: {', '.join(values)}" for name, values in grid.axes.items()]
    return lines + [f"  NOTE: {note}" for note in grid.notes]
