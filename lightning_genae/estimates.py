"""What takes long before a training: one line about how long, from its first timed batches, and a bar."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
log = logging.getLogger("lightning_genae")
LONG = 5.0  # seconds from which on work is announced and has a bar
TIMED = 0.5  # seconds of work after the first part, which also warms up, that make an estimate
PATIENCE = 2.0  # seconds after which the first part alone has to do; the line is said within 5 s


class Estimate:
    """Says once, in one line, what is done and about how long it takes; nothing where it does not take long.

    Args:
        what: is done, and with how much, such as "Features of 10,000 images".
        total: parts of the work, such as batches.
        at_most: whether the work may end sooner.
        always: say what is done also where it does not take long, without a time.
        seconds: that it takes, where they are estimated beforehand because the first part itself takes long.
    """

    def __init__(
        self, what: str, total: int, at_most: bool = False, always: bool = False, seconds: float | None = None
    ):
        self.what = what
        self.total = total
        self.about = "at most about" if at_most else "about"
        self.always = always
        self.num = 0
        self.said = False
        self.start = self.first = time.perf_counter()
        if seconds is not None and seconds >= LONG:
            self._say(f"{what}; {self.about} {_in_words(seconds)}")

    def update(self, num: int = 1) -> None:
        """Tells that `num` parts are done."""
        if self.said:
            return
        now = time.perf_counter()
        if not self.num:
            self.first, self.num_first = now, num
        self.num += num
        seconds = self._seconds(now)
        if seconds is not None and max(seconds, now - self.start) >= LONG:
            self._say(f"{self.what}; {self.about} {_in_words(seconds)}")
        elif self.num >= self.total or (seconds is not None and self.always):
            self.close()

    def close(self) -> None:
        """Tells that the work has ended."""
        if self.always and not self.said:
            self._say(self.what)

    def _say(self, line: str) -> None:
        self.said = True
        log.info(line)

    def _seconds(self, now: float) -> float | None:
        """Of the whole work; None before enough of it is timed."""
        if now - self.first >= TIMED:
            each = (now - self.first) / (self.num - self.num_first)
        elif now - self.start >= PATIENCE:
            each = (now - self.start) / self.num
        else:
            return None
        return now - self.start + each * (self.total - self.num)


def estimated(
    parts: Iterable[T],
    what: str,
    total: int,
    unit: str = "batch",
    at_most: bool = False,
    always: bool = False,
    seconds: float | None = None,
) -> Iterator[T]:
    """Yields the parts of some work, such as batches, and shows how far it is: see `Estimate` for the line beforehand;
    the bar appears where the work takes more than 5 s.

    Args:
        parts: of the work, each done when the next one is asked for.
        what: is done, and with how much.
        total: number of parts.
        unit: name of a part.
        at_most: whether the work may end sooner.
        always: say what is done also where it does not take long.
        seconds: as of `Estimate`.
    """
    estimate = Estimate(what, total, at_most, always, seconds)
    name = what.partition(",")[0]
    interval = 0.5 if sys.stderr.isatty() else 10
    with tqdm(total=total, desc=name, unit=unit, delay=LONG, mininterval=interval) as bar:
        try:
            for part in parts:
                yield part
                estimate.update()
                bar.update()
        finally:
            estimate.close()


def _in_words(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
