"""Checks that losses and weights are finite."""

import logging

import torch
from pytorch_lightning import Callback

from callbacks.evaluate import Evaluate
from lightning_genae.checkpoints import newest, not_finite
from lightning_genae.models import Model
from lightning_genae.run_folder import RunFolder

log = logging.getLogger("lightning_genae")


class Finite(Callback):
    """Stops or rewinds a training at the first loss or weight that is not finite, before it is saved.

    A rewind restores the model and its optimizers from the last checkpoint, halves the learning rate and continues with
    the next batches; images are not repeated. The checkpoint depends on the time at which it was saved, so such a run
    is not reproducible to the bit.

    Args:
        folder: of the run.
        rewinds_at_all: whether to rewind instead of stopping.
        evaluate: weights are checked before each of its evaluations, too.

    Attributes:
        rewinds: for each rewind, the batch and what was not finite.
    """

    most_rewinds = 5
    batches_between_checks = 10  # for weights, and for losses if reading them would synchronise with a device

    def __init__(self, folder: RunFolder, rewinds_at_all: bool, evaluate: Evaluate):
        self.folder = folder
        self.evaluate = evaluate
        self.rewinds_at_all = rewinds_at_all
        self.rewinds: list[dict] = []

    def on_train_start(self, trainer, pl_module) -> None:
        self._begin(trainer, pl_module)

    def on_train_batch_end(self, trainer, pl_module, outputs, *args) -> None:
        if pl_module.automatic_optimization and not outputs:
            raise ValueError("--model: expected training_step to return a loss; got none, so that nothing is learnt")
        self._count(_terms(trainer, pl_module), pl_module.device)
        batches = trainer.datamodule.batches
        waits = trainer.world_size > 1 or pl_module.device.type != "cpu"
        is_time = batches % self.batches_between_checks == 0 or batches in self.evaluate.positions
        if is_time or not (waits or self.are_finite.all()):
            self.check(trainer, pl_module)

    def check(self, trainer, pl_module) -> None:
        """Must be called by all processes.

        Raises:
            FloatingPointError: a loss or a weight of a process is not finite.
        """
        weights = _floats(pl_module)
        # one norm takes a tenth of the time of looking at every weight, but may overflow
        is_suspect = not (self.are_finite.all() & torch.nn.utils.get_total_norm(weights).isfinite())
        is_bad = is_suspect and not (self.are_finite.all() and not_finite(weights) is None)
        bad_rank = trainer.global_rank if is_bad else -1
        if trainer.world_size > 1:
            bad_rank = int(trainer.strategy.reduce(torch.tensor(bad_rank, device=pl_module.device), reduce_op="max"))
        if bad_rank < 0:
            return
        what = self._describe(trainer, pl_module) if trainer.global_rank == bad_rank else ""
        self._end_or_rewind(trainer, pl_module, trainer.strategy.broadcast(what, bad_rank))

    def state_dict(self) -> dict:
        return {"rewinds": self.rewinds}

    def load_state_dict(self, state_dict: dict) -> None:
        self.rewinds = state_dict["rewinds"]

    def _begin(self, trainer, pl_module) -> None:
        """Starts to count, for each term, the batches until it is not finite."""
        self.begun_at = trainer.datamodule.batches
        self.num_batches = 0
        self.names: list[str] = []
        self.are_finite = torch.ones(0, dtype=torch.bool, device=pl_module.device)
        self.num_finite = torch.zeros(0, dtype=torch.long, device=pl_module.device)

    def _count(self, terms: dict[str, torch.Tensor], device: torch.device) -> None:
        # on the device, without synchronisation
        if new := [name for name in terms if name not in self.names]:
            self.names += new
            self.are_finite = torch.cat([self.are_finite, self.are_finite.new_ones(len(new))])
            self.num_finite = torch.cat([self.num_finite, self.num_finite.new_full((len(new),), self.num_batches)])
        if terms:
            now = torch.stack([torch.as_tensor(terms[name], device=device).isfinite().all() for name in self.names])
            self.are_finite = self.are_finite & now
            self.num_finite = self.num_finite + self.are_finite
        self.num_batches += 1

    def _describe(self, trainer, pl_module) -> str:
        if self.are_finite.all():
            bad = not_finite(pl_module.state_dict())
            return f"the weight {bad} is not finite in batch {trainer.datamodule.batches}"
        first = int(self.num_finite.argmin())  # of several terms the one that was logged first
        value = float(_terms(trainer, pl_module)[self.names[first]])
        return f"{self.names[first]} is {value} in batch {self.begun_at + int(self.num_finite[first]) + 1}"

    def _end_or_rewind(self, trainer, pl_module, what: str) -> None:
        last = newest(self.folder.checkpoints)
        of_batch = f"of batch {last[1][type(trainer.datamodule).__qualname__]['batches']}" if last else ""
        if not self.rewinds_at_all:
            good = f"; the last checkpoint, {of_batch}, is good: '{last[0]}'" if last else ""
            raise FloatingPointError(
                f"{what}{good}; a smaller --model.lr may help, or --on_nonfinite rewind, to go back with half of it"
            )
        if len(self.rewinds) == self.most_rewinds:
            raise FloatingPointError(f"{what}, after going back {self.most_rewinds} times, each with half the rate")
        if last is None:
            raise FloatingPointError(
                f"{what}, before there is a checkpoint to go back to; a smaller --model.lr may help"
            )
        _, state = last
        self.rewinds = [*self.rewinds, {"batch": trainer.datamodule.batches, "what": what}]
        log.info(f"WARNING: {what}; the run goes back to its checkpoint {of_batch}, with half the learning rate")
        self._rewind(trainer, pl_module, state)
        self._begin(trainer, pl_module)

    def _rewind(self, trainer, pl_module, state: dict) -> None:
        pl_module.on_load_checkpoint(state)
        pl_module.load_state_dict(state["state_dict"])
        trainer.strategy.load_optimizer_state_dict(state)
        precision = trainer.precision_plugin
        if (scaler := state.get(type(precision).__qualname__)) is not None:
            precision.load_state_dict(scaler)
        halvings = len(self.rewinds) - len(state["callbacks"][self.state_key]["rewinds"])
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] *= 0.5**halvings
        # else the logged values of the bad batch would be checked and logged again
        trainer.fit_loop.epoch_loop._results.clear()
        trainer.callback_metrics.clear()
        if isinstance(pl_module, Model):
            pl_module.terms.clear()


def _terms(trainer, pl_module) -> dict[str, torch.Tensor]:
    """The last values of the terms of the loss, by the names under which they are logged."""
    if isinstance(pl_module, Model):
        return {f"train/{name}": value for name, value in pl_module.terms.items()}
    return trainer.callback_metrics


def _floats(module: torch.nn.Module) -> list[torch.Tensor]:
    return [value.detach() for value in [*module.parameters(), *module.buffers()] if value.is_floating_point()]
