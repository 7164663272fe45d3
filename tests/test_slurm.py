"""What goes to Slurm, by stand-ins of its programs that keep a queue in files; tests/test_cluster.py has Slurm."""

import json
import os
import pickle
import re
import shlex
import stat
import subprocess
from pathlib import Path

import pytest

from lightning_genae.ablation import slurm
from lightning_genae.ablation.launch import Task
from lightning_genae.ablation.slurm import Slurm, max_array, write_sbatch

SBATCH = """#!/bin/bash
# notes what it gets, queues its jobs; the files refuse, late and interrupt make it fail
cd "$(dirname "$0")"
[ -e refuse ] && { echo "sbatch: error: Batch job submission failed: Invalid partition" >&2; exit 1; }
number=$(($(ls | grep -c '^[0-9]*.sh$') + 1))
cp "$1" $number.sh
name=$(sed -n 's/^#SBATCH --job-name=//p' $number.sh)
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' $number.sh)
if [ -n "$last" ]; then for i in $(seq 0 $last); do echo "${number}_$i $name" >>queue; done
else echo "$number $name" >>queue; fi
[ -e late ] && { echo "sbatch: error: Socket timed out on send/recv operation" >&2; exit 1; }
[ -e interrupt ] && { kill -INT $PPID; sleep 1; }
echo "Submitted batch job $number"
"""
SQUEUE = """#!/bin/bash
cd "$(dirname "$0")"
[ -e dumb ] && { echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }
[ -n "$SQUEUE_STATES" ] || cat queue 2>/dev/null
exit 0
"""
SCONTROL = """#!/bin/bash
cat "$(dirname "$0")/config" 2>/dev/null
"""
SRUN = """#!/bin/bash
printf '%s\\0' "$@" >"$(dirname "$0")/called"
"""


@pytest.fixture
def programs(tmp_path, monkeypatch) -> Path:
    """The folder of the stand-ins and of their files."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "squeue": SQUEUE, "scontrol": SCONTROL, "srun": SRUN}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def tasks(num: int) -> list[Task]:
    return [Task(["--seed", str(i)], Path(f"grid/arm/seed{i}.log")) for i in range(num)]


def submissions(programs: Path) -> list[str]:
    """What sbatch was given, in the order of its calls."""
    return [path.read_text() for path in sorted(programs.glob("[0-9]*.sh"), key=lambda path: int(path.stem))]


def logs(num: int) -> set[Path]:
    return {task.log for task in tasks(num)}


def test_what_was_submitted_is_known_to_the_next_call(programs):
    launcher = Slurm(Path("grid"), {}, devices=1)
    launcher.submit(tasks(3))
    assert launcher.active() == logs(3)
    assert Slurm(Path("grid"), {}, devices=1).active() == logs(3)
    (programs / "queue").write_text("1_1 x\n")
    assert launcher.active() == {Path("grid/arm/seed1.log")}
    assert len(submissions(programs)) == 1 and not Path("grid/jobs/submitting.json").exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sbatch is left to itself
@pytest.mark.parametrize("num", [1, 3])
def test_a_call_that_ends_between_sbatch_and_its_note_submits_nothing_twice(programs, num):
    (programs / "interrupt").touch()
    with pytest.raises(KeyboardInterrupt):
        Slurm(Path("grid"), {}, devices=1).submit(tasks(num))
    assert not Path("grid/jobs/submitted.json").exists()
    (programs / "interrupt").unlink()
    second = Slurm(Path("grid"), {}, devices=1)
    assert second.active() == logs(num) and len(submissions(programs)) == 1
    # and its jobs find what they are to do
    (folder,) = Path("grid/jobs").glob("lightning_genae-*")
    for i, task in enumerate(tasks(num)):
        with (folder / (f"1_{i}_submitted.pkl" if num > 1 else "1_submitted.pkl")).open("rb") as file:
            assert pickle.load(file).function.task == task


def test_a_call_that_ends_before_sbatch_leaves_nothing_behind(programs):
    first = Slurm(Path("grid"), {}, devices=1)
    note = {"name": "lightning_genae-0", "tasks": [[[], "grid/arm/seed0.log"]]}
    first.submitting.write_text(json.dumps(note))
    second = Slurm(Path("grid"), {}, devices=1)
    assert second.active() == set() and not second.submitting.exists()


def test_an_answer_of_sbatch_that_comes_too_late(programs):
    """It fails, but the controller has the jobs."""
    (programs / "late").touch()
    launcher = Slurm(Path("grid"), {}, devices=1)
    launcher.submit(tasks(3))
    assert launcher.active() == logs(3) and len(submissions(programs)) == 1


def test_arrays_that_went_before_one_that_is_refused_are_known(programs, monkeypatch):
    monkeypatch.setattr(slurm, "MAX_ARRAY", 2)
    launcher = Slurm(Path("grid"), {}, devices=1)
    launcher.submit(tasks(2))
    (programs / "refuse").touch()
    with pytest.raises(ValueError, match="sbatch says: sbatch: error: Batch job submission failed: Invalid partition"):
        launcher.submit(tasks(4)[2:])
    (programs / "refuse").unlink()
    assert Slurm(Path("grid"), {}, devices=1).active() == logs(2)


def test_nothing_is_submitted_while_squeue_does_not_answer(programs, cli):
    """The status is the machine's; a queue that is unknown is not an empty one."""
    words = ("ablate", "--launcher", "slurm", "--wait", "false", "--seed", "0,1", "--folder", "grid", "--steps", "20")
    assert cli(*words)[0] == 0 and len(submissions(programs)) == 1
    (programs / "dumb").touch()
    status, _, error = cli(*words)
    assert status == 3 and "squeue to say what is queued, got: slurm_load_jobs error: Unable to contact" in error
    (programs / "dumb").unlink()
    assert cli(*words)[0] == 0 and len(submissions(programs)) == 1
    (programs / "queue").write_text("")  # all have ended, and left nothing
    assert cli(*words)[0] == 0 and len(submissions(programs)) == 2


def test_while_it_is_watched_a_queue_that_does_not_answer_is_as_it_was(programs, caplog):
    launcher = Slurm(Path("grid"), {}, devices=1)
    launcher.submit(tasks(2))
    (programs / "dumb").touch()
    assert launcher.active() == launcher.active() == logs(2)
    (programs / "dumb").unlink()
    (programs / "queue").write_text("")
    assert launcher.active() == set()


def test_what_people_set_for_their_looks_at_the_queue(programs, monkeypatch):
    monkeypatch.setenv("SQUEUE_STATES", "RUNNING")
    launcher = Slurm(Path("grid"), {}, devices=1)
    launcher.submit(tasks(2))
    assert launcher.active() == logs(2)


@pytest.mark.parametrize("said, most", [("MaxArraySize            = 4", 4), ("MaxArraySize = 0", 1), ("", 1000)])
def test_arrays_keep_to_the_limit_of_the_site(programs, said, most):
    (programs / "config").write_text(f"MaxJobCount             = 10000\n{said}\n")
    assert max_array() == most
    num = min(most + 1, 5)
    launcher = Slurm(Path("grid"), {}, devices=1)
    launcher.submit(tasks(num))
    sizes = [int((re.findall(r"--array=0-(\d+)", text) or ["0"])[0]) + 1 for text in submissions(programs)]
    assert sum(sizes) == num and max(sizes) <= most and launcher.active() == logs(num)
    paths = write_sbatch(Path("grid/sbatch"), tasks(num), {}, devices=1)
    assert len(paths) == len(sizes)


HOSTILE = ["a b", "it's", '"$(touch mark)"', "`touch mark`", ";touch mark", "*", "#x", "a\tb", ""]


def test_words_and_folders_in_an_sbatch_file_are_themselves(programs, tmp_path, monkeypatch):
    """Run by bash, with an srun that notes what it is called with."""
    here = tmp_path / 'it\'s $(touch mark) # "mine"'
    here.mkdir()
    monkeypatch.chdir(here)
    jobs = [Task(["--seed", str(i), *HOSTILE], Path("grid/a.log")) for i in range(5)]
    (programs / "config").write_text("MaxArraySize = 3\n")
    first, second = write_sbatch(Path("grid dir/sbatch"), jobs, {"comment": "it's; touch mark"}, devices=1)
    for path, index, seed in ((first, 0, "0"), (first, 2, "2"), (second, 0, "3"), (second, 1, "4")):
        subprocess.run(["bash", path], check=True, env={**os.environ, "SLURM_ARRAY_TASK_ID": str(index)})
        called = (programs / "called").read_bytes().decode().split("\0")[:-1]
        assert called[0] == "--kill-on-bad-exit=1" and called[3:] == ["--seed", seed, *HOSTILE]
    flags = [shlex.split(line)[1] for line in first.read_text().splitlines() if line.startswith("#SBATCH")]
    assert {"--comment=it's; touch mark", f"--chdir={here}", "--open-mode=append", "--requeue"} <= set(flags)
    assert not list(tmp_path.rglob("mark"))


def test_what_slurm_runs_is_quoted(programs, tmp_path, monkeypatch):
    """The file of a job array, run by bash, calls this project's jobs from a folder whose name is hostile, and Python
    there imports nothing from the current folder."""
    here = tmp_path / "it's $(touch mark)"
    here.mkdir()
    monkeypatch.chdir(here)
    Slurm(Path("grid"), {"comment": "it's; touch mark"}, devices=1).submit(tasks(2))
    (text,) = submissions(programs)
    (programs / "srun").write_text('#!/bin/bash\nprintf "%s\\0" "$PYTHONSAFEPATH" "$@" >"$(dirname "$0")/called"\n')
    subprocess.run(["bash", "-c", text], check=True)
    called = (programs / "called").read_bytes().decode().split("\0")[:-1]
    (folder,) = (here / "grid/jobs").glob("lightning_genae-*")
    assert called[0] == "1" and called[-1] == str(folder)
    assert "#SBATCH --open-mode=append\n" in text
    assert not list(tmp_path.rglob("mark"))


@pytest.mark.parametrize("launcher", ["slurm", "print"])
@pytest.mark.parametrize(
    "words, message",
    [
        (["--slurm.comment", "x\ntouch mark"], "--slurm.comment: expected text of one line without backslashes"),
        (["--slurm.comment", "x\\"], "--slurm.comment: expected text of one line without backslashes"),
        (["--slurm.a\ntouch mark\n", "x"], "--slurm.a: there is no such option here"),
        (["--slurm.array", "0-99"], "--slurm.array: there is no such option here"),
        (["--slurm.limit", "2\ntouch mark"], "--slurm.limit: expected a whole number above 0"),
        (["--folder", "grid\ntouch mark"], "--folder: expected a folder for a cluster"),
        (["--folder", "grid%j"], "--folder: expected a folder for a cluster whose path has neither %"),
    ],
)
def test_what_an_sbatch_file_cannot_hold_is_refused(programs, cli, launcher, words, message):
    words = ["--folder", "grid", *words] if "--folder" not in words else words
    status, _, error = cli("ablate", "--launcher", launcher, "--wait", "false", "--seed", "0,1", *words)
    assert status == 2 and message in error
    assert not submissions(programs) and not list(Path().rglob("*.sbatch")) and not Path("mark").exists()


def test_a_word_of_two_lines_is_refused_in_a_file_of_commands(programs, cli):
    words = ("--launcher", "print", "--seed", "0,1", "--folder", "grid", "--data", "folder", "--data.root", "a\nb")
    status, _, error = cli("ablate", *words)
    assert status == 2 and "--launcher: expected words of one line for print" in error


def test_pickles_lie_in_a_folder_of_ones_own(programs):
    """One that was there before, and what lies in it, is neither open to others nor run."""
    jobs = Path("grid/jobs")
    jobs.mkdir(parents=True, mode=0o777)
    jobs.chmod(0o777)
    old = os.umask(0)
    try:
        Slurm(Path("grid"), {}, 1).submit(tasks(2))
    finally:
        os.umask(old)
    assert stat.S_IMODE(jobs.stat().st_mode) == 0o700
    folders = [path for path in jobs.iterdir() if path.is_dir()]
    assert folders and all(stat.S_IMODE(path.stat().st_mode) == 0o700 for path in folders)
    assert all(path.parent in folders for path in jobs.rglob("*.pkl"))


def test_a_linked_folder_of_jobs_is_refused(programs):
    Path("elsewhere").mkdir(mode=0o755)
    Path("grid").mkdir()
    Path("grid/jobs").symlink_to("../elsewhere")
    with pytest.raises(ValueError, match="got a link"):
        Slurm(Path("grid"), {}, 1)
    assert stat.S_IMODE(Path("elsewhere").stat().st_mode) == 0o755
