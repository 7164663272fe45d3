"""Pictures of what the metrics measured: nearest training images, their distances, precision against recall."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pytorch_lightning import Callback

from callbacks._pictures import pairs, publish
from callbacks.evaluate import Evaluate
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.storage import to_float
from lightning_genae.evaluation.metrics import Samples
from lightning_genae.evaluation.metrics.memorisation import MemorisationMetric, nearest
from lightning_genae.evaluation.metrics.neighbours import curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Measured(Callback):
    """Pictures of the last measured samples, at the end of training.

    Args:
        folder: the run folder; pictures go to its metrics/.
        evaluate: the callback that measures; it must come before this one.
    """

    def __init__(self, folder: Path, evaluate: Evaluate):
        self.folder = Path(folder) / "metrics"
        self.evaluate = evaluate

    def on_train_end(self, trainer, pl_module) -> None:
        if not trainer.is_global_zero:
            return
        evaluation = self.evaluate.evaluation
        self.folder.mkdir(parents=True, exist_ok=True)
        real, samples = evaluation.real, evaluation.samples
        # the evaluation has measured, and gives every metric features and images
        assert samples is not None and samples.images is not None
        assert real.features is not None and samples.features is not None
        paths = {
            "distances": self._distances(evaluation.metric(MemorisationMetric), samples),
            "precision-recall": self._precision_recall(real.features, samples.features),
        }
        if not evaluation.dataset.modality.is_drawn_together:
            paths["nearest"] = self._nearest(samples.images, evaluation.dataset)
        for name, path in paths.items():
            publish(trainer, name, path)

    def _nearest(self, samples: torch.Tensor, dataset: Dataset) -> Path:
        """Samples above the training images nearest to them."""
        num, num_columns = dataset.modality.layout
        num_columns = min(num_columns, len(samples))
        samples = samples[: min(16, num, len(samples) // num_columns * num_columns)]
        _, which = nearest(samples, dataset.train.images)
        shown = pairs(to_float(samples), to_float(dataset.train.images[which]), num_columns)
        return dataset.modality.draw(self.folder / "nearest.png", shown, num_columns, rows=("sample", "nearest"))

    def _distances(self, memorisation: MemorisationMetric, samples: Samples) -> Path:
        """How far samples and held-out images are from the nearest training image."""
        assert memorisation.of_heldout is not None  # it knows what was trained on
        figure, axes = _figure()
        sets = {"held-out data": memorisation.of_heldout, "samples": memorisation.distances(samples)}
        largest = max(float(distances.max()) for distances in sets.values())
        for name, distances in sets.items():
            axes.hist(distances.numpy(), bins=40, range=(0, largest), density=True, alpha=0.6, label=name)
        axes.set(xlabel="distance to the nearest in the training data", ylabel="density")
        return _save(figure, axes, self.folder / "distances.png", "upper right")

    def _precision_recall(self, real: torch.Tensor, fake: torch.Tensor) -> Path:
        """Precision against recall at all trade-offs, for the samples and for two halves of the real images."""
        figure, axes = _figure()
        half = len(real) // 2
        for name, sets in {"samples": (real, fake), "real data": (real[:half], real[half:])}.items():
            axes.plot(*curve(*sets), label=name, clip_on=False)  # the curve of disjoint sets lies in the corner
        axes.set_title("by clusters of features (arXiv 1806.00035)", fontsize="small")
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")
        return _save(figure, axes, self.folder / "precision-recall.png", "lower left")


def _figure():
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow, and not needed before the end
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _save(figure: "Figure", axes, path: Path, loc: str) -> Path:
    axes.legend(fontsize="small", loc=loc)  # the best place takes seconds to find on a busy machine
    figure.savefig(path, dpi=100)
    return path
