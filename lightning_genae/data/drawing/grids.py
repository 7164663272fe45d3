"""Images as a grid, points as a scatter, numbers as curves: a PNG each."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn.functional import interpolate

SIDE = 96  # pixels of a small image in a grid, or about that many


def save_grid(path: Path, images: Tensor, num_columns: int) -> Path:
    """Writes images (N, C, H, W) in [-1, 1] as one PNG, small ones enlarged without smoothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    from torchvision.utils import save_image  # as slow as torch, and not needed before the first batch

    save_image(_grid(images, num_columns), path)
    return path


def save_film(path: Path, frames: Iterable[Tensor], num_columns: int, milliseconds: int = 60) -> Path:
    """Writes frames of images (N, C, H, W) in [-1, 1] as one GIF that begins again at its end.

    Args:
        path: of the GIF.
        frames: the images of each.
        num_columns: of a frame.
        milliseconds: that a frame is seen.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    from torchvision.transforms.functional import to_pil_image

    first, *others = (to_pil_image(_grid(images, num_columns)) for images in frames)
    first.save(path, save_all=True, append_images=others, duration=milliseconds, loop=0)
    return path


def _grid(images: Tensor, num_columns: int) -> Tensor:
    """Images (N, C, H, W) in [-1, 1] in rows, (3, H, W) in [0, 1]."""
    from torchvision.utils import make_grid

    images = ((images.detach().float().cpu() + 1) / 2).clamp(0, 1)
    enlargement = max(1, round(SIDE / images.shape[-1]))
    images = interpolate(images, scale_factor=enlargement, mode="nearest")
    return make_grid(images, nrow=num_columns, padding=2, pad_value=0.5)


def add_header(path: Path, titles: tuple[str, ...]) -> None:
    """Writes titles over the columns of a picture."""
    picture = Image.open(path).convert("RGB")
    with_header = Image.new("RGB", (picture.width, picture.height + 14), "white")
    with_header.paste(picture, (0, 14))
    for i, title in enumerate(titles):
        centre = (i + 0.5) * picture.width / len(titles)
        ImageDraw.Draw(with_header).text((centre, 7), title, fill="black", anchor="mm")
    with_header.save(path)


def save_scatter(
    path: Path,
    panels: Mapping[str, tuple[Tensor, Tensor | None]],
    limits: tuple[float, float] | None = None,
    behind: list[Tensor] | None = None,
) -> Path:
    """Writes points in the plane as one PNG, a panel beside the other.

    Args:
        path: of the PNG.
        panels: points (N, 2) and their classes (N,), which colour them, or None, by title.
        limits: of both axes. None: as the points lie.
        behind: points (N, 2) that each panel shows in grey.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(5 * len(panels), 5), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    greys: Sequence[Tensor | None] = behind or [None] * len(panels)
    for axes, (title, (points, labels)), grey in zip(grid, panels.items(), greys):
        if grey is not None:
            axes.scatter(*grey.T, s=12, c="0.8")
        colours = None if labels is None else "tab10" if labels.max() < 10 else "tab20"
        drawn = axes.scatter(*points.T, s=3, c=labels, cmap=colours)
        axes.set(title=title, xlim=limits, ylim=limits, aspect="equal" if limits else "auto")
        if labels is not None and len(drawn.legend_elements(num=None)[0]) <= 20:
            axes.legend(*drawn.legend_elements(num=None), fontsize="small", markerscale=0.7, title="class")
    FigureCanvasAgg(figure).print_png(path)
    return path


def save_curves(
    path: Path, label: str, x: list[float], panels: dict[str, dict[str, list[float]]], marked: float | None = None
) -> Path:
    """Writes curves over common values as one PNG, a panel beside the other.

    Args:
        path: of the PNG.
        label: of the values.
        x: the values.
        panels: the curves of a panel by their names, by the label of the panel's other axis.
        marked: a value to be marked by a line.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(5 * len(panels), 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items()):
        for name, y in curves.items():
            axes.plot(x, y, "--" if len(set(y)) == 1 else "o-", label=name)
        if marked is not None:
            axes.axvline(marked, color="grey", linewidth=0.8)
        axes.set(xlabel=label, ylabel=title)
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=100)
    return path
