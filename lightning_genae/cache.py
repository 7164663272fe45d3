"""Files that are expensive to make, made once: content-addressed, atomic, safe for many processes."""

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
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from lightning_genae.errors import Damaged
from lightning_genae.files import naming_full_disk, sync

if TYPE_CHECKING:  # a mistake is told before what takes seconds to import
    from torch import Tensor, nn

log = logging.getLogger("lightning_genae")


def cached(folder: str | Path, kind: str, key: dict, build: Callable[[Path], None]) -> Path:
    """Path of the file that `build` makes for `key`; it is built by the first process that asks.

    Who builds holds a lock that ends with the process, whatever ends it; nobody waits for one that was killed. The
    file's time is that of its last use.

    Args:
        folder: the cache.
        kind: a subfolder for this kind of file, e.g. "autoencoder".
        key: all that the content depends on, as plain values; a hash of it is the file's name.
        build: writes the file to the path that it is given.
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
    """Makes a file that is whole or not there, whenever the process ends; the lock is held."""
    for leftover in path.parent.glob(f"{path.name}-*.unfinished"):  # of one that was killed
        leftover.unlink(missing_ok=True)
    # a name of its own, so that no two processes ever write to one file
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
    """Sets a file's time to now, by which `run.py cache --prune` goes; of others' files it stays."""
    with suppress(OSError):
        os.utime(path)


def of_many(images, folder: str | None, kind: str, key: Callable[[], dict], work: Callable[[], "Tensor"]) -> "Tensor":
    """What is worked out of images: anew of those in memory, from the cache of those that are so many that they stay
    on disk.

    Args:
        folder: the cache. None: nothing is kept.
        kind: as in `cached`.
        key: gives what it depends on beside the images; not called where nothing is kept.
        work: gives a tensor, or tensors by name.
    """
    import torch

    if folder is None or isinstance(images, torch.Tensor):
        return work()
    path = cached(folder, kind, {"images": hash_images(images), **key()}, lambda path: torch.save(work(), path))
    with report_damage("--cache", path):
        return torch.load(path, weights_only=True)


@contextmanager
def report_damage(option: str, path: Path, remedy: str = "delete it to have it anew") -> Iterator[None]:
    """Turns what goes wrong while a file of ours is read into an error that names the file and the cause.

    Raises:
        Damaged: the file is not as it was made.
        OSError: the file may not or cannot be read, which is no damage.
        MemoryError: there is no room for it, neither.
    """
    try:
        yield
    except MemoryError:
        raise
    except OSError as error:
        if error.errno == errno.EINVAL:  # a place before its beginning, of a file cut short
            raise Damaged(f"{option}: '{path}' is damaged (cut short)", remedy) from error
        raise type(error)(f"{option}: '{path}' cannot be read ({error.strerror or error})") from error
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported for this
            raise
        cause = " ".join(str(error).split())[:100] or type(error).__name__
        raise Damaged(f"{option}: '{path}' is damaged ({cause})", remedy) from error


def digest(key: dict) -> str:
    """Sixteen hexadecimal digits that stand for plain values, whatever their order in the dict."""
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:16]


def source(*modules: ModuleType) -> str:
    """A hash of modules' source, so that a cache does not outlive a change of the code that filled it; of a package all
    that is in it, and of other packages' modules also the rest of their package, which they may use."""
    files = [path for module in modules for path in _files_of(module)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def _files_of(module: ModuleType) -> list[Path]:
    """The file of a module; of another package's all files of the outermost one with an __init__.py."""
    parts = module.__name__.split(".")
    if parts[0] != __name__.partition(".")[0]:
        around = (sys.modules[".".join(parts[: num + 1])] for num in range(len(parts)))
        package = next((one for one in around if getattr(one, "__file__", None)), module)
        if hasattr(package, "__path__"):
            return sorted(path for folder in package.__path__ for path in Path(folder).rglob("*.py"))
    if hasattr(module, "__path__"):
        return sorted(Path(module.__file__).parent.rglob("*.py"))
    return [Path(module.__file__)]


def hash_images(images) -> str:
    """A hash of images' shape and values; many on disk say themselves by what it is that they stand."""
    content = hashlib.sha256(str((tuple(images.shape), images.dtype)).encode())
    on_disk = hasattr(images, "content")
    content.update(images.content.encode() if on_disk else images.detach().cpu().contiguous().numpy().data)
    return content.hexdigest()[:16]


def hash_weights(network: "nn.Module") -> str:
    """A hash of all parameters and buffers."""
    content = hashlib.sha256()
    for name, value in network.state_dict().items():
        content.update(name.encode())
        content.update(value.detach().cpu().contiguous().numpy().data)
    return content.hexdigest()[:16]
