"""Base classes of all data sets: the split into parts, and the download of published files."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from filelock import FileLock
from jsonargparse.typing import PositiveInt, restricted_number_type
from torch import Tensor

from datamodules._contract import check_loaded, check_split
from lightning_genae import registry
from lightning_genae.cache import digest, hash_images, tensors
from lightning_genae.data.batches import BATCH_SIZE, Batches
from lightning_genae.data.dataset import Dataset, Images
from lightning_genae.data.modalities import Modality
from lightning_genae.data.modalities.image import Image
from lightning_genae.errors import UserError

if TYPE_CHECKING:
    Seed = int
    NumWorkers = int
else:
    Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)])  # the range that scikit-learn accepts
    NumWorkers = restricted_number_type("NumWorkers", int, [(">=", 0), ("<=", 1000)])  # processes
Keeper = Callable[[str, dict[str, object], Callable[[], list[Tensor]]], list[Tensor]]
MIN_VALIDATION, MAX_VALIDATION = 10, 10_000  # images for choices: fewer are too noisy, more add little


class ImageDataModule(Batches):
    """Batches of images in [-1, 1] and labels; in training the images pass the augmentation.

    `setup` sets `dataset`; see lightning_genae/data/dataset.py.

    Args:
        batch_size: images in a batch of one process. null: 64, or what goes with the networks of --model gan.
        num_train: size of the training subset, with the classes in proportion. null: all except a tenth, which is
            the validation set; otherwise the validation set comes from the images outside the subset.
        split_seed: draws the training subset and the validation set, but not the held-out set. null: the run's seed.
        num_workers: processes that load batches; 0 is fastest for images in memory.

    Attributes:
        modality: what the items are; `load` may set one with their units.
        mirror: whether every training image has a mirrored twin beside it; an option of data sets of pictures.
        places: where sequences are cut from; `load` may set those of `pool` and `heldout`. See `Dataset`.
        cache_dir: folder for prepared files.
        usual_batch_size: sets batch_size, by the (C, H, W) of the items and the name of their modality. None: nothing
            does.
    """

    modality: Modality = Image()
    mirror = False

    def __init__(
        self,
        batch_size: PositiveInt | None = None,
        num_train: PositiveInt | None = None,
        split_seed: Seed | None = None,
        num_workers: NumWorkers = 0,
    ):
        super().__init__(None, batch_size or BATCH_SIZE, num_workers)
        self.usual_batch_size: Callable[[tuple[int, ...], str], int] | None = None
        self.num_train = num_train
        self.split_seed = split_seed
        self.cache_dir = "runs/cache"
        self.places: Mapping[str, Tensor] = {}
        self._to_keep: list[tuple[str, dict[str, object], list[Tensor]]] = []

    def load(self) -> tuple[Images, Images, int]:
        """The training split, the held-out split and the number of classes (0 without labels).

        Raises:
            OSError: a file is missing or cannot be read.
            ValueError: an option is wrong for these files, or a file is not as it should be.
        """
        raise NotImplementedError(f"{registry.described(type(self))}: expected a method load, as ImageDataModule says")

    def setup(self, stage: str | None = None) -> None:
        """Loads and splits the data, once. Raises what `load` raises, and ValueError for less than a batch of it."""
        super().setup(stage)
        if self.dataset is not None:
            return
        loaded = self.load()
        check_loaded(type(self), loaded)
        pool, heldout, num_classes = loaded
        pool, heldout = self.sized(pool), self.sized(heldout)
        if not isinstance(self.modality, Modality):
            raise UserError(
                f"{registry.described(type(self))}: expected a modality of lightning_genae.data.modalities, such as "
                f"Image(); got {self.modality!r}"
            )
        train, validation = self.split(pool, len(heldout.images))
        train = with_twins(train) if self.mirror else train
        if self.usual_batch_size is not None:
            self.batch_size = self.usual_batch_size(tuple(train.images.shape[1:]), self.modality.name)
        if len(train.images) < self.batch_size:
            option = "num_train" if self.num_train and self.batch_size <= BATCH_SIZE else "batch_size"
            items = self.modality.item_name
            by_default = "" if self.usual_batch_size is None else ", the default"
            raise ValueError(
                f"--data.{option}: expected at least one batch to train on; got {len(train.images)} {items} "
                f"(beside {len(validation.images)} to choose by and {len(heldout.images)} held out) and "
                f"batches of {self.batch_size}{by_default}; give a smaller --data.batch_size, or more {items}"
            )
        self.dataset = Dataset(
            train=train,
            pool=pool,
            validation=validation,
            heldout=heldout,
            modality=self.modality,
            num_classes=num_classes,
            places=self.places,
            cache_dir=self.cache_dir,
        )

    def sized(self, split: Images) -> Images:
        """What `load` gave, of the size in which it is used."""
        return split

    def split(self, pool: Images, num_heldout: int) -> tuple[Images, Images]:
        """The training set and the validation set, two disjoint parts of the training split.

        Args:
            pool: the training split.
            num_heldout: number of held-out images; the validation set has at most as many.

        Raises:
            ValueError: too few images would be left for validation.
        """
        total = len(pool.images)
        num_aside = self.num_aside(total, num_heldout)
        if self.num_train is None:
            return split_off(pool, num_aside, self.drawn_by, self.kept)
        if self.num_train > total - MIN_VALIDATION:
            raise ValueError(
                f"--data.num_train: expected at most {total - MIN_VALIDATION}, so that {MIN_VALIDATION} of {total} "
                f"{self.modality.item_name} are left to choose by; got {self.num_train}; without it a tenth is kept "
                "aside for that"
            )
        rest, train = split_off(pool, self.num_train, self.drawn_by, self.kept)
        num = min(num_heldout, MAX_VALIDATION)
        if len(rest.images) > num:
            rest = split_off(rest, num, self.drawn_by, self.kept)[1]
        return train, rest

    def kept(self, kind: str, key: dict[str, object], work: Callable[[], list[Tensor]]) -> list[Tensor]:
        """Tensors that are slow to make, from the cache if they are there: the import of scikit-learn alone takes most
        of a second, and a run that finds everything in the cache does not need it before it trains. Others are kept by
        `keep`.

        Args:
            kind: a subfolder of the cache.
            key: what they depend on besides the version of scikit-learn.
            work: computes them.
        """
        key = {"scikit-learn": version("scikit-learn"), **key}
        if Path(self.cache_dir, kind, digest(key)).is_file():
            return tensors(self.cache_dir, kind, key, work)
        made = work()
        self._to_keep.append((kind, key, made))
        return made

    def keep(self) -> None:
        """Puts what `kept` was asked for into the cache. Commands call it when they have checked everything, because
        one with a mistake leaves nothing."""
        for kind, key, made in self._to_keep:
            with suppress(OSError):  # no permission or no room: it is made anew every time
                tensors(self.cache_dir, kind, key, partial(list, made))
        self._to_keep = []

    def num_aside(self, total: int, num_heldout: int) -> int:
        """The size of the validation set if all other images of the training split are trained on.

        Raises:
            ValueError: there are too few.
        """
        if total <= MIN_VALIDATION:
            items = self.modality.item_name
            raise ValueError(
                f"--data: expected more than {MIN_VALIDATION} {items} beside those held out, since so many are "
                f"kept aside to choose by; got {total}; give more {items}"
            )
        return max(MIN_VALIDATION, min(total // 10, num_heldout, MAX_VALIDATION))

    @property
    def drawn_by(self) -> int:
        """The seed that draws `train` and `validation`."""
        return self.seed if self.split_seed is None else self.split_seed


class PublishedDataModule(ImageDataModule):
    """A data set with published files, which are read from the root and downloaded on demand.

    Args:
        root: folder with the files. null: data.
        download: fetch the files to the root if they are not there.
        image_size: side in pixels to which the images are reduced, bilinearly with antialiasing; half of it takes a
            quarter of the time. null: as published.
        mirror: train on every image and its mirrored twin.
    """

    def __init__(
        self,
        root: str | None = None,
        download: bool = False,
        image_size: PositiveInt | None = None,
        mirror: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.mirror = mirror
        self.root = root or "data"
        self.download = download
        self.image_size = image_size

    def sized(self, split: Images) -> Images:
        if self.image_size is None:
            return split
        side = split.images.shape[-1]
        if self.image_size > side:
            raise ValueError(f"--data.image_size: expected at most {side}, as published; got {self.image_size}")
        from torchvision.transforms.v2.functional import resize  # slow, and seldom needed

        return split._replace(images=resize(split.images, [self.image_size, self.image_size], antialias=True))

    def is_there(self) -> bool:
        """Whether the files are in the root, in a form that needs no download."""
        raise NotImplementedError

    def fetch(self, folder: str) -> None:
        """Downloads the files to a folder; raises RuntimeError for a file that differs from the published one."""
        raise NotImplementedError

    def prepare_data(self) -> None:
        """Downloads the files if that is asked for and they are not there.

        Raises:
            NotADirectoryError: the root is a file.
            ValueError: the download failed.
        """
        if not self.download or self.is_there():
            return
        try:
            Path(self.root).mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(f"--data.root: expected a folder, got '{self.root}', which is a file") from error
        try:
            with FileLock(Path(self.root, ".download.lock")):  # processes may start together
                if not self.is_there():
                    self._fetch_whole()
        except (OSError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"--data.download: expected to fetch the files, but it failed ({reason}); "
                f"bring them to --data.root '{self.root}' from a machine with internet"
            ) from error

    def _fetch_whole(self) -> None:
        """Moves the files to the root after all of them were checked against the published ones."""
        with TemporaryDirectory(prefix=".download-", dir=self.root) as folder:
            self.fetch(folder)
            for path in [path for path in Path(folder).rglob("*") if path.is_file()]:
                target = Path(self.root, path.relative_to(folder))
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)


def with_twins(split: Images) -> Images:
    """Images (N, C, H, W), and after them each of them mirrored, of the same class: (2N, C, H, W)."""
    images = split.images
    both = torch.cat([images, images.flip(-1)]) if isinstance(images, Tensor) else images.with_twins()
    return Images(both, split.labels.repeat(2))


def check_labels(labels: Tensor, num_classes: int, path: Path) -> None:
    """Raises ValueError if a file holds a label outside 0 to num_classes - 1."""
    wrong = torch.nonzero((labels < 0) | (labels >= num_classes)).flatten()
    if len(wrong):
        first = int(wrong[0])
        raise ValueError(
            f"--data.root: '{path}' gives image {first} the label {int(labels[first])} ({len(wrong):,} are wrong); "
            f"expected 0 to {num_classes - 1}; fetch the file anew"
        )


def split_off(split: Images, num: int, seed: int, kept: Keeper | None = None) -> tuple[Images, Images]:
    """The rest, and `num` images with the classes in the proportions of the whole. The seed draws the order of both, so
    that the first images of each are a random sample, too. `kept` is `ImageDataModule.kept` or None.
    """
    check_split("split_off: expected images", split)
    labels = split.labels.numpy()
    counts = np.bincount(labels)
    # scikit-learn stratifies only if each side can hold every class and each class has two images
    possible = counts[counts > 0].min() > 1 and min(num, len(labels) - num) >= (counts > 0).sum()

    def draw() -> list[Tensor]:
        from sklearn.model_selection import train_test_split  # slow; see ImageDataModule.kept

        stratify = labels if possible else None
        sides = train_test_split(np.arange(len(labels)), test_size=num, random_state=seed, stratify=stratify)
        return [torch.from_numpy(side) for side in sides]

    key = {"labels": hash_images(split.labels), "num": num, "seed": seed}
    rest, chosen = map(split.subset, kept("splits", key, draw) if kept else draw())
    return rest, chosen
