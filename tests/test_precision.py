"""--precision auto: what it becomes, that it is recorded and kept, and what computes in it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

import run
from callbacks.budget import Budget
from lightning_genae.ablation.records import compare, read
from lightning_genae.commands import precision
from lightning_genae.commands.parse import parse_run
from lightning_genae.evaluation.evaluation import Evaluation
from lightning_genae.models.gan import GAN
from lightning_genae.run_folder import RunFolder, config_hash
from tests.data import dataset_of
from tests.test_report import make_run

SHORT = ("--steps", "4", "--model", "gan", "--model.width", "4", "--metrics.features", "pixels", "--logger", "none")
SHORT += ("--metrics.num_samples", "10", "--data", "folder", "--data.root", "images", "--data.batch_size", "8")
SHORT += ("--trainer.log_every_n_steps", "1", "--checkpoint_seconds", "0", "--accelerator", "cpu")


@pytest.fixture
def with_amx(monkeypatch):
    """Says whether this machine's CPU has AMX; at first it has."""

    def set_to(value: bool) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": value}, raising=False)

    set_to(True)
    return set_to


@pytest.fixture
def images():
    """A folder `images` of 16x16 pixels, for which auto is bf16-mixed."""
    Path("images").mkdir()
    random = np.random.default_rng(0)
    for i in range(80):
        Image.fromarray(random.integers(0, 255, (16, 16), np.uint8)).save(f"images/{i}.png")


def results(folder: str) -> dict:
    return json.loads(Path(folder, "results.json").read_text())


def chosen(shape: tuple[int, int, int], resume=None, **config) -> str:
    dataset = dataset_of(torch.zeros(20, *shape, dtype=torch.uint8))
    config = {"precision": "auto", "accelerator": "cpu"} | config
    return precision.chosen_precision(config, dataset, resume)


def test_the_rule(with_amx, monkeypatch):
    assert chosen((1, 8, 8)) == chosen((3, 64, 8)) == "bf16-mixed"
    assert chosen((1, 7, 64)) == chosen((3, 1, 600)) == "32-true"  # sequences are one pixel high
    assert chosen((1, 28, 28), precision="64-true") == "64-true"
    assert chosen((1, 28, 28), accelerator="mps") == "32-true"
    with_amx(False)
    assert chosen((1, 28, 28)) == "32-true"
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # as before torch 2.10
    assert chosen((1, 28, 28)) == "32-true"


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("accelerator", ["auto", "gpu", "cuda"])
def test_a_gpu_that_only_emulates_it_does_not_count(with_amx, monkeypatch, native, accelerator):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert chosen((1, 28, 28), accelerator=accelerator) == ("bf16-mixed" if native else "32-true")


def test_a_run_goes_on_in_the_precision_that_it_began_with(with_amx, cli, images, monkeypatch):
    check = Budget._check

    def interrupt(self, trainer):
        check(self, trainer)
        if trainer.datamodule.batches == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Budget, "_check", interrupt)
    status, printed, _ = cli(*SHORT, "--folder", "parts")
    assert status == 130 and "in bf16-mixed" in printed
    monkeypatch.setattr(Budget, "_check", check)
    with_amx(False)
    status, printed, _ = cli(*SHORT, "--folder", "parts")
    assert status == 0 and "in bf16-mixed" in printed
    assert results("parts")["precision"] == "bf16-mixed"
    assert cli(*SHORT, "--folder", "other")[0] == 0
    assert results("other")["precision"] == "32-true"
    for folder in ("parts", "other"):
        assert yaml.safe_load(Path(folder, "config.yaml").read_text())["precision"] == "auto"
    # a finished run is shown to auto, and to the precision that it has, but not to another
    assert "finished" in cli(*SHORT, "--folder", "parts", "--precision", "bf16-mixed")[1]
    status, _, error = cli(*SHORT, "--folder", "parts", "--precision", "32-true")
    assert status == 2 and "holds a run with --precision bf16-mixed, not 32-true" in error


def test_a_run_that_was_interrupted_by_an_earlier_version_goes_on_in_float32(with_amx):
    state = {"callbacks": {"Record": {"depends_on": {"config": {"precision": "32-true"}}}}}
    assert chosen((1, 28, 28), resume=(Path("last.ckpt"), state)) == "32-true"


def test_runs_of_earlier_versions_are_found():
    """The hash of the default is that of 32-true and without --compile; that of others differs."""

    def hashed(*words: str) -> str:
        return config_hash(parse_run(run.COMMAND_LINE, list(words)))

    earlier = parse_run(run.COMMAND_LINE, ["--precision", "32-true"])
    del earlier["compile"]
    assert hashed() == hashed("--precision", "32-true") == config_hash(earlier)
    assert len({hashed(), hashed("--precision", "bf16-mixed"), hashed("--compile", "true")}) == 3


def test_networks_compute_in_it_and_metrics_in_float32(with_amx, cli, images, monkeypatch):
    seen: dict[str, set] = {"training": set(), "sampling": set(), "features": set(), "weights": set()}
    forward, measure = nn.Conv2d.forward, Evaluation.measure

    def note(self, x):
        output = forward(self, x)
        seen["training" if torch.is_grad_enabled() else "sampling"].add(output.dtype)
        seen["weights"].add(self.weight.dtype)
        return output

    def note_features(self, *args):
        values = measure(self, *args)
        assert not torch.is_autocast_enabled("cpu")
        seen["features"].add(self.samples.features.dtype)
        return values

    monkeypatch.setattr(nn.Conv2d, "forward", note)
    monkeypatch.setattr(Evaluation, "measure", note_features)
    assert cli(*SHORT, "--folder", "out")[0] == 0
    assert seen["training"] == {torch.bfloat16}
    assert torch.float32 in seen["sampling"]  # bfloat16 are the images for the critic
    assert seen["features"] == seen["weights"] == {torch.float32}


def test_a_precision_that_there_is_not(cli):
    status, _, error = cli("--precision", "nonsense", "--folder", "out")
    assert status == 2 and "error: --precision: expected auto, 32-true, bf16-mixed" in error and "'nonsense'" in error


def test_a_backward_pass_casts_nothing(with_amx, cli, images, monkeypatch):
    """PyTorch's autocast is for forward passes: another would round products of what was computed in float32."""
    seen = []
    backward = GAN.manual_backward

    def note(self, loss):
        seen.append(torch.is_autocast_enabled("cpu"))
        backward(self, loss)

    monkeypatch.setattr(GAN, "manual_backward", note)
    assert cli(*SHORT, "--folder", "out")[0] == 0
    assert seen and not any(seen)


@pytest.mark.parametrize("other", ["32-true", "bf16-mixed"])
def test_a_table_says_that_runs_were_computed_unlike_each_other(tmp_path, other):
    runs = [("none", "auto", "32-true"), ("none", "auto", other), ("ae", "32-true", None)]
    for seed, (arm, asked, found) in enumerate(runs):
        folder = tmp_path / f"run{seed}"
        config = make_run(folder, augment=arm, precision=asked, seed=seed)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        if found:  # the last one is of an earlier version
            RunFolder(folder).update(precision=found)
    comparisons = compare(read([tmp_path])[0], factor="augment")
    warnings = " ".join(sentence for one in comparisons for sentence in one.warnings())
    if other == "32-true":
        assert len(comparisons) == 1 and "Not computed alike" not in warnings
    else:
        assert "Not computed alike" in warnings and "none seed 0 in 32-true; none seed 1 in bf16-mixed" in warnings
