"""How fast the project is beside what one would use instead: one table, in a quarter of an hour on two cores.

    python benchmarks/speed.py                        all rows, to benchmarks/speed/cpu.json and README.md
    python benchmarks/speed.py steps ranks            some rows; the others stay in the file
    python benchmarks/speed.py --table                the tables anew, also that of docs/speed.md, measuring nothing
    python benchmarks/speed.py --device cuda          on a GPU: see speed_device.py; 25 minutes

Contenders take turns, round by round (speed_turns.py), so that both meet the same moods of the machine; nothing else
should run beside them all the same. Every row is a file of its own, speed_*.py, which says what is compared and which
runs alone. What is not installed is named and left out: pip install pythae torch-fidelity.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import speed_epoch
import speed_evaluation
import speed_folder
import speed_ranks
import speed_steps
from speed_table import Row, lines, machine, merged, ratio, save
from speed_turns import ROOT, Times

sys.path.insert(0, str(ROOT))
OUT, DOCS = ROOT / "benchmarks" / "speed", ROOT / "docs" / "speed.md"
BEGIN, END = "<!-- speed table -->", "<!-- end of the speed table -->"
SHORT = ("--model", "gan", "--steps", "4", "--cache", "cache", "--metrics.features", "pixels")


def start(rounds: int, share: float) -> list[Row]:
    """Seconds before the first step, once each: minutes."""
    measured = import_module("speed_start")
    seconds = {"start-folder": measured.folder_64(), "start-mnist": measured.mnist()}
    return [Row(key, value, {"ours": value}) for key, value in seconds.items()]


def imports(rounds: int, share: float) -> list[Row]:
    """To the first step over `import torch`."""
    names = ("first step", "import torch")
    measured = import_module("speed_imports").first_step(rounds)
    times = {name: Times(of.wall, of.cpu, {}) for name, of in zip(names, measured)}
    return [ratio("imports", times, *names)]


def busy(rounds: int, share: float) -> list[Row]:
    """A short main job beside a busy process; two runs of each are minutes."""
    module = import_module("speed_busy")
    words = module.WORDS if share == 1 else (*SHORT[:4], "--augment", "none", "--logger", "csv", *SHORT[6:])
    found = module.busy_row(words, rounds=1)
    return [Row("busy", found["ratio"], {"busy": found["busy"], "quiet": found["quiet"]})]


def ablate(rounds: int, share: float) -> list[Row]:
    """Short runs by ablate over a shell loop, once: minutes."""
    import speed_ablate

    words, seeds = (speed_ablate.WORDS, 10) if share == 1 else (SHORT, 1)
    loop, ablation = speed_ablate.measure(seeds, words)
    seconds = {"ablate": ablation.wall, "shell loop": loop.wall}
    note = "" if seeds == 10 else f"{2 * seeds} runs"
    return [Row("ablate", ablation.wall / loop.wall, seconds, note, cpu=ablation.cpu / loop.cpu)]


def evaluation(rounds: int, share: float) -> list[Row]:
    """An evaluation, once: minutes."""
    return speed_evaluation.rows(1, share)


PARTS: dict[str, Callable[[int, float], list[Row]]] = {
    "steps": speed_steps.rows,
    "epoch": speed_epoch.rows,
    "folder": speed_folder.rows,
    "ranks": speed_ranks.rows,
    "evaluation": evaluation,
    "imports": imports,
    "start": start,
    "busy": busy,
    "ablate": ablate,
}
NEEDS = {"start": "speed_start", "imports": "speed_imports", "busy": "speed_busy", "evaluation": "torch_fidelity"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of the table: {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--share", type=float, default=1.0, help="of the usual work, to try the script")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="cuda: the table of a GPU; cpu: the same on this CPU")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the results")
    parser.add_argument("--table", action="store_true", help="write the tables from the results that are there")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"expected some of {', '.join(PARTS)}; got {', '.join(sorted(unknown))}")
    if given.device:
        from speed_device import write

        write(given.device, given.out, given.rounds, given.share)
    elif not given.table:
        measure(given.parts or list(PARTS), given.rounds, given.share, given.out)
    if not given.device:
        tables(given.out)


def measure(parts: list[str], rounds: int, share: float, out: Path) -> None:
    """Measures parts, and saves every one as soon as it is done."""
    about, begin = machine("cpu"), time.perf_counter()
    for name in parts:
        needed = NEEDS.get(name)
        if needed and not find_spec(needed):
            print(f"{name}: {needed} is missing", flush=True)
            continue
        at = time.perf_counter()
        rows = PARTS[name](rounds, share)
        for row in rows:
            print(f"{row}  [{time.perf_counter() - at:.0f} s]", flush=True)
        content = {"machine": about, "share": share, "rows": [row._asdict() for row in rows]}
        save(out / "cpu.json", merged(out / "cpu.json", content))
    print(f"{time.perf_counter() - begin:.0f} s")


def tables(out: Path) -> None:
    """Writes README.md beside the results and, from the project's own ones, the table of docs/speed.md."""
    text = lines(json.loads((out / "cpu.json").read_text()))
    head = ["# How fast it is", "", "By `python benchmarks/speed.py`.", ""]
    (out / "README.md").write_text("\n".join([*head, *text, ""]))
    if out.resolve() == OUT:
        before, _, rest = DOCS.read_text().partition(BEGIN)
        DOCS.write_text("\n".join([f"{before}{BEGIN}", *text, f"{END}{rest.partition(END)[2]}"]))


if __name__ == "__main__":
    main()
