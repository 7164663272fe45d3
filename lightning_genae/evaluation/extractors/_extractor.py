"""The base class of feature extractors."""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_genae import registry
from lightning_genae.cache import source
from lightning_genae.data import modalities
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.storage import blocks

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
        modalities: of data that it is for, by their names; None: all of them.
        version: of the sums by which the features are computed. Another one makes cached features anew, so that figures
            do not depend on when a cache was filled; they stay comparable.
    """

    takes_weights = False
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

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features (N, num_features), float32 on the CPU, of stored images (N, C, H, W)."""
        device = next(iter(self.network.state_dict().values())).device
        if not len(images):
            return torch.empty(0, self.num_features)
        parts = blocks(images, self.batch_size)
        return torch.cat([self.network(self.prepare(part.to(device))).float().cpu() for part in parts])

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor | None:
        """Logits (N, num_classes) on the CPU from features (N, num_features); None if the network has no classes."""
        if self.head is None:
            return None
        return self.head(features.to(next(self.head.parameters()).device)).float().cpu()


def build(name: str | None, weights: str | None, dataset: Dataset) -> Extractor:
    """The extractor of a name.

    Args:
        name: as typed on the command line. None: the one that suits the data's modality.
        weights: path of its weights, if it takes any; None fetches them.
        dataset: of the data.

    Raises:
        ValueError: it cannot be had, or not for these data.
        ImportError: a package that it needs is missing.
    """
    name = name or dataset.modality.default_features(dataset.num_classes)
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
