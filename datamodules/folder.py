"""A folder of your own images, one class per subfolder or none."""

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse.typing import OpenUnitInterval, PositiveInt

from datamodules._base import MIN_VALIDATION, ImageDataModule, split_off
from datamodules._packs import key_of, new_array, opened, packed
from datamodules._read_image import SUFFIXES, Mode, colour_of, look, read
from datamodules._sources import File, Source, source_of
from lightning_genae.data.dataset import Images
from lightning_genae.estimates import estimated
from lightning_genae.threads import num_cores

log = logging.getLogger("lightning_genae")
READ_AHEAD = 256  # images that are decoded before they are written
_PACK_VERSION = 4  # of how images are read; a change makes new packs


class FolderDataModule(ImageDataModule):
    """Any images below a path; all grey ones stay grey, else all become RGB.

    The images are packed once into a memory-mapped file in the cache; a changed file makes a new pack.

    Args:
        root: folder or zip archive with the images, directly or with one subfolder per class; or a Parquet file, or a
            folder of some, as on Hugging Face's hub (needs the package datasets).
        image_size: side in pixels to which images are resized (shorter side) and cropped (centre).
            null: all images have the same size already.
        heldout: fraction of the images that is held out from training, always the same ones, in (0, 1).
        background: colour on which transparent pixels are laid: white, black, any other name of CSS, or #rrggbb.
        label: column that says the class of each image: of a metadata.csv in the root, which has the image's name in
            the column file_name (Hugging Face's imagefolder), or of the Parquet files. null: the subfolders, or the
            only column of the Parquet files that is of Hugging Face's type ClassLabel.
        mirror: train on every image and its mirrored twin.
        bits: of grey images of 16 bits, how many they use, 8 to 16; 12 of many cameras. null: all, and an image that
            seems to use fewer is refused.
    """

    def __init__(
        self,
        root: str,
        image_size: PositiveInt | None = None,
        heldout: OpenUnitInterval = 0.2,
        background: str = "white",
        label: str | None = None,
        mirror: bool = False,
        bits: PositiveInt | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not root.strip():
            raise ValueError("--data.root: expected a folder of images, got an empty name")
        if bits is not None and not 8 <= bits <= 16:
            raise ValueError(f"--data.bits: expected 8 to 16 bits; got {bits}")
        self.root = Path(root)
        self.image_size = image_size
        self.heldout_fraction = heldout
        self.background = colour_of(background)
        self.label = label
        self.mirror = mirror
        self.bits = bits

    def load(self) -> tuple[Images, Images, int]:
        source = source_of(self.root)
        paths = source.find(SUFFIXES, "images")
        labels, num_classes = source.labels(paths, self.label)
        num_heldout = round(self.heldout_fraction * len(paths))
        if not 2 <= num_heldout <= len(paths) - 2:
            raise ValueError(
                f"--data.heldout: expected at least 2 images to hold out and 2 to train on; got a fraction of "
                f"{self.heldout_fraction} of {len(paths)} images in '{self.root}'"
            )
        # split by index before packing, so that both splits lie in one piece of the memory map
        index = Images(torch.arange(len(paths)), labels)
        order = torch.cat([part.images for part in split_off(index, num_heldout, 0, self.kept)])
        content = opened(self._pack(source, [paths[i] for i in order.tolist()]))
        images = Images(content, labels[order])  # type: ignore[arg-type]  # a Packed is indexed like a tensor
        num_train = len(paths) - num_heldout
        return images.subset(slice(num_train)), images.subset(slice(num_train, None)), num_classes

    def split(self, pool: Images, num_heldout: int) -> tuple[Images, Images]:
        """Like `ImageDataModule.split`, except that the training set stays a view of the memory map, without a copy, if
        it is all except the validation set; the images are already in random order."""
        total = len(pool.images)
        if self.num_train is not None or total <= MIN_VALIDATION:
            return super().split(pool, num_heldout)
        first = total - self.num_aside(total, num_heldout)
        return pool.subset(slice(first)), pool.subset(slice(first, None))

    def _pack(self, source: Source, paths: list[str]) -> Path:
        """The file with all images, uint8 (N, C, H, W), in the order of the paths."""
        key = key_of(_PACK_VERSION, source.stamps(paths), [self.image_size, self.background, self.bits])
        target = Path(self.cache_dir, "images", f"{key}.npy")
        return packed(target, lambda unfinished: self._write_pack([source.file(path) for path in paths], unfinished))

    def _write_pack(self, paths: list[File], target: Path) -> None:
        mode, (width, height) = self._format(paths)
        num_channels = 1 if mode == "L" else 3
        images = new_array(target, (len(paths), num_channels, height, width))
        what = f"Packing {len(paths):,} images, once"
        with ThreadPoolExecutor(num_cores()) as readers:  # Pillow decodes without Python's lock
            parts = (paths[start : start + READ_AHEAD] for start in range(0, len(paths), READ_AHEAD))
            arrays = chain.from_iterable(readers.map(lambda path: self._read(path, mode), part) for part in parts)
            for i, array in enumerate(estimated(arrays, what, len(paths), "image")):
                images[i] = array.reshape(height, width, num_channels).transpose(2, 0, 1)
        images.flush()

    def _format(self, paths: list[File]) -> tuple[Mode, tuple[int, int]]:
        """The mode, L or RGB, and the size that all images get, from the files' headers."""
        is_grey = len(set(self.background)) == 1  # on a coloured ground all are in colour
        sizes: dict[tuple[int, int], File] = {}
        counts: Counter[tuple[int, int]] = Counter()
        uses_bits = False
        for path in paths:
            form = look(path)
            is_grey &= form.is_grey
            uses_bits |= form.is_grey_16
            sizes.setdefault(form.size, path)
            counts[form.size] += 1
        if self.bits is not None and not uses_bits:
            log.warning("--data.bits has no effect: none of the images is grey with 16 bits")
        mode: Mode = "L" if is_grey else "RGB"
        if self.image_size:
            self._say_what_is_cropped(counts)
            return mode, (self.image_size, self.image_size)
        if len(sizes) > 1:
            (size, path), (other_size, other) = list(sizes.items())[:2]
            raise ValueError(
                f"--data.image_size: expected images of one size, but '{path}' is {size[0]}x{size[1]} and '{other}' "
                f"is {other_size[0]}x{other_size[1]}; --data.image_size 32 makes all 32x32"
            )
        return mode, next(iter(sizes))

    def _say_what_is_cropped(self, counts: Counter[tuple[int, int]]) -> None:
        """One line, where images of a size (width, height), each as often as it is there, are not square."""
        left_out = {size: 1 - min(size) / max(size) for size in counts}
        num = sum(count for size, count in counts.items() if left_out[size])
        if num:
            mean = sum(left_out[size] * count for size, count in counts.items()) / num
            log.info(
                f"--data.image_size: {num:,} of {counts.total():,} images are not square; both ends of their longer "
                f"side are cropped, {100 * mean:.0f} % of it on average"
            )

    def _read(self, path: File, mode: Mode) -> np.ndarray:
        image = read(path, mode, self.background, self.bits)
        if self.image_size:
            from torchvision.transforms import functional  # slow, and not needed for what is packed already

            image = functional.center_crop(functional.resize(image, self.image_size), self.image_size)
        return np.asarray(image)
