"""What all metrics of samples share."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import torchmetrics
from scipy.stats import t as student
from torch import Tensor, nn
from torchmetrics.utilities import dim_zero_cat

from lightning_genae.data.dataset import Dataset
from lightning_genae.data.modalities import Modality
from lightning_genae.data.modalities.image import Image

MAX_IMAGES = 2000  # for what compares every image with every other


class Value(NamedTuple):
    """What is said of a value of a metric, wherever it is shown.

    Attributes:
        label: in words, for rows and titles.
        form: a format specification.
        higher_is_better: as torchmetrics has it; None where neither is, because it is right where real data are.
        is_ratio: arms are compared by its logarithm, in percent: a distance or an error, whose spread grows with it;
            not what can lie below 0, nor a fraction, nor what is a logarithm already.
        in_brief: whether tables with a row a run show it.
        is_row: whether the table of a run has a row for it.
        note: a sentence below that table, of values and protocol by name, as str.format takes them.
    """

    label: str
    form: str
    higher_is_better: bool | None
    is_ratio: bool = False
    in_brief: bool = False
    is_row: bool = True
    note: str = ""


class Samples(NamedTuple):
    """A set of images, as metrics see them; None where a metric does not need it.

    Attributes:
        features: (N, num_features) of an extractor, float32.
        logits: (N, num_classes) of a classifier.
        images: as they are stored, (N, C, H, W).
        places: of windows that may share values, int64 (N, 3): which series each is cut from, its first step and the
            step after its last; None where none shares a value with another, as samples never do.
    """

    features: Tensor | None = None
    logits: Tensor | None = None
    images: Tensor | None = None
    places: Tensor | None = None


class SampleMetric(torchmetrics.Metric):
    """Samples against real images; values in a dict, by name.

    Over several processes `compute` is of the samples of all of them.

    Args:
        real: held-out images, which no model was trained on.
        dataset: that they are of. None: images, of which nothing else is known.

    Attributes:
        values: what is said of each value, by its name; intervals, NAME_low and NAME_high, need nothing said.
        order: place of its values in tables: those of a lower number come first, equal ones by name of the file.
        modalities: of data that it is for, by their names; None: all of them.
        needs_images: whether it looks at all samples themselves; else it may get the features of some alone.
        trained_on: stored images (N, C, H, W) that the model was trained on, or None.
        modality: of the data.
    """

    full_state_update = False
    values: ClassVar[Mapping[str, Value]] = MappingProxyType({})
    order: ClassVar[int] = 50
    modalities: ClassVar[tuple[str, ...] | None] = None
    needs_images: ClassVar[bool] = False

    def __init__(self, real: Samples, dataset: Dataset | None = None):
        super().__init__()
        self.real = real
        self.dataset = dataset
        self.trained_on = None if dataset is None else dataset.train.images
        self.modality: Modality = Image() if dataset is None else dataset.modality
        for name in Samples._fields:
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, samples: Samples) -> None:
        """Adds samples."""
        for name, values in samples._asdict().items():
            if values is not None:
                getattr(self, name).append(values)

    def compute(self) -> dict[str, float]:
        """The values of all samples that were added."""
        parts = (getattr(self, name) for name in Samples._fields)
        return self.measure(Samples(*(dim_zero_cat(part) if len(part) else None for part in parts)))

    def measure(self, samples: Samples) -> dict[str, float]:
        """The values of a set of samples; nothing if it lacks what this metric needs."""
        raise NotImplementedError

    def left_out(self, num_samples: int) -> dict[str, str]:
        """Values that so many samples are too few for, by name, with the reason, in words that follow "left out:"."""
        return {}

    def floor(self, fresh: Samples) -> dict[str, float]:
        """The values of real images that are not the held-out ones: no model is expected to be better."""
        return self.measure(fresh)

    def of_model(self, model) -> dict[str, float]:
        """Values of the model itself, in evaluation mode, not of its samples; nothing for most."""
        return {}

    def protocol(self) -> dict[str, object]:
        """What its values depend on beside extractor, numbers of images and seeds, as plain values."""
        return {}

    def at_the_end(self, samples: Samples) -> dict[str, float]:
        """More values, worth their time once a training; bounds of 95 % intervals are NAME_low and NAME_high."""
        return {}


def jackknife(pseudo: Tensor, of_pairs: Tensor) -> tuple[float, float, float]:
    """What a 95 % interval of a value of N samples is made of.

    Args:
        pseudo: pseudo-values (N,) of the value, by samples.
        of_pairs: the part of it that belongs to a pair of samples, times N^2 / 2, of some pairs (M,).

    Returns:
        The jackknife's variance; what pairs add to it twice, and should but once (Efron & Stein 1981, doi
        10.1214/aos/1176345462); the quantile of Student's t, with the degrees of freedom of their difference
        (Satterthwaite 1946, doi 10.2307/3002019).
    """
    num, deviations = len(pseudo), pseudo - pseudo.mean()
    variance = float(deviations.var()) / num
    pairs = min(2 * float(of_pairs.square().mean()) / num**2, 0.75 * variance)
    error = float(deviations.pow(4).mean() - deviations.var() ** 2) / num**3  # variance of the variance
    freedom = 2 * (variance - pairs) ** 2 / max(error, 1e-300)
    return variance, pairs, float(student.ppf(0.975, max(freedom, 2.0)))


class Given(nn.Module):
    """torchmetrics' extractor for features that are computed already."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features
