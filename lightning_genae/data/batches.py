"""Batches of a data set, augmented on the device, with an order and random numbers that can be resumed."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data.distributed import DistributedSampler

from lightning_genae.data.dataset import Dataset, Images
from lightning_genae.data.storage import to_float

BATCH_SIZE = 64


class Batches(LightningDataModule):
    """Batches of items in [-1, 1] and labels; in training the augmentation is applied to them.

    It is a cursor over a data set that does not change; the state of a training is here.

    Args:
        dataset: to serve. None: a subclass sets it in `setup`.
        batch_size: items in a batch of one process.
        num_workers: processes that load batches; 0 is fastest for items in memory.

    Attributes:
        augment: a module, called with items in [-1, 1] and labels, on the device, for training batches only, whose
            `restart(seed)` seeds its random numbers. None: no augmentation.
        seed: of the order of the items and of all random numbers drawn for a batch.
        batches: training batches served so far; saved and resumed.
    """

    def __init__(self, dataset: Dataset | None = None, batch_size: int = BATCH_SIZE, num_workers: int = 0):
        super().__init__()
        self.dataset = dataset
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.augment: nn.Module | None = None
        self.seed = 0
        self.batches = 0

    def setup(self, stage: str | None = None) -> None:
        if self.trainer is not None and self.augment is not None:
            self.augment.to(self.trainer.strategy.root_device)

    def train_dataloader(self) -> DataLoader:
        trainer = self.trainer
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        images = _WholeBatches(self.served.train)
        sampler = _ResumingSampler(self, images, num_replicas=world_size, rank=rank)
        return self._loader(images, sampler=sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader:
        return self._loader(_WholeBatches(self.served.heldout))

    def on_after_batch_transfer(self, batch: list[Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Converts a batch to [-1, 1] on the device, and in training applies the augmentation.

        In training torch's random numbers, and those of the augmentation, are seeded for every batch, from the seed,
        the rank and the index of the batch: ranks differ, a resumed run draws the same numbers as an uninterrupted one,
        and arms with different augmentations, on the data or on the critic, share all other random numbers.
        """
        images, labels = batch
        images = to_float(images)
        if self._attached.training:
            if self.augment is not None:
                self.augment.restart(self._batch_seed(stream=0))  # type: ignore[operator]  # a method, not a tensor
                images = self.augment(images, labels)
            _seed(self._batch_seed(stream=1))
            self.batches += 1
        return images.to(self._attached.lightning_module.dtype), labels

    def state_dict(self) -> dict:
        return {"batches": self.batches, "fingerprint": self.served.fingerprint}

    def load_state_dict(self, state_dict: dict) -> None:
        if state_dict["fingerprint"] != self.served.fingerprint:
            raise ValueError("--data: the checkpoint was trained on other images; --overwrite starts the run anew")
        self.batches = state_dict["batches"]

    def examples(self, part: str, num: int) -> tuple[Tensor, Tensor]:
        """The first items (num, C, H, W) of a part of the data, in [-1, 1], and their labels (num,), on the device."""
        device = self._attached.strategy.root_device
        images, labels = (values[:num].to(device) for values in getattr(self.dataset, part))
        return to_float(images), labels

    @property
    def served(self) -> Dataset:
        """`dataset`, once it is set."""
        assert self.dataset is not None  # set by `setup` at the latest
        return self.dataset

    @property
    def batches_per_epoch(self) -> int:
        world_size = self.trainer.world_size if self.trainer else 1
        return len(self.served.train.images) // world_size // self.batch_size

    @property
    def progress(self) -> dict[str, int]:
        """Batches, items (over all processes) and whole epochs that training has seen."""
        images = self.batches * self.batch_size * self._attached.world_size
        return {"batches": self.batches, "images": images, "epoch": self.batches // self.batches_per_epoch}

    @property
    def _attached(self) -> Trainer:
        assert self.trainer is not None  # set by Lightning before it asks for batches
        return self.trainer

    def _loader(self, images: "_WholeBatches", **options: Any) -> DataLoader:
        return DataLoader(
            images,
            batch_size=self.batch_size,
            collate_fn=_as_is,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )

    def _batch_seed(self, stream: int) -> int:
        key = (self.seed, self._attached.global_rank, self.batches, stream)
        return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1


def _seed(value: int) -> None:
    # torch.manual_seed stores a call and its stack trace for every type of device that is not in use; their number
    # grows with every batch, and storing them takes longer than the rest of the function
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(value)
    elif torch.backends.mps.is_available():
        torch.mps.manual_seed(value)


class _WholeBatches(TorchDataset):
    """Fetches a batch by a single index operation instead of image by image."""

    def __init__(self, split: Images):
        self.split = split

    def __len__(self) -> int:
        return len(self.split.images)

    def __getitems__(self, indices: list[int]) -> list[Tensor]:
        index = torch.as_tensor(indices)
        return [self.split.images[index], self.split.labels[index]]


def _as_is(batch: list[Tensor]) -> list[Tensor]:
    return batch


class _ResumingSampler(DistributedSampler):
    """A shuffled order that depends on seed and epoch alone, entered at the current batch.

    Lightning's order depends on all random numbers drawn before, and restarts on resuming.
    """

    def __init__(self, batches: Batches, images: _WholeBatches, num_replicas: int, rank: int):
        super().__init__(images, num_replicas, rank, seed=batches.seed, drop_last=True)
        self.cursor = batches

    def __iter__(self) -> Iterator[int]:
        self.epoch, batch = divmod(self.cursor.batches, self.cursor.batches_per_epoch)
        return islice(super().__iter__(), batch * self.cursor.batch_size, None)
