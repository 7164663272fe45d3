"""What all models share: the terms of their losses, which are logged cheaply, and their optimizer."""

from collections.abc import Iterable
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn


class Model(LightningModule):
    """A model whose losses have named terms.

    Lightning's `log` takes as long as a small network's forward pass, so it is called only in the batches whose values
    go to the loggers; every batch leaves its terms in `terms`, where others can read them without synchronisation.

    Attributes:
        terms: the last value of every term, scalars on the device, by name; one that is not computed for every batch
            keeps its value.
        terms_on_bar: names of the terms that a progress bar shows.
    """

    dtype: torch.dtype  # never its name, which Lightning's type allows too

    def __init__(self) -> None:
        super().__init__()
        self.terms: dict[str, Tensor] = {}
        self.terms_on_bar: list[str] = []

    def log_part(self, name: str, value: Tensor, prog_bar: bool = False) -> None:
        """Notes a term of a loss, a scalar, which is logged as train/NAME."""
        self.terms[name] = value.detach()
        if prog_bar and name not in self.terms_on_bar:
            self.terms_on_bar.append(name)

    def on_train_batch_end(self, *args: Any) -> None:
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # set dynamically
        is_logged = every > 0 and (self.batches + 1) % every == 0
        for name, value in self.terms.items() if is_logged or self.trainer.should_stop else ():
            self.log(f"train/{name}", value, prog_bar=name in self.terms_on_bar, batch_size=1)

    @property
    def batches(self) -> int:
        """Training batches before the current one, counted over epochs and interruptions."""
        return self.trainer.fit_loop.total_batch_idx

    def is_due(self, every: int) -> bool:
        """Whether what is done in the first of `every` batches is done in the current one."""
        return every == 1 or self.batches % every == 0

    def adam(self, weights: Iterable[nn.Parameter], **options: Any) -> torch.optim.Adam:
        """Adam by torch's fused kernel, where Lightning can use it.

        Args:
            weights: to optimise.
            options: of Adam, such as lr.
        """
        try:
            is_mixed = "mixed" in str(self.trainer.precision)
        except RuntimeError:  # there is no Trainer
            is_mixed = False
        # in mixed precision Lightning does not clip gradients that the optimizer could unscale by itself
        return torch.optim.Adam(weights, fused=not (is_mixed and self.hparams.get("gradient_clip")), **options)
