"""Packs: data read once and written to a file of the cache, and images that stay in such a file, which may be large."""

import hashlib
import json
import mmap
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

READ = 1000  # images that are copied from a file at once
FEW = 2**28  # bytes of images that are copied and hashed at every start, which takes a fifth of a second


def packed(target: Path, write: Callable[[Path], None]) -> Path:
    """A file of the cache, made atomically by `write` in the first process that needs it.

    The lock is released when its process ends. The modification time is that of the last use, as for all cached files.

    Args:
        target: of the file.
        write: writes the file to a path with the same suffix.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.exists():
            for leftover in target.parent.glob(f"{target.stem}-*.unfinished{target.suffix}"):  # of a killed process
                leftover.unlink(missing_ok=True)
            unfinished = target.with_name(f"{target.stem}-{secrets.token_hex(4)}.unfinished{target.suffix}")
            try:
                write(unfinished)
                with unfinished.open("rb") as file:
                    os.fsync(file.fileno())
                os.replace(unfinished, target)
            finally:
                unfinished.unlink(missing_ok=True)
    with suppress(OSError):  # it may belong to another user
        os.utime(target)
    return target


def new_array(target: Path, shape: tuple[int, ...]) -> np.memmap:
    """A memory-mapped array of bytes in a new .npy file, with its disk space reserved.

    Raises:
        OSError: the disk is full or the quota is used up; without a reservation, the signal SIGBUS would come later.
    """
    array = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shape)
    try:
        with target.open("rb+") as file:
            if hasattr(os, "posix_fallocate"):  # macOS lacks it
                os.posix_fallocate(file.fileno(), 0, target.stat().st_size)
    except OSError as error:
        needed = int(np.prod(shape))
        raise OSError(
            f"--cache: expected {needed} bytes of space in '{target.parent}' for {shape[0]:,} packed images of "
            f"{shape[-1]}x{shape[-2]}, got fewer ({error.strerror}); a smaller --data.image_size takes less"
        ) from error
    return array


def opened(path: Path) -> "Tensor | Packed":
    """The images of a pack, uint8 (N, C, H, W): a memory-mapped tensor or, if they are many, a `Packed`,
    which reads parts without a copy of the whole.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        array = np.load(path, mmap_mode="c")
    except (ValueError, OSError) as error:
        raise ValueError(f"--cache: '{path}' is damaged; delete it to have it anew") from error
    return torch.from_numpy(array) if array.size <= FEW else Packed(path, array, torch.arange(len(array)))


class Packed:
    """Many images in a pack, uint8 (N, C, H, W), in any order; they are never all read or copied at once.

    Slices and indices return tensors; `subset` returns other images of the same pack.

    Args:
        path: of the .npy file.
        array: its M images, memory-mapped; never written to.
        index: which of them, int64 (N,); M + i is image i mirrored.
    """

    dtype = torch.uint8

    def __init__(self, path: Path, array: np.memmap, index: Tensor):
        self.path = path
        self.array = array
        self.whole = torch.from_numpy(array)
        self.index = index

    def __len__(self) -> int:
        return len(self.index)

    def __iter__(self) -> Iterator[Tensor]:
        return (self._image(i) for i in self.index.tolist())

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.index), *self.whole.shape[1:]))

    def __getitem__(self, chosen: int | slice | Tensor) -> Tensor:
        index = self.index[chosen]
        if not index.dim():
            return self._image(int(index))
        if len(index) and index[-1] < len(self.whole) and bool((index.diff() == 1).all()):
            return self.whole[index[0] : index[-1] + 1]  # a view of the file, no copy in memory
        return torch.cat([self._read(part) for part in index.split(READ)])

    def _image(self, index: int) -> Tensor:
        num = len(self.whole)
        return self.whole[index] if index < num else self.whole[index - num].flip(-1)

    def _read(self, index: Tensor) -> Tensor:
        """A copy of these images."""
        num = len(self.whole)
        images = self.whole[index % num]
        is_mirrored = index >= num
        if is_mirrored.any():
            images[is_mirrored] = images[is_mirrored].flip(-1)
        self._forget()
        return images

    def _forget(self) -> None:
        """Releases the pages that were read. Otherwise they, and others read ahead, would count as memory of this
        process; the system may keep them in its cache."""
        self.array._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]  # private to numpy

    def split(self, size: int) -> Iterator[Tensor]:
        """The images in blocks of at most `size`, one at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]
            self._forget()

    def subset(self, chosen: Tensor | slice) -> "Tensor | Packed":
        """The chosen images: a tensor if they are few, otherwise a `Packed`, without reading any."""
        few = len(self.index[chosen]) * self.whole[0].numel() <= FEW
        return self[chosen] if few else Packed(self.path, self.array, self.index[chosen])

    def with_twins(self) -> "Packed":
        """These images, and after them each of them mirrored; none is read."""
        return Packed(self.path, self.array, torch.cat([self.index, self.index + len(self.whole)]))

    @cached_property
    def content(self) -> str:
        """A hash that identifies these images in this order, without reading their pixels."""
        content = hashlib.sha256(str((_content_of(self.path), tuple(self.shape))).encode())
        content.update(self.index.numpy().data)
        return content.hexdigest()


def _content_of(path: Path) -> str:
    """A hash of a pack, stored beside it so that the pack is read only once."""

    def write(target: Path) -> None:
        with path.open("rb") as file:  # not through the memory map, whose pages would count as memory of this process
            target.write_text(hashlib.file_digest(file, "sha256").hexdigest())

    return packed(path.with_suffix(".sha256"), write).read_text()


def key_of(version: int, stamps: Iterable[tuple], options: object) -> str:
    """A hash, sixteen hexadecimal digits, of the reader's version, the files (see `_files.stamps`) and the options."""
    content = hashlib.sha256(f"[{version}, [".encode())
    stamps, separator = iter(stamps), ""
    while part := list(islice(stamps, 10_000)):  # there may be a million
        content.update((separator + json.dumps(part)[1:-1]).encode())
        separator = ", "
    content.update(f"], {json.dumps(options)}]".encode())
    return content.hexdigest()[:16]
