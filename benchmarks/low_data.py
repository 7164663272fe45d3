"""Augmentation with little data: every arm against none, over seeds, on held-out images.

    python benchmarks/low_data.py                   the CPU tier; at most three hours on two cores
    python benchmarks/low_data.py --tier gpu        the GPU tier
    python benchmarks/low_data.py --report          table, curves and sheet of what there is

The state is low_data/TIER.csv, a row a run, added to as runs finish; a later call does what is missing. Every run is
`python run.py`, in --runs. Arms differ in their augmentation alone: updates, networks, initialisation and the order of
real batches are equal for a seed.
"""

import argparse
import csv
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.stats import t as student

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
MEASURES = ("fd", "kid", "precision", "recall", "density", "coverage", "distance_to_train")
FIELDS = ("data", "num_train", "arm", "seed", "images", *MEASURES, "output_real", "seconds", "versions", "machine")
NUM_SHOWN, NUM_EVALUATIONS = 12, 10

AE = "--augment ae --augment.perturb gaussian --augment.strength 0.5 --augment.detail residual"
PCA, BOTH = AE.replace(" ae ", " pca "), AE.replace(" ae ", " ae+diffaug ")
DATA, CRITIC = "--augment.on data --augment.fraction 0.5", "--augment.on critic --augment.fraction 0.7"
ARMS = {
    "none": "--augment none",
    "repeat": "--augment repeat",
    "noise": f"--augment noise --augment.match ae {AE.partition('ae ')[2]} {DATA}",
    "classic": "--augment classic",
    "ae decode": f"{AE} {DATA}".replace("residual", "decode"),
    "ae gaussian": f"{AE} {DATA}",
    "ae interpolate": f"{AE} {DATA}".replace("gaussian", "interpolate"),
    "ae+classic": f"{AE.replace(' ae ', ' ae+classic ')} --augment.on data",
    "ae, critic": f"{AE} {CRITIC}",
    "pca, critic": f"{PCA} {CRITIC}",
    "diffaug": "--augment diffaug --augment.fraction 0.7",
    "ae+diffaug, critic": f"{BOTH} {CRITIC}",
    # beyond what was asked for: stronger, weaker, adaptive, and one arm on each side
    "ae strong, critic": f"{AE} --augment.on critic --augment.fraction 0.9".replace("0.5", "0.8"),
    "ae gentle, critic": f"{AE} {CRITIC}".replace("0.5", "0.25"),
    "ae adaptive, critic": f"{AE} --augment.on critic --augment.target 0.6",
    "ae decode+diffaug": f"{BOTH} --augment.on data+critic --augment.fraction 0.7".replace("residual", "decode"),
}
# data, training images, seeds, options: chosen so that `none` has passed its best point
DIGITS = "--data digits --data.batch_size 64 --model.lr 1e-3 --steps 3000"
FASHION = "--data fashion_mnist --data.batch_size 32 --model.lr 1e-3 --metrics.num_samples 2000 --precision bf16-mixed"
CIFAR = "--data cifar10 --data.batch_size 64 --model.width 64 --model.lr 2e-4 --steps 40000"
TIERS = {
    "cpu": [
        ("digits", 200, 5, DIGITS),
        ("digits", 100, 3, DIGITS),
        ("fashion_mnist", 500, 5, f"{FASHION} --steps 2000"),
        ("digits", 500, 3, DIGITS),
    ],
    "gpu": [
        *(("fashion_mnist", num, 5, f"{FASHION} --model.width 32 --steps 30000") for num in (100, 500, 2000, 60_000)),
        *(("cifar10", num, 5, CIFAR) for num in (2_500, 5_000, 10_000, 50_000)),
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tier", choices=TIERS, default="cpu")
    parser.add_argument("--data", nargs="+", help="only these data sets of the tier")
    parser.add_argument("--num_train", nargs="+", type=int, help="only these numbers of training images")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, help="seeds at most")
    parser.add_argument("--steps", type=int, help="another length, for a try; give --out too")
    parser.add_argument("--jobs", type=int, help="trainings at once, a thread each. Default: 2; on a GPU 4")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run after that time")
    parser.add_argument("--cifar10", help="folder of CIFAR-10")
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument("--runs", type=Path, default=Path("runs/low_data"))
    parser.add_argument("--out", type=Path, default=HERE / "low_data")
    given = parser.parse_args()
    if not given.report:
        train_missing(given)
    report(given)


def cells(given: argparse.Namespace) -> list[tuple[str, int, int, str]]:
    """Data set, number of images, number of seeds and options, of what was asked for."""
    return [
        (data, num, min(seeds, given.seeds or seeds), options)
        for data, num, seeds, options in TIERS[given.tier]
        if data in (given.data or [data]) and num in (given.num_train or [num])
    ]


def train_missing(given: argparse.Namespace) -> None:
    """Trains what the CSV has no row of, seed by seed, so that every arm has as many at any time."""
    start = time.monotonic()
    given.out.mkdir(parents=True, exist_ok=True)
    done = {(row["data"], int(row["num_train"]), row["arm"], int(row["seed"])) for row in read(given)}
    missing = [
        (data, num, arm, seed, options)
        for data, num, seeds, options in cells(given)
        for seed in range(seeds)
        for arm in given.arms
        if (data, num, arm, seed) not in done
    ]
    jobs = given.jobs or (4 if given.tier == "gpu" else 2)
    print(f"{len(missing)} of {len(missing) + len(done)} runs are missing; {jobs} at once", flush=True)
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported by the processes: threads would wait for each other
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting, running = list(missing), {}
        while waiting or running:
            while waiting and len(running) < jobs and time.monotonic() - start < 60 * given.minutes:
                run = waiting.pop(0)
                running[pool.submit(train, run, given)] = run
            if not running:
                break
            finished = next(as_completed(running))
            run = running.pop(finished)
            append(given, finished.result())
            print(f"{len(waiting) + len(running)} left: {run[:4]}, {time.monotonic() - start:.0f} s", flush=True)


def train(job: tuple, given: argparse.Namespace) -> dict:
    """One run by its command line, in this process; its row."""
    data, num, arm, seed, options = job
    folder = given.runs / given.tier / f"{data}-{num}" / arm.replace(", ", "-").replace(" ", "-") / f"seed{seed}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1), os.dup2(log, 2)
    import run

    words = ["--model", "gan", *options.split(), *ARMS[arm].split(), "--data.num_train", str(num), "--seed", str(seed)]
    if given.steps:
        words += ["--steps", str(given.steps)]
    if data == "cifar10" and given.cifar10:
        words += ["--data.root", given.cifar10]
    words += ["--metrics.looks", str(NUM_EVALUATIONS), "--logger", "none", "--folder", str(folder)]
    words += ["--cache", str(given.runs / "cache")]
    if run.main(words):
        raise SystemExit(f"python run.py {' '.join(words)} failed; see {folder}.log")
    save_samples(folder, samples_path(given, data, num, arm, seed))
    return {"data": data, "num_train": num, "arm": arm, "seed": seed, **row(folder)}


def row(folder: Path) -> dict:
    """What a finished run measured, each measure as its values over training."""
    import torch

    results = json.loads((folder / "results.json").read_text())
    with (folder / "metrics.csv").open(newline="") as file:
        logged = list(csv.DictReader(file))
    rows = [entry for entry in logged if entry["val/fd"]]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores"
    return {
        "images": " ".join(entry["images"] for entry in rows),
        **{name: " ".join(f"{float(entry[f'val/{name}']):.5g}" for entry in rows) for name in MEASURES},
        "output_real": " ".join(f"{float(entry['train/output_real'] or 'nan'):.3g}" for entry in rows),
        "seconds": f"{results['timing']['seconds']:.0f}",
        "versions": f"torch {torch.__version__}",
        "machine": device,
    }


def save_samples(folder: Path, path: Path) -> None:
    """The first samples of a finished run, in a row."""
    import run
    from lightning_genae.images import draw

    images = draw(run.load_model(*run.open_run(str(folder))), NUM_SHOWN, seed=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.concatenate(list(images.permute(0, 2, 3, 1).numpy()), axis=1)
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(path)


def samples_path(given: argparse.Namespace, data: str, num: int, arm: str, seed: int) -> Path:
    return given.out / "samples" / f"{data}-{num}" / f"{arm.replace(', ', '-').replace(' ', '-')}-seed{seed}.png"


def read(given: argparse.Namespace) -> list[dict]:
    path = given.out / f"{given.tier}.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append(given: argparse.Namespace, values: dict) -> None:
    path = given.out / f"{given.tier}.csv"
    is_new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if is_new:
            writer.writeheader()
        writer.writerow(values)


def report(given: argparse.Namespace) -> None:
    """Writes the table, the curves and the sheets of the rows that there are."""
    rows = read(given)
    done = [
        (data, num)
        for data, num, _, _ in TIERS[given.tier]
        if any((row["data"], int(row["num_train"])) == (data, num) for row in rows)
    ]
    curves = {cell: {arm: values_of(rows, *cell, arm) for arm in ARMS} for cell in done}
    lines = [f"# Augmentation with little data, {given.tier} tier", "", *explanation(rows), ""]
    for cell in done:
        lines += [*table(cell, curves[cell]), ""]
        sheet(given, cell, curves[cell])
        lines += [f"![samples of every arm](sheet-{given.tier}-{cell[0]}-{cell[1]}.png)", ""]
    if done:
        plot(given.out / f"curves-{given.tier}.png", curves)
        lines += [f"![Frechet distance over images shown](curves-{given.tier}.png)", ""]
    (given.out / f"{given.tier}.md").write_text("\n".join(lines))
    print("\n".join(lines))


def values_of(rows: list[dict], data: str, num: int, arm: str) -> dict[int, dict[str, np.ndarray]]:
    """The curves of an arm's runs by their seeds."""
    own = [row for row in rows if (row["data"], int(row["num_train"]), row["arm"]) == (data, num, arm)]
    return {
        int(row["seed"]): {name: np.array(row[name].split(), float) for name in ("images", *MEASURES)} for row in own
    }


def explanation(rows: list[dict]) -> list[str]:
    machines = " and ".join(sorted({f"{row['machine']}, {row['versions']}" for row in rows}))
    hours = sum(float(row["seconds"]) for row in rows) / 3600
    return [
        f"{len(rows)} runs, {hours:.1f} hours of training, a thread each ({machines}). Frechet distance (FD) in the "
        "features of a classifier trained on the whole training split, to held-out images, lower is better; `best` is "
        f"the least of {NUM_EVALUATIONS} evaluations during training (chosen on the images it is measured on, for all "
        "arms alike), `last` the one at the end. `±` is half the 95 % interval (Student's t) of the difference to "
        "`none` of the same seed; **bold** where that lies below 0, _italic_ where it lies above. Coverage (higher is "
        "better) and distance to the nearest training image (root mean square per pixel; held-out images have about "
        "that of a good sample, copies have 0) are at the end."
    ]


def table(cell: tuple[str, int], arms: dict) -> list[str]:
    """The arms' results on one set of training images, as Markdown."""
    lines = [
        f"## {cell[0]}, {cell[1]:,} training images",
        "",
        "| arm | seeds | best FD | to none | last FD | to none | coverage | precision | recall | KID | nearest |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for arm, runs in arms.items():
        if not runs:
            continue
        last = {name: np.mean([run[name][-1] for run in runs.values()]) for name in MEASURES}
        words = [f"`{arm}`", str(len(runs))]
        for summary in (np.min, lambda fd: fd[-1]):
            words.append(f"{np.mean([summary(run['fd']) for run in runs.values()]):.2f}")
            words.append(difference(runs, arms["none"], summary) if arm != "none" else "")
        words += [f"{last[name]:.2f}" for name in ("coverage", "precision", "recall")]
        words += [f"{last['kid']:.4f}", f"{last['distance_to_train']:.3f}"]
        lines.append(f"| {' | '.join(words)} |")
    return lines


def difference(runs: dict, controls: dict, summary) -> str:
    """Mean difference of a summary of the Frechet distance to the control of the same seed, and its interval."""
    both = sorted(set(runs) & set(controls))
    mean, half = paired([summary(runs[seed]["fd"]) - summary(controls[seed]["fd"]) for seed in both])
    text = f"{mean:+.2f} ± {half:.2f}" if half < np.inf else f"{mean:+.2f}"
    if half == np.inf or abs(mean) <= half:
        return text
    return f"**{text}**" if mean < 0 else f"_{text}_"


def paired(differences: list[float]) -> tuple[float, float]:
    """Mean of paired differences and half their 95 % interval."""
    from lightning_genae.ablation.statistics import summary

    mean, _, _, high, num = summary(differences)
    return mean, high - mean if num > 1 else float("inf")


def plot(path: Path, curves: dict) -> None:
    """Frechet distance over images shown: a column a cell; arms on the data above those on the critic."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    on_critic = [arm for arm in ARMS if "critic" in arm or "diffaug" in arm]
    groups = {"on the data": [arm for arm in ARMS if arm not in [*on_critic, "none"]], "on the critic": on_critic}
    figure = Figure(figsize=(4.5 * len(curves), 8), layout="constrained")
    FigureCanvasAgg(figure)
    for row_of_axes, (side, names) in zip(figure.subplots(2, len(curves), squeeze=False), groups.items()):
        for axes, ((data, num), arms) in zip(row_of_axes, curves.items()):
            for arm in ["none", *names]:
                if not arms[arm]:
                    continue
                images = next(iter(arms[arm].values()))["images"]
                fd = np.array([run["fd"] for run in arms[arm].values()])
                half = student.ppf(0.975, len(fd) - 1) * fd.std(0, ddof=1) / len(fd) ** 0.5 if len(fd) > 1 else 0
                (line,) = axes.plot(images, fd.mean(0), color="black" if arm == "none" else None, label=arm)
                axes.fill_between(images, fd.mean(0) - half, fd.mean(0) + half, color=line.get_color(), alpha=0.12)
            lowest = min(run["fd"].min() for runs in arms.values() for run in runs.values())
            highest = max(run["fd"][-1] for run in arms["none"].values()) if arms["none"] else 10 * lowest
            axes.set(title=f"{data}, {num:,}, {side}", xlabel="images shown", ylabel="FD", yscale="log")
            axes.set_ylim(0.8 * lowest, 2.5 * highest)
            axes.locator_params(axis="x", nbins=4)
            axes.legend(fontsize="x-small")
    figure.savefig(path, dpi=80)


def sheet(given: argparse.Namespace, cell: tuple[str, int], arms: dict) -> None:
    """Samples of every arm at the seed whose last Frechet distance is the median."""
    strips = {}
    for arm, runs in arms.items():
        if runs:
            seed = sorted(runs, key=lambda seed: runs[seed]["fd"][-1])[(len(runs) - 1) // 2]
            strips[arm] = Image.open(samples_path(given, *cell, arm, seed)).convert("RGB")
    scale = max(1, round(40 / next(iter(strips.values())).height))
    width, height = (scale * side for side in next(iter(strips.values())).size)
    picture = Image.new("RGB", (130 + width, len(strips) * (height + 4)), "white")
    for i, (arm, strip) in enumerate(strips.items()):
        ImageDraw.Draw(picture).text((4, i * (height + 4) + height // 2 - 5), arm, fill="black")
        picture.paste(strip.resize((width, height), Image.Resampling.NEAREST), (130, i * (height + 4)))
    picture.save(given.out / f"sheet-{given.tier}-{cell[0]}-{cell[1]}.png")


if __name__ == "__main__":
    main()
