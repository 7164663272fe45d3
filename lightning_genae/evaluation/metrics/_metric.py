"""The base class of metrics of samples."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from lightning_genae.data.dataset import Dataset
from lightning_genae.data.modalities import Modality
from lightning_genae.data.modalities.image import Image
from lightning_genae.evaluation.models import Generative

MAX_IMAGES = 2000  # for metrics that compare all pairs of images


class Value(NamedTuple):
    """The description of a value of a metric, wherever it is shown.

    Attributes:
        label: in words, for rows and titles.
        form: a format specification.
        higher_is_better: as in torchmetrics. None: neither; the value of real data is the best.
        is_ratio: arms are compared by its logarithm, in percent: for a distance or an error, whose spread grows with
            it; not for values that can be negative, fractions or logarithms.
        in_brief: whether tables with one row per run show it.
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
    """A set of images for metrics; a field is None where no metric needs it.

    An evaluation gives features and images to all metrics.

    Attributes:
        features: (N, num_features) of an extractor, float32.
        logits: (N, num_classes) of a classifier.
        images: stored images (N, C, H, W).
        places: positions of windows that may share values, int64 (N, 3): index of the series, first step, and the step
            after the last. None: no items share values, as for generated samples.
    """

    features: Tensor | None = None
    logits: Tensor | None = None
    images: Tensor | None = None
    places: Tensor | None = None


class SampleMetric:
    """Samples against real images; values in a dict, by name.

    It is no torchmetrics Metric, which it may use: the evaluation draws all samples, in the first process those of all,
    and computes their features once for all metrics, so that there is no state to update, to gather or to reset.

    Args:
        real: held-out images, on which no model was trained.
        dataset: of these images. None: only the images are known.

    Attributes:
        values: the description of each value, by name; intervals, NAME_low and NAME_high, need none.
        order: position of its values in tables: lower numbers come first, equal ones by name of the file.
        modalities: names of the modalities that it supports. None: all of them.
        needs_images: whether it needs the images of all samples; otherwise it may get only the features of some.
        trained_on: stored images (N, C, H, W) that the model was trained on, or None.
        modality: of the data.
    """

    values: ClassVar[Mapping[str, Value]] = MappingProxyType({})
    order: ClassVar[int] = 50
    modalities: ClassVar[tuple[str, ...] | None] = None
    needs_images: ClassVar[bool] = False

    def __init__(self, real: Samples, dataset: Dataset | None = None):
        self.real = real
        self.dataset = dataset
        self.trained_on = None if dataset is None else dataset.train.images
        self.modality: Modality = Image() if dataset is None else dataset.modality

    def measure(self, samples: Samples) -> dict[str, float]:
        """The values of a set of samples, by name; empty if it lacks what this metric needs."""
        raise NotImplementedError

    def left_out(self, num_samples: int) -> dict[str, str]:
        """Values for which there are too few samples, by name, with the reason, to follow "left out:"."""
        return {}

    def floor(self, fresh: Samples) -> dict[str, float]:
        """The values of real images other than the held-out ones: no model is expected to be better."""
        return self.measure(fresh)

    def of_model(self, model: Generative) -> dict[str, float]:
        """Values of the model itself, in evaluation mode, not of its samples; empty for most metrics."""
        return {}

    def of_model_at_the_end(self, model: Generative) -> dict[str, float]:
        """The same, slow enough to compute only once."""
        return {}

    def protocol(self) -> dict[str, object]:
        """What its values depend on besides extractor, numbers of images and seeds, as plain values."""
        return {}

    def at_the_end(self, samples: Samples) -> dict[str, float]:
        """More values, slow enough to compute only once; bounds of 95 % intervals are NAME_low and NAME_high."""
        return {}


def jackknife(pseudo: Tensor, of_pairs: Tensor) -> tuple[float, float, float]:
    """The parts of a 95 % interval of a value of N samples.

    Args:
        pseudo: pseudo-values (N,) of the value, by samples.
        of_pairs: the contributions of some pairs of samples to the value, times N^2 / 2, (M,).

    Returns:
        The jackknife's variance; the contribution of pairs, which it counts twice (Efron & Stein 1981, doi
        10.1214/aos/1176345462); the quantile of Student's t, with the degrees of freedom of their difference
        (Satterthwaite 1946, doi 10.2307/3002019).
    """
    from scipy.stats import t as student  # slow, and not needed before the end

    num, centred = len(pseudo), pseudo - pseudo.mean()
    variance = float(centred.var()) / num
    pairs = min(2 * float(of_pairs.square().mean()) / num**2, 0.75 * variance)
    error = float(centred.pow(4).mean() - centred.var() ** 2) / num**3  # variance of the variance
    freedom = 2 * (variance - pairs) ** 2 / max(error, 1e-300)
    return variance, pairs, float(student.ppf(0.975, max(freedom, 2.0)))


class Given(nn.Module):
    """torchmetrics' extractor for features that are computed already."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        """The features (N, num_features) themselves."""
        return features
