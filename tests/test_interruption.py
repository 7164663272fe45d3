"""Runs that are interrupted, diverge, or are started again by a cluster, by the real command."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from callbacks._signals import ASKING, Signals
from callbacks.budget import Budget
from callbacks.record import Record
from lightning_genae.models.gan import GAN
from lightning_genae.run_folder import RunFolder
from tests.test_run import results, weights_equal

SHORT = ("--steps", "12", "--metrics.features", "pixels", "--metrics.num_samples", "50", "--data.num_train", "100")
SHORT += ("--data.batch_size", "16", "--checkpoint_seconds", "0", "--trainer.log_every_n_steps", "1")


def checkpoint(folder: str, name: str = "last") -> dict:
    return torch.load(Path(folder, "checkpoints", f"{name}.ckpt"), weights_only=True)


@pytest.fixture
def at_batch(monkeypatch):
    """Does something when a batch of a training ends, before the checkpoint is saved."""

    check = Budget._check

    def do(batch: int, action=None) -> None:
        def act(self, trainer):
            check(self, trainer)
            if trainer.datamodule.batches == batch:
                action(trainer)

        monkeypatch.setattr(Budget, "_check", act)

    return do


def test_a_signal_that_a_process_ignores_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    signals = Signals()
    try:
        signals.listen()
        os.kill(os.getpid(), signal.SIGHUP)
        assert not signals.asked
    finally:
        signals.leave()
        assert signal.signal(signal.SIGHUP, before) == signal.SIG_IGN


@pytest.mark.parametrize("number", ASKING)
def test_a_signal_saves_and_ends(cli, at_batch, number):
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"pytest was started to ignore {number.name}, as nohup does")
    words = ("--model", "gan", *SHORT, "--checkpoint_seconds", "1000")
    assert cli(*words, "--folder", "whole")[0] == 0
    handlers = [signal.getsignal(number) for number in ASKING]
    at_batch(7, lambda trainer: os.kill(os.getpid(), number))
    status, out, error = cli(*words, "--folder", "parts")
    assert status == 130
    assert f"{number.name}: finishing this batch and saving its checkpoint" in out
    assert "interrupted; the same command goes on" in error
    assert results("parts")["status"] == "interrupted"
    assert checkpoint("parts")["Digits"]["batches"] == 7
    assert [signal.getsignal(number) for number in ASKING] == handlers
    at_batch(0)
    status, out, _ = cli(*words, "--folder", "parts")
    assert status == 0 and "rows of the first" not in out
    assert weights_equal("parts", "whole")
    assert Path("parts/metrics.csv").read_text() == Path("whole/metrics.csv").read_text()
    assert results("parts")["metrics"] == results("whole")["metrics"]


def test_a_second_ctrl_c_does_not_wait(cli, at_batch):
    def twice(trainer):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    at_batch(7, twice)
    handler = signal.getsignal(signal.SIGINT)
    status, out, _ = cli("--model", "ae", *SHORT, "--folder", "mine")
    signal.signal(signal.SIGINT, handler)  # Lightning ignores further ones
    assert status == 130 and "Ctrl-C once more ends it at once" in out
    assert checkpoint("mine")["Digits"]["batches"] == 6
    assert results("mine")["status"] == "interrupted"


def test_a_run_killed_between_its_last_checkpoint_and_its_end_lacks_no_row(cli, monkeypatch):
    words = ("--model", "ae", *SHORT, "--folder")
    assert cli(*words, "whole")[0] == 0
    update = RunFolder.update

    def killed(self, **changes):
        if changes.get("status") == "finished":
            raise KeyboardInterrupt
        update(self, **changes)

    monkeypatch.setattr(RunFolder, "update", killed)
    assert cli(*words, "parts")[0] == 130
    monkeypatch.setattr(RunFolder, "update", update)
    assert cli(*words, "parts")[0] == 0
    assert Path("parts/metrics.csv").read_text() == Path("whole/metrics.csv").read_text()
    assert results("parts")["best"] == results("whole")["best"]


def test_a_run_killed_between_a_checkpoint_and_the_row_of_its_batch_lacks_no_row(cli, monkeypatch):
    """Lightning logs a batch after all callbacks have had it."""
    words = ("--model", "gan", *SHORT, "--folder")
    assert cli(*words, "whole")[0] == 0
    save = Record._save

    def killed(self, trainer, pl_module):
        save(self, trainer, pl_module)
        if trainer.datamodule.batches == 8:
            raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Record, "_save", killed)
    assert cli(*words, "parts")[0] == 130
    signal.signal(signal.SIGINT, handler)
    monkeypatch.setattr(Record, "_save", save)
    assert cli(*words, "parts")[0] == 0
    assert Path("parts/metrics.csv").read_text() == Path("whole/metrics.csv").read_text()


@pytest.fixture
def diverging(monkeypatch):
    """A generator's loss that is not finite in some batches."""

    def spoil(batches: range) -> None:
        loss = GAN.loss_generator

        def spoilt(self, x, labels):
            bad = self.trainer.datamodule.batches in batches
            return loss(self, x, labels) * (torch.nan if bad else 1)

        monkeypatch.setattr(GAN, "loss_generator", spoilt)

    return spoil


def test_the_first_loss_that_is_not_finite_stops_the_run_and_is_not_saved(cli, diverging):
    diverging(range(7, 8))
    status, _, error = cli("--model", "gan", *SHORT, "--folder", "mine")
    assert status == 1
    assert "train/loss_generator is nan in batch 7; the last checkpoint, of batch 6, is good: 'mine/check" in error
    assert "--on_nonfinite rewind" in error
    assert results("mine")["status"] == "failed"
    assert checkpoint("mine")["Digits"]["batches"] == 6
    assert all(weight.isfinite().all() for weight in checkpoint("mine")["state_dict"].values())


def test_a_weight_that_is_not_finite_is_named_and_not_saved(cli, at_batch):
    """One that no loss depends on."""

    def spoil(trainer):
        trainer.lightning_module.register_buffer("unused", torch.tensor([1.0, torch.inf]))

    at_batch(7, spoil)
    status, _, error = cli("--model", "ae", *SHORT, "--folder", "mine")
    assert status == 1
    assert "the weight unused is not finite in batch 7" in error
    assert checkpoint("mine")["Digits"]["batches"] == 6


def test_a_large_weight_is_finite(cli, at_batch):
    """Its square is not."""
    at_batch(7, lambda trainer: trainer.lightning_module.register_buffer("unused", torch.tensor([1e30])))
    assert cli("--model", "ae", *SHORT, "--folder", "mine")[0] == 0


def test_a_run_goes_back_and_on_with_half_the_learning_rate(cli, diverging):
    diverging(range(7, 8))
    status, out, error = cli("--model", "gan", *SHORT, "--folder", "mine", "--on_nonfinite", "rewind")
    assert status == 0, error
    told = "train/loss_generator is nan in batch 7; the run goes back to its checkpoint of batch 6, with half"
    assert told in out
    assert results("mine")["rewinds"] == [{"batch": 7, "what": "train/loss_generator is nan in batch 7"}]
    state = checkpoint("mine")
    assert [group["lr"] for one in state["optimizer_states"] for group in one["param_groups"]] == [2e-4, 2e-4]
    assert all(weight.isfinite().all() for weight in state["state_dict"].values())
    assert state["Digits"]["batches"] == 12


def test_each_time_that_a_run_goes_back_halves_the_rate_and_what_was_logged_before_is_not_looked_at(cli, diverging):
    """Three times to the same checkpoint, that of the beginning; batches between updates of the generator log none of
    its losses, and the last one was not finite."""
    diverging(range(4, 10))
    words = ("--model", "gan", *SHORT, "--model.n_critic", "2", "--checkpoint_seconds", "1000")
    assert cli(*words, "--folder", "mine", "--on_nonfinite", "rewind")[0] == 0
    assert [one["batch"] for one in results("mine")["rewinds"]] == [4, 6, 8]
    lrs = [group["lr"] for one in checkpoint("mine")["optimizer_states"] for group in one["param_groups"]]
    assert lrs == [4e-4 / 8] * 2


def test_a_run_goes_back_five_times_at_most(cli, diverging):
    diverging(range(7, 100))
    status, _, error = cli("--model", "gan", *SHORT, "--folder", "mine", "--on_nonfinite", "rewind")
    assert status == 1
    assert "train/loss_generator is nan in batch 12, after going back 5 times, each with half the rate" in error
    lr = checkpoint("mine")["optimizer_states"][0]["param_groups"][0]["lr"]
    assert lr == pytest.approx(4e-4 * 0.5**5)


def test_samples_that_are_not_finite_are_no_black_images(cli, monkeypatch):
    sample = GAN.sample
    monkeypatch.setattr(GAN, "sample", lambda self, num, labels=None: sample(self, num, labels).sqrt())
    monkeypatch.setattr("lightning_genae.evaluation.evaluation.Evaluation.check", lambda self, model: None)
    status, _, error = cli("--model", "gan", *SHORT, "--folder", "mine")
    assert status == 1 and "the samples of the model are not all finite numbers" in error


def test_overwrite_does_not_wipe_what_a_requeued_job_has_done(cli, at_batch, monkeypatch):
    words = ("--model", "gan", *SHORT, "--folder", "mine", "--overwrite")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    at_batch(7, lambda trainer: os.kill(os.getpid(), signal.SIGTERM))
    assert cli(*words)[0] == 130
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    at_batch(9, lambda trainer: os.kill(os.getpid(), signal.SIGTERM))
    assert cli(*words)[0] == 130
    assert checkpoint("mine")["Digits"]["batches"] == 9
    monkeypatch.setenv("SLURM_JOB_ID", "18")  # another job replaces the run
    at_batch(4, lambda trainer: os.kill(os.getpid(), signal.SIGTERM))
    assert cli(*words)[0] == 130
    assert checkpoint("mine")["Digits"]["batches"] == 4


def test_overwrite_follows_no_links_and_takes_what_is_left_of_a_run(cli, tmp_path):
    words = ("--model", "ae", *SHORT, "--folder", "mine")
    for name in ("elsewhere/run-1", "pictures"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "elsewhere/run-1/a.wandb").write_text("precious")
    (tmp_path / "pictures/00000012.png").write_text("precious")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/config.yaml.unfinished").write_text("seed: 0")  # killed while it began
    (tmp_path / "mine/.lock").write_text("")
    assert cli(*words)[0] == 0
    (tmp_path / "mine/wandb").symlink_to(tmp_path / "elsewhere")
    Path("mine/hpc_ckpt_1.ckpt").write_text("of Lightning's")
    Path("mine/metrics.csv.unfinished").write_text("half")
    for path in Path("mine/samples").iterdir():
        path.unlink()
    Path("mine/samples").rmdir()
    Path("mine/samples").symlink_to(tmp_path / "pictures")
    folder = RunFolder("mine")
    folder._clear()
    assert (tmp_path / "elsewhere/run-1/a.wandb").exists() and (tmp_path / "pictures/00000012.png").exists()
    left = {path.name for path in Path("mine").iterdir()}
    assert not left & {"config.yaml", "results.json", "metrics.csv", "hpc_ckpt_1.ckpt", "metrics.csv.unfinished"}


def test_a_kill_while_a_run_is_cleared_leaves_a_folder_that_is_taken(cli, monkeypatch):
    words = ("--model", "ae", *SHORT, "--folder", "mine")
    assert cli(*words)[0] == 0
    unlink, left = Path.unlink, []

    def kill(self, **options):
        left.append(self.name)
        if self.name == "config.yaml":
            raise KeyboardInterrupt
        unlink(self, **options)

    monkeypatch.setattr(Path, "unlink", kill)
    assert cli(*words, "--overwrite")[0] == 130
    monkeypatch.setattr(Path, "unlink", unlink)
    assert left[-2:] == ["results.json", "config.yaml"]
    assert cli(*words)[0] == 0


def test_a_resume_with_something_else_is_refused(cli, at_batch):
    words = ("--model", "gan", "--augment", "ae", "--augment.steps", "5", *SHORT, "--folder", "mine")
    at_batch(7, lambda trainer: os.kill(os.getpid(), signal.SIGTERM))
    assert cli(*words)[0] == 130
    before = {path.name: path.read_bytes() for path in Path("mine").iterdir() if path.is_file()}
    depends_on = checkpoint("mine")["callbacks"]["Record"]["depends_on"]
    assert depends_on.keys() == {
        "config",
        "--devices",
        "--data",
        "--augment",
        "--metrics.features",
        "precision",
        "compiled",
        "threads",
    }
    for name, value in {"--devices": 2, "--augment": "f" * 16, "--metrics.features": "f" * 16}.items():
        state = checkpoint("mine")
        state["callbacks"]["Record"]["depends_on"] = depends_on | {name: value}
        torch.save(state, "mine/checkpoints/last.ckpt")
        status, _, error = cli(*words)
        assert status == 2
        assert f"{name}: 'mine/checkpoints/last.ckpt' goes on with" in error and f"expected {value}" in error
        assert {path.name: path.read_bytes() for path in Path("mine").iterdir() if path.is_file()} == before
    state["callbacks"]["Record"]["depends_on"] = depends_on
    torch.save(state, "mine/checkpoints/last.ckpt")
    at_batch(0)
    assert cli(*words)[0] == 0


def test_a_lost_config_lets_no_other_run_go_on(cli, at_batch):
    words = ("--model", "gan", *SHORT, "--folder", "mine")
    at_batch(7, lambda trainer: os.kill(os.getpid(), signal.SIGTERM))
    assert cli(*words)[0] == 130
    Path("mine/config.yaml").unlink()
    for other, name in ((("--model.lr", "0.5"), "model.lr"), (("--augment", "diffaug"), "augment")):
        status, _, error = cli(*words, *other)
        assert status == 2 and f"--folder: 'mine' holds a run with --{name}" in error
        assert not Path("mine/config.yaml").exists()
    at_batch(0)
    assert cli(*words)[0] == 0


def test_home_is_a_folder_in_every_form_of_an_option(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cli("--model", "ae", *SHORT, "--folder=~/a::b")[0] == 0
    assert json.loads((tmp_path / "home/a::b/results.json").read_text())["status"] == "finished"
    assert cli("sample", "~/a::b", "--num", "4")[0] == 0


@pytest.mark.parametrize("name", ["results.json", "config.yaml"])
def test_a_retry_sets_damage_aside_and_goes_on_from_the_checkpoint(cli, at_batch, caplog, name):
    words = ("--model", "gan", *SHORT)
    assert cli(*words, "--folder", "whole")[0] == 0
    at_batch(7, lambda trainer: os.kill(os.getpid(), signal.SIGTERM))
    assert cli(*words, "--folder", "parts")[0] == 130
    at_batch(3, lambda trainer: pytest.fail("the run begins anew"))
    Path("parts", name).write_text("{half")
    RunFolder("parts").set_aside_damage()
    RunFolder("nowhere").set_aside_damage()
    assert Path("parts", f"{name}.damaged").read_text() == "{half"
    assert cli(*words, "--folder", "parts")[0] == 0
    assert weights_equal("parts", "whole")
