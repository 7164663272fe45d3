"""A folder of your own images, one class a subfolder or none."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from jsonargparse.typing import OpenUnitInterval, PositiveInt
from PIL import Image, UnidentifiedImageError
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import functional
from tqdm import tqdm

from datamodules._base import MIN_VALIDATION, ImageDataModule, Images, split_off
from datamodules._files import classes, find, stamps

_GREY_16 = ("I", "I;16", "I;16B", "I;16L")  # Pillow's modes of grey images of 16 bits
_PACK_VERSION = 2  # of how images are read; another one makes new packs


class FolderDataModule(ImageDataModule):
    """Any images below a path; all grey ones stay grey, else all become RGB.

    The images are packed once into a memory-mapped file in the cache; a changed file makes a new pack.

    Args:
        root: folder with the images, directly or with one subfolder a class.
        image_size: side in pixels to which images are resized (shorter side) and cropped (centre).
            null: all images have the same size already.
        heldout: share of the images that is held out from training, always the same ones, in (0, 1).
    """

    def __init__(self, root: str, image_size: PositiveInt | None = None, heldout: OpenUnitInterval = 0.2, **kwargs):
        super().__init__(**kwargs)
        if not root.strip():
            raise ValueError("--data.root: expected a folder of images, got an empty name")
        self.root = Path(root)
        self.image_size = image_size
        self.heldout_share = heldout

    def load(self) -> tuple[Images, Images, int]:
        paths = find(self.root, IMG_EXTENSIONS, "images")
        labels, num_classes = classes(paths, self.root, "image")
        num_heldout = round(self.heldout_share * len(paths))
        if not 2 <= num_heldout <= len(paths) - 2:
            raise ValueError(
                f"--data.heldout: expected at least 2 images to hold out and 2 to train on; got a share of "
                f"{self.heldout_share} of {len(paths)} images in '{self.root}'"
            )
        # split by index before packing, so that both splits are views of the memory map
        index = Images(torch.arange(len(paths)), labels)
        order = torch.cat([part.images for part in split_off(index, num_heldout, seed=0)])
        images = _mapped(self._pack([paths[i] for i in order]))
        labels, num_train = labels[order], len(paths) - num_heldout
        train, heldout = Images(images[:num_train], labels[:num_train]), Images(images[num_train:], labels[num_train:])
        return train, heldout, num_classes

    def split(self, split: Images) -> tuple[Images, Images]:
        """As of all data sets, but what is trained on stays a view of the memory map, not a copy in memory, if it is
        all but a part kept aside; the images lie in an order that was drawn at random."""
        total = len(split.images)
        if self.num_train is not None or total <= MIN_VALIDATION:
            return super().split(split)
        first = total - self.num_aside(total)
        train, validation = zip(*((part[:first], part[first:]) for part in split))
        return Images(*train), Images(*validation)

    def _pack(self, paths: list[Path]) -> Path:
        """The file with all images, uint8 (N, C, H, W), in the order of the paths."""
        key = hashlib.sha256(json.dumps([_PACK_VERSION, stamps(paths), self.image_size]).encode()).hexdigest()[:16]
        target = Path(self.cache_dir, "images", f"{key}.npy")
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not target.exists():
                unfinished = target.with_suffix(".unfinished")
                self._write_pack(paths, unfinished)
                os.replace(unfinished, target)
        return target

    def _write_pack(self, paths: list[Path], target: Path) -> None:
        mode, (width, height) = self._format(paths)
        num_channels = 1 if mode == "L" else 3
        shape = (len(paths), num_channels, height, width)
        needed, free = np.prod(shape), shutil.disk_usage(target.parent).free
        if needed > free:
            raise OSError(f"--cache: expected {needed} free bytes for the packed images, got {free}")
        images = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shape)
        for i, path in enumerate(tqdm(paths, desc="packing images", unit="image", disable=None)):
            images[i] = self._read(path, mode).reshape(height, width, num_channels).transpose(2, 0, 1)
        images.flush()

    def _format(self, paths: list[Path]) -> tuple[str, tuple[int, int]]:
        """The mode, L or RGB, and the size that all images get, from the files' headers."""
        modes, sizes = set(), {}
        for path in paths:
            with _opened(path) as image:
                modes.add(image.mode)
                sizes.setdefault(image.size, path)
        mode = "L" if modes <= {"1", "L", "LA", *_GREY_16} else "RGB"
        if self.image_size:
            return mode, (self.image_size, self.image_size)
        if len(sizes) > 1:
            (size, path), (other_size, other) = list(sizes.items())[:2]
            raise ValueError(
                f"--data.image_size: expected images of one size, but '{path}' is {size[0]}x{size[1]} and '{other}' "
                f"is {other_size[0]}x{other_size[1]}; --data.image_size 32 makes all 32x32"
            )
        return mode, next(iter(sizes))

    def _read(self, path: Path, mode: str) -> np.ndarray:
        with _opened(path) as image:
            try:
                image = (_to_8_bits(image) if image.mode in _GREY_16 else image).convert(mode)
            except (OSError, SyntaxError, ValueError) as error:  # Pillow's errors for damaged contents
                raise ValueError(f"--data.root: '{path}' is a broken image: {error}") from error
            if self.image_size:
                image = functional.center_crop(functional.resize(image, self.image_size), self.image_size)
            return np.asarray(image)


def _to_8_bits(image: Image.Image) -> Image.Image:
    """A grey image of 16 bits, which Pillow would cut off at 255."""
    return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))


def _mapped(path: Path) -> torch.Tensor:
    """The packed images, read from disk only where they are looked at."""
    try:
        return torch.from_numpy(np.load(path, mmap_mode="c"))
    except (ValueError, OSError) as error:
        raise ValueError(f"--cache: '{path}' is damaged; delete it to have it anew") from error


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"--data.root: '{path}' is a broken image, or none") from error
