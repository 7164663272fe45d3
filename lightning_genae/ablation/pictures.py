"""Pictures of a comparison: paired by seed, over training, and samples side by side."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lightning_genae.ablation import statistics
from lightning_genae.ablation.records import Comparison

MAX_ARMS = 12  # in one picture
MAX_NAMED = 10  # seeds
STYLES = {
    "light": {"text.color": "#1a1a1a", "axes.edgecolor": "#666666", "axes.labelcolor": "#1a1a1a"},
    "dark": {"text.color": "#e6e6e6", "axes.edgecolor": "#999999", "axes.labelcolor": "#e6e6e6"},
}


def paired(comparison: Comparison, metric: str) -> dict[str, bytes]:
    """Each arm's values, with runs of the same seed joined by a line; PNG by style."""
    arms = list(comparison.arms)[:MAX_ARMS]
    values = {arm: comparison.values(arm, metric) for arm in arms}

    def draw(axes: Axes) -> None:
        for seed in comparison.seeds:
            seed_values = [values[arm].get(seed, np.nan) for arm in arms]
            axes.plot(range(len(arms)), seed_values, color="C0", alpha=0.7, linewidth=1, marker="o", markersize=4)
            last = max((i for i, value in enumerate(seed_values) if np.isfinite(value)), default=None)
            if last is not None and len(comparison.seeds) <= MAX_NAMED:
                axes.annotate(
                    f" seed {seed}",
                    (last, seed_values[last]),
                    fontsize="x-small",
                    va="center",
                    xytext=(4, 0),
                    textcoords="offset points",
                )
        means = [float(np.mean(list(values[arm].values()))) if values[arm] else np.nan for arm in arms]
        axes.plot(range(len(arms)), means, linestyle="", marker="_", markersize=22, markeredgewidth=2, color="C1")
        axes.set_xticks(range(len(arms)), arms, rotation=20, ha="right")
        axes.set(ylabel=metric, xlim=(-0.5, len(arms) - 0.3))

    return _in_styles(draw, width=max(4.5, 1.1 * len(arms)))


def over_training(comparison: Comparison, metric: str) -> dict[str, bytes]:
    """A metric over the number of training images shown, at the evaluations that all arms have: mean over seeds with
    its 95 % interval; PNG by style."""
    curves = _curves(comparison, metric)

    def draw(axes: Axes) -> None:
        for arm, (images, summaries) in curves.items():
            (line,) = axes.plot(images, [summary.mean for summary in summaries], label=arm, marker=".")
            low, high = ([getattr(summary, side) for summary in summaries] for side in ("low", "high"))
            axes.fill_between(images, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        axes.set(xlabel="images shown", ylabel=metric)
        if any(images for images, _ in curves.values()):
            axes.legend(fontsize="small", framealpha=0)
        else:
            axes.set_title("the runs have no look in common", fontsize="small")

    return _in_styles(draw, width=6)


def _curves(comparison: Comparison, metric: str) -> dict[str, tuple[list[int], list[statistics.Summary]]]:
    """By arm, the image counts at which every run of every arm was evaluated, and the arm's summaries there."""
    arms = list(comparison.arms)[:MAX_ARMS]
    of_runs = {arm: [dict(zip(*record.curve(metric))) for record in comparison.arms[arm].values()] for arm in arms}
    of_runs = {arm: measured for arm, curves in of_runs.items() if (measured := [curve for curve in curves if curve])}
    every = [set(curve) for curves in of_runs.values() for curve in curves]
    images = sorted(set.intersection(*every)) if every else []
    return {
        arm: (images, [statistics.summary([curve[image] for curve in curves]) for image in images])
        for arm, curves in of_runs.items()
    }


def samples(comparison: Comparison, metric: str) -> dict[str, bytes]:
    """The samples of every arm's median seed, PNG by arm."""
    pictures = {}
    for arm in list(comparison.arms)[:MAX_ARMS]:
        values = comparison.values(arm, metric)
        if values:
            seed = sorted(values, key=values.__getitem__)[(len(values) - 1) // 2]
            path = comparison.arms[arm][seed].picture()
            if path is not None:
                pictures[f"{arm}, seed {seed}, {metric} {values[seed]:.3g}"] = path.read_bytes()
    return pictures


def _in_styles(draw: Callable[[Axes], None], width: float) -> dict[str, bytes]:
    pictures = {}
    for style, colours in STYLES.items():
        with _colours(colours):
            figure = Figure(figsize=(width, 3.6), layout="constrained")
            FigureCanvasAgg(figure)
            axes = figure.subplots()
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_facecolor("none")
            draw(axes)
            file = io.BytesIO()
            figure.savefig(file, dpi=110, transparent=True)
            pictures[style] = file.getvalue()
    return pictures


@contextmanager
def _colours(colours: dict[str, str]) -> Iterator[None]:
    settings: dict = {**colours, "xtick.color": colours["text.color"], "ytick.color": colours["text.color"]}
    # names of arms are not formulas
    settings |= {"text.parse_math": False, "text.usetex": False}
    with matplotlib.rc_context(settings):
        yield
