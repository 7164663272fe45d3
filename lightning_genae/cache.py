"""Files that are expensive to make, made once: content-addressed, atomic, safe for many processes."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from filelock import FileLock, Timeout
from torch import Tensor, nn

log = logging.getLogger("lightning_genae")


def cached(folder: str | Path, kind: str, key: dict, build: Callable[[Path], None]) -> Path:
    """Path of the file that `build` makes for `key`; it is built by the first process that asks.

    Args:
        folder: the cache.
        kind: a subfolder for this kind of file, e.g. "autoencoder".
        key: all that the content depends on, as plain values; a hash of it is the file's name.
        build: writes the file to the path that it is given.
    """
    path = Path(folder) / kind / digest(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info(f"Waiting for another process that makes the {kind} of the same data")
        lock.acquire()
    try:
        if not path.exists():
            unfinished = path.with_suffix(".unfinished")
            build(unfinished)
            path.with_suffix(".json").write_text(json.dumps(key, indent=2, default=str))
            os.replace(unfinished, path)
    finally:
        lock.release()
    return path


@contextmanager
def naming_damage(option: str, path: Path, remedy: str = "delete it to have it anew") -> Iterator[None]:
    """Turns whatever goes wrong while a file of ours is read into a ValueError that names the file."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{option}: '{path}' is damaged; expected it as it was made; {remedy}") from error


def digest(key: dict) -> str:
    """Sixteen hexadecimal digits that stand for plain values, whatever their order in the dict."""
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:16]


def source(*modules: ModuleType) -> str:
    """A hash of modules' source, so that a cache does not outlive a change of the code that filled it."""
    return hashlib.sha256(b"".join(Path(module.__file__).read_bytes() for module in modules)).hexdigest()[:16]


def hash_tensor(tensor: Tensor) -> str:
    """A hash of a tensor's shape and values."""
    content = hashlib.sha256(str((tuple(tensor.shape), tensor.dtype)).encode())
    content.update(tensor.detach().cpu().contiguous().numpy().data)
    return content.hexdigest()[:16]


def hash_weights(network: nn.Module) -> str:
    """A hash of all parameters and buffers."""
    content = hashlib.sha256()
    for name, value in network.state_dict().items():
        content.update(name.encode())
        content.update(value.detach().cpu().contiguous().numpy().data)
    return content.hexdigest()[:16]
