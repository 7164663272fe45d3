"""What processes share: made once, whole, whoever is killed; how much there is, and its removal."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from lightning_genae import cache_contents
from lightning_genae.cache import cached

DAY = 24 * 3600

# several processes that want the same file at once, and note who made it; the forked ones need not import torch again
TOGETHER = """
import multiprocessing, os, sys, time
from pathlib import Path
from lightning_genae.cache import cached
from datamodules._packs import packed

def build(path):
    with open("made", "a") as file:
        file.write(f"{os.getpid()}\\n")
    with path.open("wb") as file:
        for _ in range(20):
            file.write(b"x" * 1000)
            file.flush()
            time.sleep(float(sys.argv[2]) / 20)

def ask(i):
    pack = Path("cache/kind/a.npy")
    path = cached("cache", "kind", {"a": 1}, build) if sys.argv[3] == "cached" else packed(pack, build)
    assert path.read_bytes() == b"x" * 20_000

if __name__ == "__main__":
    processes = [multiprocessing.get_context("fork").Process(target=ask, args=(i,)) for i in range(int(sys.argv[1]))]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.exit(sum(process.exitcode != 0 for process in processes))
"""


def together(num: int, seconds: float, how: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", TOGETHER, str(num), str(seconds), how], start_new_session=True)


@pytest.mark.parametrize("how", ["cached", pytest.param("packed", marks=pytest.mark.slow)])
def test_a_killed_builder_blocks_nobody_and_eight_that_ask_make_it_once(tmp_path, how):
    first = together(1, 60, how)
    while not Path("made").exists() or not list(Path("cache/kind").glob("*unfinished*")):
        assert first.poll() is None
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    (leftover,) = Path("cache/kind").glob("*unfinished*")
    assert together(8, 0.3, how).wait(60) == 0
    assert len(Path("made").read_text().split()) == 2  # the killed one, and one of the eight
    assert not leftover.exists() and not list(Path("cache").rglob("*unfinished*"))


def write(path: Path) -> None:
    path.write_text("whole")


def test_what_fails_leaves_nothing_and_is_made_by_the_next():
    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        cached("cache", "kind", {"a": 1}, fail)
    assert not [path for path in Path("cache/kind").iterdir() if path.suffix != ".lock"]
    path = cached("cache", "kind", {"a": 1}, write)
    assert path.read_text() == "whole" and json.loads(path.with_suffix(".json").read_text()) == {"a": 1}


def aged(path: Path, days: float) -> None:
    for one in path.parent.glob(f"{path.stem}*"):
        os.utime(one, (time.time() - days * DAY,) * 2)


def test_prune_removes_what_is_old_and_what_the_killed_left_but_nothing_that_is_locked():
    old, new, locked = (cached("shared", "kind", {"a": i}, write) for i in range(3))
    leftover, held = new.with_name(f"{new.name}-1a2b.unfinished"), locked.with_name(f"{locked.name}-3c.unfinished")
    pack = Path("shared/images/0123456789abcdef.npy")
    pack.parent.mkdir()
    for path in (leftover, held, pack, pack.with_suffix(".sha256"), Path(f"{pack}.lock")):
        path.write_text("x" * 5000)
    for path in (old, locked, pack):
        aged(path, 31)
    with FileLock(f"{locked}.lock"):
        freed = cache_contents.prune(Path("shared"), 30)
    assert freed > 10_000
    left = {path.name for path in Path("shared").rglob("*") if path.is_file()}
    names = {new.name, f"{new.name}.json", f"{new.name}.lock"}
    assert left == names | {path.name for path in locked.parent.glob(f"{locked.name}*")} and held.exists()
    assert cached("shared", "kind", {"a": 2}, None) == locked  # it is used, and so no longer old
    assert cache_contents.prune(Path("shared"), 30) > 0  # the leftover, whose lock is free now
    assert locked.exists() and not held.exists()


def test_the_verb(capsys):
    import run

    path = cached("shared", "autoencoder", {"a": 1}, lambda path: path.write_bytes(b"x" * 2_000_000))
    aged(path, 40)
    path.with_name(f"{path.name}-12.unfinished").write_text("half")
    assert run.main(["cache", "--cache", "shared"]) == 0
    out = capsys.readouterr().out
    assert "autoencoder" in out and "2.01 MB" in out and "40 to 40 days ago" in out and out.rstrip().endswith(" 1")
    assert run.main(["cache", "--cache", "shared", "--prune", "--older_than", "50"]) == 0
    assert path.exists() and len(list(path.parent.iterdir())) == 3
    assert run.main(["cache", "--cache", "shared", "--prune", "--older_than", "39"]) == 0
    assert not list(path.parent.iterdir())
    others = [Path("shared/autoencoder/.DS_Store"), Path("shared/mine/thesis.txt"), Path("own/run/model.safetensors")]
    for other in others:  # of somebody's
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_text("years of work")
        os.utime(other, (0, 0))
    cached("shared", "kind", {"a": 1}, lambda path: path.write_text("x"))
    assert run.main(["cache", "--cache", "shared", "--prune"]) == 0
    assert run.main(["cache", "--cache", "own", "--prune"]) == 2
    assert "--cache: expected a folder that runs have as their --cache; got 'own'" in capsys.readouterr().err
    assert all(other.read_text() == "years of work" for other in others)
    assert run.main(["cache", "--cache", "nowhere"]) == 2
    assert "--cache: expected a folder, got 'nowhere'" in capsys.readouterr().err
