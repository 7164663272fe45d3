"""The evaluation of a model: its samples by all metrics, its reconstructions, and the protocol of these numbers."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning
import torch
import torchmetrics
import torchvision
from torch import Tensor, nn

from lightning_genae import fidelity, ngram, registry
from lightning_genae.cache import cached, hash_images, report_damage
from lightning_genae.extractors._extractor import Extractor, build
from lightning_genae.images import as_input, chosen_of, draw_parts
from lightning_genae.metrics._metric import MAX_IMAGES, SampleMetric, Samples
from lightning_genae.metrics.frechet import FrechetMetric
from lightning_genae.metrics.memorisation import MemorisationMetric
from lightning_genae.ranks import to_first
from lightning_genae.series import num_independent

log = logging.getLogger("lightning_genae")
PACKAGE = "lightning_genae.metrics"
MAX_KEPT = 2**29  # bytes of samples that are kept as images
MIN_IMAGES = 10  # held out, or generated: no metric says anything of fewer


class Evaluation:
    """Measures models against the held-out images of a data set; nothing of it depends on the training subset but
    the metrics of memorisation, and `fd_validation`.

    That is the Frechet distance to `datamodule.validation`: what is chosen in the course of a training, such as the
    best look, is chosen by it, so that what is reported was not.

    Args:
        datamodule: after its setup.
        features: name of the extractor, as in `extractors`; None: the one that suits the data.
        weights: path of its weights, if it takes any.
        num_samples: how many are drawn. None: as many as there are held-out images.
        lpips: path of AlexNet's weights, for LPIPS of reconstructions. None: without.

    Attributes:
        protocol: all that the numbers depend on, as plain values.
        samples: what was measured last, for pictures.
    """

    max_samples = 10_000
    seed = 0  # of the noise of the samples
    num_likelihoods, num_codes = 250, 32  # held-out images, and codes for each, of the log-likelihood

    def __init__(
        self,
        datamodule,
        features: str | None = None,
        weights: str | None = None,
        num_samples: int | None = None,
        lpips: str | None = None,
    ):
        heldout, train = datamodule.heldout, datamodule.train_split
        if len(heldout.images) < MIN_IMAGES:
            raise ValueError(
                f"--data: expected at least {MIN_IMAGES} held-out {datamodule.noun} to measure against; got "
                f"{len(heldout.images)}; give more images, or a larger --data.heldout where the data set has one"
            )
        self.of_data = datamodule.measure
        self.image_shape = datamodule.image_shape
        self.heldout = heldout.images[: self.max_samples]
        self.trained_on = datamodule.train.images
        self.num_samples = num_samples or len(self.heldout)
        self.lpips = fidelity.lpips(lpips) if lpips else None
        self.extractor = build(features, weights, datamodule)
        self.real = reference(self.extractor, self.heldout, datamodule.cache_dir)
        classes = (registry.load(PACKAGE, name) for name in registry.names(PACKAGE))
        self.kind = datamodule.kind
        # images are kept for metrics that look at them; of large ones those do not look at all
        fitting = MAX_KEPT // math.prod(self.image_shape)
        self.num_kept = max(MemorisationMetric.max_samples, fitting) if self.kind == "image" else self.num_samples
        self.magnitudes = datamodule.magnitudes if self.kind == "audio" else None
        # which held-out windows share values, and which of the training split
        of_heldout, of_train = (datamodule.places.get(name) for name in ("heldout", "train_split"))
        if of_heldout is not None:
            self.real = self.real._replace(places=of_heldout[: self.max_samples])
        told = self.real, self.trained_on, datamodule.natural, self.kind, datamodule.cache_dir
        self.metrics: list[SampleMetric] = [
            metric(*told) for metric in classes if metric.kinds is None or self.kind in metric.kinds
        ]
        self.samples: Samples | None = None
        validation = datamodule.validation.images[: self.max_samples]
        self.chooser = FrechetMetric(reference(self.extractor, validation, datamodule.cache_dir))
        # drawn at random: the order of a data set may follow who wrote or photographed it
        chosen = torch.randperm(len(train.images), generator=torch.Generator().manual_seed(0))[: self.num_samples]
        fresh = reference(self.extractor, chosen_of(train.images, chosen), datamodule.cache_dir)
        fresh = fresh._replace(places=None if of_train is None else of_train[chosen])
        self.protocol = {
            **self.extractor.description,
            "items": datamodule.noun,
            "split": "heldout",
            "heldout": heldout.fingerprint,
            "n_real": len(self.heldout),
            "n_fake": self.num_samples,
            "n_validation": len(validation),
            "n_neighbourhoods": min(MAX_IMAGES, len(self.heldout), self.num_samples),
            "seed_of_z": self.seed,
            "n_floor": len(chosen),
            # what real images of the training split, as many as samples if there are, score: no model is expected below
            "floor": {name: value for metric in self.metrics for name, value in metric.floor(fresh).items()},
            "versions": {
                module.__name__: module.__version__ for module in (torch, torchvision, torchmetrics, pytorch_lightning)
            },
        }
        if of_heldout is not None and num_independent(self.real.places, 0) < len(self.heldout):
            self.protocol["n_independent"] = num_independent(self.real.places, len(self.heldout))
        left_out = {name: why for metric in self.metrics for name, why in metric.left_out(self.num_samples).items()}
        if left_out:
            self.protocol["left_out"] = left_out
        # the likelihood's windows, drawn at random too; n-grams and gzip are of these very ones
        chosen = torch.randperm(len(self.heldout), generator=torch.Generator().manual_seed(0))
        self.of_likelihood = self.heldout[chosen[: self.num_likelihoods]]
        if self.kind == "text":
            texts = datamodule.natural(self.of_likelihood)
            self.characters = sum(map(len, texts))
            self.protocol["bits_per_character_of"] = ngram.floors(datamodule.texts_trained_on, texts)
        self._warn()

    def check(self, model) -> None:
        """Raises ValueError if a model's samples are not images of this data, before it is trained."""
        with torch.random.fork_rng(), evaluating(model):
            images = model.sample(2)
        if tuple(images.shape[1:]) != tuple(self.image_shape):
            raise ValueError(f"--model: expected samples of shape {self.image_shape}, got {tuple(images.shape[1:])}")
        if not images.isfinite().all() or images.abs().max() > 1.001:
            low, high = images.min().item(), images.max().item()
            raise ValueError(f"--model: expected samples in [-1, 1], got values from {low:.3g} to {high:.3g}")

    def measure(self, model, at_the_end: bool = True, rank: int = 0, num_ranks: int = 1) -> dict[str, float]:
        """The metrics of a model by name, in evaluation mode; the noise of its samples is always the same.

        Args:
            at_the_end: also what takes longer, such as intervals.
            rank: of this process among num_ranks, all of which have to call; the first one gets the values, which do
                not depend on how many there are, the others nothing.
        """
        with evaluating(model):
            return self._measure(model, at_the_end, rank, num_ranks)

    def _measure(self, model, at_the_end: bool, rank: int, num_ranks: int) -> dict[str, float]:
        self.protocol["generator"] = "averaged" if hasattr(model, "averaged") else "raw"
        self.extractor.to(model.device)
        images, features = self._drawn(model, rank, num_ranks)
        if num_ranks > 1:
            images, features = (to_first(part, model.device) for part in (images, features))
        if rank > 0:
            return {}
        if not features.isfinite().all():
            raise ValueError("the features of the samples are not all finite; the model has diverged")
        self.samples = Samples(features, self.extractor.logits(features), images)
        values = self.of_data(images)
        values["fd_validation"] = self.chooser.measure(self.samples)["fd"]
        for metric in self.metrics:
            values |= metric.measure(self.samples)
        if at_the_end:
            for metric in self.metrics:
                values |= metric.at_the_end(self.samples)
        return values | self._of_heldout(model)

    def _drawn(self, model, rank: int, num_ranks: int) -> tuple[Tensor, Tensor]:
        """Samples of this process, those of the first `num_kept` alone, and the features of all that it drew."""
        images, features = [], [torch.empty(0, self.extractor.num_features)]
        for start, part in draw_parts(model, self.num_samples, self.seed, rank=rank, num_ranks=num_ranks):
            features.append(self.extractor(part))
            images.append(part[: max(0, self.num_kept - start)].clone())
        nothing = torch.empty(0, *self.image_shape, dtype=self.heldout.dtype)
        return torch.cat(images or [nothing]), torch.cat(features)

    @torch.no_grad()
    def _of_heldout(self, model) -> dict[str, float]:
        """How well a model knows held-out images: reconstructions and likelihood, if it has them."""
        values = {}
        if hasattr(model, "reconstruct"):
            values |= fidelity.of_reconstructions(model, self.heldout, self.lpips, self.magnitudes)
        if hasattr(model, "log_likelihood"):
            x = as_input(model, self.of_likelihood)
            self.protocol |= {"n_log_likelihood": len(x), "importance_samples": self.num_codes}
            with torch.random.fork_rng():
                torch.manual_seed(self.seed)
                values["log_likelihood"] = float(model.log_likelihood(x, self.num_codes).mean())
            if self.kind == "text":
                values["bits_per_character"] = -values["log_likelihood"] * len(x) / self.characters / math.log(2)
        return values

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


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts a model into evaluation mode, in which dropout and batch norm depend on no other image; after it every
    module is in the mode in which it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def reference(extractor: Extractor, images: Tensor, folder: str) -> Samples:
    """Real images with their features, which are computed once and kept in the cache.

    Args:
        images: as they are stored (N, C, H, W).
        folder: the cache.

    Raises:
        ValueError: their features are not finite, or all the same.
    """

    def make(path) -> None:
        torch.save(extractor(images), path)

    path = cached(folder, "features", {"images": hash_images(images), **extractor.description}, make)
    with report_damage("--cache", path):
        features = torch.load(path, weights_only=True)
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
