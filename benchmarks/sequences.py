"""The main job for series, text and sounds: one run each by the README's command, its time, numbers and pictures.

    python benchmarks/sequences.py                     some eight minutes on two cores, with nothing beside it
    python benchmarks/sequences.py --data text         one of them

Every run is `python run.py`, in runs/sequences; what is finished there is not trained again. The pictures and the table
go to benchmarks/sequences.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

from lightning_genae.evaluation.metrics import known_values

ROOT = Path(__file__).resolve().parents[1]
COMMAND = ["--model", "rnn_ae", "--augment", "ae"]
OWN = {"timeseries": [], "text": ["--steps", "2000"], "audio": ["--steps", "1500"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(OWN), choices=list(OWN))
    parser.add_argument("--steps", help="batches of every run, instead of the README's")
    parser.add_argument("--runs", type=Path, default=Path("runs/sequences"))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "sequences")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    parts = [section(data, given) for data in given.data]
    title = "# The main job for sequences\n\nBy `python benchmarks/sequences.py`; "
    machine = f"torch {torch.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores, one seed.\n"
    (given.out / "README.md").write_text("\n".join([title + machine, *parts]))
    print(given.out / "README.md")


def section(data: str, given: argparse.Namespace) -> str:
    """Trains, if it is not done, and tells in Markdown what came of it."""
    folder = given.runs / data
    words = [*COMMAND, "--data", data, *(["--steps", given.steps] if given.steps else OWN[data])]
    taken = folder.with_suffix(".seconds")
    if not taken.is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        with folder.with_suffix(".log").open("w") as log:
            places = ["--folder", str(folder), "--cache", str(given.runs / "cache"), "--logger", "csv"]
            command = [sys.executable, str(ROOT / "run.py"), *words, *places]
            subprocess.run(command, check=True, stdout=log, stderr=log)
        taken.write_text(f"{time.perf_counter() - start:.0f}")
    results = json.loads((folder / "results.json").read_text())
    lines = [f"## {data}\n", f"`python run.py {' '.join(words)}`, {taken.read_text()} s with everything.\n"]
    lines += [*table(results), ""]
    for name in ("samples", "reconstructions"):
        lines.append(f"![{name} of {data}]({picture(data, name, folder, given.out).name})\n")
    return "\n".join(lines)


def table(results: dict) -> list[str]:
    """The metrics of a run and of real data, as Markdown."""
    metrics, protocol = results["metrics"], results["protocol"]
    lines = [f"| | {protocol['n_fake']:,} samples | real {protocol['items']} |", "|---|---|---|"]
    for name, value in known_values().items():
        if name in metrics and value.is_row:
            floor = format(protocol["floor"][name], value.form) if name in protocol["floor"] else ""
            lines.append(f"| {value.label} | {metrics[name]:{value.form}} | {floor} |")
    if "bits_per_character" in metrics:
        of = protocol["bits_per_character_of"]
        others = f"character n-grams {of['ngram']:.3f}, gzip {of['gzip']:.3f}"
        lines.append(
            f"| bits per character of held-out text, at most | {metrics['bits_per_character']:.3f} | {others} |"
        )
    return lines


def picture(data: str, name: str, folder: Path, out: Path) -> Path:
    """Copies a run's last picture of a kind."""
    last = sorted((folder / name).glob("*.png"))[-1]
    return Path(shutil.copy(last, out / f"{data}-{name}.png"))


if __name__ == "__main__":
    main()
