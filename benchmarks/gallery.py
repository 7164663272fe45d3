"""Every family of models with one budget of images shown, on Fashion-MNIST and CIFAR-10: a table and a sheet.

    python benchmarks/gallery.py                              within an hour and a half on two cores
    python benchmarks/gallery.py --data fashion_mnist --images 20000 --models gan vae --out gallery

Every run is `python run.py`, in runs/gallery; what is finished there is not trained again. CIFAR-10 must lie in
--cifar10 as for `run.py --data cifar10 --data.root` (cifar10_from_npm.py says where else it can be had); without it
that data set is left out, and the table says so.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, ImageDraw

from lightning_genae import registry
from lightning_genae.data import modalities

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "lightning_genae.models"
MODELS = [
    name
    for name in registry.names(PACKAGE)
    if modalities.supports(registry.load(PACKAGE, name), modalities.new("image"))
]
BATCH_SIZE = 32
NUM_SHOWN = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choices = ["fashion_mnist", "cifar10", "digits"]
    parser.add_argument("--data", nargs="+", default=choices[:2], choices=choices)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--images", type=int, default=96_000, help="images shown to every model")
    parser.add_argument("--samples", type=int, default=5000, help="images of every model that are measured")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count()), help="trainings at once, a thread each")
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--fashion_mnist", help="folder of Fashion-MNIST, if Debian's package is not installed")
    parser.add_argument("--cifar10", help="folder of CIFAR-10")
    parser.add_argument("--runs", type=Path, default=Path("runs/gallery"))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "gallery")
    parser.add_argument("--remark", default="", help="sentence that the table's reader must know")
    given = parser.parse_args()
    data = [name for name in given.data if name != "cifar10" or given.cifar10]
    given.out.mkdir(parents=True, exist_ok=True)
    cells = [(name, model) for name in data for model in given.models]
    with ThreadPoolExecutor(given.jobs) as pool:
        # the first of each data set alone: it trains the classifier that the others share
        for is_first in (True, False):
            now = [cell for cell in cells if (cell[1] == given.models[0]) == is_first]
            list(pool.map(lambda cell: train(*cell, given), now))
    for name in data:
        sheet(given.out / f"{name}.png", {model: given.runs / name / model for model in given.models})
    text = table(cells, given)
    (given.out / "README.md").write_text(text)
    print(text)


def train(data: str, model: str, given: argparse.Namespace) -> None:
    """One run, by the command a user would type; its output goes to a file beside its folder."""
    folder = given.runs / data / model
    folder.parent.mkdir(parents=True, exist_ok=True)
    words = ["--model", model, "--data", data, "--steps", str(given.images // BATCH_SIZE), "--logger", "csv"]
    words += ["--data.batch_size", str(BATCH_SIZE), "--metrics.num_samples", str(given.samples)]
    words += ["--metrics.looks", "1", "--accelerator", given.accelerator]  # at the end alone
    words += ["--folder", str(folder), "--cache", str(given.runs / "cache")]
    if root := getattr(given, data, None):
        words += ["--data.root", root]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} if given.jobs > 1 else os.environ
    print(f"{data} {model} ...", flush=True)
    with open(f"{folder}.log", "w") as log:
        done = subprocess.run([sys.executable, str(ROOT / "run.py"), *words], env=environment, stdout=log, stderr=log)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed; see {folder}.log")


def table(cells: list[tuple[str, str]], given: argparse.Namespace) -> str:
    """The results as Markdown."""
    import torch

    machine = torch.cuda.get_device_name() if given.accelerator == "gpu" else f"{os.cpu_count()} cores"
    lines = [
        "# Gallery",
        "",
        f"Every family with {given.images:,} images shown (batches of {BATCH_SIZE}), its default options and no "
        f"augmentation, one seed. Frechet distance (FD) and KID of {given.samples:,} samples to the held-out images in "
        "the features of a classifier trained on the data set, not Inception's: they compare rows here and nothing "
        f"else. On {machine}, {given.jobs} trainings at once, {platform.machine()}, torch {torch.__version__}. "
        f"{given.remark}",
        "",
        "| data | model | FD | KID | reconstruction error | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for data, model in cells:
        results = json.loads((given.runs / data / model / "results.json").read_text())
        metrics, seconds = results["metrics"], results["timing"]["seconds"] - results["timing"]["evaluation_seconds"]
        mse = f"{metrics['mse']:.4f}" if "mse" in metrics else ""
        lines.append(f"| {data} | `{model}` | {metrics['fd']:.2f} | {metrics['kid']:.3f} | {mse} | {seconds:.0f} |")
    for data in dict.fromkeys(data for data, _ in cells):
        protocol = json.loads((given.runs / data / given.models[0] / "results.json").read_text())["protocol"]
        floor = protocol["floor"]["fd"]
        lines.append(f"| {data} | {given.samples:,} real training images | {floor:.2f} | | | |")
    for data in dict.fromkeys(data for data, _ in cells):
        lines += ["", f"## {data}", "", f"![samples of every family]({data}.png)"]
    left_out = [data for data in given.data if data not in {data for data, _ in cells}]
    lines += [f"\nLeft out, because its folder was not given: {', '.join(left_out)}"] if left_out else []
    return "\n".join([*lines, ""])


def sheet(path: Path, folders: dict[str, Path]) -> None:
    """One picture: a row of samples for every model, with its name."""
    rows = {name: last_samples(folder) for name, folder in folders.items()}
    height, margin = next(iter(rows.values())).height, 90
    picture = Image.new("RGB", (margin + max(row.width for row in rows.values()), (height + 4) * len(rows)), "white")
    draw = ImageDraw.Draw(picture)
    for i, (name, row) in enumerate(rows.items()):
        picture.paste(row, (margin, i * (height + 4)))
        draw.text((6, i * (height + 4) + height // 2 - 10), name, fill="black", font_size=20)
    picture.save(path)


def last_samples(folder: Path) -> Image.Image:
    """Two rows of samples of a finished run."""
    from lightning_genae.commands.runs import load_model, open_run
    from lightning_genae.data.drawing.grids import save_grid
    from lightning_genae.data.storage import to_float
    from lightning_genae.evaluation.sampling import draw

    model = load_model(*open_run(str(folder)))
    path = folder / "samples" / "gallery.png"
    save_grid(path, to_float(draw(model, 2 * NUM_SHOWN, seed=0)), num_columns=NUM_SHOWN)
    return Image.open(path).convert("RGB")


if __name__ == "__main__":
    main()
