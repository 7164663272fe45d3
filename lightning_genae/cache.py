"""A cache of files that are expensive to make: content-addressed, atomic, safe for many processes."""

import errno
import hashlib
import json
import logging
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock, Timeout

from lightning_genae.errors import Damaged
from lightning_genae.files import naming_full_disk, sync

if TYPE_CHECKING:  # only for annotations: the import of torch takes seconds
    from torch import Tensor, nn

T = TypeVar("T")
log = logging.getLogger("lightning_genae")
FEW = 2**22  # values of images


def cached(folder: str | Path, kind: str, key: dict, build: Callable[[Path], None]) -> Path:
    """Path of the file that `build` makes for `key`; it is built by the first process that asks.

    The building process holds a lock that is released when the process ends, even if it is killed. The file's
    modification time is the time of its last use.

    Args:
        folder: the cache.
        kind: a subfolder for this kind of file, e.g. "autoencoder".
        key: everything that the content depends on, as plain values; its hash is the file's name.
        build: writes the file to a path.
    """
    path = Path(folder) / kind / digest(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        lock = FileLock(f"{path}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info(f"Waiting for another process that makes the {kind} of the same data")
            lock.acquire()
        try:
            if not path.exists():
                _build(path, key, build)
        finally:
            lock.release()
    mark_used(path)
    return path


def _build(path: Path, key: dict, build: Callable[[Path], None]) -> None:
    """Makes a file atomically: it is complete or does not exist, whenever the process ends. The caller locks."""
    for leftover in path.parent.glob(f"{path.name}-*.unfinished"):  # of a killed process
        leftover.unlink(missing_ok=True)
    # a unique name, so that no two processes write to the same file
    unfinished = path.with_name(f"{path.name}-{secrets.token_hex(4)}.unfinished")
    try:
        with naming_full_disk(path):
            build(unfinished)
        path.with_suffix(".json").write_text(json.dumps(key, indent=2, default=str))
        for written in (unfinished, path.with_suffix(".json")):
            sync(written)
        os.replace(unfinished, path)
        sync(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def mark_used(path: Path) -> None:
    """Sets a file's modification time to now, for `run.py cache --prune`; does nothing for files of other users."""
    with suppress(OSError):
        os.utime(path)


def tensors(folder: str | Path, kind: str, key: dict, work: Callable[[], T]) -> T:
    """A tensor, or tensors in a list or dict, that `work` computes for `key` unless they are in the cache."""
    import torch

    path = cached(folder, kind, key, lambda path: torch.save(work(), path))
    with report_damage("--cache", path):
        return torch.load(path, weights_only=True)


def plain_values(folder: str | Path, kind: str, key: dict, work: Callable[[], dict]) -> dict:
    """Plain values, as JSON has them, that `work` computes for `key` unless they are in the cache."""

    def build(path: Path) -> None:
        path.write_text(json.dumps(work()))

    path = cached(folder, kind, key, build)
    with report_damage("--cache", path):
        return json.loads(path.read_text())


def of_many(images: "Tensor", folder: str | None, kind: str, key: Callable[[], dict], work: Callable[[], T]) -> T:
    """A result computed from images. It is cached for images that are many, in memory or on disk, and computed anew for
    few, because that takes no longer than to hash them and to read it.

    Args:
        folder: the cache. None: nothing is cached.
        kind: as in `cached`.
        key: returns what the result depends on in addition to the images; not called if nothing is cached.
        work: returns the result, a tensor or tensors by name.
    """
    import torch

    if folder is None or (isinstance(images, torch.Tensor) and images.numel() <= FEW):
        return work()
    return tensors(folder, kind, {"images": hash_images(images), **key()}, work)


@contextmanager
def report_damage(option: str, path: Path, remedy: str = "delete it to have it anew") -> Iterator[None]:
    """Turns exceptions from reading a file of this project into errors that name the file and the cause.

    Raises:
        Damaged: the content is not as it was written.
        OSError: the file cannot be read, for example without permission.
        MemoryError: the content does not fit into memory.
    """
    try:
        yield
    except MemoryError:
        raise
    except OSError as error:
        if error.errno == errno.EINVAL:  # a seek before the start, because the file is cut short
            raise Damaged(f"{option}: '{path}' is damaged (cut short)", remedy) from error
        raise type(error)(f"{option}: '{path}' cannot be read ({error.strerror or error})") from error
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's; torch is not imported for this check
            raise
        cause = " ".join(str(error).split())[:100] or type(error).__name__
        raise Damaged(f"{option}: '{path}' is damaged ({cause})", remedy) from error


def digest(key: dict) -> str:
    """A hash of plain values, sixteen hexadecimal digits; the order of the dict does not matter."""
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:16]


def source(*modules: ModuleType) -> str:
    """A hash of the source of modules, so that a change of the code invalidates the cache.

    A package counts with all that is in it, a module of another project with the whole of its package.
    """
    files = [path for module in modules for path in _files_of(module)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def _files_of(module: ModuleType) -> list[Path]:
    """The file of a module; for another package's module, all files of the outermost package with an __init__.py."""
    parts = module.__name__.split(".")
    if parts[0] != __name__.partition(".")[0]:
        around = (sys.modules[".".join(parts[: num + 1])] for num in range(len(parts)))
        package = next((parent for parent in around if getattr(parent, "__file__", None)), module)
        if hasattr(package, "__path__"):
            return sorted(path for folder in package.__path__ for path in Path(folder).rglob("*.py"))
    assert module.__file__ is not None, f"{module} has no source"
    if hasattr(module, "__path__"):
        return sorted(Path(module.__file__).parent.rglob("*.py"))
    return [Path(module.__file__)]


def hash_images(images: "Tensor") -> str:
    """A hash of the shape and values of images; images on disk provide their own hash, `content`."""
    content = hashlib.sha256(str((tuple(images.shape), images.dtype)).encode())
    if hasattr(images, "content"):
        content.update(images.content.encode())
    else:
        content.update(images.detach().cpu().contiguous().numpy().data)
    return content.hexdigest()[:16]


def hash_weights(network: "nn.Module") -> str:
    """A hash of all parameters and buffers."""
    content = hashlib.sha256()
    for name, value in network.state_dict().items():
        content.update(name.encode())
        content.update(value.detach().cpu().contiguous().numpy().data)
    return content.hexdigest()[:16]
