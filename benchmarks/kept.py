"""Keeps a row of every finished run in a CSV file, so that a stage goes on on another machine, and prints its tables.

    python benchmarks/kept.py autoencoder_wins/confirm.csv RUNS...      folders of ablations, named after their data
    python benchmarks/kept.py autoencoder_wins/confirm.csv              the tables of what is kept

One arm, ae unless --first says another, is compared with every other one; with --base every other one is compared with
that. A comparison is the mean logarithm of the ratio of --endpoint at the same seeds, its 95 % interval, and the p of a
paired t test corrected for all comparisons in the file (Holm 1979). The last quarter is the change of the distance over
the last quarter of the batches: near 0 where a training has come to its end.
`python run.py evaluate RUN --metrics.features efficientnet` adds the judges of another network, for runs that were so
evaluated.
"""

import argparse
import csv
import math
import sys
from pathlib import Path
from statistics import mean

import numpy as np

from lightning_genae.ablation import records, statistics
from lightning_genae.ablation.tables import percent, probability

KEY = ("data", "arm", "seed")
MEASURED = ("late_fd", "fd", "kid", "coverage", "copying")
OTHER = {"fd_efficientnet": "fd", "kid_efficientnet": "kid", "coverage_efficientnet": "coverage"}
COLUMNS = (*KEY, *MEASURED, *OTHER, "fd_train", "classification_accuracy", "seconds", "looks", "batches", "torch")
# of the tables, the endpoint first, and how they are written; a column that no run of a data set has is left out
JUDGES = {
    "late_fd": ("late_fd", ".2f"),
    "coverage": ("coverage", ".3f"),
    "copying": ("copying", ".3f"),
    "fd_efficientnet": ("FD, other network", ".0f"),
    "kid_efficientnet": ("KID, other network", ".3g"),
    "coverage_efficientnet": ("coverage, other network", ".3f"),
    "classification_accuracy": ("accuracy", ".3f"),
    "seconds": ("seconds", ".0f"),
}
Row = dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("runs", nargs="*", type=Path)
    arm = parser.add_mutually_exclusive_group()
    arm.add_argument("--first", default="ae", help="the arm that is compared with every other one")
    arm.add_argument("--base", help="the arm that every other one is compared with")
    parser.add_argument("--endpoint", choices=JUDGES, default="late_fd", help="the column that arms are compared by")
    given = parser.parse_args()
    rows = {_key(row): row for row in read(given.file)}
    for folder in given.runs:
        found = [_row(folder.name, record) for record in records.read([folder])[0] if record.results]
        rows |= {_key(row): row for row in found}
    if not rows:
        sys.exit(f"'{given.file}' keeps no run, and none was given that is finished")
    if given.runs:
        with given.file.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows.values())
    print(tables(list(rows.values()), given.base or given.first, bool(given.base), given.endpoint))


def tables(rows: list[Row], one: str, is_base: bool = False, endpoint: str = "late_fd") -> str:
    """A table in Markdown of every data set: every arm, and one of them against it, or it against that one."""
    values = {
        (data, arm): {
            int(row["seed"]): float(row[endpoint]) for row in rows if (row["data"], row["arm"]) == (data, arm)
        }
        for data, arm in dict.fromkeys((row["data"], row["arm"]) for row in rows if row[endpoint])
    }
    compared = [(data, arm) for data, arm in values if arm != one and (data, one) in values]
    sign = -1 if is_base else 1
    differences = [
        sign * statistics.paired(values[data, one], values[data, arm], ratios=True) for data, arm in compared
    ]
    p = dict(zip(compared, statistics.p_values(differences).p_holm))
    contrast = f"against {one}" if is_base else f"{one} against it"
    title, form_of_endpoint = JUDGES[endpoint]
    lines = []
    for data in dict.fromkeys(data for data, _ in values):
        of_data = [row for row in rows if row["data"] == data]
        of_images = _mean(of_data, "fd_train", ".2f")
        judges = {
            column: judge
            for column, judge in JUDGES.items()
            if column != endpoint and any(row[column] for row in of_data)
        }
        titles = ["arm", "seeds", title, contrast, "p, Holm", "last quarter"]
        titles += [title for title, _ in judges.values()]
        lines += [f"**{data}**" + (f", whose training images are at {of_images}" if of_images else ""), ""]
        lines += [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
        for of, arm in values:
            if of != data:
                continue
            summary = statistics.summary(list(values[data, arm].values()))
            change = ("", "")
            if (data, arm) in p:
                change = _change(differences[compared.index((data, arm))]), probability(p[data, arm])
            own = [row for row in of_data if row["arm"] == arm]
            spread = f" ± {summary.std:{form_of_endpoint}}" if summary.num > 1 else ""
            cells = [arm, str(summary.num), f"{summary.mean:{form_of_endpoint}}{spread}", *change, _last_quarter(own)]
            cells += [_mean(own, column, form) for column, (_, form) in judges.items()]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _change(differences: np.ndarray) -> str:
    found = statistics.summary(differences)
    interval = f" ({percent(found.low)} to {percent(found.high)})" if found.num > 1 else ""
    return percent(found.mean) + interval


def _last_quarter(rows: list[Row]) -> str:
    """By how much the Frechet distance changed over the last quarter of the batches, as the mean logarithm."""
    looks = [[float(look) for look in row["looks"].split()] for row in rows]
    return percent(mean(math.log(of[-1] / of[3 * len(of) // 4 - 1]) for of in looks))


def _mean(rows: list[Row], column: str, form: str) -> str:
    known = [float(row[column]) for row in rows if row[column]]
    return format(mean(known), form) if known else ""


def _row(data: str, record: records.Record) -> Row:
    metrics, timing = record.results["metrics"], record.results["timing"]
    looks = record.curve("fd")[1]
    row: dict[str, object] = {"data": data, "arm": record.arm, "seed": record.seed, "batches": timing["batches"]}
    row |= {name: record.value(name) for name in MEASURED}
    row |= {name: metrics.get(name) for name in ("fd_train", "classification_accuracy")}
    others = [
        of["metrics"] for of in record.results.get("evaluations", []) if of["protocol"]["extractor"] != "classifier"
    ]
    row |= {name: others[-1][metric] for name, metric in OTHER.items() if others}
    row |= {"seconds": round(timing["seconds"]), "looks": " ".join(f"{look:.4g}" for look in looks)}
    row["torch"] = record.results["protocol"]["versions"]["torch"]
    return {name: "" if row.get(name) is None else _text(row[name]) for name in COLUMNS}


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def read(path: Path) -> list[Row]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [dict.fromkeys(COLUMNS, "") | row for row in csv.DictReader(file)]  # there may be columns since then


def _key(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in KEY)


if __name__ == "__main__":
    main()
