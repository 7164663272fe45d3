"""Background work: calls are run in order, in a separate thread."""

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger("lightning_genae")


class Background:
    """Runs calls in order in a thread, without blocking the caller.

    If a call fails, a warning is logged, and later calls are ignored.

    Args:
        name: for the warning.
    """

    def __init__(self, name: str):
        self.name = name
        self.calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        # a daemon, so that it does not keep the process alive
        self.thread = threading.Thread(target=self._work, name=name, daemon=True)
        self.thread.start()

    def do(self, call: Callable[[], object]) -> None:
        """Queues a call."""
        self.calls.put(call)

    def end(self) -> None:
        """Ends the thread after the queued calls."""
        self.calls.put(None)

    def is_done(self, seconds: float) -> bool:
        """Waits up to this many seconds; returns whether all calls are done. Call `end` first."""
        self.thread.join(seconds)
        return not self.thread.is_alive()

    def _work(self) -> None:
        works = True
        while (call := self.calls.get()) is not None:
            if not works:
                continue
            try:
                call()
            except Exception as error:
                works = False
                log.warning(f"{self.name} has failed ({error}); the run goes on without it")
