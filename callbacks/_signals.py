"""Signals that ask a process to end."""

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from types import FrameType

from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

# a closed terminal sends SIGHUP, Slurm's --signal sends SIGUSR1 before the time limit
ASKING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]
log = logging.getLogger("lightning_genae")


class Signals:
    """Records that a signal came, so that the training can finish its batch and save; a second Ctrl-C ends it at once.

    Attributes:
        asked: number of the signal; 0: none came.
    """

    def __init__(self):
        self.asked = 0
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def listen(self) -> None:
        """Installs the handlers, except for signals that the process ignores, for example under nohup."""
        if threading.current_thread() is threading.main_thread():
            self.asked = 0
            handled = [number for number in ASKING if signal.getsignal(number) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in handled}

    def leave(self) -> None:
        """Restores the previous handlers."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    def _note(self, number: int, frame: object) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.asked:
            again = "; Ctrl-C once more ends it at once" if number == signal.SIGINT else ""
            log.info(f"{signal.Signals(number).name}: finishing this batch and saving its checkpoint{again}")
        self.asked = number


def requeue() -> None:
    """Asks Slurm to requeue this job; does nothing outside Slurm."""
    if not SLURMEnvironment.detect():
        return
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}") for name in ("JOB_ID", "TASK_ID"))
    job = f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
        refusal = done.stderr.strip() if done.returncode else ""
    except OSError as error:
        refusal = str(error)
    log.info(
        f"WARNING: Slurm does not start job {job} again: {refusal}" if refusal else f"Slurm starts job {job} again"
    )
