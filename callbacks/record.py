"""What happens to a run, kept in its folder: checkpoints and time."""

import time

from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

from lightning_genae.run_folder import RunFolder


class Record(Checkpoint):
    """Saves checkpoints/last.ckpt from time to time and at the end, notes a failure, and measures the time.

    Lightning's ModelCheckpoint does neither for models with several optimizers: it counts their steps.

    Args:
        folder: of the run.
        every_seconds: time between two checkpoints; 0 saves after every batch.
    """

    batches_between_agreements = 10  # of several processes, whether it is time to save

    def __init__(self, folder: RunFolder, every_seconds: float):
        self.folder = folder
        self.every_seconds = every_seconds
        self.seconds_before = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of training and of evaluation within it, over interruptions."""
        return self.seconds_before + time.perf_counter() - self.start

    def on_train_start(self, trainer, pl_module) -> None:
        self.start = self.saved = time.perf_counter()

    def on_train_batch_start(self, trainer, pl_module, *args) -> None:
        # Lightning's own count, by which it decides when to log, loses a batch over some resumes
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.datamodule.batches - 1

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        due = time.perf_counter() - self.saved >= self.every_seconds
        if trainer.world_size > 1:
            agree = trainer.datamodule.batches % self.batches_between_agreements == 0
            due = agree and trainer.strategy.broadcast(due)
        if due:
            self._save(trainer)

    def on_train_end(self, trainer, pl_module) -> None:
        self.seconds_at_end = self.seconds
        self._save(trainer)

    def on_exception(self, trainer, pl_module, exception) -> None:
        if trainer.is_global_zero and not isinstance(exception, KeyboardInterrupt | SIGTERMException):
            self.folder.update(status="failed", error=f"{type(exception).__name__}: {exception}")

    def state_dict(self) -> dict:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict) -> None:
        self.seconds_before = state_dict["seconds"]

    def _save(self, trainer) -> None:
        trainer.save_checkpoint(self.folder.checkpoint)
        self.saved = time.perf_counter()
