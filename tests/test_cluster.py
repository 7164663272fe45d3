"""Runs on a real Slurm: a throw-away cluster of two nodes on this machine, see cluster/up.sh."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, shell
from tests.test_run import results

PROGRAMS = {"slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge"}
MISSING = [package for program, package in PROGRAMS.items() if not shutil.which(program, path="/usr/sbin:/usr/bin")]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs Debian's {' '.join(MISSING)}"),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root, to start Slurm's daemons"),
]
SHORT = ("--steps", "20", "--metrics.num_samples", "100", "--metrics.features", "pixels", "--logger", "none")
SLURM = ("ablate", "--launcher", "slurm", "--slurm.time", "10")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A running cluster, whose clients find it."""
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([ROOT / "tests/cluster/up.sh", folder, "2"], check=True, timeout=60)
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    os.environ["MASTER_ADDR"] = "127.0.0.1"  # the nodes' names are this cluster's alone
    yield folder
    subprocess.run([ROOT / "tests/cluster/down.sh", folder], check=True, timeout=60)
    del os.environ["SLURM_CONF"], os.environ["MASTER_ADDR"]


def jobs() -> dict[str, str]:
    """Ids of the jobs that are in the queue, and their states."""
    done = subprocess.run(["squeue", "-h", "-r", "-o", "%i %T"], capture_output=True, text=True, check=True)
    return dict(line.split() for line in done.stdout.splitlines())


def start(*words: str, cwd: Path) -> subprocess.Popen:
    """Starts `python run.py ...` and does not wait."""
    command = [sys.executable, str(ROOT / "run.py"), *words]
    with (cwd / "ablate.log").open("w") as log:
        return subprocess.Popen(command, cwd=cwd, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def wait_for(condition, seconds: float = 120):
    """The first true value of a condition."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.3)
    raise TimeoutError(f"{condition} did not come true in {seconds} s")


def batches(folder: Path) -> int:
    """How far a run is."""
    path = folder / "metrics.csv"
    lines = path.read_text().splitlines() if path.is_file() else []
    return int(lines[-1].split(",")[0]) if len(lines) > 1 and lines[-1].split(",")[0].isdigit() else 0


def test_six_cells_as_an_array_give_what_this_machine_gives(cluster, tmp_path):
    words = ("--augment", "none,diffaug", "--seed", "0..2", *SHORT, "--cache", "cache", "--folder", "grid")
    done = shell(*SLURM, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ids = json.loads((tmp_path / "grid/jobs/submitted.json").read_text())
    arrays = [job_id.partition("_")[0] for log, job_id in ids.items() if "/shared/" not in log]
    assert len(arrays) == 6 and len(set(arrays)) == 1
    assert "Frechet distance against none" in done.stdout
    assert (tmp_path / "grid/report/report.html").is_file()
    alone = shell("--augment", "diffaug", "--seed", "2", *SHORT, "--cache", "cache", "--folder", "alone", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    there, here = (results(tmp_path / path)["metrics"] for path in ("grid/diffaug/seed2", "alone"))
    assert there == pytest.approx(here, rel=1e-3)
    again = shell(*SLURM, *words, cwd=tmp_path)
    assert "6 of 6 runs are finished, 0 are to be run" in again.stdout


def test_an_ablation_that_is_killed_after_sbatch_submits_nothing_twice(cluster, tmp_path):
    """At once, before it can note the jobs' numbers; in a folder whose name has to be quoted."""
    real = shutil.which("sbatch")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sbatch").write_text(f'#!/bin/bash\n{real} "$@" >/dev/null\nkill -9 $PPID\n')
    (tmp_path / "bin/sbatch").chmod(0o755)
    words = ("--wait", "false", "--augment", "none,noise", *SHORT, "--cache", "cache", "--folder", "it's a #grid")
    command = [sys.executable, str(ROOT / "run.py"), *SLURM, *words]
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    first = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert first.returncode == -signal.SIGKILL, first.stderr
    jobs_folder = tmp_path / "it's a #grid/jobs"
    assert (jobs_folder / "submitting.json").is_file() and not (jobs_folder / "submitted.json").exists()
    (array,) = {job_id.partition("_")[0] for job_id in jobs()}
    again = shell(*SLURM, *words[2:], cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    ids = json.loads((jobs_folder / "submitted.json").read_text()).values()
    assert {job_id.partition("_")[0] for job_id in ids} == {array}
    done = subprocess.run(["squeue", "-h", "-t", "all", "-o", "%F %j"], capture_output=True, text=True, check=True)
    (noted,) = (path.name for path in jobs_folder.glob("lightning_genae-*"))
    assert {line.split()[0] for line in done.stdout.splitlines() if line.endswith(noted)} == {array}


def test_two_processes_under_srun_give_what_one_gives(cluster, tmp_path):
    """An autoencoder, whose batches of two processes are together those of one; its images are the same ones."""
    words = ("--model", "ae", "--steps", "20", "--metrics.features", "pixels", "--logger", "none")
    words += ("--cache", "cache", "--precision", "64-true")
    two = (
        *words,
        "--seed",
        "0,1",
        "--devices",
        "2",
        "--data.batch_size",
        "32",
        "--accelerator",
        "cpu",
        "--folder",
        "two",
    )
    done = shell(*SLURM, *two, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    one = shell(*words, "--data.batch_size", "64", "--accelerator", "cpu", "--folder", "one", cwd=tmp_path)
    assert one.returncode == 0, one.stderr
    first, second = (results(tmp_path / path) for path in ("two/runs/seed0", "one"))
    assert first["timing"]["images"] == second["timing"]["images"] == 20 * 64
    assert first["metrics"]["mse"] == pytest.approx(second["metrics"]["mse"], rel=1e-6)
    assert first["metrics"]["fd"] == pytest.approx(second["metrics"]["fd"], rel=1e-4)


def test_two_nodes_of_one_process_each_are_two_players_in_step(cluster, tmp_path):
    """A model with two players needs the strategy for them, though a node has one device, and epochs count both."""
    words = ["--model", "gan", "--trainer.num_nodes", "2", "--devices", "1", "--accelerator", "cpu", "--epochs", "2"]
    words += ["--metrics.features", "pixels", "--logger", "none", "--cache", "cache", "--folder", "run"]
    words += ["--data.num_train", "256", "--metrics.num_samples", "50"]
    command = ["srun", "-N", "2", "--ntasks-per-node", "1", sys.executable, str(ROOT / "run.py"), *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    content = results(tmp_path / "run")
    assert content["status"] == "finished"
    assert content["timing"]["batches"] == 2 * 256 // (64 * 2) and content["timing"]["images"] == 2 * 256


def test_a_job_that_is_signalled_goes_on_to_the_same_result(cluster, tmp_path):
    """As before its time limit: USR2; it is requeued and goes on from last.ckpt."""
    words = ("--augment", "none,noise", "--steps", "600", *SHORT[2:], "--checkpoint_seconds", "1", "--cache", "cache")
    ablation = start(*SLURM, *words, "--folder", "grid", cwd=tmp_path)
    run = tmp_path / "grid/none/seed0"
    wait_for(lambda: (run / "checkpoints/last.ckpt").is_file() and batches(run) > 100)
    job_id = json.loads((tmp_path / "grid/jobs/submitted.json").read_text())["grid/none/seed0.log"]
    subprocess.run(["scancel", "--signal=USR2", job_id], check=True)
    wait_for(lambda: jobs().get(job_id) == "PENDING")
    time.sleep(2)
    subprocess.run(["scontrol", "update", f"JobId={job_id}", "StartTime=now"], check=True)
    assert ablation.wait(240) == 0, (tmp_path / "ablate.log").read_text()
    alone = shell("--steps", "600", *SHORT[2:], "--cache", "cache", "--folder", "alone", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    first, second = (results(tmp_path / path)["metrics"] for path in ("grid/none/seed0", "alone"))
    assert first == pytest.approx(second, rel=1e-3)
    assert (tmp_path / "grid/none/seed0.log").read_text().count("Training gan for 600 batches") == 2


def test_what_is_killed_is_retried(cluster, tmp_path):
    """A run's process with -9, as the kernel does for want of memory, and a whole job."""
    words = ("--augment", "none,noise", "--steps", "600", *SHORT[2:], "--checkpoint_seconds", "1", "--cache", "cache")
    ablation = start(*SLURM, *words, "--folder", "killed", cwd=tmp_path)
    runs = [tmp_path / "killed" / name / "seed0" for name in ("none", "noise")]
    wait_for(lambda: all(batches(run) > 20 for run in runs))
    # a folder of its own name: tests beside this one have runs too
    found = subprocess.run(["pgrep", "-f", "run.py .*--folder killed/none/seed0"], capture_output=True, text=True)
    for process in found.stdout.split():
        os.kill(int(process), signal.SIGKILL)
    job_id = json.loads((tmp_path / "killed/jobs/submitted.json").read_text())["killed/noise/seed0.log"]
    subprocess.run(["scancel", "--signal=KILL", job_id], check=True)
    assert ablation.wait(120) == 1
    log = (tmp_path / "ablate.log").read_text()
    assert "none/seed0 failed: killed by SIGKILL" in log
    done = shell(*SLURM, *words, "--folder", "killed", "--retry", cwd=tmp_path)
    assert "0 of 2 runs are finished, 2 are to be run" in done.stdout
    assert [results(run)["status"] for run in runs] == ["finished"] * 2


def test_nodes_without_internet(cluster, tmp_path, monkeypatch):
    """With an account, W&B is out of reach: the runs are recorded offline, and are finished."""
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {'0' * 40}\n")
    (tmp_path / "netrc").chmod(0o600)
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    words = ("--augment", "none,noise", *SHORT[:-2], "--cache", "cache", "--folder", "grid")
    done = shell(*SLURM, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for arm in ("none", "noise"):
        assert results(tmp_path / f"grid/{arm}/seed0")["status"] == "finished"
        assert "W&B is out of reach" in (tmp_path / f"grid/{arm}/seed0.log").read_text()
        assert list((tmp_path / f"grid/{arm}/seed0/wandb").glob("offline-run-*"))
    assert "W&B is out of reach" in done.stdout
