"""Work that nobody waits for: done in its order, in a thread of its own."""

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger("lightning_genae")


class Background:
    """Does what it is given, one call after the other, while who gave it goes on.

    If a call fails, that is said, and nothing more is done.

    Args:
        name: of what fails, for people.
    """

    def __init__(self, name: str):
        self.name = name
        self.calls: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        # a daemon, since the process may end without it
        self.thread = threading.Thread(target=self._work, name=name, daemon=True)
        self.thread.start()

    def do(self, call: Callable[[], object]) -> None:
        """Does this when all before it is done."""
        self.calls.put(call)

    def end(self) -> None:
        """Takes no more calls."""
        self.calls.put(None)

    def is_done(self, seconds: float) -> bool:
        """Whether all is done, at the latest after so many seconds; it has to have been ended."""
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
