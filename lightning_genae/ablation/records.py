"""Reads the results of runs, from results.json alone, and sorts them into contexts and arms."""

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import geometric_mean
from typing import NamedTuple

from lightning_genae.ablation.compare import difference, protocol_of
from lightning_genae.ablation.grid import UNSET
from lightning_genae.config.nested import flatten
from lightning_genae.received import is_within
from lightning_genae.run_folder import NOT_HASHED, RunFolder

GRID = "ablation.json"
ARMS = "arms"  # the factor of runs whose arms have names
SELECTORS = ("model", "augment", "data")
LOOKS = ("best_fd", "late_fd")  # metrics of looks before the end
NUM_LATE = 3  # looks that late_fd is the mean of
QUALITY_KEYS = ("on", "fraction", "target")  # where an augmentation acts, and how often


@dataclass
class Record:
    """A run.

    Attributes:
        folder: of the run.
        config: its options as on the command line, {"model": "gan", "model.lr": 0.1, ...}.
        results: content of results.json; empty if it is missing or damaged.
        problem: why there are no results, in words; empty if there are results.
        arm: name of its arm; empty if its ablation has no named arms.
    """

    folder: Path
    config: dict
    results: dict = field(default_factory=dict)
    problem: str = ""
    arm: str = ""

    @property
    def seed(self) -> int:
        return self.config["seed"]

    @property
    def protocol(self) -> dict:
        """What its numbers depend on, including those of the best look."""
        return protocol_of(self.results, best=True)

    @property
    def precision(self) -> str | None:
        """What it was computed in; runs of earlier versions say it in their config alone."""
        return self.results.get("precision", self.config.get("precision"))

    @property
    def augmentations(self) -> dict[str, dict]:
        """Settings of its augmentations before training, with all defaults resolved: {"ae": {"on": "critic",
        "fraction": 0.7, "target": None, ...}}. For runs of earlier versions, the settings in their quality report.
        """
        reports = self.results.get("augment", {})
        noted = {name: {key: report[key] for key in QUALITY_KEYS if key in report} for name, report in reports.items()}
        return self.results.get("settings") or noted

    def setting(self, *parts: str) -> dict[str, object]:
        """Every option of its augmentation that has a value, and every option of other parts that are compared.

        Args:
            parts: that are compared, such as model, or options, such as model.lr.
        """
        sections = tuple(f"{part}." for part in parts)
        words = {key: value for key, value in self.config.items() if key in parts or key.startswith(sections)}
        options = {key: value for key, value in self.config.items() if key.startswith("augment.")}
        words = {key: value for key, value in words.items() if key not in options} | {
            "augment": self.config.get("augment")
        }
        if words["augment"] == "none":
            return words
        settled = self.augmentations
        words |= {f"{name} on": _describe(augmentation) for name, augmentation in settled.items()}
        options |= {f"augment.{key}": value for values in settled.values() for key, value in values.items()}
        without = {f"augment.{key}" for key in QUALITY_KEYS} if settled else set()
        if not any(values.get("target") for values in [*settled.values(), {"target": options.get("augment.target")}]):
            without.add("augment.adapt_images")
        return words | {
            key.removeprefix("augment."): value
            for key, value in options.items()
            if value is not None and key not in without
        }

    def value(self, metric: str) -> float | None:
        """A metric at the end of training; see LOOKS for those of earlier looks. None: it was not measured."""
        if metric == "best_fd":
            return self.results.get("best", {}).get("fd")
        if metric == "late_fd":
            late = self.curve("fd")[1][-NUM_LATE:] if self.results else []
            return geometric_mean(late) if len(late) == NUM_LATE and min(late) > 0 else None
        return self.results.get("metrics", {}).get(metric)

    def curve(self, metric: str) -> tuple[list[int], list[float]]:
        """Numbers of training images shown, and a metric at each."""
        path = self.folder / "metrics.csv"
        if not path.is_file():
            return [], []
        with path.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get(f"val/{metric}")]
        return [int(row["images"]) for row in rows], [float(row[f"val/{metric}"]) for row in rows]

    def picture(self) -> Path | None:
        """The picture of its last samples; None if there is none, or if it is a link that leads out of the folder."""
        last = next(iter(sorted((self.folder / "samples").glob("*.png"))[-1:]), None)
        return last if last and is_within(last, self.folder) else None


def read(paths: Iterable[Path]) -> tuple[list[Record], list[str]]:
    """The runs in run folders, ablations and folders that contain them; and the commands of the ablations.

    Raises:
        ValueError: a path contains no run.
    """
    records: dict[Path, Record] = {}
    commands = []
    for path in map(Path, paths):
        found: dict[Path, dict | None] = {}
        names: dict[Path, str] = {}
        grid = read_grid(path / GRID)
        if grid:
            commands += grid["commands"]
            cells = _in_order(grid)
            found = {path / cell["folder"]: cell["config"] for cell in cells}
            names = {path / cell["folder"]: str(cell.get("arm", "")) for cell in cells}
            for folder in found:
                if not is_within(folder, path):
                    raise ValueError(f"RUN: '{path / GRID}' is damaged; expected runs below its folder, got '{folder}'")
        elif (path / "results.json").is_file():
            found = {path: None}
        else:
            found = {file.parent: None for file in sorted(path.rglob("results.json"))}
        if not found:
            raise ValueError(f"RUN: expected a run folder or one that holds some; got '{path}', which holds none")
        for folder, config in found.items():
            if folder not in records:
                records[folder] = replace(_record(folder, config), arm=names.get(folder, ""))
    return _settled(list(records.values())), commands


def _settled(records: list[Record]) -> list[Record]:
    """The runs, with what --precision auto has become in their config if it is the same for all: then they do not
    differ from runs that were told so. Else `Comparison.warnings` tells them apart."""
    automatic = [record for record in records if record.config.get("precision") == "auto"]
    precisions = {record.precision for record in automatic if record.results}
    for record in automatic if len(precisions) == 1 else ():
        (record.config["precision"],) = precisions
    return records


def _in_order(grid: dict) -> list[dict]:
    """The cells of an ablation, in the order of its named arms if it has them."""
    positions = {arm: i for i, arm in enumerate(grid.get("arms", ()))}
    return sorted(grid["cells"], key=lambda cell: positions.get(str(cell.get("arm", "")), len(positions)))


def _describe(settings: dict) -> str:
    """Where an augmentation acts and how often, in words."""
    words = f"{settings.get('on')}, fraction {settings.get('fraction')}"
    return f"{words} at first, target {settings['target']}" if settings.get("target") else words


def read_grid(path: Path) -> dict:
    """The commands and cells of an ablation; empty if the file does not exist. Raises ValueError if it is damaged."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text())
    except ValueError:
        content = None
    is_whole = isinstance(content, dict) and {"commands", "cells"} <= set(content)
    if not is_whole or not isinstance(content.get("arms", {}), dict):
        raise ValueError(f"RUN: '{path}' is damaged; delete it, and the command of the ablation writes it anew")
    return content


def _record(folder: Path, config: dict | None) -> Record:
    """A run's record; an error is noted in it, so that the other runs are still reported."""
    try:
        results = RunFolder(folder).results
        config = config or flatten(RunFolder(folder).config)
    except (ValueError, FileNotFoundError):
        problem = (
            "its results.json or config.yaml is damaged or missing; --retry, or the command that trained it, mends it"
        )
        return Record(folder, config or {}, problem=problem)
    if not {"model", "augment", "data", "seed"} <= set(config):
        return Record(folder, {}, problem="it is no run of this project")
    if results.get("status") == "finished" and {"metrics", "protocol", "augment", "timing"} <= set(results):
        return Record(folder, config, results)
    error = folder.with_suffix(".error")
    problem = results.get("error") or (error.read_text().strip() if error.is_file() else "")
    return Record(folder, config, problem=problem or ("not finished" if results else "not begun"))


def varying(records: list[Record]) -> list[str]:
    """Options in which runs differ, except for the seed; options of a single part (--augment.strength) count only if
    they differ between runs with that part."""
    keys = {key: None for record in records for key in record.config}
    return [key for key in keys if key.partition(".")[0] not in NOT_HASHED and _varies(key, records)]


def _varies(key: str, records: list[Record]) -> bool:
    section, _, option = key.partition(".")
    groups: dict[object, set] = {}
    for record in records:
        if key in record.config:
            group = record.config.get(section) if option and section in SELECTORS else None
            groups.setdefault(group, set()).add(json.dumps(record.config[key]))
    return any(len(values) > 1 for values in groups.values())


@dataclass
class Comparison:
    """Runs of one context, which differ only in arm and seed.

    Attributes:
        title: the context in words; empty if there is only one.
        arms: label to runs by seed, in order of appearance.
        baseline: label of the arm that others are compared to.
        seeds: that any arm has.
        parts: that are compared, such as augment, or options, such as model.lr.
    """

    title: str
    arms: dict[str, dict[int, Record]]
    baseline: str
    seeds: list[int]
    parts: tuple[str, ...] = ("augment",)

    def setting(self, arm: str) -> str:
        """Every option of an arm's augmentation, and of other parts that are compared, as its runs had them."""
        return in_words([record.setting(*self.parts) for record in self.arms[arm].values()])

    def shared(self) -> dict[str, object]:
        """Options that are the same in all runs and not part of a setting."""
        records = self._records()
        named = (*NOT_HASHED, "augment", *self.parts)
        keys = [key for key in records[0].config if key.partition(".")[0] not in named]
        return {
            key: records[0].config[key] for key in keys if len({str(record.config.get(key)) for record in records}) == 1
        }

    def warnings(self) -> list[str]:
        """Sentences that warn the reader about how the runs were chosen."""
        sentences = []
        for target, found in self._fractions().items():
            if len(set(map(frozenset, found.values()))) > 1:
                words = "; ".join(f"{name} varies {_span(sorted(values, key=str))}" for name, values in found.items())
                sentences.append(f"Not chosen alike: on the {target}, {words} of the images.")
        subsets = {record.config.get("data.split_seed") for record in self._records()}
        if len(self.seeds) > 1 and len(subsets) == 1 and None not in subsets:
            sentences.append(
                f"All seeds share the training subset of --data.split_seed {subsets.pop()}: nothing here generalises "
                "over data."
            )
        if by_precision := self._precisions():
            words = "; ".join(f"{', '.join(runs)} in {precision}" for precision, runs in by_precision.items())
            sentences.append(f"Not computed alike, by --precision auto on different devices: {words}.")
        return sentences

    def _precisions(self) -> dict[str | None, list[str]]:
        """Arms and seeds by what they were computed in, if that differs between runs of --precision auto."""
        found: dict[str | None, list[str]] = {}
        for arm, runs in self.arms.items():
            for seed, record in runs.items():
                if record.results and record.config.get("precision") == "auto":
                    found.setdefault(record.precision, []).append(f"{arm} seed {seed}")
        return found if len(found) > 1 else {}

    def _fractions(self) -> dict[str | None, dict[str, set]]:
        """Fractions that do not adapt, by what is augmented (data or critic) and augmentation."""
        fractions: dict[str | None, dict[str, set]] = {}
        for record in self._records():
            for name, settings in record.augmentations.items():
                if not settings.get("target"):
                    of_target = fractions.setdefault(settings.get("on"), {})
                    of_target.setdefault(name, set()).add(settings.get("fraction"))
        return fractions

    def _records(self) -> list[Record]:
        return [record for runs in self.arms.values() for record in runs.values()]

    def values(self, arm: str, metric: str) -> dict[int, float]:
        """A metric of an arm's finished runs by seed."""
        values = {seed: record.value(metric) for seed, record in self.arms[arm].items()}
        return {seed: value for seed, value in values.items() if value is not None}

    def missing(self, arm: str) -> list[int]:
        """Seeds of the comparison for which this arm has no results."""
        return [seed for seed in self.seeds if seed not in self.arms[arm] or not self.arms[arm][seed].results]


def compare(
    records: list[Record], factor: str | None = None, baseline: str | None = None, metric: str = "fd"
) -> list[Comparison]:
    """Runs by context, protocol and arm.

    Args:
        records: of runs whose config is known.
        factor: option, or a part with all its options, whose values are the arms. None: the named arms if all runs have
            them, else augment if it varies, else the first option that varies.
        baseline: label of the arm that others are compared to. None: the first of named arms, else the arm `none` if
            it exists, else the first.
        metric: that arms are compared by; those of LOOKS depend on more of the protocol.

    Raises:
        ValueError: the factor does not vary, or the baseline does not exist.
    """
    if not all(record.arm for record in records):  # a mix of names and values could give two arms the same label
        records = [replace(record, arm="") for record in records]
    keys = varying(records)
    order = _order(records, keys, factor)
    of_looks = metric in LOOKS
    protocols = {id(record): json.dumps(protocol_of(record.results, of_looks)) for record in records if record.results}
    contexts: dict[tuple, list[Record]] = {}
    for record in records:
        context = tuple(json.dumps(record.config.get(key, UNSET)) for key in order.contexts)
        contexts.setdefault(context, []).append(record)
    labels = {id(record): order.label(record) for record in records}
    if baseline and baseline not in labels.values():
        raise ValueError(f"--baseline: expected one of {', '.join(dict.fromkeys(labels.values()))}; got {baseline}")
    return [
        _comparison(members, labels, title, baseline, order)
        for group in contexts.values()
        for members, title in _by_protocol(group, protocols, order.title(group))
    ]


class _Order(NamedTuple):
    """Which of the varying options define arms, and which define contexts.

    Attributes:
        by_name: whether the arms are the named arms.
        arms: options whose values distinguish arms, in addition to their names.
        contexts: options whose values distinguish contexts.
        within: options that vary between the runs of one named arm.
        parts: that are compared.
    """

    by_name: bool
    arms: list[str]
    contexts: list[str]
    within: list[str]
    parts: tuple[str, ...]

    def label(self, record: Record) -> str:
        """The name of a run's arm."""
        if self.by_name:
            return ", ".join(filter(None, [record.arm, _label(record, self.arms)]))
        prefix = f"{self.parts[0]}." if self.parts[0] in SELECTORS else ""
        return _label(record, self.arms, prefix) or record.config.get("model", "")

    def title(self, group: list[Record]) -> str:
        """The name of the context of some runs; it begins with the arm's name if the context is an arm."""
        (name, *more) = dict.fromkeys(record.arm for record in group)
        if self.by_name or more or not name:
            return _label(group[0], self.contexts)
        label = _label(group[0], [key for key in self.contexts if key in self.within])
        return ", ".join(filter(None, [name, label]))


def _order(records: list[Record], keys: list[str], factor: str | None) -> _Order:
    """How runs that differ in some options are compared.

    Raises:
        ValueError: the factor does not vary.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.arm, []).append(record)
    has_names = "" not in groups
    within = [key for key in keys if any(_varies(key, runs) for runs in groups.values())] if has_names else []
    if has_names and factor in (None, ARMS):
        # an option that an arm does not have, such as --augment.strength without augmentation, cannot be held equal
        shared = [
            key for key in within if all(any(key in record.config for record in runs) for runs in groups.values())
        ]
        arm_keys = [key for key in within if key not in shared]
        return _Order(True, arm_keys, shared, within, tuple(key for key in keys if key not in shared))
    sections = list(dict.fromkeys(key.partition(".")[0] if _is_part(key) else key for key in keys))
    if factor is None:
        factor = "augment" if "augment" in sections else (sections or ["model"])[0]
    arm_keys = [key for key in keys if key == factor or key.startswith(f"{factor}.")]
    if keys and not arm_keys:
        choices = [ARMS, *sections] if has_names else sections
        raise ValueError(f"--factor: expected one that varies, {', '.join(choices)}; got {factor}")
    return _Order(False, arm_keys, [key for key in keys if key not in arm_keys], within, (factor,))


def _by_protocol(group: list[Record], protocols: dict[int, str], title: str) -> list[tuple[list[Record], str]]:
    """A context's runs split by protocol, and a title for each part; runs without results go to the first."""
    present = list(dict.fromkeys(protocols[id(record)] for record in group if id(record) in protocols))
    if len(present) < 2:
        return [(group, title)]
    dicts = [json.loads(text) for text in present]
    parts = []
    for text, protocol in zip(present, dicts):
        members = [record for record in group if protocols.get(id(record), present[0]) == text]
        parts.append((members, f"{title}; protocol: {difference(protocol, dicts)}".removeprefix("; ")))
    return parts


def in_words(settings: list[dict[str, object]]) -> str:
    """The settings of the runs of an arm, each as returned by `Record.setting`, in words."""
    keys = dict.fromkeys(key for setting in settings for key in setting)
    return ", ".join(f"{key} {_span([setting[key] for setting in settings if key in setting])}" for key in keys)


def _span(values: list) -> str:
    """An option's values in the runs of an arm, in words; usually there is only one."""
    found = list({str(value) if isinstance(value, list) else value: value for value in values}.values())
    if len(found) > 1 and all(isinstance(value, float) for value in found):
        return f"{min(found):.4g} to {max(found):.4g}"
    return " or ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in found)


def _comparison(
    members: list[Record], labels: dict[int, str], title: str, baseline: str | None, order: _Order
) -> Comparison:
    arms: dict[str, dict[int, Record]] = {}
    for record in members:
        known = arms.setdefault(labels[id(record)], {})
        if record.seed not in known or not known[record.seed].results:
            known[record.seed] = record
    first = "none" if "none" in arms and not order.by_name else next(iter(arms))
    seeds = sorted({seed for runs in arms.values() for seed in runs})
    return Comparison(title, arms, baseline if baseline in arms else first, seeds, order.parts)


def _is_part(key: str) -> bool:
    return key.partition(".")[0] in SELECTORS[:2]


def _label(record: Record, keys: list[str], part: str = "") -> str:
    """A run's values of some options in words; `part` is a prefix of their names that is left out."""
    words = []
    for key in keys:
        if key in record.config:
            value = record.config[key]
            words.append(str(value) if key in SELECTORS else f"{key.removeprefix(part)} {value}")
    return ", ".join(words)
