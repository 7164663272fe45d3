"""Tables of arms over seeds, and their forms: Markdown, CSV, LaTeX."""

import csv
import io
import math
import textwrap
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lightning_genae.ablation import statistics
from lightning_genae.ablation.escape import csv_cell, latex, markdown, plain
from lightning_genae.ablation.records import Comparison, Record
from lightning_genae.ablation.watch import duration
from lightning_genae.evaluation.metrics import Value, known_values
from lightning_genae.registry import suggest
from lightning_genae.report import aligned

ENOUGH = 5  # seeds; with fewer, a verdict says so
SETTING = "setting"  # column with the settings of an arm
WIDTH = 110  # of the lines below a table in a terminal


class Table(NamedTuple):
    """Text in rows. The text is not trusted: names of arms, paths and errors come from files.

    Attributes:
        title: of the table.
        header: names of the columns.
        rows: of cells.
        note: what the reader should know.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""

    def to_markdown(self) -> str:
        lines = [f"### {markdown(self.title)}", ""] + ([markdown(self.note), ""] if self.note else [])
        header, *rows = ([markdown(cell) for cell in row] for row in [self.header, *self.rows])
        return "\n".join([*lines, *aligned(header, rows, "pipe")])

    def to_text(self) -> str:
        """Aligned columns, for a terminal; settings and the note in lines below."""
        rows, below = [[plain(cell) for cell in row] for row in [self.header, *self.rows]], []
        if SETTING in self.header:
            index = self.header.index(SETTING)
            below = [f"{row[0]}: {row[index]}" for row in rows[1:]]
            rows = [row[:index] + row[index + 1 :] for row in rows]
        below += [plain(self.note)] if self.note else []
        lines = [line for text in below for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ")]
        return "\n".join(["", plain(self.title), *aligned(rows[0], rows[1:]), *lines])

    def to_csv(self) -> str:
        text = io.StringIO()
        note = [[self.note]] if self.note else []
        rows = [[self.title], self.header, *self.rows, *note]
        csv.writer(text).writerows([csv_cell(cell) for cell in row] for row in rows)
        return text.getvalue()

    def to_latex(self) -> str:
        """A tabular for the booktabs package; the note is a comment above it.

        Written by hand, because tabulate would escape the text again and has no columns of a fixed width.
        """
        columns = "".join(r"p{0.3\linewidth}" if name == SETTING else "l" for name in self.header)
        lines = [f"% {plain(self.title)}", *([f"% {plain(self.note)}"] if self.note else [])]
        lines += [f"\\begin{{tabular}}{{{columns}}}", "\\toprule"]
        body = [" & ".join(map(latex, row)) + r" \\" for row in [self.header, *self.rows]]
        return "\n".join([*lines, body[0], "\\midrule", *body[1:], "\\bottomrule", "\\end{tabular}"])


def value_of(metric: str) -> Value:
    """The label, format and direction of a metric.

    Raises:
        ValueError: no installed metric has this name.
    """
    known = known_values()
    if metric not in known:
        raise ValueError(f"--metric: expected one of {', '.join(known)}; got {metric}{suggest(metric, list(known))}")
    return known[metric]


def number(value: float | None, form: str = ".3g") -> str:
    """A number as text; empty if unknown."""
    return "" if value is None or math.isnan(value) else format(value, form)


def differences(comparison: Comparison, metric: str) -> Table:
    """Every arm against the baseline, with intervals, p values and verdicts."""
    arms = {arm: comparison.values(arm, metric) for arm in comparison.arms}
    baseline = arms[comparison.baseline]
    compared_arms = {arm: values for arm, values in arms.items() if arm != comparison.baseline}
    # 0, as only a broken run has it, has no logarithm: differences are left
    said = value_of(metric)
    ratios = said.is_ratio and not any(value <= 0 for values in arms.values() for value in values.values())
    compared = statistics.compare(compared_arms, baseline, ratios)
    form = said.form
    rows = []
    for arm, values in arms.items():
        summary = statistics.summary(list(values.values()))
        *cells, verdict_on_it = _difference(compared.get(arm), metric, form, ratios)
        row = [arm, _seeds(comparison, arm), _mean(summary, form), *cells]
        rows.append([*row, comparison.setting(arm), verdict_on_it])
    header = ["arm", "seeds", f"{metric}, mean ± std"]
    header += [f"to {comparison.baseline}, 95 % interval (t)", "by bootstrap", "p (t)", "p, Holm"]
    header += ["p, Holm, typical spread", "p, exact", "effect d", "smallest visible", SETTING, "verdict"]
    return Table(_title(comparison, metric), header, rows, _note(comparison, metric, ratios))


def _note(comparison: Comparison, metric: str, ratios: bool) -> str:
    words, better = value_of(metric).label, value_of(metric).higher_is_better
    direction = "neither direction" if better is None else "higher" if better else "lower"
    measured = "mean logarithms of their ratio, in percent" if ratios else "mean differences"
    sentences = [
        f"{words[0].upper()}{words[1:]}, {direction} is better. Runs of the same seed are compared: {measured}.",
        "The verdict follows from paired t tests corrected for the number of arms (Holm), with the arm's own spread "
        "and with the one typical of the arms (their median): both p are at most 0.05, or no difference is "
        "seen. The intervals are of each arm alone, not corrected.",
        "p, exact, is by flips of signs, of one arm alone; it is left out for fewer than six seeds, of which it is at "
        "least 0.0625.",
        "Smallest visible: the difference that so many seeds would have shown, corrected for the number of arms, in "
        "four of five studies.",
        *comparison.warnings(),
    ]
    return " ".join(sentences)


def _difference(difference: statistics.Difference | None, metric: str, form: str, ratios: bool) -> list[str]:
    if difference is None:
        return ["baseline", *[""] * 8]
    show = percent if ratios else lambda value: number(value, f"+{form}")
    if math.isnan(difference.p):
        return [show(difference.mean), *[""] * 7, _why_none(difference)]
    return [
        f"{show(difference.mean)} ({show(difference.low)} to {show(difference.high)})",
        f"{show(difference.bootstrap_low)} to {show(difference.bootstrap_high)}",
        *map(probability, (difference.p, difference.p_holm, difference.p_typical, difference.p_exact)),
        f"{difference.effect:+.2f}",
        _smallest(difference.smallest) if ratios else number(difference.smallest, form),
        verdict(difference, metric),
    ]


def _why_none(difference: statistics.Difference) -> str:
    if difference.num < 2:
        return "too few seeds" if difference.num else ""
    return "no spread, no verdict" if math.isfinite(difference.mean) else "not finite, no verdict"


def probability(p: float) -> str:
    """A p value as text; empty if unknown."""
    return "below 0.0001" if p < 1e-4 else number(p, ".4f")


def percent(log_ratio: float) -> str:
    """A mean logarithm of ratios as a change in percent; empty if unknown."""
    return "" if math.isnan(log_ratio) else f"{100 * math.expm1(min(log_ratio, 700)):+.1f} %"


def _smallest(log_ratio: float) -> str:
    return f"{percent(-log_ratio)} or {percent(log_ratio)}" if log_ratio < math.log(100) else "over a hundredfold"


def verdict(difference: statistics.Difference, metric: str) -> str:
    """The verdict on an arm; the metric defines which direction is better."""
    if not difference.is_seen:
        return "no difference seen"
    higher_is_better = value_of(metric).higher_is_better
    if higher_is_better is None:
        word = "higher" if difference.mean > 0 else "lower"
    else:
        word = "better" if (difference.mean > 0) == higher_is_better else "worse"
    return word if difference.num >= ENOUGH else f"{word}, of few seeds"


def metrics(comparison: Comparison) -> Table:
    """Every arm's metrics with their intervals over seeds."""
    known = known_values()
    names = [name for name in known if any(comparison.values(arm, name) for arm in comparison.arms)]
    rows = [[SETTING, *map(comparison.setting, comparison.arms)]]
    for name in names:
        summaries = [statistics.summary(list(comparison.values(arm, name).values())) for arm in comparison.arms]
        rows.append([name, *(_interval(summary, known[name].form) for summary in summaries)])
    note = "Mean over seeds and its 95 % interval by Student's t; no verdicts follow from it."
    return Table(f"All metrics{_of(comparison)}", ["metric", *comparison.arms], rows, note)


def costs(comparison: Comparison) -> Table:
    """The time that every arm took, and the quality report of its augmentation."""
    rows = []
    for arm, runs in comparison.arms.items():
        done = [record for record in runs.values() if record.results]
        seconds = _mean_of(done, lambda record: record.results["timing"]["seconds"])
        speed = _mean_of(done, lambda record: record.results["timing"]["images_per_second"])
        fraction = _mean_of(done, _evaluation_fraction)
        reports = [report for record in done[:1] for report in record.results["augment"].values()]
        words = "; ".join(
            f"FD of originals {report['originals']['fd']:.3g}, of variations {report['variations']['fd']:.3g}"
            for report in reports
            if "variations" in report  # none of one on the generator
        )
        row = [
            arm,
            "" if seconds is None else duration(seconds),
            number(speed, ",.0f"),
            number(fraction, ".1%"),
        ]
        rows.append([*row, comparison.setting(arm), words])
    header = ["arm", "time of a run", "images/s", "of it evaluation", SETTING, "quality report"]
    return Table(f"Cost and quality report{_of(comparison)}", header, rows)


def _evaluation_fraction(record: Record) -> float:
    timing = record.results["timing"]
    return timing.get("evaluation_seconds", math.nan) / timing["seconds"]


def _mean_of(records: list[Record], value: Callable[[Record], float]) -> float | None:
    return float(np.mean([value(record) for record in records])) if records else None


def problems(records: list[Record]) -> Table | None:
    """Runs without results."""
    rows = [[str(record.folder), record.problem] for record in records if not record.results]
    return Table("Runs without results", ["run", "why"], rows) if rows else None


def shared(comparison: Comparison) -> Table:
    """Options that are the same in all runs of a comparison."""
    rows = [[key, str(value)] for key, value in comparison.shared().items()]
    return Table(f"Options that all arms share{_of(comparison)}", ["", "value"], rows)


def protocol(comparison: Comparison) -> Table:
    """What the numbers depend on."""
    first = next((record for runs in comparison.arms.values() for record in runs.values() if record.results), None)
    values = {} if first is None else first.protocol
    return Table(f"Protocol{_of(comparison)}", ["", "value"], [[key, str(value)] for key, value in values.items()])


def _title(comparison: Comparison, metric: str) -> str:
    words = value_of(metric).label
    return f"{words[0].upper()}{words[1:]} against {comparison.baseline}{_of(comparison)}"


def _of(comparison: Comparison) -> str:
    return f": {comparison.title}" if comparison.title else ""


def _seeds(comparison: Comparison, arm: str) -> str:
    missing = comparison.missing(arm)
    num = len(comparison.seeds) - len(missing)
    if not missing:
        return str(num)
    shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
    return f"{num} (no seed {shown})"


def _mean(summary: statistics.Summary, form: str) -> str:
    std = number(summary.std, form)
    return number(summary.mean, form) + (f" ± {std}" if std else "")


def _interval(summary: statistics.Summary, form: str) -> str:
    low, high = number(summary.low, form), number(summary.high, form)
    return number(summary.mean, form) + (f" ({low} to {high})" if low else "")
