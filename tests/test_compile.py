"""--compile: what is compiled, what it leaves as it is, and when it is off."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from callbacks.budget import Budget
from callbacks.compiled import networks
from lightning_genae.commands import compiling
from lightning_genae.models.bigan import BiGAN
from lightning_genae.models.ebgan import EBGAN
from lightning_genae.models.gan import GAN
from tests.test_run import weights_equal

SHORT = ("--steps", "6", "--model", "gan", "--model.width", "4", "--metrics.features", "pixels", "--logger", "none")
SHORT += ("--metrics.num_samples", "50", "--data.num_train", "100", "--data.batch_size", "16", "--accelerator", "cpu")
SHORT += ("--trainer.log_every_n_steps", "1", "--checkpoint_seconds", "0", "--precision", "32-true")


def results(folder: str) -> dict:
    return json.loads(Path(folder, "results.json").read_text())


def state(folder: str) -> dict:
    return torch.load(Path(folder, "checkpoints", "last.ckpt"), weights_only=True)["state_dict"]


def test_without_a_compiler_there_is_one_warning(cli, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    status, printed, _ = cli(*SHORT, "--compile", "--folder", "out")
    assert status == 0 and results("out")["status"] == "finished"
    assert printed.count("WARNING: --compile") == 1 and "there is no no-such-compiler" in printed
    assert results("out")["compiled"] is False


def test_without_triton_nothing_is_compiled_for_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(compiling, "find_spec", lambda name: None)
    assert "triton" in compiling.no_compiler("auto") and "triton" not in compiling.no_compiler("cpu")


def test_a_compiler_that_fails_is_a_warning(cli, monkeypatch):
    try_out = compiling.try_out

    def fail(*args, compiled=False):
        if compiled:
            raise RuntimeError("the compiler\nfell over")
        return try_out(*args)

    monkeypatch.setattr(compiling, "try_out", fail)
    monkeypatch.setattr(compiling, "no_compiler", lambda accelerator: "")
    monkeypatch.setattr(compiling, "MIN_SECONDS", 0)
    status, printed, _ = cli(*SHORT, "--compile", "--folder", "out")
    assert status == 0 and "RuntimeError: the compiler fell over" in printed and not results("out")["compiled"]


def test_a_short_training_is_not_compiled(cli, monkeypatch):
    monkeypatch.setattr(compiling, "no_compiler", lambda accelerator: "")
    status, printed, _ = cli(*SHORT, "--compile", "--folder", "out")
    assert status == 0 and "--compile: off; the whole training takes about" in printed
    assert results("out")["compiled"] is False


@pytest.mark.parametrize(
    "compiled, compiling_takes, is_won",
    [(0.08, 19, True), (0.08, 21, False), (0.1, 0, False), (0.2, 0, False), (None, 0, False)],
)
def test_it_is_on_where_the_whole_training_is_shorter(compiled, compiling_takes, is_won):
    found, words = compiling.verdict(1000, eager=0.1, compiled=compiled, compiling=compiling_takes)
    assert found == is_won and words.startswith("on;" if is_won else "off;")


def test_networks_that_are_trained_are_found():
    gan = GAN((1, 8, 8))
    assert networks(gan) == [gan.generator, gan.critic.features]  # and not the generator's average
    ebgan = EBGAN((1, 8, 8))
    assert networks(ebgan) == [ebgan.generator, *ebgan.critic]  # which are called one by one
    bigan = BiGAN((1, 8, 8))
    assert {bigan.encoder, bigan.generator} < set(networks(bigan)) and len(networks(bigan)) == 4


@pytest.fixture
def graphs(monkeypatch):
    """Compiles without a compiler: what torch traces runs as it is. The sizes of the batches of all graphs."""
    sizes: list[int] = []

    def run_as_it_is(graph, inputs):
        sizes.extend(len(one) for one in inputs if one.ndim in (2, 4) and not isinstance(one, nn.Parameter))
        return graph.forward

    monkeypatch.setattr(nn.Module, "compile", compile_with(nn.Module.compile, run_as_it_is))
    monkeypatch.setattr(compiling, "no_compiler", lambda accelerator: "")
    monkeypatch.setattr(compiling, "MIN_SECONDS", 0)
    monkeypatch.setattr(compiling, "verdict", lambda steps, **plan: (True, "on"))
    return sizes


def compile_with(method, backend):
    return lambda self, **options: method(self, backend=backend, **options)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of torch itself, while it traces
def test_training_steps_alone_are_compiled_and_nothing_else_changes(cli, graphs, monkeypatch):
    assert cli(*SHORT, "--folder", "eager")[0] == 0 and not graphs
    status, printed, _ = cli(*SHORT, "--compile", "--folder", "compiled")
    assert status == 0 and "WARNING: --compile" not in printed
    assert results("compiled")["compiled"] and not results("eager")["compiled"]
    assert {16, 32} <= set(graphs) and not {50, 100} & set(graphs)  # batches for the players, never of an evaluation
    assert state("compiled").keys() == state("eager").keys()
    assert weights_equal("compiled", "eager")
    assert results("compiled")["metrics"] == results("eager")["metrics"]

    check = Budget._check

    def interrupt(self, trainer):
        check(self, trainer)
        if trainer.datamodule.batches == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Budget, "_check", interrupt)
    assert cli(*SHORT, "--compile", "--folder", "parts")[0] == 130
    monkeypatch.setattr(Budget, "_check", check)
    graphs.clear()
    monkeypatch.setattr(compiling, "measure", lambda *args: 1 / 0)  # it goes on as it began, without measuring
    assert cli(*SHORT, "--compile", "--folder", "parts")[0] == 0
    assert graphs and weights_equal("parts", "eager")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of torch itself, while it traces
def test_a_compiled_training_learns_the_same(cli, monkeypatch):
    if compiling.no_compiler("cpu"):
        pytest.skip("there is no compiler")
    monkeypatch.setattr(compiling, "MIN_SECONDS", 0)
    monkeypatch.setattr(compiling, "verdict", lambda steps, **plan: (True, "on"))
    for folder, words in {"eager": (), "compiled": ("--compile",)}.items():
        assert cli(*SHORT, *words, "--folder", folder)[0] == 0
    assert results("compiled")["compiled"] and state("compiled").keys() == state("eager").keys()
    for name, expected in state("eager").items():
        # Adam's first steps are as long as the rate, 4e-4, however small the gradient
        torch.testing.assert_close(state("compiled")[name], expected, rtol=1e-3, atol=8e-4)
