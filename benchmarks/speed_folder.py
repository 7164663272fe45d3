"""What images of a folder take from the second epoch on, beside torchvision's ImageFolder with two workers.

    python benchmarks/speed_folder.py         a minute on two cores

Both serve batches of 64 colour images of 64x64 in [-1, 1], in a new order in every epoch: ours as in a training, from
the pack that the first start writes, ImageFolder by its transforms, in workers that stay alive between epochs.
"""

import tempfile
from pathlib import Path

from speed_data import draw_folder
from speed_table import Row, ratio
from speed_turns import Turn, by_turns

NUM, SIDE, BATCH = 4000, 64, 64


def rows(rounds: int = 5, share: float = 1.0) -> list[Row]:
    """The row of an epoch.

    Args:
        rounds: how many.
        share: of the images.
    """
    with tempfile.TemporaryDirectory() as work:
        draw_folder(Path(work, "images"), max(2 * BATCH, int(NUM * share)), SIDE)
        options = {"root": str(Path(work, "images")), "cache": str(Path(work, "cache"))}
        contenders = {"ours": {"function": ours, **options}, "ImageFolder": {"function": image_folder, **options}}
        times = by_turns(contenders, rounds)
    # ours serves what it trains on, ImageFolder all images: what is compared is the time of an image
    per_image = {
        name: time._replace(
            wall=[s / time.notes["images"] for s in time.wall], cpu=[s / time.notes["images"] for s in time.cpu]
        )
        for name, time in times.items()
    }
    return [ratio("folder", per_image, "ours", "ImageFolder")]


def ours(turn: Turn, root: str, cache: str) -> None:
    """A contender: the data module of `--data folder` under Lightning's Trainer, with a model that does nothing."""
    import torch
    from pytorch_lightning import LightningModule, Trainer

    from datamodules.folder import FolderDataModule

    class Nothing(LightningModule):
        def training_step(self, batch, index):
            turn.note(images=(index + 1) * len(batch[0]))

        def on_train_epoch_end(self):
            turn()

        def configure_optimizers(self):
            return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])

    data = FolderDataModule(root, batch_size=BATCH)
    data.cache_dir = cache
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", max_epochs=-1, enable_model_summary=False, limit_val_batches=0, **quiet)
    trainer.fit(Nothing(), datamodule=data)


def image_folder(turn: Turn, root: str, cache: str) -> None:
    """A contender: what torchvision's documentation has."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

    transform = Compose([Resize(SIDE), CenterCrop(SIDE), ToTensor(), Normalize([0.5] * 3, [0.5] * 3)])
    loader = DataLoader(
        ImageFolder(root, transform), BATCH, shuffle=True, num_workers=2, persistent_workers=True, drop_last=True
    )
    turn.note(images=len(loader) * BATCH)
    while True:
        for images, _ in loader:
            assert images.shape[1:] == (3, SIDE, SIDE)
        turn()


if __name__ == "__main__":
    for row in rows():
        print(row)
