"""`run.py ablate` and what it leaves, by the real command."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

import run
from lightning_genae.ablation.grid import Cell
from lightning_genae.ablation.launch import Task, error_of
from lightning_genae.ablation.slurm import Job
from lightning_genae.ablation.watch import State, View, state
from lightning_genae.ablation.work import shared
from lightning_genae.config.nested import flatten
from tests.conftest import ROOT, shell
from tests.test_run import results

FAST = ("--steps", "20", "--metrics.num_samples", "100", "--metrics.features", "pixels")


def test_a_dry_run_tells_the_size_and_the_time_and_leaves_nothing(cli):
    status, out, error = cli("ablate", "--dry_run", "--augment", "none,ae", "--seed", "0..2", "--folder", "grid", *FAST)
    assert status == 0, error
    assert "6 runs: 2 augment x 3 seed" in out
    assert "about " in out and "at a time" in out
    assert not Path("grid").exists()


def test_files_for_sbatch(cli):
    words = ("--launcher", "print", "--slurm.limit", "2", "--slurm.mem_per_cpu", "4G", "--folder", "grid", *FAST)
    status, out, error = cli("ablate", "--augment", "none,ae", "--seed", "0..2", *words)
    assert status == 0, error
    assert "sbatch grid/sbatch/array.sbatch" in out
    script = Path("grid/sbatch/array.sbatch")
    subprocess.run(["bash", "-n", script], check=True)
    assert "#SBATCH --array=0-5%2\n" in script.read_text() and "#SBATCH --mem-per-cpu=4G\n" in script.read_text()
    commands = Path("grid/sbatch/commands.txt").read_text().splitlines()
    assert len(commands) == 6 and all(command.startswith(sys.executable) for command in commands)
    status, out, _ = cli("compare", "grid")
    assert status == 0 and "'grid/none/seed0': not begun" in out


def test_another_ablation_is_at_work(cli):
    Path("busy").mkdir()
    with FileLock("busy/.lock"):
        status, _, error = cli("ablate", "--seed", "0..4", "--folder", "busy")
    assert status == 2 and "--folder: another ablation is at work in 'busy'" in error
    assert not Path("runs").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_what_an_agent_of_a_sweep_calls(path):
    """With the least and the first values of the sweep's parameters, in the format of W&B's own agent."""
    sweep = yaml.safe_load(path.read_text())
    values = {
        name: given.get("value", given.get("values", [given.get("min")])[0])
        for name, given in sweep["parameters"].items()
    }
    words = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})["args"]
    config = flatten(run.COMMAND_LINE.parse(words))
    assert {name: config[name] for name in values} == values
    assert sweep["program"] == "run.py" and sweep["command"][-1] == "${args}"


def cell(folder: Path, **config) -> Cell:
    config = {
        "folder": str(folder),
        "steps": 100,
        "seed": 0,
        "data": {},
        "augment": {},
        "metrics": {},
        "cache": "",
    } | config
    return Cell(config, ["--x=1"], {})


def test_states(tmp_path):
    one = cell(tmp_path / "run")
    assert state(one, is_active=False) == State("missing")
    assert state(one, is_active=True) == State("waiting")
    (tmp_path / "run").mkdir()
    assert state(one, is_active=True) == State("running", "begins")
    (tmp_path / "run/config.yaml").write_text("")
    (tmp_path / "run/metrics.csv").write_text("batches,images,val/fd\n10,640,3.5\n25,1600,\n")
    assert state(one, is_active=True).words.startswith("25%, ")
    assert state(one, is_active=True).words.endswith("left, FD 3.500")
    (tmp_path / "run/results.json").write_text('{"status": "running"}')
    assert state(one, is_active=False) == State("stopped")
    (tmp_path / "run.error").write_text("--model.lr: no\n")
    assert state(one, is_active=False) == State("failed", "--model.lr: no")
    (tmp_path / "run/results.json").write_text('{"status": "finished", "metrics": {"fd": 1}}')
    assert state(one, is_active=False) == State("finished", "FD 1.000")
    (tmp_path / "run/results.json").write_text('{"status": "fini')
    assert state(one, is_active=False).status == "failed"


def test_changes_are_told_line_by_line_without_a_terminal(tmp_path, capsys):
    cells = [cell(tmp_path / "a"), cell(tmp_path / "b")]
    view = View(cells, tmp_path, terminal=False)
    a, b = (one.folder for one in cells)
    view.show({a: State("running"), b: State("waiting")})
    view.show({a: State("finished", "FD 1.000"), b: State("running", "begins")})
    view.show({a: State("finished", "FD 1.000"), b: State("running", "50%")})
    view.show({a: State("finished", "FD 1.000"), b: State("failed", "--model.lr: no")})
    view.close()
    assert capsys.readouterr().out.splitlines() == [
        "1/2  a finished: FD 1.000",
        "1/2  b running: begins",
        "2/2  b failed: --model.lr: no",
    ]


AE, NONE = {"name": "ae", "steps": 9}, {"name": "none"}


def cells_of(folder: Path, *options: dict) -> list[Cell]:
    """A cell for every seed and options, which are all that its words say."""
    every = [(seed, i, one) for seed in range(3) for i, one in enumerate(options)]
    return [cell(folder / f"{i}{seed}", seed=seed, **one)._replace(words=[f"{i}{seed}"]) for seed, i, one in every]


@pytest.mark.parametrize(
    "options, expected",
    [
        # seeds have autoencoders of their own, which no other run needs; the classifier is for all
        ([{"augment": NONE}, {"augment": AE}], ["00"]),
        # the runs of a seed share its autoencoder
        ([{"augment": AE}, {"augment": AE, "model": {"lr": 1}}], ["00", "01", "02"]),
        ([{"augment": NONE}, {"augment": AE}, {"augment": AE, "model": {"lr": 1}}], ["00", "10", "11", "12"]),
        # with a given subset all seeds do
        ([{"augment": NONE, "data": {"split_seed": 7}}, {"augment": AE, "data": {"split_seed": 7}}], ["00", "10"]),
        # subsets of all sizes are measured by the same classifier, but not by other metrics
        ([{"data": {"num_train": 100}}, {"data": {"num_train": 200}}], ["00"]),
        ([{"metrics": {"features": "pixels"}}, {"metrics": {"features": None}}], ["00", "10"]),
        ([{"augment": NONE}, {"augment": NONE, "model": {"lr": 1}}], ["00"]),
    ],
)
def test_what_cells_share_is_made_once(tmp_path, options, expected):
    tasks = shared(cells_of(tmp_path, *options), tmp_path)
    assert [task.words for task in tasks] == [["prefetch", words] for words in expected]
    assert len({task.log for task in tasks}) == len(tasks)


def test_the_error_of_a_run_is_its_own_line(tmp_path):
    log = tmp_path / "log"
    log.write_text("bar 1\rbar 2\nrun.py: error: --model.lr: too large\nsome library says goodbye\n")
    assert error_of(2, log) == "--model.lr: too large"
    assert error_of(-9, log).startswith("killed by SIGKILL")
    log.write_text("Segmentation fault\n\n")
    assert error_of(139, log) == "Segmentation fault"


def test_a_job_notes_its_error(tmp_path):
    task = Task(["smaple", "nowhere"], tmp_path / "arm" / "seed0.log")
    assert Job(task)() == 2
    assert "expected one of the verbs" in task.error.read_text()
    assert "run.py: error: expected one of the verbs" in task.log.read_text()


@pytest.mark.slow
def test_a_grid_goes_on_around_what_fails_and_retries_it(tmp_path):
    words = ("ablate", "--augment", "none,ae", "--augment.checkpoint", "autoencoder", "--augment.foreign", "true")
    words += ("--seed", "0,1", *FAST, "--folder", "grid", "--cache", "cache", "--workers", "2")
    first = shell(*words, cwd=tmp_path)
    assert first.returncode == 1, first.stderr
    assert "2 of 4 runs have no results, as said above; --retry runs them again" in first.stdout
    assert "ae/seed0 failed: --augment.checkpoint: expected a checkpoint" in first.stdout
    assert "WARNING: 'grid/ae/seed1': --augment.checkpoint" in first.stdout
    assert re.search(r"^none +2 ", first.stdout, re.MULTILINE)
    page = (tmp_path / "grid/report/report.html").read_text()
    assert "2 of 4 runs finished" in page and "--augment.checkpoint: expected a checkpoint" in page
    made = shell(
        "--model", "ae", *FAST, "--logger", "none", "--cache", "cache", "--folder", "autoencoder", cwd=tmp_path
    )
    assert made.returncode == 0, made.stderr
    kept = (tmp_path / "grid/none/seed0/results.json").stat().st_mtime_ns
    second = shell(*words, cwd=tmp_path)
    assert "2 of 4 runs are finished, 0 are to be run, 2 failed (--retry runs them again)" in second.stdout
    third = shell(*words, "--retry", cwd=tmp_path)
    assert "2 of 4 runs are finished, 2 are to be run" in third.stdout
    assert results(tmp_path / "grid/ae/seed1")["status"] == "finished"
    assert (tmp_path / "grid/none/seed0/results.json").stat().st_mtime_ns == kept
    # W&B has every run and the report, offline
    assert len(list(tmp_path.glob("grid/*/seed*/wandb/offline-run-*-seed*"))) == 4
    assert list(tmp_path.glob("grid/wandb/offline-run-*-ablation-*"))


def test_a_folder_whose_runs_were_others(cli):
    words = ("--launcher", "print", "--augment", "none,ae", "--folder", "grid")
    assert cli("ablate", *words, "--seed", "0,1", "--steps", "20")[0] == 0
    status, _, error = cli("ablate", *words, "--seed", "0..2", "--steps", "30")
    assert status == 2 and "--folder: 'grid/none/seed0' is a run with --steps 20, not 30" in error
    assert cli("ablate", *words, "--seed", "0..2", "--steps", "20")[0] == 0
    assert len(json.loads(Path("grid/ablation.json").read_text())["cells"]) == 6


@pytest.mark.slow
def test_an_interrupted_grid_goes_on_to_the_same_numbers(tmp_path):
    words = ("--augment", "none,noise", "--steps", "400", *FAST[2:], "--logger", "none", "--cache", "cache")
    words += ("--checkpoint_seconds", "1")
    command = [sys.executable, str(ROOT / "run.py"), "ablate", *words, "--folder", "grid", "--workers", "2"]
    with (tmp_path / "log").open("w") as log:
        ablation = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    end = time.monotonic() + 120
    while not (tmp_path / "grid/noise/seed0/checkpoints/last.ckpt").is_file() and time.monotonic() < end:
        time.sleep(0.2)
    os.kill(ablation.pid, signal.SIGINT)
    assert ablation.wait(60) == 130
    assert "reported by: python run.py compare grid" in (tmp_path / "log").read_text()
    assert results(tmp_path / "grid/noise/seed0")["status"] == "interrupted"
    again = shell("ablate", *words, "--folder", "grid", "--workers", "2", cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    alone = shell("--augment", "noise", *words[2:], "--folder", "alone", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    first, second = (results(tmp_path / path)["metrics"] for path in ("grid/noise/seed0", "alone"))
    assert first == pytest.approx(second, rel=1e-3)
    assert len(json.loads((tmp_path / "grid/ablation.json").read_text())["commands"]) == 1
