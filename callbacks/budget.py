"""The end of training, counted in batches."""

from pytorch_lightning import Callback


class Budget(Callback):
    """Stops after a number of batches; Lightning's max_steps counts every optimizer's steps.

    Args:
        batches: of one process, counted over interruptions.
    """

    def __init__(self, batches: int):
        self.batches = batches

    def on_train_start(self, trainer, pl_module) -> None:
        self._check(trainer)

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        self._check(trainer)

    def _check(self, trainer) -> None:
        if trainer.datamodule.batches >= self.batches:
            trainer.should_stop = True
