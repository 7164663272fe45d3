"""What all data sets of images share: uint8 in memory, whole batches, augmentation on the device."""

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from jsonargparse.typing import PositiveInt, restricted_number_type
from pytorch_lightning import LightningDataModule
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from datamodules._packs import Packed


class Images(NamedTuple):
    """A set of images: uint8 (N, C, H, W), and their labels: int64 (N,), all 0 where there are none.

    Points are held as they are, as float32 (N, C, 1, 1) in [-1, 1], and sequences as float32 (N, C, 1, L). Many images
    of a folder stay on disk: slices of them, and what indices choose, are tensors, as they are of all others.
    """

    images: Tensor | Packed
    labels: Tensor

    def subset(self, chosen: Tensor | slice) -> "Images":
        """Those of a slice or of indices (M,); of many on disk without a copy."""
        images = self.images
        return Images(images[chosen] if isinstance(images, Tensor) else images.subset(chosen), self.labels[chosen])

    @property
    def fingerprint(self) -> str:
        """A hash of the images, their shape and their labels; of many on disk by what is kept beside them."""
        images = self.images
        content = hashlib.sha256(str(tuple(images.shape)).encode())
        content.update(images.contiguous().numpy().data if isinstance(images, Tensor) else images.content.encode())
        content.update(self.labels.contiguous().numpy().data)
        return content.hexdigest()[:16]


Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)])  # what scikit-learn takes
NumWorkers = restricted_number_type("NumWorkers", int, [(">=", 0), ("<=", 1000)])  # processes
MIN_VALIDATION, MAX_VALIDATION = 10, 10_000  # images to choose by: fewer say nothing, more say nothing new


class ImageDataModule(LightningDataModule):
    """Batches of images in [-1, 1] and labels; in training the images pass the augmentation.

    After `setup`: `train` (what is trained on), `validation` (what choices are made by: neither trained on nor
    reported), `train_split` (both, and what is left over), `heldout` (what is reported on, and nothing is chosen by),
    each with a `fingerprint`, `image_shape` and `num_classes` (0 without labels).

    Args:
        batch_size: images in a batch of one process.
        num_train: size of the training subset, with the classes in proportion. null: all but a tenth, which choices
            are made by; else images that the subset leaves over serve for these.
        split_seed: draws the training subset and what choices are made by, never what is held out. null: the run's
            seed.
        num_workers: processes that load batches; 0 is fastest for images in memory.

    Attributes:
        kind: what the data are: image, series, masked, text or audio; see _sequences.py for the last four.
        augment: a module, called with images in [-1, 1] and labels, on the device, for training batches only, whose
            `restart(seed)` sets its random numbers.
        seed: of the order of the images and of all random numbers drawn for a batch.
        cache_dir: where a data set may keep what it prepared.
        batches: training batches served so far; saved and resumed.
        places: where sequences are cut from; see _sequences.py.
    """

    kind = "image"
    noun = "images"  # what one of them is called in reports

    def __init__(
        self,
        batch_size: PositiveInt = 64,
        num_train: PositiveInt | None = None,
        split_seed: Seed | None = None,
        num_workers: NumWorkers = 0,
    ):
        super().__init__()
        self.batch_size = batch_size
        self.num_train = num_train
        self.split_seed = split_seed
        self.num_workers = num_workers
        self.augment: nn.Module | None = None
        self.cache_dir = "runs/cache"
        self.seed = 0
        self.batches = 0
        self.places: dict[str, Tensor] = {}

    def load(self) -> tuple[Images, Images, int]:
        """The training split, the held-out split and the number of classes (0 without labels)."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        if self.trainer is not None and self.augment is not None:
            self.augment.to(self.trainer.strategy.root_device)
        if hasattr(self, "train"):
            return
        self.train_split, self.heldout, self.num_classes = self.load()
        self.train, self.validation = self.split(self.train_split)
        if len(self.train.images) < self.batch_size:
            option = "num_train" if self.num_train else "batch_size"
            raise ValueError(
                f"--data.{option}: expected at least one batch to train on; got {len(self.train.images)} {self.noun} "
                f"(beside {len(self.validation.images)} to choose by and {len(self.heldout.images)} held out) and "
                f"batches of {self.batch_size}; give a smaller --data.batch_size, or more {self.noun}"
            )

    def split(self, split: Images) -> tuple[Images, Images]:
        """What is trained on and what choices are made by, two parts of the training split without a common image.

        Raises:
            ValueError: too little would be left to choose by.
        """
        total = len(split.images)
        num_aside = self.num_aside(total)
        if self.num_train is None:
            return split_off(split, num_aside, self.drawn_by)
        if self.num_train > total - MIN_VALIDATION:
            raise ValueError(
                f"--data.num_train: expected at most {total - MIN_VALIDATION}, so that {MIN_VALIDATION} of {total} "
                f"{self.noun} are left to choose by; got {self.num_train}; without it a tenth is kept aside for that"
            )
        rest, train = split_off(split, self.num_train, self.drawn_by)
        num = min(len(self.heldout.images), MAX_VALIDATION)
        return train, rest if len(rest.images) <= num else split_off(rest, num, self.drawn_by)[1]

    def num_aside(self, total: int) -> int:
        """How many of all images of a training split are kept aside to choose by, if the others are trained on.

        Raises:
            ValueError: there are too few.
        """
        if total <= MIN_VALIDATION:
            raise ValueError(
                f"--data: expected more than {MIN_VALIDATION} {self.noun} beside those held out, since so many are "
                f"kept aside to choose by; got {total}; give more {self.noun}"
            )
        return max(MIN_VALIDATION, min(total // 10, len(self.heldout.images), MAX_VALIDATION))

    @property
    def drawn_by(self) -> int:
        """The seed that draws `train` and `validation`."""
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return tuple(self.train.images.shape[1:])

    @cached_property
    def fingerprint(self) -> str:
        """That of `train`, computed once: every checkpoint holds it."""
        return self.train.fingerprint

    def train_dataloader(self) -> DataLoader:
        trainer = self.trainer
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        sampler = _ResumingSampler(self, num_replicas=world_size, rank=rank)
        return self._loader(self.train, sampler=sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader:
        return self._loader(self.heldout)

    def on_after_batch_transfer(self, batch: list[Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Converts a batch once, on the device, and in training lets it pass the augmentation.

        In training torch's random numbers, and those of the augmentation, are set anew for every batch, from the
        seed, the rank and the number of the batch: ranks differ, a resumed run draws what the uninterrupted one
        would have drawn, and arms with different augmentations, there or before the critic, share all others.
        """
        images, labels = batch
        images = to_float(images)
        if self.trainer.training:
            if self.augment is not None:
                self.augment.restart(self._batch_seed(stream=0))
                images = self.augment(images, labels)
            _seed(self._batch_seed(stream=1))
            self.batches += 1
        return images.to(self.trainer.lightning_module.dtype), labels

    def state_dict(self) -> dict:
        return {"batches": self.batches, "fingerprint": self.fingerprint}

    def load_state_dict(self, state_dict: dict) -> None:
        if state_dict["fingerprint"] != self.fingerprint:
            raise ValueError("--data: the checkpoint was trained on other images; --overwrite starts the run anew")
        self.batches = state_dict["batches"]

    def examples(self, split: str, num: int) -> tuple[Tensor, Tensor]:
        """The first images of "train" or "heldout", in [-1, 1], and their labels, on the Trainer's device."""
        images, labels = (part[:num].to(self.trainer.strategy.root_device) for part in getattr(self, split))
        return to_float(images), labels

    def natural(self, images: Tensor) -> Sequence:
        """What images, stored or in [-1, 1], (N, C, H, W), are to people: themselves, unless they are sequences."""
        return images

    def measure(self, samples: Tensor) -> dict[str, float]:
        """Metrics of samples that only this data set can give, by name; none unless it says so."""
        return {}

    @property
    def batches_per_epoch(self) -> int:
        world_size = self.trainer.world_size if self.trainer else 1
        return len(self.train.images) // world_size // self.batch_size

    @property
    def progress(self) -> dict[str, int]:
        """Batches, images (over all processes) and whole epochs that training has seen."""
        images = self.batches * self.batch_size * self.trainer.world_size
        return {"batches": self.batches, "images": images, "epoch": self.batches // self.batches_per_epoch}

    def _loader(self, split: Images, **options) -> DataLoader:
        return DataLoader(
            _WholeBatches(split),
            batch_size=self.batch_size,
            collate_fn=_as_is,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )

    def _batch_seed(self, stream: int) -> int:
        key = (self.seed, self.trainer.global_rank, self.batches, stream)
        return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


class PublishedDataModule(ImageDataModule):
    """A data set whose files are published: used where they lie, fetched on demand.

    Args:
        root: folder with the files. null: data.
        download: fetch the files to the root if they are not there.
    """

    def __init__(self, root: str | None = None, download: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.root = root or "data"
        self.download = download

    def is_there(self) -> bool:
        """Whether the files are in the root, in a form that needs no download."""
        raise NotImplementedError

    def fetch(self, folder: str) -> None:
        """Downloads the files to a folder, and raises RuntimeError for one that is not the published one."""
        raise NotImplementedError

    def prepare_data(self) -> None:
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
        """Brings the files to the root, but none before all of them are known to be the published ones."""
        with TemporaryDirectory(prefix=".download-", dir=self.root) as folder:
            self.fetch(folder)
            for path in [path for path in Path(folder).rglob("*") if path.is_file()]:
                target = Path(self.root, path.relative_to(folder))
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)


def _seed(value: int) -> None:
    # torch.manual_seed keeps a call and its stack trace for every kind of device that is not in use, which grows by
    # the batch and takes longer than all the rest of it
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(value)
    elif torch.backends.mps.is_available():
        torch.mps.manual_seed(value)


def to_float(images: Tensor) -> Tensor:
    """uint8 images to float32 in [-1, 1]; points, which are that already, stay as they are."""
    return images if images.is_floating_point() else images.float() / 127.5 - 1


def check_labels(labels: Tensor, num_classes: int, path: Path) -> None:
    """Raises ValueError if a file holds a label below 0 or from the number of classes on."""
    wrong = torch.nonzero((labels < 0) | (labels >= num_classes)).flatten()
    if len(wrong):
        first = int(wrong[0])
        raise ValueError(
            f"--data.root: '{path}' gives image {first} the label {int(labels[first])} ({len(wrong):,} are wrong); "
            f"expected 0 to {num_classes - 1}; fetch the file anew"
        )


def split_off(split: Images, num: int, seed: int) -> tuple[Images, Images]:
    """The rest, and `num` images with the classes in the proportions of the whole, both in an order that the
    seed draws, so that the first images of each are a random sample too.
    """
    labels = split.labels.numpy()
    counts = np.bincount(labels)
    # scikit-learn stratifies only if each side can hold every class and each class has two images
    possible = counts[counts > 0].min() > 1 and min(num, len(labels) - num) >= (counts > 0).sum()
    sides = train_test_split(
        np.arange(len(labels)), test_size=num, random_state=seed, stratify=labels if possible else None
    )
    rest, chosen = (split.subset(torch.from_numpy(side)) for side in sides)
    return rest, chosen


class _WholeBatches(Dataset):
    """Fetches a batch by one index operation instead of an image at a time."""

    def __init__(self, split: Images):
        self.split = split

    def __len__(self) -> int:
        return len(self.split.images)

    def __getitems__(self, indices: list[int]) -> list[Tensor]:
        indices = torch.as_tensor(indices)
        return [self.split.images[indices], self.split.labels[indices]]


def _as_is(batch: list[Tensor]) -> list[Tensor]:
    return batch


class _ResumingSampler(DistributedSampler):
    """A shuffled order that depends on seed and epoch alone, entered where the data module's count says.

    Lightning's own order depends on what else drew random numbers, and restarts on resuming.
    """

    def __init__(self, datamodule: ImageDataModule, num_replicas: int, rank: int):
        super().__init__(datamodule.train.images, num_replicas, rank, seed=datamodule.seed, drop_last=True)
        self.datamodule = datamodule

    def __iter__(self):
        self.epoch, batch = divmod(self.datamodule.batches, self.datamodule.batches_per_epoch)
        return islice(super().__iter__(), batch * self.datamodule.batch_size, None)
