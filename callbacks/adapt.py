"""Adapts the augmentation's fraction to how much the critic overfits (Karras et al. 2020, arXiv 2006.06676)."""

import torch
from pytorch_lightning import Callback

from lightning_genae.augment import Composition
from lightning_genae.models import Model


class Adapt(Callback):
    """Collects the critic's overfitting signal and adapts the augmentation's fraction to it, if it has a target.

    Logged as train/overfitting and train/augment_fraction. What changes in the augmentation is saved and resumed.

    Args:
        augment: whose fraction is adapted.
    """

    every = 4  # batches between two adaptations, as in the paper

    def __init__(self, augment: Composition):
        self.augment = augment
        self.signals: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        if self.augment.target is None:
            return
        # reduced every time, because a checkpoint contains only what the first process has
        new = trainer.strategy.reduce(pl_module.overfitting, reduce_op="mean")
        self.signals = [*(signal.to(new) for signal in self.signals), new]  # resumed signals are on the CPU
        if len(self.signals) == self.every:
            signal = torch.stack(self.signals).mean()
            datamodule = trainer.datamodule
            self.augment.adapt(float(signal), self.every * datamodule.batch_size * trainer.world_size)
            self.signals = []
            self._log(pl_module, "overfitting", signal)
        self._log(pl_module, "augment_fraction", torch.tensor(max(self.augment.fractions.values())))

    def _log(self, pl_module, name: str, value: torch.Tensor) -> None:
        if isinstance(pl_module, Model):
            pl_module.log_part(name, value)
        else:  # another project's
            pl_module.log(f"train/{name}", value, batch_size=1)

    def state_dict(self) -> dict:
        return {**self.augment.state(), "signals": [float(signal) for signal in self.signals]}

    def load_state_dict(self, state_dict: dict) -> None:
        self.augment.go_on_from(state_dict)
        self.signals = [torch.tensor(signal) for signal in state_dict["signals"]]
