"""Samples and curves of a stage of photographs.py, side by side.

    python benchmarks/photographs_pictures.py runs/photographs/networks/emoji-twitter benchmarks/photographs

STAGE-DATA-samples.png has two rows of every arm's last samples, at its first seed; STAGE-DATA-curves.png the Frechet
distance over the part of the time that is gone, which is the same for all arms, with a line for every seed.
"""

import argparse
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from lightning_genae.ablation import records

ROWS, COLUMNS = 2, 8  # of samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of an ablation")
    parser.add_argument("out", type=Path, help="folder for the pictures")
    given = parser.parse_args()
    arms: dict[str, list[records.Record]] = {}
    for record in records.read([given.runs])[0]:
        if record.results:
            arms.setdefault(record.arm, []).append(record)
    given.out.mkdir(parents=True, exist_ok=True)
    name = "-".join(given.runs.resolve().parts[-2:])
    save_samples(arms, given.out / f"{name}-samples.png")
    save_curves(arms, given.out / f"{name}-curves.png")


def save_samples(arms: dict[str, list[records.Record]], path: Path) -> None:
    parts = []
    for arm, of_arm in arms.items():
        picture = of_arm[0].picture()
        if picture is None:
            continue
        with Image.open(picture) as whole:
            side = whole.width // COLUMNS
            parts.append((arm, whole.convert("RGB").crop((0, 0, whole.width, ROWS * side + 2))))
    width, height = max(part.width for _, part in parts), parts[0][1].height
    sheet = Image.new("RGB", (width, (height + 16) * len(parts)), "white")
    for i, (arm, part) in enumerate(parts):
        ImageDraw.Draw(sheet).text((4, i * (height + 16) + 2), arm, fill="black")
        sheet.paste(part, (0, i * (height + 16) + 16))
    sheet.save(path)


def save_curves(arms: dict[str, list[records.Record]], path: Path) -> None:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for i, (arm, of_arm) in enumerate(arms.items()):
        for k, record in enumerate(of_arm):
            images, looks = record.curve("fd")
            gone = [100 * number / images[-1] for number in images]
            axes.plot(gone, looks, "o-", color=f"C{i}", markersize=3, label=arm if k == 0 else None)
    axes.set(xlabel="% of the time", ylabel="Frechet distance (classifier)", yscale="log")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
