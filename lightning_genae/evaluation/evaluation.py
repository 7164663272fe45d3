"""The evaluation of a model: metrics of its samples, its reconstructions, and the protocol of the numbers."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import pytorch_lightning
import torch
import torchmetrics
from torch import Tensor, nn

import lightning_genae
from lightning_genae import registry
from lightning_genae.cache import hash_images, plain_values, source, tensors
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.sequences import num_independent
from lightning_genae.data.storage import as_input, chosen_of, num_at_once
from lightning_genae.estimates import estimated
from lightning_genae.evaluation import fidelity, metrics
from lightning_genae.evaluation.extractors import Extractor, build
from lightning_genae.evaluation.metrics import MAX_IMAGES, SampleMetric, Samples
from lightning_genae.evaluation.metrics.frechet import FrechetMetric
from lightning_genae.evaluation.metrics.memorisation import MemorisationMetric
from lightning_genae.evaluation.metrics.reconstruction import ReconstructionMetric
from lightning_genae.evaluation.models import Generative, reconstructs
from lightning_genae.evaluation.sampling import draw_parts
from lightning_genae.ranks import to_first

log = logging.getLogger("lightning_genae")
Metric = TypeVar("Metric", bound=SampleMetric)
MAX_KEPT = 2**29  # bytes of samples that are kept as images
MIN_IMAGES = 10  # held out, or generated: metrics of fewer mean nothing


class Evaluation:
    """Measures models against the held-out images of a data set.

    Nothing depends on the training subset except the metrics of memorisation, `fd_train`, the distance of these images
    themselves where they are fewer than samples, and `fd_validation`. The latter is the distance to
    `dataset.validation`: choices during training, such as the best look, are made by it, so that the reported numbers
    choose nothing.

    Args:
        dataset: with its held-out images.
        features: name of the extractor, as in `extractors`. None: the default of the modality.
        weights: path of its weights, if it takes any. None: no weights.
        num_samples: number of samples drawn. None: as many as there are held-out images.
        lpips: path of AlexNet's weights, for LPIPS of reconstructions. None: without LPIPS.
        seen_by: the extractor by which the model sees images, which is not to measure it. None: by none.

    Attributes:
        protocol: everything that the numbers depend on, as plain values.
        samples: the last samples measured, for pictures.

    Raises:
        ValueError: there are too few held-out images, or the extractor or LPIPS cannot be had for them.
    """

    max_samples = 10_000
    seed = 0  # of the noise of the samples

    def __init__(
        self,
        dataset: Dataset,
        features: str | None = None,
        weights: str | None = None,
        num_samples: int | None = None,
        lpips: str | None = None,
        seen_by: str | None = None,
    ):
        if len(dataset.heldout.images) < MIN_IMAGES:
            raise ValueError(
                f"--data: expected at least {MIN_IMAGES} held-out {dataset.item_name} to measure against; got "
                f"{len(dataset.heldout.images)}; give more {dataset.item_name}, or a larger --data.heldout where the "
                "data set has one"
            )
        self.dataset = dataset
        self.heldout = dataset.heldout.images[: self.max_samples]
        self.num_samples = num_samples or len(self.heldout)
        distance = fidelity.lpips(lpips) if lpips else None
        self.extractor = build(features, weights, dataset, seen_by)
        self.real = self._reference(self.heldout, "heldout", slice(self.max_samples))
        self.metrics: list[SampleMetric] = metrics.new(self.real, dataset)
        self.metric(ReconstructionMetric).lpips = distance
        self.samples: Samples | None = None
        validation = dataset.validation.images[: self.max_samples]
        self.chooser = FrechetMetric(self._reference(validation))
        self.of_train = self._of_train(dataset.train.images)
        self.protocol = self._protocol(len(validation))
        self._warn()

    def metric(self, metric_class: type[Metric]) -> Metric:
        """The metric of a class, which has to support the modality."""
        (found,) = (metric for metric in self.metrics if isinstance(metric, metric_class))
        return found

    def _of_train(self, images: Tensor) -> dict[str, float]:
        """The Frechet distance of the training images themselves, where they are fewer than samples: a model that is
        nearer than they are has learnt more than to copy them. Of more images the floor says it."""
        if len(images) >= self.num_samples or len(images) < MIN_IMAGES or bool((images == images[0]).all()):
            return {}
        return {"fd_train": self.metric(FrechetMetric).measure(self._reference(images))["fd"]}

    def _reference(self, images: Tensor, part: str = "", chosen: Tensor | slice = slice(None)) -> Samples:
        """Stored real images with their features and, if windows of this part of the data overlap, their positions."""
        places = self.dataset.places.get(part)
        assert self.dataset.cache_dir is not None  # every data module has one
        real = reference(self.extractor, images, self.dataset.cache_dir, self.dataset.item_name)
        return real if places is None else real._replace(places=places[chosen])

    def _protocol(self, num_validation: int) -> dict:
        dataset, num_real = self.dataset, len(self.heldout)
        # drawn at random, because the order of a data set may depend on who wrote or photographed it
        chosen = torch.randperm(len(dataset.pool.images), generator=torch.Generator().manual_seed(0))
        chosen = chosen[: self.num_samples]
        fresh = self._reference(chosen_of(dataset.pool.images, chosen), "pool", chosen)
        protocol: dict[str, object] = {
            **self.extractor.description,
            "items": dataset.item_name,
            "split": "heldout",
            "heldout": dataset.heldout.fingerprint,
            "n_real": num_real,
            "n_fake": self.num_samples,
            "n_validation": num_validation,
            "n_neighbourhoods": min(MAX_IMAGES, num_real, self.num_samples),
            "seed_of_z": self.seed,
            "n_floor": len(chosen),
            # the scores of real images of the training split, as many as samples if possible: a bound for models
            "floor": {},
            "versions": {
                "torch": torch.__version__,
                "torchvision": version("torchvision"),  # its import takes as long as that of torch
                "torchmetrics": torchmetrics.__version__,
                "pytorch_lightning": pytorch_lightning.__version__,  # type: ignore[attr-defined]  # re-exported
            },
        }
        floor = protocol["floor"] = self._floor(fresh, protocol)
        if self.real.places is not None and num_independent(self.real.places, 0) < num_real:
            protocol["n_independent"] = num_independent(self.real.places, num_real)
        packages = [(registry.origin(type(metric)), metric.values) for metric in self.metrics]
        if added := {name: package for package, values in packages if package for name in values if name in floor}:
            protocol["added"] = added  # by other packages' metrics
        left_out = {name: why for metric in self.metrics for name, why in metric.left_out(self.num_samples).items()}
        if left_out:
            protocol["left_out"] = left_out
        for metric in self.metrics:
            protocol |= metric.protocol()
        return protocol

    def _floor(self, fresh: Samples, protocol: dict) -> dict[str, float]:
        """The metrics of fresh real images; from the cache, as the features are, for the metrics of this project."""

        def measured() -> dict[str, float]:
            return metrics.floor([(metric, metrics.values_of(metric, "floor", fresh)) for metric in self.metrics])

        if any(registry.origin(type(metric)) for metric in self.metrics) or self.metric(ReconstructionMetric).lpips:
            return measured()
        dataset = self.dataset
        assert dataset.cache_dir is not None and fresh.images is not None  # every data module has one
        key = {
            "protocol": {name: str(value) for name, value in protocol.items()},
            "train": dataset.fingerprint,
            "fresh": hash_images(fresh.images),
            "places": [None if of.places is None else hash_images(of.places) for of in (self.real, fresh)],
            "modality": vars(dataset.modality),
            "versions": {name: version(name) for name in ("numpy", "scipy", "scikit-learn")},
            "source": source(lightning_genae),
        }
        return plain_values(dataset.cache_dir, "floor", key, measured)

    def check(self, model: Generative) -> None:
        """Checks a model's samples and reconstructions before it is trained.

        Raises:
            ValueError: their number or shape is not that of the data, or samples are not in [-1, 1].
        """
        with torch.random.fork_rng(), evaluating(model):
            images = model.sample(2, None)
            _check_shape(f"sample(2){_from(model)}", images, (2, *self.dataset.image_shape))
            originals = as_input(model, self.heldout[:2])
            if reconstructs(model):
                reconstructed = model.reconstruct(originals.clone())
                _check_shape(f"reconstruct(x) of two images{_from(model)}", reconstructed, tuple(originals.shape))
                if not reconstructed.isfinite().all():
                    raise ValueError(f"--model: expected finite values of reconstruct(x){_from(model)}; got others")
            if hasattr(model, "log_likelihood"):
                _check_shape(
                    f"log_likelihood(x, 1) of two images{_from(model)}", model.log_likelihood(originals, 1), (2,)
                )
        if not images.isfinite().all() or images.abs().max() > 1.001:
            low, high = images.min().item(), images.max().item()
            raise ValueError(
                f"--model: expected samples in [-1, 1]{_from(model)}; got values from {low:.3g} to {high:.3g}"
            )

    def measure(
        self, model: Generative, at_the_end: bool = True, rank: int = 0, num_ranks: int = 1
    ) -> dict[str, float]:
        """The metrics of a model by name, in evaluation mode; the noise of its samples is always the same.

        Args:
            model: to measure.
            at_the_end: also the metrics that take longer, such as intervals.
            rank: of this process among num_ranks, all of which have to call; the first gets the values, which do not
                depend on the number of processes, the others an empty dict.
            num_ranks: number of processes.

        Raises:
            ValueError: the features of the samples are not finite.
            FloatingPointError: the samples are not.
        """
        with evaluating(model):
            return self._measure(model, at_the_end, rank, num_ranks)

    def _measure(self, model: Generative, at_the_end: bool, rank: int, num_ranks: int) -> dict[str, float]:
        self.protocol["generator"] = "averaged" if hasattr(model, "averaged") else "raw"
        self.extractor.to(model.device)
        images, features = self._drawn(model, rank, num_ranks)
        if num_ranks > 1:
            images, features = (to_first(tensor, model.device) for tensor in (images, features))
        if rank > 0:
            return {}
        if not features.isfinite().all():
            raise ValueError("the features of the samples are not all finite; the model has diverged")
        self.samples = Samples(features, self.extractor.logits(features), images)
        parts = [(metric, metrics.values_of(metric, "measure", self.samples)) for metric in self.metrics]
        if at_the_end:
            parts += [(metric, metrics.values_of(metric, "at_the_end", self.samples)) for metric in self.metrics]
        parts += [(metric, metrics.values_of(metric, "of_model", model)) for metric in self.metrics]
        if at_the_end:
            parts += [(metric, metrics.values_of(metric, "of_model_at_the_end", model)) for metric in self.metrics]
        for metric in self.metrics:
            self.protocol |= metric.protocol()
        return {"fd_validation": self.chooser.measure(self.samples)["fd"], **self.of_train, **metrics.merged(parts)}

    def _drawn(self, model: Generative, rank: int, num_ranks: int) -> tuple[Tensor, Tensor]:
        """Samples of this process and their features; only the first samples are kept as images.

        As many are kept as metrics need or as fit into memory; the features are of all samples drawn.
        """
        num_kept = max(MemorisationMetric.max_samples, MAX_KEPT // math.prod(self.dataset.image_shape))
        if any(metric.needs_images for metric in self.metrics):
            num_kept = self.num_samples
        images, features = [], [torch.empty(0, self.extractor.num_features)]
        for start, part in draw_parts(model, self.num_samples, self.seed, rank=rank, num_ranks=num_ranks):
            features.append(self.extractor(part))
            images.append(part[: max(0, num_kept - start)].clone())
        empty = torch.empty(0, *self.dataset.image_shape, dtype=self.heldout.dtype)
        return torch.cat(images or [empty]), torch.cat(features)

    def _warn(self) -> None:
        default = min(self.max_samples, len(self.heldout))
        if self.num_samples < default:
            log.info(
                f"WARNING: --metrics.num_samples {self.num_samples} is below the {default:,} of this data set's usual "
                "protocol; Frechet distances of few samples are too large, and comparable among themselves alone"
            )
        if self.num_samples <= self.extractor.num_features:
            log.info(
                f"WARNING: {self.num_samples} samples for {self.extractor.num_features} features: the Frechet "
                "distance is mostly its bias; read it beside its floor"
            )


def _from(model: object) -> str:
    return f" by {registry.described(type(model))}"


def _check_shape(what: str, images: Tensor, shape: tuple[int, ...]) -> None:
    if not isinstance(images, Tensor) or tuple(images.shape) != shape:
        got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"--model: expected {what} to be of shape {shape}; got {got}")


@contextmanager
def evaluating(model: nn.Module | Generative) -> Iterator[None]:
    """A context with the model in evaluation mode, in which its outputs do not depend on the other images of a batch.

    Afterwards every module is in its previous mode.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def reference(extractor: Extractor, images: Tensor, folder: str | Path, items: str = "images") -> Samples:
    """Real images with their features, which are computed once and kept in the cache.

    Args:
        extractor: of the features.
        images: stored images (N, C, H, W).
        folder: of the cache.
        items: what they are.

    Raises:
        ValueError: the features are not finite, or all the same.
    """

    def make() -> Tensor:
        size = num_at_once(images.shape[1:], extractor.batch_size)
        name, total = extractor.description["extractor"], math.ceil(len(images) / size)
        parts = estimated(images.split(size), f"Features of {len(images):,} real {items}, by {name}", total)
        extractor.to("cuda" if torch.cuda.is_available() else "cpu")
        made = torch.cat([extractor(part) for part in parts])
        extractor.cpu()
        return made

    key = {"images": hash_images(images), **extractor.description}
    if extractor.version:
        key["version"] = extractor.version
    features = tensors(folder, "features", key, make)
    if not features.isfinite().all():
        raise ValueError(
            f"--metrics.features: expected finite features of real images; {extractor.description['extractor']} gives "
            "others"
        )
    if (features == features[0]).all():
        raise ValueError(
            "--data: expected data that differ; all that are held out have the same features, by "
            f"{extractor.description['extractor']}"
        )
    return Samples(features, extractor.logits(features), images)
