"""The real command in a real folder: the main job, its folder, resuming, verbs, bad input."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock
from PIL import Image
from pytorch_lightning.utilities.exceptions import SIGTERMException

import run
from callbacks.budget import Budget
from lightning_genae import registry
from lightning_genae.commands.build import build_model
from lightning_genae.commands.length import count_steps
from lightning_genae.commands.parse import PACKAGES
from lightning_genae.commands.trainer import build_trainer
from lightning_genae.evaluation.extractors.classifier import ClassifierFeatures
from lightning_genae.logs import configure_logging
from lightning_genae.run_folder import RunFolder
from tests.conftest import ROOT, shell

SHORT = ("--steps", "20", "--metrics.features", "pixels")
IN_PIXELS = ("fd", "fd_validation", "kid", "precision", "recall", "density", "coverage", "distance_to_train", "copying")
AT_THE_END = ("fd_low", "fd_high", "kid_low", "kid_high")


def results(folder) -> dict:
    return json.loads((Path(folder) / "results.json").read_text())


def test_main_job(finished, run_folder):
    done, _ = finished
    assert done.returncode == 0, done.stderr
    content = results(run_folder)
    assert content["status"] == "finished"
    assert content["error"] is None
    assert set(content["metrics"]) >= {*IN_PIXELS, *AT_THE_END, "classifier_score", "class_coverage"}
    assert content["protocol"]["extractor"] == "classifier"
    assert content["protocol"]["generator"] == "averaged"
    assert content["augment"]["ae"]["on"] == "generator"
    assert content["augment"]["ae"]["autoencoder_images"] == content["augment"]["ae"]["images_trained_on"]
    assert content["timing"]["images"] == 60 * 64
    assert content["timing"]["images_per_second"] > 0
    assert run_folder.parts[-4:-2] == ("digits", "gan-ae")
    assert run_folder.name == "seed0"
    for text in ("Quality report", "principal components", "Frechet distance", "images/s", "samples/00000060.png"):
        assert text in done.stdout, text
    assert "Traceback" not in done.stderr


def test_pictures_of_what_was_measured(run_folder):
    for name in ("nearest", "distances", "precision-recall"):
        assert (run_folder / "metrics" / f"{name}.png").stat().st_size > 2000


def test_the_next_commands_work(finished, cli, monkeypatch):
    monkeypatch.chdir(finished[1])
    commands = [line.split()[2:] for line in finished[0].stdout.splitlines() if line.startswith("  python run.py")]
    assert len(commands) == 2
    for words in commands:
        status, out, error = cli(*words)
        assert status == 0, error
        assert "gan on digits, augmentation none" in out or "256 samples" in out


def test_progress_bars_show_losses_and_speed(finished):
    error = finished[0].stderr
    for text in ("autoencoder", "gan: 100%", "loss_critic=", "loss_generator=", "images/s="):
        assert text in error, text


def test_metrics_csv(run_folder):
    with (run_folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:3] == ["batches", "images", "epoch"]
    assert [int(row["batches"]) for row in rows] == list(range(6, 61, 6))
    assert all(int(row["images"]) == 64 * int(row["batches"]) for row in rows)
    assert rows[-1]["epoch"] == "3"
    assert all(row["train/loss_critic"] for row in rows)
    assert float(rows[-1]["val/fd"]) == results(run_folder)["metrics"]["fd"]
    assert [bool(row["val/fd"]) for row in rows] == 9 * [False] + [True]  # so short a run has a look at its end alone


def test_pictures(run_folder):
    folders = ("samples", "reconstructions")
    names = {f"{folder}/{path.name}" for folder in folders for path in (run_folder / folder).iterdir()}
    samples = {f"samples/000000{i}.png" for i in (12, 24, 36, 48)}
    final = {"samples/00000060.png", "reconstructions/00000001.png"}
    assert final == names - samples
    assert not (run_folder / "augmented").exists()  # on the generator nothing is varied
    for name in final | samples:
        picture = np.asarray(Image.open(run_folder / name))
        assert picture.shape[0] == picture.shape[1] == 8 * 98 + 2
        assert picture.std() > (30 if name in final else 3), name  # the first samples are grey still


def test_pictures_of_variations(cli):
    words = ("--augment", "ae", "--augment.on", "critic", "--augment.steps", "60", *SHORT, "--folder", "run")
    status, out, _ = cli(*words)
    assert status == 0
    assert "PCA with 16 components" in out and results("run")["augment"]["ae"]["mse_validation"] > 0
    assert {path.name for path in Path("run/augmented").iterdir()} == {
        "00000001.png",
        "strengths-ae.png",
        "quality-ae.png",
    }
    for name, shape in (("00000001", (786, 786)), ("strengths-ae", (590, 800))):
        picture = np.asarray(Image.open(f"run/augmented/{name}.png"))
        assert picture.shape[:2] in (shape, shape[::-1]) and picture.std() > 30, name


def test_wandb_is_offline_with_pictures_and_config(run_folder):
    (offline,) = (run_folder / "wandb").glob("offline-run-*")
    assert offline.name.endswith("-seed0")
    pictures = {path.name.split("_")[0] for path in offline.rglob("*.png")}
    of_metrics = {"nearest", "distances", "precision-recall"}
    assert pictures == {"samples", "truncated", "reconstructions", *of_metrics}
    assert [path.name.split("_")[0] for path in offline.rglob("*.gif")] == ["film"]
    assert len(list(offline.rglob("samples_*.png"))) == 5  # the last one once
    content = next(offline.glob("*.wandb")).read_bytes()
    for text in (b"model.latent_dim", b"augment.fraction", b"val/fd", b"digits/gan-ae/"):
        assert text in content, text


def test_a_finished_run_shows_its_results_again(finished, run_folder, cli, monkeypatch):
    monkeypatch.chdir(finished[1])
    before = (run_folder / "results.json").stat().st_mtime_ns
    status, out, _ = cli("--config", str(run_folder / "config.yaml"), "--logger", "wandb")
    assert status == 0
    assert "This run is finished" in out
    assert f"{results(run_folder)['metrics']['fd']:.3f}" in out
    assert (run_folder / "results.json").stat().st_mtime_ns == before


def test_a_config_repeats_a_run(cli, tmp_path):
    assert cli("--model", "ae", *SHORT, "--folder", "first")[0] == 0
    assert cli("--config", "first/config.yaml", "--folder", "second")[0] == 0
    assert results("first")["metrics"] == results("second")["metrics"]
    assert weights_equal("first", "second")


def test_the_folder_does_not_depend_on_the_seed_or_where_it_runs(cli):
    for seed in ("0", "1"):
        assert cli("--model", "ae", *SHORT, "--seed", seed)[0] == 0
    assert cli("--model", "ae", *SHORT, "--model.lr", "0.01")[0] == 0
    folders = sorted(path.parent for path in Path("runs").rglob("results.json"))
    assert len(folders) == 3
    assert len({folder.parent for folder in folders}) == 2
    assert results(folders[0])["metrics"] != results(folders[1])["metrics"]


def weights_equal(a, b) -> bool:
    states = [torch.load(Path(x, "checkpoints", "last.ckpt"), weights_only=True)["state_dict"] for x in (a, b)]
    return all(torch.equal(x, y) for x, y in zip(states[0].values(), states[1].values()))


@pytest.mark.parametrize(
    "model, interruption",
    [
        ("gan", KeyboardInterrupt),
        ("ae", SIGTERMException),
        ("began", SIGTERMException),
        pytest.param("vaegan", KeyboardInterrupt, marks=pytest.mark.slow),
        pytest.param("rnn_ae", SIGTERMException, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_goes_on_to_the_same_result(cli, monkeypatch, model, interruption):
    words = ("--model", model, "--augment", "ae", "--augment.steps", "20", "--data.num_train", "200", *SHORT)
    words += ("--trainer.log_every_n_steps", "1", "--checkpoint_seconds", "0")
    words += ("--data", "timeseries", "--model.teacher_decay", "20") if model == "rnn_ae" else ()
    assert cli(*words, "--folder", "whole")[0] == 0

    check = Budget._check

    def interrupt(self, trainer):
        if trainer.datamodule.batches == 11:
            raise interruption
        check(self, trainer)

    monkeypatch.setattr(Budget, "_check", interrupt)
    status, _, error = cli(*words, "--folder", "parts")
    assert status == 130
    assert "the same command goes on" in error
    assert results("parts")["status"] == "interrupted"
    data = "TimeSeriesDataModule" if model == "rnn_ae" else "Digits"
    assert torch.load("parts/checkpoints/last.ckpt", weights_only=True)[data]["batches"] == 10

    monkeypatch.setattr(Budget, "_check", check)
    handler = signal.getsignal(signal.SIGINT)
    assert cli(*words, "--folder", "parts")[0] == 0
    signal.signal(signal.SIGINT, handler)
    assert results("parts")["status"] == "finished"
    assert results("parts")["metrics"] == results("whole")["metrics"]
    assert weights_equal("parts", "whole")
    metrics = [Path(folder, "metrics.csv").read_text() for folder in ("parts", "whole")]
    assert metrics[0].splitlines()[-1] == metrics[1].splitlines()[-1]
    assert [line.split(",")[0] for line in metrics[0].splitlines()[1:]] == [str(i) for i in range(1, 21)]


@pytest.mark.parametrize("asked, is_quiet", [([], True), (["error"], False)])
def test_warnings_of_libraries_are_silenced_unless_python_was_asked_for_them(monkeypatch, asked, is_quiet):
    monkeypatch.setattr(sys, "warnoptions", asked)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        configure_logging(debug=False)
        warnings.warn("of a library", stacklevel=1)
    assert len(caught) == (not is_quiet)


@pytest.mark.slow
def test_a_killed_process_leaves_a_whole_state_and_goes_on(tmp_path, cache):
    words = ["--model", "ae", "--model.network", "mlp", "--model.hidden", "[8]", "--steps", "3000", "--folder", "run"]
    words += ["--metrics.features", "pixels", "--checkpoint_seconds", "1", "--logger", "none", "--cache", str(cache)]
    process = subprocess.Popen([sys.executable, str(ROOT / "run.py"), *words], cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run/checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    process.wait()
    assert results(tmp_path / "run")["status"] == "running"
    batches = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["Digits"]["batches"]
    assert 0 < batches < 3000
    done = shell(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"| {batches}/3000" in done.stderr
    assert results(tmp_path / "run")["status"] == "finished"
    steps = [int(line.split(",")[0]) for line in (tmp_path / "run/metrics.csv").read_text().splitlines()[1:]]
    assert steps == sorted(set(steps)) == list(range(50, 3001, 50))


def test_a_second_process_does_not_enter_a_running_one(cli, tmp_path):
    (tmp_path / "mine").mkdir()
    with FileLock(tmp_path / "mine" / ".lock"):
        status, _, error = cli("--model", "ae", *SHORT, "--folder", "mine")
    assert status == 2
    assert "--folder: another process is training in 'mine'" in error


def test_overwrite_clears_all_that_a_run_made(run_folder, tmp_path):
    """No picture of the old run is taken for one of the new."""
    shutil.copytree(run_folder, tmp_path / "run", ignore=shutil.ignore_patterns("wandb", "samples-seed*"))
    (tmp_path / "run/latents.png").touch()  # by evaluate
    (tmp_path / "run/notes.txt").touch()
    (tmp_path / "run/augmented").mkdir()
    for name in ("00000001", "quality-ae", "strengths-ae"):
        (tmp_path / f"run/augmented/{name}.png").touch()
    RunFolder(tmp_path / "run")._clear()
    left = {path.name for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert left - {".lock"} == {"notes.txt"}


def test_overwrite_starts_anew_and_keeps_foreign_files(cli, tmp_path):
    words = ("--model", "ae", *SHORT, "--folder", "mine")
    assert cli(*words)[0] == 0
    for name in ("notes.txt", "samples/drawing.png"):
        (tmp_path / "mine" / name).write_text("keep me")
    first = results("mine")["metrics"]
    status, _, error = cli(*words, "--model.lr", "0.01")
    assert status == 2
    assert "--folder: 'mine' holds a run with --model.lr 0.002, not 0.01" in error
    assert cli(*words, "--model.lr", "0.01", "--overwrite")[0] == 0
    assert results("mine")["metrics"] != first
    for name in ("notes.txt", "samples/drawing.png"):
        assert (tmp_path / "mine" / name).read_text() == "keep me"


def test_another_autoencoder_of_this_project_augments(cli, tmp_path):
    assert cli("--model", "ae", *SHORT, "--folder", "ae")[0] == 0
    status, out, _ = cli("--augment", "ae", "--augment.checkpoint", "ae", *SHORT, "--folder", "gan")
    assert status == 0
    assert "Training the autoencoder" not in out
    assert "The autoencoder of 'ae' augments, of 16 latent dimensions; --augment.autoencoder, its options" in out
    assert "was not trained on exactly" not in out
    words = ("--augment", "ae", "--augment.checkpoint", "ae", "--data.num_train", "300", *SHORT)
    assert "trained on exactly this run's training images" in cli(*words, "--folder", "other")[2]
    status, out, _ = cli(*words, "--augment.foreign", "true", "--folder", "other")
    assert status == 0
    assert "the autoencoder knows other images than this run's" in out


def test_a_loss_that_is_not_finite_fails_the_run_and_names_it(cli):
    status, _, error = cli("--model", "ae", "--model.lr", "1e30", *SHORT, "--folder", "nan")
    assert status == 1
    assert "train/loss is nan" in error
    assert len(error.strip().splitlines()[-1]) < 300
    assert results("nan")["status"] == "failed"
    assert "train/loss is nan" in results("nan")["error"]


def test_sample(run_folder, cli, tmp_path):
    status, _, _ = cli("sample", str(run_folder), "--num", "10", "--seed", "3", "--out", str(tmp_path))
    assert status == 0
    images = np.load(tmp_path / "samples-seed3.npz")["images"]
    assert images.shape == (10, 1, 8, 8)
    assert images.dtype == np.uint8
    assert np.asarray(Image.open(tmp_path / "samples-seed3.png")).shape[1] > 100
    cli("sample", str(run_folder), "--num", "10", "--seed", "3", "--out", str(tmp_path / "again"))
    assert np.array_equal(np.load(tmp_path / "again" / "samples-seed3.npz")["images"], images)


def test_evaluate(run_folder, cli):
    status, out, error = cli(
        "evaluate", str(run_folder), "--metrics.features", "pixels", "--metrics.num_samples", "100"
    )
    assert status == 0, error
    assert "100 samples (averaged weights) against 597 held-out images, in pixel features" in out
    evaluation = results(run_folder)["evaluations"][-1]
    assert evaluation["protocol"]["extractor"] == "pixels"
    assert evaluation["metrics"]["fd"] > 0
    # the same protocol gives the numbers of the run
    cli("evaluate", str(run_folder))
    assert results(run_folder)["evaluations"][-1]["metrics"] == pytest.approx(results(run_folder)["metrics"], rel=1e-3)


def test_a_checkpoint_of_another_shape(cli, picture_folder, tmp_path):
    words = ("--model", "ae", "--data", "folder", "--data.root", str(picture_folder), "--data.batch_size", "8")
    assert cli(*words, *SHORT, "--folder", "colour")[0] == 0
    status, _, error = cli("--augment", "ae", "--augment.checkpoint", "colour", *SHORT, "--folder", "grey")
    assert status == 2
    assert "--augment.checkpoint: expected an autoencoder of images (1, 8, 8), got one of (3, 10, 12)" in error
    assert not Path("grey").exists()


@pytest.mark.parametrize("name", ["checkpoints/last.ckpt", "config.yaml"])
def test_damaged_files_of_a_run_are_named(cli, name):
    words = ("--model", "ae", *SHORT, "--folder", "mine")
    assert cli(*words)[0] == 0
    content = Path("mine/results.json").read_text().replace('"finished"', '"running"')
    Path("mine/results.json").write_text(content)
    Path("mine", name).write_text("[1, 2]")
    status, _, error = cli(*words)
    assert status == 2
    assert f"--folder: 'mine/{name}' is damaged" in error


def test_damaged_results_are_set_aside_and_written_anew(cli):
    words = ("--model", "ae", *SHORT, "--folder", "mine")
    assert cli(*words)[0] == 0
    whole = results("mine")
    Path("mine/results.json").write_text('{"status": "finis')
    for verb in ("sample", "evaluate", "compare"):
        status, _, error = cli(verb, "mine")
        assert status == 2 and "the command that trained the run goes on and writes it anew" in error
    status, out, _ = cli(*words)
    assert status == 0 and "it is kept as results.json.damaged" in out
    assert Path("mine/results.json.damaged").read_text() == '{"status": "finis'
    assert {**results("mine"), "timing": {}} == {**whole, "timing": {}}


def test_a_finished_run_whose_checkpoint_is_damaged_has_its_weights(cli):
    assert cli("--model", "ae", *SHORT, "--folder", "mine")[0] == 0
    assert cli("sample", "mine", "--num", "4", "--out", "whole")[0] == 0
    Path("mine/checkpoints/last.ckpt").write_text("junk")
    status, out, _ = cli("sample", "mine", "--num", "4", "--out", "damaged")
    assert status == 0 and "WARNING: --folder: 'mine/checkpoints/last.ckpt' is damaged" in out
    assert "'mine/model.safetensors', of the end, is taken" in out
    with np.load("whole/samples-seed0.npz") as whole, np.load("damaged/samples-seed0.npz") as after:
        assert (whole["images"] == after["images"]).all()


def test_damaged_cached_files_are_named(capsys, monkeypatch):
    monkeypatch.setattr(ClassifierFeatures.__init__, "__defaults__", (None, 5))  # weights, num_steps
    words = ["--augment", "ae", "--augment.steps", "5", "--steps", "5", "--logger", "none", "--cache", "cache"]
    assert run.main([*words, "--folder", "first"]) == 0
    assert "Training the classifier" in capsys.readouterr().out
    for kind in ("autoencoder", "classifier"):
        (path,) = [path for path in Path("cache", kind).iterdir() if not path.suffix]
        whole = path.read_bytes()
        path.write_text("junk")
        capsys.readouterr()
        assert run.main([*words, "--folder", "second"]) == 2
        assert f"--cache: '{path}' is damaged" in capsys.readouterr().err
        path.write_bytes(whole)


def test_pictures_of_runs_are_no_training_images(cli, picture_folder, monkeypatch):
    monkeypatch.chdir(picture_folder)
    words = ("--model", "ae", "--data", "folder", "--data.root", ".", "--data.batch_size", "8", *SHORT)
    assert cli(*words)[0] == 0
    assert list(Path("runs").rglob("samples/*.png"))
    assert cli(*words, "--overwrite")[0] == 0


def test_debug_shows_the_traceback(cli):
    assert "Traceback" in cli("--data.num_train", "5000", "--debug")[2]
    assert "Traceback" not in cli("--data.num_train", "5000", "--debug", "false")[2]


@pytest.mark.parametrize("words", [["--debug", "true"], ["--debug=true"], ["--debug"]])
def test_debug_of_a_verb(cli, words):
    status, _, error = cli("sample", "nowhere", *words)
    assert status == 2
    assert "Traceback" in error
    assert "expected a run folder" in error.splitlines()[-1]


@pytest.mark.parametrize(
    "words, num_processes",
    [
        (["--accelerator", "cpu"], 1),
        (["--accelerator", "cpu", "--devices", "2"], 2),
        (["--accelerator", "cpu", "--devices", "auto"], 3),
        (["--accelerator", "gpu", "--devices", "auto"], 4),
        (["--accelerator", "gpu", "--devices", "-1"], 4),
        (["--accelerator", "gpu", "--devices", "1,3"], 2),
        (["--accelerator", "cpu", "--devices", "2", "--trainer.num_nodes", "2"], 4),
    ],
)
def test_an_epoch_is_one_pass_of_all_devices_together(digits, monkeypatch, words, num_processes):
    """On a machine with four GPUs and three cores: every process has batches of its own."""
    monkeypatch.setattr("pytorch_lightning.accelerators.CPUAccelerator.auto_device_count", staticmethod(lambda: 3))
    for package in ("pytorch_lightning", "lightning_fabric"):
        monkeypatch.setattr(f"{package}.accelerators.cuda.num_cuda_devices", lambda: 4)
    monkeypatch.setattr("lightning_fabric.accelerators.cuda._get_all_visible_cuda_devices", lambda: [0, 1, 2, 3])
    config = run.COMMAND_LINE.parse([*words, "--epochs", "5", "--data.batch_size", "16", "--logger", "none"])
    digits.batch_size = 16
    assert count_steps(config, digits) == 5 * (200 // (16 * num_processes))


def test_colour_pictures_without_labels_go_the_whole_way(cli, tmp_path):
    generator = np.random.default_rng(0)
    for i in range(50):
        Image.fromarray(generator.integers(0, 255, (9, 11, 3), np.uint8)).save(tmp_path / f"{i}.png")
    words = (
        "--augment",
        "ae",
        "--augment.steps",
        "5",
        "--data",
        "folder",
        "--data.root",
        ".",
        "--data.batch_size",
        "8",
    )
    assert cli(*words, "--steps", "6", "--folder", "out")[0] == 0
    assert results("out")["protocol"]["extractor"] == "efficientnet"


def test_every_option_of_a_run_is_in_its_config(run_folder):
    config = yaml.safe_load((run_folder / "config.yaml").read_text())
    assert set(PACKAGES) | {"metrics", "trainer", "steps", "seed", "precision"} <= set(config)
    assert config["augment"]["detail"] == "residual"


@pytest.mark.parametrize(
    "words, name",
    [
        (["--devices", "1"], "SingleDeviceStrategy"),
        (["--devices", "2"], "DDPStrategy"),
        (["--devices", "1", "--trainer.num_nodes", "2"], "DDPStrategy"),
    ],
)
def test_several_devices_choose_the_right_strategy(digits, words, name):
    config = run.COMMAND_LINE.parse([*words, "--accelerator", "cpu", "--logger", "none"])
    model = build_model(config, digits.served)
    trainer = build_trainer(config, model, "32-true", RunFolder("run"), digits, {}, steps=1, resume=None)
    assert type(trainer.strategy).__name__ == name
    needs_it = name == "DDPStrategy"
    assert getattr(trainer.strategy, "_ddp_kwargs", {}).get("find_unused_parameters", False) == needs_it


@pytest.mark.slow
def test_a_model_with_an_encoder_shows_its_latents(cli):
    words = ("--model", "vae", "--augment", "ae", "--augment.steps", "5", *SHORT, "--folder", "vae")
    status, out, _ = cli(*words)
    assert status == 0
    assert "log-likelihood of 250 held-out images, at least" in out
    for name in ("interpolations", "traversals"):
        assert f"vae/{name}/00000020.png" in out
        assert Path(f"vae/{name}/00000020.png").is_file()
    num_threads = torch.get_num_threads()
    status, out, error = cli("evaluate", "vae")
    assert status == 0, error
    assert torch.get_num_threads() == num_threads  # UMAP would take all cores from there on
    for text in ("bits per dimension kept", "PCA, 16 dims", "linear probe", "5 nearest neighbours", "vae/latents.png"):
        assert text in out, text
    values = results("vae")["evaluations"][-1]["representation"]
    assert values["linear_probe_pixels"] > 0.85
    assert values["mse"] == pytest.approx(results("vae")["metrics"]["mse"], rel=1e-4)
    assert np.asarray(Image.open("vae/latents.png")).std() > 10


def test_samples_of_a_class(cli):
    words = ("--model", "gan", "--model.conditional", "concatenation", "--model.network", "mlp", *SHORT)
    assert cli(*words, "--folder", "gan")[0] == 0
    assert cli("sample", "gan", "--num", "5", "--label", "3")[0] == 0
    assert np.load("gan/samples-label3-seed0.npz")["images"].shape == (5, 1, 8, 8)
    status, _, error = cli("sample", "gan", "--label", "10")
    assert status == 2
    assert "--label: expected a class below 10; got 10" in error
    height, width = np.asarray(Image.open("gan/samples/00000020.png")).shape[:2]
    assert height > width  # ten rows of eight
    assert cli("--model", "ae", *SHORT, "--folder", "ae")[0] == 0
    assert "--label: expected no label" in cli("sample", "ae", "--label", "1")[2]


@pytest.mark.parametrize("model", [name for name in registry.names("lightning_genae.models") if name != "rnn_ae"])
def test_every_model_goes_with_augmentation_and_odd_colour_images(cli, picture_folder, model):
    words = ("--model", model, "--augment", "ae", "--augment.steps", "5", "--data", "folder", "--data.batch_size", "8")
    status, _, error = cli(*words, "--data.root", str(picture_folder), *SHORT, "--folder", "run")
    assert status == 0, error
    assert results("run")["status"] == "finished"
    assert Path("run/samples/00000020.png").is_file()
    assert cli("sample", "run", "--num", "4")[0] == 0
    assert np.load("run/samples-seed0.npz")["images"].shape == (4, 3, 10, 12)


def test_points_go_the_whole_way(cli):
    words = ("--model", "gan", "--augment", "ae", "--augment.steps", "5", "--augment.autoencoder.network", "mlp")
    status, out, error = cli(*words, "--model.network", "mlp", "--data", "ring", "--steps", "20", "--folder", "ring")
    assert status == 0, error
    assert "modes found" in out
    assert 0 <= results("ring")["metrics"]["good"] <= 1
    assert results("ring")["protocol"]["n_fake"] == 2500
    assert cli("sample", "ring", "--num", "30")[0] == 0
    assert np.load("ring/samples-seed0.npz")["points"].dtype == np.float32
