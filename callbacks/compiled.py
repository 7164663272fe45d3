"""Trains with compiled networks, and measures without."""

import torch
from pytorch_lightning import Callback
from torch import nn


class Compiled(Callback):
    """Compiles a model's networks by torch.compile, in place, for its training steps.

    Checkpoints and weights are those of a run without it: `nn.Module.compile` changes no key. Evaluation, pictures and
    every other callback run the networks as they are, so that no other batch size is compiled.
    """

    def setup(self, trainer, pl_module, stage: str) -> None:
        torch.compiler.reset()  # of a temporary model, which would count towards the number of recompilations
        for network in networks(pl_module):
            network.compile(dynamic=False)  # a critic sees batches of two sizes, always the same
        torch.compiler.set_stance("force_eager")

    def on_train_batch_start(self, trainer, pl_module, *args) -> None:
        torch.compiler.set_stance("default")

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        torch.compiler.set_stance("force_eager")

    def teardown(self, trainer, pl_module, stage: str) -> None:
        torch.compiler.set_stance("default")

    def on_exception(self, trainer, pl_module, exception) -> None:
        torch.compiler.set_stance("default")


def networks(module: nn.Module) -> list[nn.Sequential]:
    """A model's outermost stacks of layers that are trained; of a stack of stacks, which may be called one by one, its
    parts."""
    found: list[nn.Sequential] = []
    for child in module.children():
        if not any(weight.requires_grad for weight in child.parameters()):  # the generator's average
            continue
        if isinstance(child, nn.Sequential) and not all(isinstance(part, nn.Sequential) for part in child):
            found.append(child)
        else:
            found += networks(child)
    return found
