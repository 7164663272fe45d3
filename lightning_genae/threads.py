"""How many threads work on the CPU takes, and how they wait for each other.

This module imports no torch at its top: `run.py` calls `wait_passively` before torch is imported.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Literal

from jsonargparse.typing import restricted_number_type

if TYPE_CHECKING:
    NumThreads = int | Literal["auto"]
else:
    NumThreads = restricted_number_type("NumThreads", int, [(">=", 1), ("<=", 1000)]) | Literal["auto"]

WORTH = 1.25  # as much faster work must be with more threads
LITTLE = 1e9  # floating-point operations of a batch, some 40 ms of one thread: fewer are not worth a second one
_most: int | None = None  # threads of work that is always large


def wait_passively() -> None:
    """Makes threads that wait for each other sleep, unless the environment says otherwise; to be called before torch is
    imported.

    By default OpenMP's threads wait in a loop, for milliseconds. Where another process has their core, all of them do:
    a batch takes up to 20 times as long with two threads as with one.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def num_cores() -> int:
    """The number of cores that this process may use: by its affinity, its container's quota and its Slurm job."""
    from joblib import cpu_count  # not needed by --help

    job = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(cpu_count(), int(job)) if job.isdigit() and int(job) else cpu_count()


def limit(num_processes: int = 1) -> int:
    """The most threads of a process that chooses by itself: its part of the cores, or OMP_NUM_THREADS if that is less.

    Args:
        num_processes: that share the cores.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # a list has a number for every nesting level
    most = max(1, num_cores() // num_processes)
    return min(most, int(asked)) if asked.isdigit() and int(asked) else most


def candidates(most: int) -> list[int]:
    """The numbers of threads to try: powers of two up to `most`, and `most`."""
    return [*(2**k for k in range(most.bit_length()) if 2**k < most), most]


def best(seconds: dict[int, list[float]]) -> int:
    """The number of threads that is worth it: more are taken only where they are clearly faster than the best of fewer.

    Args:
        seconds: of batches, by number of threads, in ascending order.
    """
    chosen, *more = seconds
    for number in more:
        if median(seconds[chosen]) >= WORTH * median(seconds[number]):
            chosen = number
    return chosen


def use(number: int, most: int | None = None) -> None:
    """Sets the number of threads of torch.

    Args:
        number: of threads.
        most: of work that is always large (`for_large_work`). None: the same number.
    """
    global _most
    import torch

    torch.set_num_threads(number)
    _most = most


@contextmanager
def using(number: int) -> Iterator[None]:
    """Sets the number of threads of torch for a while."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def for_large_work() -> Iterator[None]:
    """Takes all threads that there may be, also where the model of the run is too small for them."""
    import torch

    with using(_most or torch.get_num_threads()):
        yield
