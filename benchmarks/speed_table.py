"""The table of benchmarks/speed.py: its rows, what was there before, what is asked for, and the files they are in."""

import json
import os
import platform
import statistics
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("torch", "pytorch-lightning", "torchmetrics", "torch-fidelity", "pythae")


class Row(NamedTuple):
    """A measurement.

    Attributes:
        key: of the row, in `ASKED`.
        value: a ratio, or seconds. None: it could not be measured.
        seconds: the median of every contender, or of what was measured.
        note: for the table.
        rounds: how often it was measured.
        cpu: the same ratio of the processes' CPU time, which other work on the machine changes less.
    """

    key: str
    value: float | None
    seconds: dict[str, float]
    note: str = ""
    rounds: int = 1
    cpu: float | None = None


def ratio(key: str, times: dict, which: str, over: str) -> Row:
    """The row of a contender's median over that of another one.

    Args:
        key: of the row.
        times: `speed_turns.Times` by name.
        which: contender.
        over: the other one.
    """
    ours, other = times[which], times[over]
    seconds = {name: times[name].seconds for name in (which, over)}
    cpu = statistics.median(ours.cpu) / statistics.median(other.cpu)
    return Row(key, ours.seconds / other.seconds, seconds, rounds=len(ours.wall), cpu=cpu)


class Asked(NamedTuple):
    """What is asked of a row.

    Attributes:
        what: is measured.
        before: as it was on 2026-11-22, in words.
        limit: that the value shall reach.
        at_least: whether it is a lower limit.
        unit: after the value.
    """

    what: str
    before: str
    limit: float
    at_least: bool = False
    unit: str = ""


ASKED = {
    "step-8": Asked("a step of the GAN, 8x8, over a bare loop", "1.3 to 1.6", 1.10),
    "step-28": Asked("a step of the GAN, 28x28, over a bare loop in float32", "1.07", 0.75),
    "step-28-bf16": Asked("the same by `--precision bf16-mixed`", "0.75", 0.60),
    "critic-8": Asked("`--augment ae --augment.on critic` over none, 8x8", "1.18 to 1.38", 1.10),
    "critic-28": Asked("`--augment ae --augment.on critic` over none, 28x28", "1.18 to 1.38", 1.10),
    "busy": Asked("a run beside a process that keeps a core busy, over a run alone", "5.3", 1.5),
    "start-folder": Asked("before the first step: 1,600 colour images of 64x64, empty cache", "300 s", 60, unit=" s"),
    "start-mnist": Asked("before the first step: 60,000 images of 28x28, empty cache", "180 s", 45, unit=" s"),
    "imports": Asked("to the first step of `--model gan --augment ae`, warm caches, over `import torch`", "4.7", 1.5),
    "evaluation": Asked(
        "evaluation of 10,000 samples in EfficientNet's features, over the faster of torchmetrics and torch-fidelity",
        "0.53",
        0.35,
    ),
    "epoch-bare": Asked(
        "half an epoch of a dense autoencoder on 54,000 images, with bar, CSV and W&B offline, over a bare loop",
        "not measured",
        1.10,
    ),
    "epoch-pythae": Asked("the same over pythae's trainer", "not measured", 0.80),
    "folder": Asked("images of a folder, 64x64, second epoch, over ImageFolder by 2 workers", "not measured", 0.2),
    "ranks": Asked(
        "images per second of two processes (gloo), the batch split, over one with two threads",
        "not measured",
        0.9,
        at_least=True,
    ),
    "ablate": Asked("20 short runs by `ablate`, over a shell loop of the same commands", "about 1", 0.35),
}


def machine(device: str) -> dict:
    """What the figures depend on besides the code."""
    import torch

    with open("/proc/cpuinfo") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    gpu = {"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}
    return {
        **gpu,
        "cpu": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "date": time.strftime("%Y-%m-%d"),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def save(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def merged(path: Path, content: dict) -> dict:
    """New rows, and those of an earlier file that were not measured anew."""
    old = json.loads(path.read_text())["rows"] if path.is_file() else []
    new = {row["key"] for row in content["rows"]}
    order = list(ASKED)
    rows = [row for row in old if row["key"] not in new] + content["rows"]
    return {**content, "rows": sorted(rows, key=lambda row: order.index(row["key"]))}


def lines(content: dict) -> list[str]:
    """The table in Markdown, with every row that is asked for."""
    about = content["machine"]
    rows = {row["key"]: row for row in content["rows"]}
    where = f"{about['cpu']}, {about['cores']} cores, torch {about['torch']}, {about['date']}"
    text = [f"On {where}; a load of {about['load_before']:.1f} before it. Contenders by turns, medians.", ""]
    text += ["| what | before | now | asked for | medians, s | rounds |", "|---|---|---|---|---|---|"]
    for key, asked in ASKED.items():
        limit = f"{'at least' if asked.at_least else 'at most'} {asked.limit:g}{asked.unit}"
        row = rows.get(key)
        if row is None:
            text.append(f"| {asked.what} | {asked.before} | to be measured | {limit} | | |")
            continue
        medians = ", ".join(f"{name} {_short(value)}" for name, value in row["seconds"].items())
        note = f"; {row['note']}" if row["note"] and row["value"] is not None else ""
        text.append(
            f"| {asked.what} | {asked.before} | {_value(row, asked)} | {limit} | {medians}{note} | {row['rounds']} |"
        )
    return text


def _value(row: dict, asked: Asked) -> str:
    if row["value"] is None:
        return row["note"]
    form = f"{row['value']:.0f}{asked.unit}" if asked.unit else f"{row['value']:.2f}"
    reached = row["value"] >= asked.limit if asked.at_least else row["value"] <= asked.limit
    return f"{form}" if reached else f"**{form}**, not reached"


def _short(seconds: float) -> str:
    return f"{seconds:.3g}" if seconds < 1 else f"{seconds:.2f}"
