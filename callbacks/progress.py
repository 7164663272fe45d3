"""One progress bar for the whole training, with losses and images per second."""

import sys

from pytorch_lightning.callbacks import ProgressBar
from tqdm import tqdm

from lightning_genae.models import Model


class Progress(ProgressBar):
    """A bar over batches. Without a terminal it prints a line from time to time instead.

    Args:
        name: shown before the bar.
        batches: of the whole training. None: the Trainer's max_steps.
    """

    def __init__(self, name: str, batches: int | None = None):
        super().__init__()
        self.name = name
        self.batches = batches
        self.is_enabled = True

    def disable(self) -> None:
        self.is_enabled = False

    def enable(self) -> None:
        self.is_enabled = True

    def on_train_start(self, trainer, pl_module) -> None:
        terminal = sys.stderr.isatty()
        self.bar = tqdm(
            desc=self.name,
            total=self.batches or trainer.max_steps,
            initial=trainer.datamodule.batches,
            unit="batch",
            disable=not self.is_enabled,
            dynamic_ncols=terminal,
            mininterval=0.3 if terminal else 10,
        )

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        # values are fetched from the device only when the bar is redrawn
        if self.bar.update():
            self._show_losses(trainer, pl_module)

    def on_train_end(self, trainer, pl_module) -> None:
        self._show_losses(trainer, pl_module)
        self.bar.close()

    def on_exception(self, trainer, pl_module, exception) -> None:
        if hasattr(self, "bar"):
            self.bar.close()

    def _show_losses(self, trainer, pl_module) -> None:
        if self.bar.disable:
            return
        logged = {name.removeprefix("train/"): value for name, value in trainer.progress_bar_metrics.items()}
        terms = {
            name: pl_module.terms[name] for name in (pl_module.terms_on_bar if isinstance(pl_module, Model) else ())
        }
        values = {name: f"{float(value):.3f}" for name, value in {**logged, **terms}.items()}
        shown = self.bar.format_dict
        batches_per_second = shown["rate"] or (shown["n"] - shown["initial"]) / max(shown["elapsed"], 1e-9)
        images = batches_per_second * trainer.datamodule.batch_size * trainer.world_size
        self.bar.set_postfix({**values, f"{trainer.datamodule.dataset.item_name}/s": f"{images:.0f}"}, refresh=False)
