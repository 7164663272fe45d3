"""A profiler for Lightning's Trainer that takes no time."""

from contextlib import AbstractContextManager, nullcontext

from pytorch_lightning.profilers import PassThroughProfiler

NOTHING: AbstractContextManager = nullcontext()


class NoProfiler(PassThroughProfiler):
    """Records nothing, as Lightning's default, whose contexts take a tenth of a small network's training.

    Lightning enters one for every hook of every callback, a hundred in a batch.
    """

    def profile(self, action_name: str) -> AbstractContextManager:  # type: ignore[override]  # a generator's there
        return NOTHING
