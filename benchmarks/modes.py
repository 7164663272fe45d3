"""Modes that GANs find on the ring of 8 and the grid of 25 gaussians, over seeds, beside PacGAN's figures.

    python benchmarks/modes.py                      about a quarter of an hour on two cores

Every run is `python run.py`, in runs/modes; what is finished there is not trained again.
"""

import argparse
import json
import platform
import statistics
from pathlib import Path

import torch
from scipy.stats import t as student

import run
from lightning_genae.commands.runs import load_model, open_run
from lightning_genae.data.drawing.grids import save_scatter
from lightning_genae.evaluation.sampling import draw

SIZE = ["--model.network", "mlp", "--model.hidden", "[128, 128]", "--model.latent_dim", "2", "--model.lr", "1e-3"]
ARMS = {
    "ns": ["--model.loss", "ns"],
    "ns, r1 0.1": ["--model.loss", "ns", "--model.r1", "0.1"],
    "wgan-gp 0.1": ["--model.loss", "wgan-gp", "--model.gradient_penalty", "0.1"],
}
# modes found, from the tables of PacGAN (Lin et al. 2017, arXiv 1712.04086), which trained for much longer
PACGAN = {"ring": {"GAN": "6.3 ± 0.5", "PacGAN2": "7.9"}, "grid": {"GAN": "17.3 ± 0.8", "PacGAN2": "23.8"}}
OUT = Path(__file__).resolve().parent / "modes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3000, help="batches of 256 points")
    parser.add_argument("--runs", type=Path, default=Path("runs/modes"))
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    lines = [
        "# Modes found",
        "",
        f"Means over {given.seeds} seeds with 95 % intervals (Student's t) of 2,500 samples; a good sample lies within "
        f"three deviations of a mode, a mode is found if one does. {given.steps:,} batches of 256 points, dense "
        f"networks of two layers of 128. {platform.machine()}, torch {torch.__version__}. Of points drawn anywhere "
        "in the square 0.4 % (ring) and 1.8 % (grid) are good: with hardly more than that, modes are found by chance, "
        "and the model has not learned the set yet.",
        "",
        "| data | model | modes found | good samples |",
        "|---|---|---|---|",
    ]
    given.out.mkdir(parents=True, exist_ok=True)
    for data, published in PACGAN.items():
        panels = {}
        for name, options in ARMS.items():
            folders = [train(data, name, options, seed, given) for seed in range(given.seeds)]
            metrics = [json.loads((folder / "results.json").read_text())["metrics"] for folder in folders]
            cells = [interval([values[key] for values in metrics]) for key in ("modes", "good")]
            lines.append(f"| {data} | `{name}` | {cells[0]} | {cells[1]} |")
            panels[name] = (draw(load_model(*open_run(str(folders[0]))), 2500, seed=0).flatten(1), None)
        lines += [f"| {data} | {name}, as published | {value} | not given |" for name, value in published.items()]
        save_scatter(given.out / f"{data}.png", panels, limits=(-1, 1))
    lines += ["", *(f"![samples of the first seed]({data}.png)" for data in PACGAN), ""]
    (given.out / "README.md").write_text("\n".join(lines))
    print("\n".join(lines))


def train(data: str, name: str, options: list[str], seed: int, given: argparse.Namespace) -> Path:
    """One run by its command line; returns its folder."""
    folder = given.runs / data / name.replace(", ", "-").replace(" ", "") / f"seed{seed}"
    words = ["--model", "gan", *SIZE, *options, "--data", data, "--data.batch_size", "256", "--steps", str(given.steps)]
    words += ["--seed", str(seed), "--logger", "csv", "--folder", str(folder), "--cache", str(given.runs / "cache")]
    words += ["--metrics.looks", "1", "--metrics.num_samples", "2500"]
    if run.main(words):
        raise SystemExit(f"python run.py {' '.join(words)} failed")
    return folder


def interval(values: list[float]) -> str:
    """Mean and half the 95 % interval."""
    if len(values) < 2:
        return f"{values[0]:.2f}"
    half = student.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):.2f} ± {half:.2f}"


if __name__ == "__main__":
    main()
