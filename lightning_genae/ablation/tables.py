"""Tables of arms over seeds, and their forms: Markdown, CSV, LaTeX."""

import csv
import io
import math
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lightning_genae.ablation import statistics
from lightning_genae.ablation.records import Comparison, Record
from lightning_genae.ablation.watch import duration
from lightning_genae.compare import aligned
from lightning_genae.registry import suggest
from lightning_genae.report import METRICS

HIGHER_IS_BETTER = {"precision", "recall", "density", "coverage", "classifier_score", "class_coverage", "psnr", "ssim"}
MORE = {  # beside those of a run's own report
    "best_fd": "Frechet distance at the look chosen by the validation images",
    "log_likelihood": "log-likelihood",
    "bits_per_character": "bits per character of held-out text",
    "modes": "modes found",
    "good": "share of good samples",
}
HIGHER_IS_BETTER |= {"log_likelihood", "modes", "good", "known_words"}
ENOUGH = 5  # seeds, below which a verdict says that they are few
# better where held-out data are
NEITHER = {"distance_to_train", "copying", "perplexity", "distinct_1", "distinct_2", "self_bleu"}


class Table(NamedTuple):
    """Text in rows.

    Attributes:
        title: of the table.
        header: names of the columns.
        rows: of cells.
        note: what a reader has to know.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""

    def to_markdown(self) -> str:
        lines = [f"### {self.title}", ""] + ([self.note, ""] if self.note else [])
        rows = [self.header, ["---"] * len(self.header), *self.rows]
        return "\n".join(
            [*lines, *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)]
        )

    def to_text(self) -> str:
        """Aligned columns, for a terminal."""
        return "\n".join(["", self.title, *aligned([self.header, *self.rows])])

    def to_csv(self) -> str:
        text = io.StringIO()
        csv.writer(text).writerows([[self.title], self.header, *self.rows])
        return text.getvalue()

    def to_latex(self) -> str:
        """A tabular for the booktabs package."""
        lines = [f"% {self.title}", f"\\begin{{tabular}}{{{'l' * len(self.header)}}}", "\\toprule"]
        body = [" & ".join(map(_latex, row)) + r" \\" for row in [self.header, *self.rows]]
        return "\n".join([*lines, body[0], "\\midrule", *body[1:], "\\bottomrule", "\\end{tabular}"])


def _latex(text: str) -> str:
    escaped = "".join(f"\\{letter}" if letter in "%&_#${}" else letter for letter in text)
    return re.sub(r"-(?=\d)", "$-$", escaped.replace("\N{PLUS-MINUS SIGN}", r"$\pm$"))


def check_metric(metric: str) -> None:
    """Raises ValueError if no run could have measured it."""
    names = [*METRICS, *MORE]
    if metric not in names:
        raise ValueError(f"--metric: expected one of {', '.join(names)}; got {metric}{suggest(metric, names)}")


def words_of(metric: str) -> str:
    return MORE.get(metric) or METRICS[metric][0].strip()


def number(value: float | None, form: str = ".3g") -> str:
    """A number as text; nothing for what is unknown."""
    return "" if value is None or math.isnan(value) else format(value, form)


def differences(comparison: Comparison, metric: str) -> Table:
    """Every arm against the baseline, with all that can be said of the difference."""
    arms = {arm: comparison.values(arm, metric) for arm in comparison.arms}
    baseline = arms[comparison.baseline]
    others = {arm: values for arm, values in arms.items() if arm != comparison.baseline}
    compared = statistics.compare(others, baseline)
    form = METRICS.get(metric, ("", ".3f"))[1]
    rows = []
    for arm, values in arms.items():
        summary = statistics.summary(list(values.values()))
        rows.append([arm, _seeds(comparison, arm), _mean(summary, form), *_difference(compared.get(arm), metric, form)])
    words = words_of(metric)
    direction = "" if metric in NEITHER else f", {'higher' if metric in HIGHER_IS_BETTER else 'lower'} is better"
    header = ["arm", "seeds", f"{metric}, mean ± deviation", f"to {comparison.baseline}, 95 % interval (t)"]
    header += ["by bootstrap", "p", "p, Holm", "effect d", "smallest visible", "verdict"]
    note = (
        f"{words[0].upper()}{words[1:]}{direction}. Differences are of runs of the same seed; p is exact, by flips of "
        "signs, and of n seeds at least 2 / 2^n. An arm is called better or worse only if the t interval of its "
        "difference excludes 0; smallest visible: the difference that so many seeds would have shown in four of five "
        "studies."
    )
    return Table(_title(comparison, metric), header, rows, note)


def _difference(difference: statistics.Difference | None, metric: str, form: str) -> list[str]:
    if difference is None:
        return ["baseline", "", "", "", "", "", ""]
    if difference.num < 2:
        return [number(difference.mean, f"+{form[1:]}"), "", "", "", "", "", "too few seeds" if difference.num else ""]
    return [
        f"{difference.mean:+{form}} ({difference.low:+{form}} to {difference.high:+{form}})",
        f"{difference.bootstrap_low:+{form}} to {difference.bootstrap_high:+{form}}",
        f"{difference.p:.3f}",
        f"{difference.p_holm:.3f}",
        f"{difference.effect:+.2f}",
        number(difference.smallest, form),
        _verdict(difference, metric),
    ]


def _verdict(difference: statistics.Difference, metric: str) -> str:
    if not difference.excludes_zero:
        return "no difference seen"
    if metric in NEITHER:
        return "higher" if difference.mean > 0 else "lower"
    verdict = "better" if (difference.mean > 0) == (metric in HIGHER_IS_BETTER) else "worse"
    return verdict if difference.num >= ENOUGH else f"{verdict}, of few seeds"


def metrics(comparison: Comparison) -> Table:
    """Every arm's metrics with their intervals over seeds."""
    names = [name for name in METRICS if any(comparison.values(arm, name) for arm in comparison.arms)]
    rows = []
    for name in names:
        summaries = [statistics.summary(list(comparison.values(arm, name).values())) for arm in comparison.arms]
        rows.append([name, *(_interval(summary, METRICS[name][1]) for summary in summaries)])
    note = "Mean over seeds and its 95 % interval by Student's t."
    return Table(f"All metrics{_of(comparison)}", ["metric", *comparison.arms], rows, note)


def costs(comparison: Comparison) -> Table:
    """What every arm took, and the quality gate of its augmentation."""
    rows = []
    for arm, runs in comparison.arms.items():
        done = [record for record in runs.values() if record.results]
        seconds = _mean_of(done, lambda record: record.results["timing"]["seconds"])
        speed = _mean_of(done, lambda record: record.results["timing"]["images_per_second"])
        share = _mean_of(done, _evaluation_share)
        gates = [gate for record in done[:1] for gate in record.results["augment"].values()]
        words = "; ".join(
            f"FD of originals {gate['originals']['fd']:.3g}, of variations {gate['variations']['fd']:.3g}"
            for gate in gates
        )
        row = [arm, "" if seconds is None else duration(seconds), number(speed, ",.0f"), number(share, ".1%")]
        rows.append([*row, words])
    header = ["arm", "time of a run", "images/s", "of it evaluation", "quality gate"]
    return Table(f"Cost and quality gate{_of(comparison)}", header, rows)


def _evaluation_share(record: Record) -> float:
    timing = record.results["timing"]
    return timing.get("evaluation_seconds", math.nan) / timing["seconds"]


def _mean_of(records: list[Record], value: Callable[[Record], float]) -> float | None:
    return float(np.mean([value(record) for record in records])) if records else None


def problems(records: list[Record]) -> Table | None:
    """Runs without results."""
    rows = [[str(record.folder), record.problem] for record in records if not record.results]
    return Table("Runs without results", ["run", "why"], rows) if rows else None


def protocol(comparison: Comparison) -> Table:
    """What the numbers depend on."""
    first = next((record for runs in comparison.arms.values() for record in runs.values() if record.results), None)
    values = {} if first is None else first.protocol
    return Table(f"Protocol{_of(comparison)}", ["", "value"], [[key, str(value)] for key, value in values.items()])


def _title(comparison: Comparison, metric: str) -> str:
    words = words_of(metric)
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
    deviation = number(summary.deviation, form)
    return number(summary.mean, form) + (f" ± {deviation}" if deviation else "")


def _interval(summary: statistics.Summary, form: str) -> str:
    low, high = number(summary.low, form), number(summary.high, form)
    return number(summary.mean, form) + (f" ({low} to {high})" if low else "")
