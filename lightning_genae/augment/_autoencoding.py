"""The base class of augmentations that encode, perturb the latents and decode."""

import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Literal

import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from lightning_genae import registry
from lightning_genae.augment._augmentation import Augmentation, Side
from lightning_genae.augment._matching import Matching, explained, features_of
from lightning_genae.augment._perturbations import Classes
from lightning_genae.cache import hash_weights, of_many
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.modalities import Modality
from lightning_genae.data.modalities.image import Image
from lightning_genae.data.storage import blocks, num_at_once, to_float
from lightning_genae.estimates import estimated
from lightning_genae.evaluation.components import components
from lightning_genae.evaluation.metrics import MAX_IMAGES
from lightning_genae.evaluation.metrics.frechet import frechet_distance
from lightning_genae.options import default_of

Detail = Literal["residual", "decode"]


@torch.no_grad()
def of_all(encode: Callable[[Tensor], Tensor], network: nn.Module, images: Tensor, folder: str | None) -> Tensor:
    """An autoencoder's encodings of all stored images, (N, ...); those of many images on disk are cached.

    Args:
        encode: from images (B, C, H, W) in [-1, 1] to (B, ...).
        network: the autoencoder, whose weights identify the cached encodings.
        images: stored images (N, C, H, W).
        folder: of the cache. None: no cache.
    """

    def all_of_them() -> Tensor:
        size = num_at_once(images.shape[1:], 500)
        what, total = f"Latents of the {len(images):,} training images", math.ceil(len(images) / size)
        return torch.cat([encode(to_float(part)) for part in estimated(images.split(size), what, total)])

    return of_many(images, folder, "latents", lambda: {"network": hash_weights(network)}, all_of_them)


class AutoencodingAugmentation(Augmentation):
    """Variations by an autoencoder: a subclass sets `autoencoder` (`encode`, `decode`) and perturbs its latents.

    Args:
        strength: of the perturbation, in [0, 1]. 0: none.
        detail: residual adds the change that the perturbation makes in the decoded image to the original,
            x + dec(z') - dec(z), and so keeps the detail that the decoder blurs; for text it replaces the tokens whose
            decoding changes. decode is dec(z') itself.
        num_features: what is matched on the generator's side: the directions of most variance of the layer before the
            code; fewer where there are less than two training images for each.
        weight: of the matching in the generator's loss.

    Attributes:
        autoencoder: a module with `encode` (B, C, H, W) to (B, d) and `decode` back.
        factor: by which the autoencoder divides the sides of images before it encodes them.
        trained_on: the fingerprint of the images that it was trained on.
    """

    fractions = MappingProxyType({"data": 0.5, "critic": 0.7, "generator": 1.0})
    factor = 1
    autoencoder: Any  # a module with methods that nn.Module's type lacks
    trained_on: str

    def __init__(
        self,
        strength: ClosedUnitInterval = 0.5,
        detail: Detail = "residual",
        num_features: PositiveInt = 128,
        weight: NonNegativeFloat = 0.3,
    ):
        super().__init__()
        self.num_features = num_features
        self.weight = weight
        self.strength = strength
        self.detail = detail
        self.modality: Modality = Image()

    def preferred_sides(self, modality: Modality) -> tuple[Side, ...]:
        """The generator for images, where variations did harm (benchmarks/autoencoder_wins, the stage default)."""
        return ("generator", "critic", "data") if isinstance(modality, Image) else ("critic", "data")

    @property
    def autocasts(self) -> bool:
        """Not with dense layers: to cast their weights in every batch takes longer than the products save."""
        return getattr(getattr(self.autoencoder, "hparams", None), "network", None) != "mlp"

    def check(self, dataset: Dataset) -> None:
        self.modality = dataset.modality
        if self.side == "generator":
            self._check_variations_unset()
        if len(dataset.train.images) < 2:
            raise ValueError("--data.num_train: expected at least 2 images for an autoencoder to learn from; got 1")

    def _check_variations_unset(self) -> None:
        """Raises a ValueError for an option of variations: arms that differ in it alone would be one and the same."""
        for option in ("perturb", "strength", "detail", "neighbours"):
            default = default_of(type(self), option)
            if (value := getattr(self, option, default)) != default:
                raise ValueError(
                    f"--augment.{option}: expected --augment.on critic or data beside it, for on the generator's side, "
                    f"where {registry.name_of(type(self))} acts on images unless told otherwise, nothing is varied; "
                    f"got {value}"
                )

    def latents(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Latents (B, d) of images (B, C, H, W) in [-1, 1], and perturbed latents (B, d)."""
        raise NotImplementedError

    def learn_classes(self, classes: Classes) -> None:
        """Stores the distribution of the training latents of each class."""
        for name, tensor in classes._asdict().items():
            self.register_buffer(f"class_{name}", tensor)

    @property
    def classes(self) -> Classes:
        """The distribution of the training latents of each class."""
        return Classes(*(getattr(self, f"class_{name}") for name in Classes._fields))

    def vary(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """A variation (B, C, H, W) of every image in [-1, 1]; residual ones may slightly exceed [-1, 1]."""
        z, varied = self.latents(images, labels)
        if self.detail == "decode":
            return self.autoencoder.decode(varied)
        decoded, original = self.autoencoder.decode(torch.cat([varied, z])).chunk(2)  # one call is faster than two
        return self.modality.apply_change(images, original, decoded)

    def fit_matching(self, dataset: Dataset) -> None:
        features = features_of(self.autoencoder)
        self.distance = Matching(features, dataset.train.images, self.num_features)

    def matching(self, images: Tensor) -> Tensor:
        return self.weight * self.distance(images)

    def matching_quality(self, dataset: Dataset, extractor: Callable[[Tensor], Tensor]) -> dict[str, float | str]:
        return {**explained(self.distance, dataset, extractor), "autoencoder_images": self.trained_on}

    def matching_state(self) -> dict[str, Tensor]:
        return self.distance.averages()

    def set_matching_state(self, state: dict[str, Tensor]) -> None:
        self.distance.go_on_from(state)

    def reconstruct(self, images: Tensor) -> Tensor:
        """The images (B, C, H, W) in [-1, 1], encoded and decoded."""
        return self.autoencoder.decode(self.autoencoder.encode(images))

    @torch.no_grad()
    def quality(
        self, dataset: Dataset, extractor: Callable[[Tensor], Tensor], images: Tensor, real: Tensor
    ) -> dict[str, float | str]:
        """Compares the autoencoder with PCA of as many components, and measures the effect of decoding alone.

        `mse_*` is the mean squared error per pixel of validation images in [-1, 1], reduced as the autoencoder sees
        them; `fd_decoded` is the Frechet distance of the decoded training images to the validation images.

        Args:
            dataset: of the images.
            extractor: of the features, from stored images (N, C, H, W) to (N, d).
            images: stored training images (N, C, H, W).
            real: features (M, d) of validation images.
        """
        validation, as_stored = dataset.validation.images[:MAX_IMAGES], dataset.modality.as_stored
        dimensions = self.autoencoder.encode(to_float(images[:2])).shape[1]
        seen, aside = images, validation
        if self.factor > 1:
            seen, aside = (as_stored(avg_pool2d(to_float(part), self.factor)) for part in (images, validation))
        num_components = min(dimensions, len(seen) - 1, seen[0].numel())
        decoded = [extractor(as_stored(self.reconstruct(to_float(part)))) for part in blocks(images, 250, 2**20)]
        errors = [
            avg_pool2d(self.reconstruct(x) - x, self.factor).square().mean() * (len(x) / len(validation))
            for x in map(to_float, blocks(validation, 250, 2**20))
        ]
        return {
            "mse_validation": float(sum(errors)),
            "mse_pca": components(seen, num_components).mean_squared_error(aside),
            "num_components": num_components,
            "fd_decoded": frechet_distance(real, torch.cat(decoded)),
            "autoencoder_images": self.trained_on,
        }
