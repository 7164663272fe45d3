"""No key, password or variable of the environment in what runs, ablations and W&B write."""

import json
import subprocess
from pathlib import Path

import pytest
import wandb

from callbacks.wandb_run import WandbRun, without_passwords
from tests.conftest import shell

SMALL = ("--steps", "4", "--metrics.features", "pixels", "--metrics.num_samples", "100")
VARIABLES = ("WANDB_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "ANYTHING")


@pytest.fixture
def planted(tmp_path, monkeypatch) -> dict[str, str]:
    """Secrets where people have them, by where that is: the environment, .netrc, a repository, its user."""
    secrets = {name: f"{'0123456789abcdef' * 2}{i:08d}" for i, name in enumerate(VARIABLES)}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    secrets |= {"netrc": "feedc0de" * 5, "remote": "ghp_0123456789plantedtoken", "e-mail": "planted@secret.example"}
    secrets |= {"proxy": "plantedproxypassword"}
    monkeypatch.setenv("HTTPS_PROXY", f"http://someone:{secrets['proxy']}@127.0.0.1:9")
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {secrets['netrc']}\n")
    (tmp_path / "netrc").chmod(0o600)
    for words in (
        ["init", "-q"],
        ["remote", "add", "origin", f"https://someone:{secrets['remote']}@github.com/some/thing.git"],
        ["config", "user.email", secrets["e-mail"]],
        ["-c", "user.name=someone", "commit", "-q", "--allow-empty", "-m", "first"],
    ):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return secrets


def leaks(folder: Path, secrets: dict[str, str]) -> list[tuple[str, str]]:
    """Files below a folder in which a secret stands, or a variable's name, and which one."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and ".git" not in path.parts and path.name != "netrc":
            content = path.read_bytes()
            words = {**secrets, **{f"the name {name}": name for name in VARIABLES}}
            found += [(str(path), name) for name, value in words.items() if value.encode() in content]
    return found


def test_the_search_finds(tmp_path):
    (tmp_path / "file").write_text("x HF_TOKEN=abc")
    assert leaks(tmp_path, {"HF_TOKEN": "abc"}) == [
        (str(tmp_path / "file"), "HF_TOKEN"),
        (str(tmp_path / "file"), "the name HF_TOKEN"),
    ]


def test_a_run_and_files_for_a_cluster(cli, tmp_path, monkeypatch, planted):
    monkeypatch.setenv("WANDB_MODE", "offline")
    status, out, error = cli("--model", "ae", *SMALL, "--folder", "run", "--logger", "wandb")
    assert status == 0, error
    assert list(Path("run/wandb").glob("offline-run-*/*.wandb"))
    status, more, error = cli("ablate", "--launcher", "print", "--seed", "0,1", *SMALL, "--folder", "grid")
    assert status == 0, error
    (tmp_path / "said").write_text(out + more)
    assert not leaks(tmp_path, planted)


def test_wandb_is_told_nothing_of_whoever_runs_it(tmp_path, monkeypatch):
    """Neither words of the command line, which may be anything, nor user, machine and repository."""
    monkeypatch.setattr("sys.argv", ["run.py", "--plantedword", "planted"])
    config = {name: {"name": "x"} for name in ("model", "augment", "data")} | {"seed": 0}
    logger = WandbRun(tmp_path, config, lambda: {"batches": 0}, resume=False)
    logger.log_metrics({"x": 1.0})
    logger.finalize("success")
    logger.wait()
    (record,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert b"plantedword" not in record.read_bytes()
    assert not list(tmp_path.rglob("wandb-metadata.json"))


def test_the_key_goes_to_no_server_of_the_current_folder(tmp_path, monkeypatch):
    """W&B obeys a file there, which may be a received one's; the environment and the user's own settings count."""
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "own"))
    Path("wandb").mkdir()
    Path("wandb/settings").write_text("[default]\nbase_url = https://evil.example\n")
    config = {name: {"name": "x"} for name in ("model", "augment", "data")} | {"seed": 0}

    def server() -> str:
        return WandbRun(tmp_path, config, dict, resume=False)._wandb_init["settings"].base_url

    assert server() == wandb.Settings().base_url  # W&B's own
    (tmp_path / "own").mkdir()
    (tmp_path / "own/settings").write_text("[default]\nbase_url = https://ours.example\n")
    assert server() == "https://ours.example"
    monkeypatch.setenv("WANDB_BASE_URL", "https://mine.example")
    assert server() == "https://mine.example"


def test_addresses_are_told_without_passwords():
    error = wandb.errors.CommError("cannot reach https://me:word@host.example/x through http://a:b@proxy:1")
    assert without_passwords(error) == "cannot reach https://host.example/x through http://proxy:1"


@pytest.mark.slow
def test_an_ablation_of_two_runs(tmp_path, planted, monkeypatch):
    """On this machine: runs, logs, jobs, report."""
    key = (tmp_path / "netrc").read_text()
    (tmp_path / "netrc").write_text(key.replace("api.wandb.ai", "other.example"))  # else each run would wait for W&B
    words = ("ablate", "--augment", "none,noise", *SMALL, "--cache", "cache", "--folder", "grid", "--workers", "2")
    done = shell(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("grid/*/seed0/wandb/offline-run-*"))) == 2
    (tmp_path / "said").write_text(done.stdout + done.stderr)
    assert json.loads((tmp_path / "grid/none/seed0/results.json").read_text())["status"] == "finished"
    assert not leaks(tmp_path, planted)
