"""A separate random stream for augmentations, so that runs with different ones share all other random numbers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Stream:
    """A stream of torch's random numbers, separate from the global one.

    Inside `drawn` torch draws from the stream, which continues where it stopped the last time; draws outside are not
    affected. Until its first restart it is the global stream itself: outside training nothing has to be separate.
    """

    def __init__(self) -> None:
        self.seed: int | None = None
        self.states: dict[str, Tensor] = {}  # by type of device

    def restart(self, seed: int) -> None:
        """Restarts the stream from a seed."""
        self.seed = seed
        self.states = {}

    @contextmanager
    def drawn(self, device: torch.device) -> Iterator[None]:
        """A context in which torch draws from the stream, on the CPU and on a device."""
        generators = {} if self.seed is None else {kind: _generator(kind) for kind in {"cpu", device.type}}
        outside = {kind: read() for kind, (read, _, _) in generators.items()}
        for kind, (_, write, start) in generators.items():
            write(self.states[kind]) if kind in self.states else start(self.seed)
        try:
            yield
        finally:
            for kind, (read, write, _) in generators.items():
                self.states[kind] = read()
                write(outside[kind])


def _generator(kind: str) -> tuple[Callable, Callable, Callable]:
    """Functions that read, write and seed the global generator of a type of device."""
    if kind == "cpu":  # not torch.manual_seed, which seeds all devices
        generator = torch.default_generator
        return generator.get_state, generator.set_state, generator.manual_seed
    module = torch.get_device_module(kind)
    return module.get_rng_state, module.set_rng_state, module.manual_seed
