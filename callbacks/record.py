"""Records a run in its folder: checkpoints, time and how it ended."""

import signal
import time

import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

from callbacks._signals import Signals, requeue
from callbacks.finite import Finite
from callbacks.metrics_csv import MetricsCsv
from lightning_genae.models import Model
from lightning_genae.run_folder import LAST, RunFolder


class Record(Checkpoint):
    """Saves checkpoints/last.ckpt at intervals, when a signal asks the run to end, and at the end; records how the run
    ended, and measures the time.

    Lightning's ModelCheckpoint counts the steps of all optimizers, which is wrong for models with several. Lightning's
    signal handlers save in the middle of a batch, and to another folder.

    Args:
        folder: of the run.
        every_seconds: time between two checkpoints; 0 saves after every batch.
        finite: checks the model before it is saved.
        depends_on: by option, what must be the same in a run that resumes from the checkpoint.
    """

    batches_between_agreements = 10  # batches after which several processes agree whether to save

    def __init__(self, folder: RunFolder, every_seconds: float, finite: Finite, depends_on: dict[str, object]):
        self.folder = folder
        self.every_seconds = every_seconds
        self.finite = finite
        self.depends_on = depends_on
        self.signals = Signals()
        self.seconds_before = 0.0
        self.logged: dict[str, float] = {}
        self.terms: dict[str, float] | None = {}

    @property
    def seconds(self) -> float:
        """Seconds of training, including evaluation, summed over interruptions."""
        return self.seconds_before + time.perf_counter() - self.start

    def on_train_start(self, trainer, pl_module) -> None:
        self.start = self.saved = time.perf_counter()
        self.signals.listen()
        # here processes agree on signals; Lightning's own agreement waits for the others and the device in every batch
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCsv):
                logger.check(trainer.log_every_n_steps)
        if self.finite.rewinds_at_all and trainer.datamodule.batches == 0:
            self._save(trainer, pl_module)  # for a rewind

    def on_train_batch_start(self, trainer, pl_module, *args) -> None:
        # Lightning decides by this count when to log, and loses a batch over some resumes
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.datamodule.batches - 1

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        self._resume_logged(trainer, pl_module)
        due, asked = time.perf_counter() - self.saved >= self.every_seconds, self.signals.asked
        if trainer.world_size > 1:
            if trainer.datamodule.batches % self.batches_between_agreements:
                return
            # the first process's clock decides, but any process may have received a signal
            requests = torch.tensor([due and trainer.is_global_zero, asked], device=pl_module.device)
            due, asked = trainer.strategy.reduce(requests, reduce_op="max").tolist()
        if due or asked:
            self._save(trainer, pl_module)
        if asked:
            if asked == signal.SIGUSR1 and trainer.is_global_zero:
                requeue()
            raise SIGTERMException

    def on_train_end(self, trainer, pl_module) -> None:
        self.seconds_at_end = self.seconds
        self._save(trainer, pl_module)

    def on_exception(self, trainer, pl_module, exception) -> None:
        if isinstance(exception, KeyboardInterrupt | SIGTERMException):
            if trainer.is_global_zero:
                self.folder.update(status="interrupted")
            return
        if self.folder.results.get("status") != "failed":  # else another process failed first
            self.folder.update(status="failed", error=f"{type(exception).__name__}: {exception}")
        if trainer.is_global_zero and hasattr(trainer.strategy.launcher, "kill"):
            trainer.strategy.launcher.kill(signal.SIGKILL)  # the other processes would wait forever for this one

    def teardown(self, trainer, pl_module, stage: str) -> None:
        self.signals.leave()

    def state_dict(self) -> dict:
        return {"seconds": self.seconds, "depends_on": self.depends_on, "logged": self.logged, "terms": self.terms}

    def load_state_dict(self, state_dict: dict) -> None:
        self.seconds_before = state_dict["seconds"]
        self.logged, self.terms = state_dict.get("logged", {}), state_dict.get("terms")

    def _save(self, trainer, pl_module) -> None:
        self.finite.check(trainer, pl_module)
        if trainer.is_global_zero:
            self._write_row(trainer, pl_module)
        # values that are not logged in every batch stay in the rows until the next value or the end of the epoch
        is_end = trainer.datamodule.batches % trainer.datamodule.batches_per_epoch == 0
        self.terms = _terms(pl_module)
        others = {name: value for name, value in _logged(trainer).items() if name not in self.terms}
        self.logged = {} if is_end else others
        trainer.save_checkpoint(self.folder.checkpoints / LAST)
        self.logged, self.terms = {}, {}
        self.saved = time.perf_counter()

    def _resume_logged(self, trainer, pl_module) -> None:
        """Gives the values of before an interruption back, except those that this batch has anew."""
        if self.terms is None:  # an older checkpoint, in which all values were logged alike
            self.terms, self.logged = (self.logged, {}) if isinstance(pl_module, Model) else ({}, self.logged)
        for name in self.logged.keys() - _logged(trainer).keys() if self.logged else ():
            pl_module.log(name, self.logged[name], batch_size=1)
        for name, value in self.terms.items():
            pl_module.terms.setdefault(name.removeprefix("train/"), torch.tensor(value, device=pl_module.device))
        self.logged, self.terms = {}, {}

    def _write_row(self, trainer, pl_module) -> None:
        """Writes this batch to metrics.csv before the checkpoint: Lightning logs after the callbacks, so a run killed
        in between would lack the row."""
        is_logged = trainer.datamodule.batches % trainer.log_every_n_steps == 0 or trainer.should_stop
        values = _logged(trainer) | _terms(pl_module)
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCsv):
                if is_logged and values:
                    logger.log_metrics(values)
                logger.sync()


def _terms(pl_module) -> dict[str, float]:
    """The last values of the terms of the loss; empty for other projects' models, which log them themselves."""
    terms = pl_module.terms if isinstance(pl_module, Model) else {}
    return {f"train/{name}": float(value) for name, value in terms.items()}


def _logged(trainer) -> dict[str, float]:
    """The values that Lightning would log for this batch."""
    return {name: float(value) for name, value in trainer.fit_loop.epoch_loop._results.metrics(True)["log"].items()}
