"""Series as small multiples: a grid of cells with lines, all on the same scale."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

MAX_CHANNELS = 6
COLOURS = [f"C{i}" for i in range(MAX_CHANNELS)]


def save_lines(
    path: Path,
    series: np.ndarray,
    num_columns: int,
    channels: Sequence[str],
    rows: tuple[str, ...] = ("",),
    titles: tuple[str, ...] = (),
) -> Path:
    """Writes series as one PNG, row by row; the cells of every other kind of row are grey.

    Args:
        path: of the PNG.
        series: (N, L, C) in their units, NaN where there is nothing; the first channels are shown.
        num_columns: cells in a row.
        channels: names of the C channels.
        rows: what the rows show, by turns.
        titles: of the columns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    series, channels = series[..., :MAX_CHANNELS], channels[:MAX_CHANNELS]
    low, high = np.nanmin(series, (0, 1)), np.nanmax(series, (0, 1))
    heights = 0.05 + 0.9 * (series - low) / np.maximum(high - low, 1e-12)
    num_rows = -(-len(series) // num_columns)
    figure = Figure(figsize=(1 + 1.25 * num_columns, 0.9 + 0.75 * num_rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    corners = [((i % num_columns) * 1.06, -(i // num_columns) * 1.12) for i in range(len(series))]
    cells = [Rectangle(corner, 1, 1) for corner in corners]
    shades = ["0.93" if i // num_columns % len(rows) == 0 and len(rows) > 1 else "white" for i in range(len(series))]
    axes.add_collection(PatchCollection(cells, facecolors=shades, edgecolors="0.8", linewidths=0.5))
    steps = np.linspace(0.03, 0.97, series.shape[1])
    for channel, colour in enumerate(COLOURS[: len(channels)]):
        lines = [
            np.column_stack([x + steps, y + values[:, channel]])[~np.isnan(values[:, channel])]
            for (x, y), values in zip(corners, heights)
        ]
        label = f"{channels[channel]}, {low[channel]:.4g} to {high[channel]:.4g}"
        axes.add_collection(LineCollection(lines, colors=colour, linewidths=1, label=label))
    for row in range(num_rows):
        axes.text(-0.05, 0.5 - row * 1.12, rows[row % len(rows)], ha="right", va="center", fontsize="small")
    for column, title in enumerate(titles):
        axes.text(column * 1.06 + 0.5, 1.08, title, ha="center", fontsize="small")
    axes.set(xlim=(-0.02, num_columns * 1.06), ylim=(-(num_rows - 1) * 1.12 - 0.05, 1.35 if titles else 1.05))
    axes.set_title(f"{series.shape[1]} steps, all cells on one scale", fontsize="small")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3, fontsize="small", frameon=False)
    axes.axis("off")
    figure.savefig(path, dpi=100)
    return path
