"""Whatever is wrong ends with one line that names it, leaves nothing, and takes seconds: all cases of bad_input.py."""

import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

import run
from lightning_genae.data.mel import Mel
from tests.bad_files import full_disk
from tests.bad_input import CASES, RUN, Case


@pytest.fixture(scope="module")
def some_run(tmp_path_factory) -> Path:
    """A finished run of RUN."""
    folder = tmp_path_factory.mktemp("some_run")
    words = shlex.split(f"{RUN} --logger none --accelerator cpu --folder {folder}/run --cache {folder}/cache")
    assert run.main(words) == 0
    assert Mel(16_000, 8).bands.any()  # what librosa compiles in an environment once, for 20 s, is of no case's ten
    return folder / "run"


def files_here() -> dict[Path, bytes]:
    """Contents of all files, without locks, which cannot be deleted safely."""
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file() and not path.name.endswith(".lock")}


def test_there_are_enough_cases_and_no_two_are_alike():
    assert len({case.name for case in CASES}) == len(CASES) >= 120


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_bad_input(case: Case, cli, some_run, monkeypatch, request):
    if "16-mixed" in case.words and request.config.getoption("--device") != "cpu":
        pytest.skip("16-mixed is possible on a GPU")
    try:
        case.files(some_run)
    except subprocess.CalledProcessError:
        pytest.skip("nothing can be mounted here")
    if case.without:
        parts = [name for name in sys.modules if name.startswith(f"{case.without}.")]
        for name in [case.without, *parts]:
            monkeypatch.setitem(sys.modules, name, None)
    for name, value in case.environment:
        monkeypatch.setenv(name, value)
    before = files_here()
    start = time.process_time()
    try:
        status, _, error = cli(*case.words, *case.own_cache)
        seconds = time.process_time() - start  # not those of the clock: others work on the machine too
        after = files_here()
    finally:
        if case.files is full_disk:
            subprocess.run(["umount", "full"], check=True)
    assert (status, case.message in error) == (case.status, True), error
    assert len(error.strip().splitlines()) == 1 and "Traceback" not in error
    assert {path: content for path, content in after.items() if not path.match(case.leaves or "-")} == before
    assert seconds < 10
