"""Every wrong command, config, file and machine of tests/bad_input.py, each in a process of its own.

python benchmarks/bad_input.py          writes robustness/inputs.md; some minutes
"""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

begun = time.monotonic()
import callbacks.evaluate  # noqa: E402, F401
import datamodules.folder  # noqa: E402, F401
import lightning_genae.ablation.command  # noqa: E402
import lightning_genae.models.gan  # noqa: E402, F401
import run  # noqa: E402

imports = time.monotonic() - begun

LIMIT = 120  # seconds, after which a case counts as accepted


def start(words: list[str], without: str | None, environment: dict[str, str]) -> tuple[int, str]:
    """`run.py`'s main in a process of its own, in the working folder; its status and what it says in standard error.

    The process is a copy of this one, which has imported torch and Lightning: that takes longer than all else.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(error.fileno(), 2)
            signal.alarm(LIMIT)
            os.environ.update({"NETRC": "netrc", **environment})
            sys.modules |= {name: None for name in sys.modules if without and f"{name}.".startswith(f"{without}.")}
            sys.modules |= {without: None} if without else {}
            status = run.main(words)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        _, ended = os.waitpid(child, 0)
        error.seek(0)
        return os.waitstatus_to_exitcode(ended), error.read().decode(errors="replace").strip()


def files_here() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file() and not path.name.endswith(".lock")}


def row(case, finished: Path) -> tuple[list[str], list[str]]:
    """A case's line of the table, and what is wrong with how it ended."""
    from tests.bad_files import full_disk

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        case.files(finished)
        before = files_here()
        begun = time.monotonic()
        logger = [] if case.words[0] in run.VERBS else ["--logger", "none"]
        words = [*case.words, *case.own_cache, *(logger if "--logger" not in case.words else [])]
        try:
            status, error = start(words, case.without, dict(case.environment))
            seconds = time.monotonic() - begun
            after = files_here()
        finally:
            if case.files is full_disk:
                subprocess.run(["umount", "full"], check=True)
            os.chdir(HERE)
    left = [path for path in after.keys() | before.keys() if after.get(path) != before.get(path)]
    wrong = [
        *([f"status {status}"] if status != case.status else []),
        *(["other words"] if case.message not in error else []),
        *([f"{len(error.splitlines())} lines"] if len(error.splitlines()) != 1 else []),
        *(f"left {path}" for path in left if not path.match(case.leaves or "-")),
    ]
    # the folder is another one each time, and of no meaning elsewhere
    message = error.removeprefix("run.py: error: ").replace(f"{folder}/", "").replace("|", "\\|")
    return [case.name.replace("|", "\\|"), str(status), f"{seconds:.1f}", message[:200]], wrong


def write(rows: list[list[str]], wrong: list[str], total: int) -> None:
    seconds = sorted(float(one[2]) for one in rows)
    lines = [
        "# What wrong input ends with",
        "",
        f"By `python benchmarks/bad_input.py`: {len(rows)} of {total} cases of `tests/bad_input.py`, one after the "
        f"other, each a process of its own. {len(wrong)} ended otherwise than they should"
        + (": " + "; ".join(wrong) if wrong else "")
        + f". Seconds after torch and Lightning are imported, which took {imports:.0f} s on this busy machine: median "
        f"{seconds[len(seconds) // 2]:.1f}, most {seconds[-1]:.1f}. Status 2 is the user's mistake, 3 the machine's "
        "lack.",
        "",
        "| case | status | seconds | message |",
        "|---|---|---|---|",
        *(f"| `{one[0]}` | {one[1]} | {one[2]} | {one[3]} |" for one in rows),
    ]
    (HERE / "robustness").mkdir(exist_ok=True)
    (HERE / "robustness" / "inputs.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    from tests.bad_input import CASES, RUN

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        run.COMMAND_LINE.parse([])  # the copies need not make a parser of so many options
        status, error = start(shlex.split(f"{RUN} --logger none --folder run"), None, {})
        assert status == 0, error
        rows, wrong = [], []
        for case in CASES:
            line, faults = row(case, Path(folder, "run"))
            rows.append(line)
            wrong += [f"`{case.name}`: {', '.join(faults)}"] if faults else []
            write(rows, wrong, len(CASES))
            print(*line[1:3], line[0], *faults, flush=True)


if __name__ == "__main__":
    main()
