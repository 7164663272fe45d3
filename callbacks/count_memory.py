"""Counts how much memory a batch takes."""

import weakref
from collections.abc import Iterator

import torch
from pytorch_lightning import Callback
from torch.utils._python_dispatch import TorchDispatchMode


class CountMemory(Callback):
    """Ends a training after as many batches as all players need to learn once.

    Attributes:
        bytes: that tensors take after each operation, of those made in these batches or changed in place.
    """

    def __init__(self) -> None:
        self.bytes: list[int] = []

    def on_train_batch_start(self, trainer, pl_module, *args) -> None:
        self.mode = _Follow(self.bytes)
        self.mode.__enter__()

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        self.mode.__exit__(None, None, None)
        trainer.should_stop = trainer.datamodule.batches >= pl_module.hparams.get("n_critic", 1)

    def on_exception(self, trainer, pl_module, exception) -> None:
        self.mode.__exit__(None, None, None)


class _Follow(TorchDispatchMode):
    """Follows the storages of all tensors that operations return, until they are freed.

    Args:
        bytes: gets the bytes that they take after each operation.
    """

    def __init__(self, bytes: list[int]):
        super().__init__()
        self.bytes = bytes
        self.now = 0
        self.alive: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            self._follow(tensor.untyped_storage())
        self.bytes.append(self.now)
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key, size = storage.data_ptr(), storage.nbytes()
        if size and key not in self.alive:
            self.alive.add(key)
            self.now += size
            weakref.finalize(storage, self._forget, key, size).atexit = False

    def _forget(self, key: int, size: int) -> None:
        self.alive.discard(key)
        self.now -= size


def _tensors(result: object) -> Iterator[torch.Tensor]:
    """The tensors that an operation returns, alone, as a tuple or in lists."""
    if isinstance(result, torch.Tensor):
        yield result
    elif isinstance(result, list | tuple):
        for part in result:
            yield from _tensors(part)
