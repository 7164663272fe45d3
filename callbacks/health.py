"""Detects failed adversarial training: a generator that has collapsed, or a critic that has won."""

import logging

import torch
from pytorch_lightning import Callback

from lightning_genae.data.storage import num_at_once, to_float
from lightning_genae.evaluation.evaluation import evaluating
from lightning_genae.evaluation.sampling import draw

log = logging.getLogger("lightning_genae")


class Health(Callback):
    """Warns during training when one of these failures begins, and logs when it is over.

    - collapsed: samples differ from each other by less than a tenth of the difference of real images (the square root
      of the mean variance of a pixel); healthy training has 80 to 100 %;
    - won: the critic classifies nearly every image correctly as real or generated, batch after batch, so that the
      generator gets no useful gradient.

    Args:
        steps: length of the training. It is checked twenty times, except in its first fifth and first 200 batches.

    Attributes:
        warnings: for each, the batch and the message.
    """

    least_diversity = 0.1
    most_accuracy = 0.995
    num_samples = 100
    least_batches = 200  # earlier, no generator has learned to vary
    right: torch.Tensor  # sum of the critic's accuracies
    num: int  # of batches in it

    def __init__(self, steps: int):
        self.every = max(1, steps // 20)
        self.begins_at = max(self.least_batches, steps // 5)
        self.warnings: list[dict] = []
        self.reported: set[str] = set()

    def on_train_start(self, trainer, pl_module) -> None:
        self._count(pl_module)
        images, _ = trainer.datamodule.examples("train", num_at_once(trainer.datamodule.dataset.image_shape, 1000))
        self.diversity_of_real = diversity(images)

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        if hasattr(pl_module, "critic_accuracy"):
            self.right, self.num = self.right + pl_module.critic_accuracy, self.num + 1
        batches = trainer.datamodule.batches
        if batches % self.every or batches < self.begins_at or not trainer.is_global_zero:
            return
        with evaluating(pl_module):
            num = num_at_once(trainer.datamodule.dataset.image_shape, self.num_samples)
            samples = to_float(draw(pl_module, num, seed=0))
        fraction, items = diversity(samples) / self.diversity_of_real, trainer.datamodule.dataset.item_name
        self._tell(
            batches,
            "collapsed",
            fraction < self.least_diversity,
            f"the generator has collapsed: samples differ by {fraction:.1%} of what real {items} do",
        )
        if self.num:
            accuracy = float(self.right / self.num)
            self._tell(
                batches,
                "won",
                accuracy > self.most_accuracy,
                f"the critic has won: it takes {accuracy:.1%} for what they are, real or generated; --augment on the "
                "critic, --model.r1 or more images may help",
            )
        self._count(pl_module)

    def state_dict(self) -> dict:
        return {"warnings": self.warnings, "told": sorted(self.reported)}

    def load_state_dict(self, state_dict: dict) -> None:
        self.warnings, self.reported = state_dict["warnings"], set(state_dict["told"])

    def _count(self, pl_module) -> None:
        """Starts a new mean of the critic's accuracy, on the device to avoid synchronisation."""
        self.right, self.num = torch.zeros((), device=pl_module.device), 0

    def _tell(self, batch: int, name: str, is_so: bool, what: str) -> None:
        if is_so and name not in self.reported:
            self.reported.add(name)
            self.warnings = [*self.warnings, {"batch": batch, "what": what}]
            log.info(f"WARNING: after {batch:,} batches {what}")
        elif not is_so and name in self.reported:
            self.reported.remove(name)
            log.info(f"After {batch:,} batches this is over: {name}")


def diversity(images: torch.Tensor) -> float:
    """The square root of the mean variance of a value over images (N, C, H, W)."""
    return float(images.double().var(0).mean().sqrt())
