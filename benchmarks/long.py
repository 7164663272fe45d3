"""Does the memory of a long run grow? Its resident set over 100,000 batches of digits, with everything on.

    python benchmarks/long.py                       100,000 batches; --steps for fewer

Pictures, looks, metrics.csv and W&B (offline) are on; a tiny network, batches of 16. The row goes to
benchmarks/robustness/scale.md.
"""

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

from scale import ROOT, write

SHARE_OF_WARMING = 0.2  # of the run, after which memory shall stay as it is


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--work", type=Path, default=Path("runs/long"))
    given = parser.parse_args()
    words = ["--model", "gan", "--augment", "noise", "--model.network", "mlp", "--model.hidden", "[8]", "--overwrite"]
    words += [
        "--data.batch_size",
        "16",
        "--metrics.features",
        "pixels",
        "--metrics.looks",
        "20",
        "--accelerator",
        "cpu",
    ]
    words += ["--steps", str(given.steps), "--folder", str(given.work / "run"), "--cache", str(given.work / "cache")]
    command = [sys.executable, str(ROOT / "run.py"), *words]
    start, sizes = time.perf_counter(), []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as run:
        while run.poll() is None:
            time.sleep(1)
            sizes.append((batches(given.work / "run" / "metrics.csv"), resident(run.pid)))
    seconds = time.perf_counter() - start
    warm = [size for batch, size in sizes if given.steps * SHARE_OF_WARMING <= batch < given.steps * 0.97 and size]
    tenth = max(1, len(warm) // 10)
    # the least of each stretch: pictures and evaluations need memory for a moment
    first, last = min(warm[:tenth]), min(warm[-tenth:])
    grown = f"{first:.0f} MB after {SHARE_OF_WARMING:.0%}, {last:.0f} MB at the end ({(last / first - 1):+.1%})"
    write("long", [(f"{given.steps:,} batches of 16 digits", f"{grown}, {seconds:.0f} s", "1 %")])


def batches(path: Path) -> int:
    """How many batches the last row of a metrics.csv is of."""
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2000))
        rows = file.read().decode().splitlines()
    return int(rows[-1].partition(",")[0]) if len(rows) > 1 and rows[-1][:1].isdigit() else 0


def resident(pid: int) -> float:
    """Megabytes of memory of a process's own, which files that it has mapped are not."""
    try:
        return int(re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) / 1e3
    except (OSError, TypeError):  # it has just ended
        return 0.0


if __name__ == "__main__":
    main()
