"""The quality report of an augmentation: how good its variations are, measured before a model trains on them.

People choose augmentations by it, so variations are compared with validation images, which are neither trained on nor,
unlike the held-out images, used for the final results.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lightning_genae.augment._augmentation import Augmentation
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.modalities import Modality
from lightning_genae.data.storage import blocks, num_at_once, to_float
from lightning_genae.estimates import estimated
from lightning_genae.evaluation.extractors import Extractor
from lightning_genae.evaluation.extractors.classifier import ClassifierFeatures
from lightning_genae.evaluation.metrics import MAX_IMAGES
from lightning_genae.evaluation.metrics.frechet import frechet_distance
from lightning_genae.evaluation.metrics.neighbours import prdc

AT_A_TIME = 2**20  # values of images that are varied at once: what an autoencoder makes of them stays in a CPU's cache
AFFORDABLE = 2**23  # values of the images of the report: fewer than 2,000 above 4,194 values, so that it takes seconds
LEAST = 500  # images of the report all the same: the distances of fewer are mostly their bias
FEW = 20  # images by which the time of the report is estimated
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


@torch.no_grad()
def measure(
    augmentation: Augmentation, dataset: Dataset, extractor: Extractor, is_within_class: bool, conditional: bool = False
) -> dict:
    """Compares variations of training images with validation images, at the augmentation's strength and over a grid.

    `originals` and every row of `strengths` hold the Frechet distance `fd`, precision, recall, density and coverage. A
    row also has `fd_mixed`, of originals and as many variations, and `distance_to_original` and
    `distance_to_nearest_other`: the root mean squared difference per pixel, of images in [-1, 1], between a variation
    and its original or the nearest other training image. `variations` is the row of the augmentation's own strength, or
    the only one. For images with labels, `labels_kept` in a row is the fraction of the variations that a classifier
    labels correctly, among those whose originals it labels correctly; `labels_known` is the fraction of these
    originals.

    Args:
        augmentation: fitted.
        dataset: of the images.
        extractor: of the features; also predicts the classes if it is the classifier of the data.
        is_within_class: whether the augmentation gets the classes.
        conditional: whether the model is conditional; if so, the classifier of the data is used in addition to other
            features, and trained if it is not in the cache.

    Returns:
        plain values; empty for an augmentation that changes no image.
    """
    if not augmentation.shows:
        return {}
    most = max(LEAST, num_at_once(dataset.image_shape, MAX_IMAGES, AFFORDABLE))
    images, labels = (part[:most] for part in dataset.train)
    classes = _classes(dataset, extractor, conditional)
    labels_used = labels if is_within_class else None
    num_values, strengths = images[0].numel(), _grid(augmentation)
    what = f"Quality report of the augmentation, by {len(images):,} {dataset.item_name} at {len(strengths)} strengths"
    per_row = _seconds(augmentation, extractor, images, labels_used, dataset.modality)
    real = extractor(dataset.validation.images[:MAX_IMAGES])
    originals = extractor(images)
    known = None if classes is None else classes(images, originals) == labels

    def row(augmentation: Augmentation) -> dict[str, float]:
        parts, kept, to_original, to_other = [], [], [], []
        for start, x, varied in _varied(augmentation, images, labels_used, dataset.modality):
            stored = dataset.modality.as_stored(varied)
            parts.append(extractor(stored))
            to_original.append((varied - x).square().flatten(1).mean(1).sqrt())
            to_other.append(_to_nearest_other(varied, images, start))
            if classes is not None:
                kept.append(classes(stored, parts[-1]) == labels[start : start + len(x)])
        features, labels_kept = torch.cat(parts), {}
        if known is not None and known.any():
            labels_kept["labels_kept"] = float(torch.cat(kept)[known].double().mean())
        return {
            **labels_kept,
            **_distribution(real, features),
            "fd_mixed": frechet_distance(real, torch.cat([originals, features])),
            "distance_to_original": float(torch.cat(to_original).mean()),
            "distance_to_nearest_other": float(torch.cat(to_other).mean() / num_values**0.5)
            if len(images) > 1
            else 0.0,
        }

    grid = {
        strength: row(_with_strength(augmentation, strength))
        for strength in estimated(strengths, what, len(strengths), "strength", seconds=(2 + len(strengths)) * per_row)
    }
    strength_used = getattr(augmentation, "strength", None)
    return {
        "items": dataset.item_name,
        "images_trained_on": dataset.fingerprint,
        "originals": _distribution(real, originals),
        "variations": grid[strength_used] if strength_used in grid else row(augmentation),
        "strength": strength_used,
        "strengths": [{"strength": strength, **values} for strength, values in grid.items()],
        **({} if known is None else {"labels_known": float(known.double().mean())}),
        **augmentation.quality(dataset, extractor, images, real),
    }


def examples(augmentation: Augmentation, images: Tensor, labels: Tensor | None, modality: Modality) -> Tensor:
    """The images, each followed by its variations in order of growing strength.

    Args:
        augmentation: with a strength.
        images: (B, C, H, W) in [-1, 1].
        labels: (B,). None: they are not varied within their classes.
        modality: of the images.

    Returns:
        images (B * (1 + number of strengths), C, H, W) in [-1, 1].
    """
    varied = [
        next(_varied(_with_strength(augmentation, strength), images, labels, modality))[2] for strength in STRENGTHS
    ]
    return torch.stack([images, *varied], 1).flatten(0, 1)


def _classes(dataset: Dataset, extractor: Extractor, conditional: bool) -> Callable[[Tensor, Tensor], Tensor] | None:
    """A function from stored images (N, C, H, W) and their features by the extractor to predicted classes (N,); None
    without labels or a classifier."""
    is_classifier = isinstance(extractor, ClassifierFeatures)
    num_values = math.prod(dataset.image_shape)
    has_classifier = "classifier" in dataset.modality.default_features(dataset.num_classes, num_values)
    if not (has_classifier and (is_classifier or conditional)):
        return None
    with torch.random.fork_rng(), torch.enable_grad():  # it may have to be trained
        classifier = extractor if is_classifier else ClassifierFeatures(dataset)

    def predicted(images: Tensor, features: Tensor) -> Tensor:
        logits = classifier.logits(features if is_classifier else classifier(images))
        assert logits is not None  # a classifier has them
        return logits.argmax(1)

    return predicted


def _seconds(
    augmentation: Augmentation, extractor: Extractor, images: Tensor, labels: Tensor | None, modality: Modality
) -> float:
    """About how long the variations of all images and their features take, by few of them; 0 if all are few."""
    if len(images) < 10 * FEW:
        return 0.0
    few, labels = images[:FEW], None if labels is None else labels[:FEW]
    for _ in range(2):  # the first time warms up
        start = time.perf_counter()
        for _, _, varied in _varied(augmentation, few, labels, modality):
            extractor(modality.as_stored(varied))
    return (time.perf_counter() - start) / len(few) * len(images)


def _grid(augmentation: Augmentation) -> tuple[float, ...]:
    return STRENGTHS if hasattr(augmentation, "strength") else ()


def _with_strength(augmentation: Augmentation, strength: float) -> Augmentation:
    augmentation = copy.copy(augmentation)
    augmentation.strength = strength
    return augmentation


def _varied(
    augmentation: Augmentation, images: Tensor, labels: Tensor | None, modality: Modality
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yields blocks of stored images: the index of the first, the images in [-1, 1] and a variation of each.

    Small images come in a single block.
    """
    start = 0
    for x in map(to_float, blocks(images, MAX_IMAGES)):
        block_labels = None if labels is None else labels[start : start + len(x)]
        # a separate stream, the same for every strength, so that the report changes no other random numbers
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(start)
            size = num_at_once(x.shape[1:], MAX_IMAGES, AT_A_TIME)
            parts = zip(x.split(size), [None] * len(x) if block_labels is None else block_labels.split(size))
            varied = torch.cat([modality.project(augmentation.vary(part, of_part)) for part, of_part in parts])
        yield start, x, varied
        start += len(x)


def _distribution(real: Tensor, features: Tensor) -> dict[str, float]:
    return {"fd": frechet_distance(real, features), **prdc(real, features)}


def _to_nearest_other(varied: Tensor, images: Tensor, start: int) -> Tensor:
    """Distance (B,), not per pixel, of variations (B, C, H, W) to the nearest image other than their original; the
    originals are the images from `start` on."""
    original, done, nearest = torch.arange(start, start + len(varied))[:, None], 0, []
    for x in map(to_float, blocks(images, MAX_IMAGES)):
        distances = torch.cdist(varied.flatten(1), x.flatten(1))
        others = original != torch.arange(done, done + len(x))
        nearest.append(distances.masked_fill(~others, torch.inf).min(1).values)
        done += len(x)
    return torch.stack(nearest).amin(0)
