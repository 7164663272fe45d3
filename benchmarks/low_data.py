"""Augmentation with little data: every arm against none, over seeds, on held-out images.

    python benchmarks/low_data.py                   the CPU tier; at most three hours on two cores
    python benchmarks/low_data.py --tier gpu        the GPU tier
    python benchmarks/low_data.py --report          table, curves and sheet of what there is

The state is low_data/TIER.csv, a row a run, added to as runs finish; a later call does what is missing. Every run is
`python run.py`, in --runs. Arms differ in their augmentation alone: updates, networks, training subset, initialisation
and the order of real batches are equal for a seed. They are compared at equal fractions, 0.5 on the data and 0.7 on the
critic, but for those that are there to try another one. Every row of the state keeps the whole setting that it ran
with, and rows of the first study, which had another protocol, are reported by themselves. What of the earlier
conclusions stands is in low_data/README.md.
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
FIELDS += ("protocol", "options", "setting", "best_fd")
# how runs were made, and what that means for their numbers
FIRST, NOW = "one subset for all seeds", "a subset a seed"
PROTOCOLS = {
    FIRST: "All seeds share one training subset and one autoencoder, so that **nothing here generalises over data**: "
    "seeds are initialisations and orders alone. The arms are not chosen alike: `classic` varied all images (fraction "
    "1), also in `ae+classic`, where the other arms on the data varied half of them, and `ae strong` and `ae "
    "decode+diffaug` have other fractions than their neighbours. Gaussian perturbations did not heed classes. `best "
    "FD` is the least of {looks} looks, chosen on the held-out images that it is measured on: it is optimistic.",
    NOW: "Every seed draws its own training subset, and so has its own autoencoder. `best FD` is that at the one of "
    "{looks} looks that validation images choose.",
}
NUM_SHOWN, NUM_LOOKS = 12, 10
Cell = tuple[str, int, str]  # data set, training images, protocol

# whole settings, so that no default can change what a row means
CODES = "--augment.perturb gaussian --augment.strength 0.5 --augment.detail residual"
TRAINED = "--augment.autoencoder conv --augment.latent_dim 16 --augment.width 8 --augment.steps 1000"
CLASSIC = "--augment.crop 0.1 --augment.flip false --augment.shift 0.125 --augment.rotate 10 --augment.contrast 0.2"
DIFFAUG = "--augment.colour true --augment.translation 0.125 --augment.cutout 0.5"
DATA, CRITIC = "--augment.on data --augment.fraction 0.5", "--augment.on critic --augment.fraction 0.7"
AE, BOTH = f"--augment ae {CODES} {TRAINED}", f"--augment ae+diffaug {CODES} {TRAINED} {DIFFAUG}"
ARMS = {
    "none": "--augment none",
    "repeat": f"--augment repeat {DATA}",
    "noise": f"--augment noise --augment.match ae {CODES} {TRAINED} {DATA}",
    "classic": f"--augment classic {CLASSIC} {DATA}",
    "ae decode": f"{AE} {DATA}".replace("residual", "decode"),
    "ae gaussian": f"{AE} {DATA}",
    "ae interpolate": f"{AE} --augment.neighbours 5 {DATA}".replace("gaussian", "interpolate"),
    "ae+classic": f"--augment ae+classic {CODES} {TRAINED} {CLASSIC} {DATA}",
    "ae, critic": f"{AE} {CRITIC}",
    "pca, critic": f"--augment pca {CODES} --augment.latent_dim 16 {CRITIC}",
    "diffaug": f"--augment diffaug {DIFFAUG} {CRITIC}",
    "ae+diffaug, critic": f"{BOTH} {CRITIC}",
    # beyond what was asked for: stronger, weaker, adaptive, and one arm on each side, there with 0.5 and 0.7
    "ae strong, critic": f"{AE} --augment.on critic --augment.fraction 0.9".replace("strength 0.5", "strength 0.8"),
    "ae gentle, critic": f"{AE} {CRITIC}".replace("strength 0.5", "strength 0.25"),
    "ae adaptive, critic": f"{AE} --augment.on critic --augment.target 0.6 --augment.adapt_images 50000",
    "ae decode+diffaug": f"{BOTH} --augment.on data+critic".replace("residual", "decode"),
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
    keys = ("data", "num_train", "arm", "seed", "options", "protocol")
    done = {tuple(row[key] for key in keys) for row in read(given)}
    missing = [
        (data, num, arm, seed, options)
        for data, num, seeds, options in cells(given)
        for seed in range(seeds)
        for arm in given.arms
        if (data, str(num), arm, str(seed), ARMS[arm], NOW) not in done
    ]
    jobs = given.jobs or (4 if given.tier == "gpu" else 2)
    num_asked = sum(seeds for _, _, seeds, _ in cells(given)) * len(given.arms)
    print(f"{len(missing)} of {num_asked} runs are missing; {jobs} at once", flush=True)
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
    folder = given.runs / given.tier / f"{data}-{num}-by-seed" / in_paths(arm) / f"seed{seed}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1), os.dup2(log, 2)
    import run

    words = ["--model", "gan", *options.split(), *ARMS[arm].split(), "--data.num_train", str(num), "--seed", str(seed)]
    if given.steps:
        words += ["--steps", str(given.steps)]
    if data == "cifar10" and given.cifar10:
        words += ["--data.root", given.cifar10]
    words += ["--metrics.looks", str(NUM_LOOKS), "--logger", "none", "--folder", str(folder)]
    words += ["--cache", str(given.runs / "cache")]
    if run.main(words):
        raise SystemExit(f"python run.py {' '.join(words)} failed; see {folder}.log")
    save_samples(folder, samples_path(given, (data, num, NOW), arm, seed))
    made = {"protocol": NOW, "options": ARMS[arm]}
    return {"data": data, "num_train": num, "arm": arm, "seed": seed, **row(folder), **made}


def row(folder: Path) -> dict:
    """What a finished run measured, each measure as its values over training."""
    import torch

    from lightning_genae.ablation.records import read as read_runs

    (record,), _ = read_runs([folder])
    results = record.results
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
        "setting": json.dumps(record.setting("augment")),
        "best_fd": f"{results['best']['fd']:.5g}",
    }


def save_samples(folder: Path, path: Path) -> None:
    """The first samples of a finished run, in a row."""
    from lightning_genae.commands.runs import load_model, open_run
    from lightning_genae.images import draw

    images = draw(load_model(*open_run(str(folder))), NUM_SHOWN, seed=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.concatenate(list(images.permute(0, 2, 3, 1).numpy()), axis=1)
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(path)


def in_paths(arm: str) -> str:
    return arm.replace(", ", "-").replace(" ", "-")


def name_of(cell: Cell) -> str:
    """Of a cell, in the names of files."""
    data, num, protocol = cell
    return f"{data}-{num}" + ("-by-seed" if protocol == NOW else "")


def samples_path(given: argparse.Namespace, cell: Cell, arm: str, seed: int) -> Path:
    return given.out / "samples" / name_of(cell) / f"{in_paths(arm)}-seed{seed}.png"


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
    """Writes the tables, the curves and the sheets of the rows that there are."""
    rows = read(given)
    lines = [f"# Augmentation with little data, {given.tier} tier", "", explanation(rows), ""]
    for protocol, meaning in PROTOCOLS.items():
        found = {
            (data, num, protocol): {arm: runs_of(rows, (data, num, protocol), arm) for arm in ARMS}
            for data, num, _, _ in TIERS[given.tier]
            if any((row["data"], int(row["num_train"]), row["protocol"]) == (data, num, protocol) for row in rows)
        }
        if found:
            lines += [f"## {protocol[0].upper()}{protocol[1:]}", "", meaning.format(looks=NUM_LOOKS), ""]
            lines += section(given, found)
    (given.out / f"{given.tier}.md").write_text("\n".join(lines))
    print("\n".join(lines))


def section(given: argparse.Namespace, found: dict[Cell, dict[str, list[dict]]]) -> list[str]:
    """The cells of one protocol."""
    lines = [*overview(found), ""]
    for cell, arms in found.items():
        lines += [*table(cell, arms), ""]
        sheet(given, cell, arms)
        lines += [f"![samples of every arm](sheet-{given.tier}-{name_of(cell)}.png)", ""]
    suffix = "-by-seed" if next(iter(found))[2] == NOW else ""
    plot(given.out / f"curves-{given.tier}{suffix}.png", found)
    return [*lines, f"![Frechet distance over images shown](curves-{given.tier}{suffix}.png)", ""]


def runs_of(rows: list[dict], cell: Cell, arm: str) -> list[dict]:
    """The runs of an arm, with the values over training of all that was measured."""
    own = [row for row in rows if (row["data"], int(row["num_train"]), row["protocol"], row["arm"]) == (*cell, arm)]
    return [
        {
            **{name: np.array(row[name].split(), float) for name in ("images", *MEASURES)},
            **{"seed": int(row["seed"]), "setting": json.loads(row["setting"]), "best_fd": float(row["best_fd"])},
        }
        for row in own
    ]


def explanation(rows: list[dict]) -> str:
    machines = " and ".join(sorted({f"{row['machine']}, {row['versions']}" for row in rows}))
    hours = sum(float(row["seconds"]) for row in rows) / 3600
    return (
        f"{len(rows)} runs, {hours:.1f} hours of training, a thread each ({machines}). Frechet distance (FD) in the "
        "features of a classifier trained on the whole training split, to held-out images, at the end of training "
        "(`last`), lower is better. Runs of the same seed are compared: the mean logarithm of the ratio to `none`, in "
        "percent, with its 95 % t interval, of that arm alone. **Better** and _worse_ follow from paired t tests of "
        "these logarithms, corrected for the number of arms of the data set (Holm), with the arm's own spread and with "
        "the one typical of the arms (their median): both p are at most 0.05. Coverage (higher is better) and "
        "distance to the nearest training image (root mean square per pixel; held-out images have about that of a good "
        "sample, copies have 0) are at the end, without verdicts."
    )


def last_fd(runs: list[dict]) -> dict[int, float]:
    return {run["seed"]: run["fd"][-1] for run in runs}


def compared(arms: dict[str, list[dict]]) -> dict:
    """Every arm to `none` in the last Frechet distance."""
    from lightning_genae.ablation.statistics import compare

    values = {arm: last_fd(runs) for arm, runs in arms.items() if runs}
    baseline = values.pop("none", {})
    return compare(values, baseline, ratios=True)


def change(difference) -> tuple[str, str]:
    """A difference in words, and its verdict."""
    from lightning_genae.ablation.tables import percent, verdict

    interval = f" ({percent(difference.low)} to {percent(difference.high)})" if percent(difference.low) else ""
    found = "no verdict" if np.isnan(difference.p) else verdict(difference, "fd")
    mark = {"better": "**", "worse": "_"}.get(found.partition(",")[0], "")
    return f"{mark}{percent(difference.mean)}{interval}{mark}", f"{mark}{found}{mark}"


def setting_of(runs: list[dict]) -> str:
    from lightning_genae.ablation.records import in_words

    return in_words([run["setting"] for run in runs])


def overview(found: dict[Cell, dict[str, list[dict]]]) -> list[str]:
    """The change of the last Frechet distance of every arm in every cell, as Markdown."""
    differences = {cell: compared(arms) for cell, arms in found.items()}
    names = [f"{data} {num:,}" for data, num, _ in found]
    lines = [f"| arm | {' | '.join(names)} | setting |", "|---|" + "---|" * (len(names) + 1)]
    for arm in ARMS:
        runs = [run for arms in found.values() for run in arms[arm]]
        cells = [
            f"FD {np.mean(list(last_fd(arms[arm]).values())):.2f}, {len(arms[arm])} seeds"
            if arm == "none" and arms[arm]
            else change(differences[cell][arm])[0]
            if arm in differences[cell]
            else ""
            for cell, arms in found.items()
        ]
        lines += [f"| `{arm}` | {' | '.join(cells)} | {setting_of(runs)} |"] if runs else []
    return lines


def table(cell: Cell, arms: dict[str, list[dict]]) -> list[str]:
    """The arms' results on one set of training images, as Markdown."""
    header = ["arm", "seeds", "last FD", "to none", "p (t)", "p, Holm", "p, Holm, typical spread", "verdict", "best FD"]
    header += ["coverage", "precision", "recall", "KID", "nearest", "setting"]
    lines = [f"### {cell[0]}, {cell[1]:,} training images", "", f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    differences = compared(arms)
    for arm, runs in arms.items():
        if not runs:
            continue
        last = {name: np.mean([run[name][-1] for run in runs]) for name in MEASURES}
        words = [f"`{arm}`", str(len(runs)), f"{last['fd']:.2f}"]
        words += comparison(differences[arm]) if arm in differences else [""] * 5
        words += [f"{np.mean([run['best_fd'] for run in runs]):.2f}"]
        words += [f"{last[name]:.2f}" for name in ("coverage", "precision", "recall")]
        words += [f"{last['kid']:.4f}", f"{last['distance_to_train']:.3f}", setting_of(runs)]
        lines.append(f"| {' | '.join(words)} |")
    return lines


def comparison(difference) -> list[str]:
    """A difference's cells."""
    from lightning_genae.ablation.tables import probability

    words, found = change(difference)
    return [words, *map(probability, (difference.p, difference.p_holm, difference.p_typical)), found]


def plot(path: Path, curves: dict) -> None:
    """Frechet distance over images shown: a column a cell; arms on the data above those on the critic."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    on_critic = [arm for arm in ARMS if "critic" in arm or "diffaug" in arm]
    groups = {"on the data": [arm for arm in ARMS if arm not in [*on_critic, "none"]], "on the critic": on_critic}
    figure = Figure(figsize=(4.5 * len(curves), 8), layout="constrained")
    FigureCanvasAgg(figure)
    for row_of_axes, (side, names) in zip(figure.subplots(2, len(curves), squeeze=False), groups.items()):
        for axes, ((data, num, _), arms) in zip(row_of_axes, curves.items()):
            for arm in ["none", *names]:
                if not arms[arm]:
                    continue
                images = arms[arm][0]["images"]
                fd = np.array([run["fd"] for run in arms[arm]])
                half = student.ppf(0.975, len(fd) - 1) * fd.std(0, ddof=1) / len(fd) ** 0.5 if len(fd) > 1 else 0
                (line,) = axes.plot(images, fd.mean(0), color="black" if arm == "none" else None, label=arm)
                axes.fill_between(images, fd.mean(0) - half, fd.mean(0) + half, color=line.get_color(), alpha=0.12)
            lowest = min(run["fd"].min() for runs in arms.values() for run in runs)
            highest = max(run["fd"][-1] for run in arms["none"]) if arms["none"] else 10 * lowest
            axes.set(title=f"{data}, {num:,}, {side}", xlabel="images shown", ylabel="FD", yscale="log")
            axes.set_ylim(0.8 * lowest, 2.5 * highest)
            axes.locator_params(axis="x", nbins=4)
            axes.legend(fontsize="x-small")
    figure.savefig(path, dpi=80)


def sheet(given: argparse.Namespace, cell: Cell, arms: dict) -> None:
    """Samples of every arm at the seed whose last Frechet distance is the median."""
    strips = {}
    for arm, runs in arms.items():
        if runs:
            seed = sorted(runs, key=lambda run: run["fd"][-1])[(len(runs) - 1) // 2]["seed"]
            strips[arm] = Image.open(samples_path(given, cell, arm, seed)).convert("RGB")
    scale = max(1, round(40 / next(iter(strips.values())).height))
    width, height = (scale * side for side in next(iter(strips.values())).size)
    picture = Image.new("RGB", (130 + width, len(strips) * (height + 4)), "white")
    for i, (arm, strip) in enumerate(strips.items()):
        ImageDraw.Draw(picture).text((4, i * (height + 4) + height // 2 - 5), arm, fill="black")
        picture.paste(strip.resize((width, height), Image.Resampling.NEAREST), (130, i * (height + 4)))
    picture.save(given.out / f"sheet-{given.tier}-{name_of(cell)}.png")


if __name__ == "__main__":
    main()
