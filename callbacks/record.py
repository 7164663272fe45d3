"""What happens to a run, kept in its folder: checkpoints and timing."""

import time
from datetime import timedelta

from pytorch_lightning.callbacks import ModelCheckpoint

from lightning_genae.run_folder import RunFolder


class Record(ModelCheckpoint):
    """Saves checkpoints/last.ckpt every half a minute and at the end, and measures the training's time.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: RunFolder):
        super().__init__(
            dirpath=folder.checkpoint.parent,
            filename=folder.checkpoint.stem,
            train_time_interval=timedelta(seconds=30),
            enable_version_counter=False,
        )
        self.folder = folder
        self.seconds_before = 0.0

    def on_train_start(self, trainer, pl_module) -> None:
        super().on_train_start(trainer, pl_module)
        self.start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds of training and of evaluation within it, over interruptions."""
        return self.seconds_before + time.perf_counter() - self.start

    def on_train_end(self, trainer, pl_module) -> None:
        self.seconds_at_end = self.seconds
        trainer.save_checkpoint(self.folder.checkpoint)

    def state_dict(self) -> dict:
        return {**super().state_dict(), "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict) -> None:
        self.seconds_before = state_dict.pop("seconds")
        super().load_state_dict(state_dict)
