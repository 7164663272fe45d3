"""Training images above their variations by the augmentation, and its quality gate as a picture and a curve."""

from pathlib import Path

import torch
from pytorch_lightning import Callback

from callbacks._pictures import add_header, are_points, pairs, publish, save_curves, save_grid, show
from lightning_genae import gate


class Augmented(Callback):
    """Pictures at the start of training, so that one sees what the model will be shown.

    Args:
        folder: the run folder; pictures go to its augmented/.
        num: images in the picture, a multiple of 8.
        num_rows: images in the picture of an arm over its strengths.

    Attributes:
        quality: the gate of every arm, as `Augmentation.quality` gives it.
    """

    def __init__(self, folder: Path, num: int = 32, num_rows: int = 8):
        self.folder = Path(folder) / "augmented"
        self.num = num
        self.num_rows = num_rows
        self.quality: dict[str, dict] = {}

    def on_train_start(self, trainer, pl_module) -> None:
        datamodule = trainer.datamodule
        if not trainer.is_global_zero or datamodule.augment is None or datamodule.batches > 0:
            return
        x, labels = datamodule.examples("train", self.num)
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            varied = datamodule.augment.vary(x, labels)
        if not torch.equal(varied, x):  # an arm that changes nothing has nothing to show
            show(trainer, self.folder, pairs(x, varied, 8), num_columns=8)
        for name, quality in self.quality.items():
            if quality["strengths"]:
                x, labels = x[: self.num_rows], labels[: self.num_rows]
                pictures = {f"gate-{name}": self._draw_gate(name, quality)}
                if not are_points(x):
                    varied = gate.examples(datamodule.augment.arms[name], x, labels)
                    path = self.folder / f"strengths-{name}.png"
                    pictures[f"strengths-{name}"] = save_grid(path, varied, len(quality["strengths"]) + 1)
                    add_header(path, ["original", *(f"{row['strength']:g}" for row in quality["strengths"])])
                for title, path in pictures.items():
                    publish(trainer, title, path)

    def _draw_gate(self, name: str, quality: dict) -> Path:
        rows = quality["strengths"]
        strengths = [row["strength"] for row in rows]
        originals = quality["originals"]
        panels = {
            "Frechet distance to held-out images": {
                "variations": [row["fd"] for row in rows],
                "originals and variations": [row["fd_mixed"] for row in rows],
                "originals": [originals["fd"]] * len(rows),
            },
            "share": {
                **{key: [row[key] for row in rows] for key in ("precision", "recall", "coverage")},
                **{
                    f"{key} of the originals": [originals[key]] * len(rows)
                    for key in ("precision", "recall", "coverage")
                },
            },
            "root mean square per pixel": {
                "to the original": [row["distance_to_original"] for row in rows],
                "to the nearest other": [row["distance_to_nearest_other"] for row in rows],
            },
        }
        return save_curves(
            self.folder / f"gate-{name}.png", f"strength of {name}", strengths, panels, quality["strength"]
        )
