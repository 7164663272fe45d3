"""Ablations on a real Slurm: a throw-away cluster of one node on this machine, see cluster/up.sh."""

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
    subprocess.run([ROOT / "tests/cluster/up.sh", folder], check=True, timeout=60)
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    yield folder
    subprocess.run([ROOT / "tests/cluster/down.sh", folder], check=True, timeout=60)
    del os.environ["SLURM_CONF"]


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
    ablation = start(*SLURM, *words, "--folder", "grid", cwd=tmp_path)
    runs = [tmp_path / "grid" / name / "seed0" for name in ("none", "noise")]
    wait_for(lambda: all(batches(run) > 20 for run in runs))
    found = subprocess.run(["pgrep", "-f", "run.py .*--folder grid/none/seed0"], capture_output=True, text=True)
    for process in found.stdout.split():
        os.kill(int(process), signal.SIGKILL)
    job_id = json.loads((tmp_path / "grid/jobs/submitted.json").read_text())["grid/noise/seed0.log"]
    subprocess.run(["scancel", "--signal=KILL", job_id], check=True)
    assert ablation.wait(120) == 1
    log = (tmp_path / "ablate.log").read_text()
    assert "none/seed0 failed: killed by SIGKILL" in log
    done = shell(*SLURM, *words, "--folder", "grid", "--retry", cwd=tmp_path)
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
