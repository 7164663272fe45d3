"""Training images above their variations by the augmentation, and its quality report as a picture and a curve."""

from pathlib import Path

import torch
from pytorch_lightning import Callback

from callbacks._pictures import pairs, publish, show
from lightning_genae.augment import STRENGTHS, examples
from lightning_genae.data.drawing.grids import save_curves


class Augmented(Callback):
    """Pictures that show the augmented images, after the first batch: what draws them takes seconds to import.

    Args:
        folder: the run folder; pictures go to its augmented/.
        num_rows: images in the picture of an augmentation at several strengths.

    Attributes:
        quality: the quality report of every augmentation, from `Composition.quality`.
    """

    def __init__(self, folder: Path, num_rows: int = 8):
        self.folder = Path(folder) / "augmented"
        self.num_rows = num_rows
        self.quality: dict[str, dict] = {}

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        datamodule = trainer.datamodule
        if not trainer.is_global_zero or datamodule.augment is None or datamodule.batches != 1:
            return
        num, columns = datamodule.dataset.modality.layout
        x, labels = datamodule.examples("train", num)
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            varied = datamodule.augment.vary(x, labels)
        if not torch.equal(varied, x):  # nothing to show for an augmentation that changes nothing
            show(trainer, self.folder, pairs(x, varied, columns), columns, rows=("original", "variation"))
        for name, quality in self.quality.items():
            if quality.get("strengths"):  # one on the generator has none
                x, labels = x[: self.num_rows], labels[: self.num_rows]
                pictures = {f"quality-{name}": self._draw_quality(name, quality)}
                if not datamodule.dataset.modality.is_drawn_together:
                    pictures[f"strengths-{name}"] = self._draw_strengths(name, datamodule, x, labels)
                for title, path in pictures.items():
                    publish(trainer, title, path)

    def _draw_strengths(self, name: str, datamodule, x: torch.Tensor, labels: torch.Tensor) -> Path:
        modality, augment = datamodule.dataset.modality, datamodule.augment
        is_within_class = augment.is_within_class(augment.sides[name])
        varied = examples(augment.parts[name], x, labels if is_within_class else None, modality)
        titles = ("original", *(f"{strength:g}" for strength in STRENGTHS))
        path = self.folder / f"strengths-{name}.png"
        if modality.layout[1] == 1:  # a single column: the rows get titles
            return modality.draw(path, varied, 1, rows=titles)
        return modality.draw(path, varied, len(titles), titles=titles)

    def _draw_quality(self, name: str, quality: dict) -> Path:
        rows = quality["strengths"]
        strengths = [row["strength"] for row in rows]
        originals = quality["originals"]
        panels = {
            "Frechet distance to validation data": {
                "variations": [row["fd"] for row in rows],
                "originals and variations": [row["fd_mixed"] for row in rows],
                "originals": [originals["fd"]] * len(rows),
            },
            "fraction": {
                **{key: [row[key] for row in rows] for key in ("precision", "recall", "coverage")},
                **{
                    f"{key} of the originals": [originals[key]] * len(rows)
                    for key in ("precision", "recall", "coverage")
                },
            },
            "root mean square per value": {
                "to the original": [row["distance_to_original"] for row in rows],
                "to the nearest other": [row["distance_to_nearest_other"] for row in rows],
            },
        }
        if "labels_kept" in rows[0]:
            panels["fraction"]["classes kept"] = [row["labels_kept"] for row in rows]
        return save_curves(
            self.folder / f"quality-{name}.png", f"strength of {name}", strengths, panels, quality["strength"]
        )
