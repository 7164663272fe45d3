"""What a training step does beside the networks' work: log, record, optimise."""

import csv
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from callbacks.record import Record
from lightning_genae.commands.trainer import new_trainer
from lightning_genae.models.ae import Autoencoder
from lightning_genae.models.gan import GAN
from lightning_genae.models.rnn_ae import RecurrentAutoencoder
from lightning_genae.profiling import NoProfiler
from tests.test_interruption import SHORT
from tests.test_models import train

SMALL = {"network": "mlp", "hidden": [8]}


def test_only_steps_that_log_call_lightnings_log(digits, monkeypatch):
    """Every other step leaves its terms with the model; the last step is logged wherever it falls."""
    model, logged = GAN(digits.dataset.image_shape, 10, **SMALL), {}
    log, step = model.log, model.training_step
    seen = []

    def noted(name, value, **options):
        logged.setdefault(model.trainer.datamodule.batches, {})[name] = float(value)
        log(name, value, **options)

    def watched(*args):
        step(*args)
        seen.append({f"train/{name}": float(value) for name, value in model.terms.items()})

    monkeypatch.setattr(model, "log", noted)
    monkeypatch.setattr(model, "training_step", watched)
    train(model, digits, 8, log_every_n_steps=3)
    assert logged == {batch: seen[batch - 1] for batch in (3, 6, 8)}
    assert set(logged[3]) == {"train/loss_critic", "train/loss_generator", "train/output_real", "train/output_fake"}
    assert model.terms_on_bar == ["loss_critic", "loss_generator"]


def test_terms_are_as_new_as_they_can_be(digits):
    """One that is not computed for every batch keeps its last value."""
    model, losses = GAN(digits.dataset.image_shape, 10, n_critic=3, **SMALL), []
    loss_generator = model.loss_generator
    model.loss_generator = lambda x, labels: losses.append(loss_generator(x, labels)) or losses[-1]
    train(model, digits, 8)
    assert len(losses) == 2
    assert float(model.terms["loss_generator"]) == losses[-1].item()


def test_a_term_of_an_earlier_batch_is_not_lost_by_an_interruption(cli, monkeypatch):
    """The generator's loss of batch 7 stands in the row of batch 8, which another process writes."""
    words = ("--model", "gan", "--model.n_critic", "7", *SHORT[:-1], "4", "--folder")
    assert cli(*words, "whole")[0] == 0
    save = Record._save

    def killed(self, trainer, pl_module):
        save(self, trainer, pl_module)
        if trainer.datamodule.batches == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(Record, "_save", killed)
    assert cli(*words, "parts")[0] == 130
    monkeypatch.setattr(Record, "_save", save)
    assert cli(*words, "parts")[0] == 0
    assert Path("parts/metrics.csv").read_text() == Path("whole/metrics.csv").read_text()
    with Path("parts/metrics.csv").open(newline="") as file:
        rows = {row["batches"]: row["train/loss_generator"] for row in csv.DictReader(file)}
    assert rows["8"] and rows["8"] == rows["12"] and not rows["4"]


@pytest.mark.parametrize("network", ["conv", "resnet"])
def test_convolutions_keep_their_channels_last(network):
    model = Autoencoder((3, 16, 16), network=network, width=4)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            assert layer.weight.is_contiguous(memory_format=torch.channels_last)


def test_adam_is_fused_where_lightning_can_use_it(digits):
    def of(model, **options) -> list[bool]:
        trainer = train(model, digits, digits.batches + 1, **options)
        return [optimizer.defaults["fused"] for optimizer in trainer.optimizers]

    shape = digits.dataset.image_shape
    assert of(GAN(shape, 10, **SMALL)) == [True, True]
    assert of(GAN(shape, 10, **SMALL), precision="bf16-mixed") == [True, True]
    assert of(GAN(shape, 10, gradient_clip=0.5, **SMALL)) == [True, True]
    assert of(GAN(shape, 10, gradient_clip=0.5, **SMALL), precision="bf16-mixed") == [False, False]
    assert RecurrentAutoencoder((1, 1, 8), modality="series").configure_optimizers().defaults["fused"]


def test_no_profiler_nests_and_lets_errors_pass():
    profiler = NoProfiler()
    with pytest.raises(ZeroDivisionError), profiler.profile("outer"), profiler.profile("inner"):
        raise ZeroDivisionError
    with profiler.profile("again"):
        pass


def test_profile_names_the_dearest_operations(cli):
    words = ("--model", "gan", *SHORT, "--logger", "none", "--folder", "mine")
    status, output, _ = cli(*words, "--profile")
    assert status == 0
    assert "The dearest operations of 12 batches, by 'mine/profile/trace.json'" in output
    lines = output.partition("The dearest operations")[2].splitlines()[2:12]
    shares = [float(line.split()[0].removesuffix("%")) for line in lines]
    assert shares == sorted(shares, reverse=True) and shares[0] > 3
    events = json.loads(Path("mine/profile/trace.json").read_text())["traceEvents"]
    assert any(event["name"] == "aten::convolution_backward" for event in events)
    assert "aten::convolution_backward" in Path("mine/profile/operations.txt").read_text()
    # the option changes nothing else, so a run with it is the same run
    assert "profile" not in Path("mine/results.json").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="where there is a GPU, Lightning's way stays")
def test_optimizers_look_for_no_driver(monkeypatch):
    """With Lightning's variable every step of an optimizer looks for a library, by torch.cuda.device_count."""
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # as its import does
    looks = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(looks.append(1) or ""))
    new_trainer({"accelerator": "cpu", "devices": 1, "strategy": "auto", "trainer": {}}, "32-true")
    looks.clear()
    assert not torch.cuda.is_available() and not looks
