"""What an autoencoder knows of generated images is to have the mean and the covariance that it has on training images
(McGAN, Mroueh et al. 2017, arXiv 1702.08398, with features that do not learn in the game)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

from lightning_genae.data.dataset import Dataset
from lightning_genae.data.storage import blocks, to_float
from lightning_genae.evaluation.components import components, first
from lightning_genae.evaluation.metrics import MAX_IMAGES

LEAST = 1e-3  # of the mean variance of a direction: what varies less, or not at all, is not matched
MOST_IMAGES = 10_000  # training images whose moments are wanted: more would change them little
BATCHES = 32  # over which the moments of generated images are averaged


class Matching(nn.Module):
    """A distance of generated images to training images, for the generator's loss.

    Features are whitened: over the training images their mean is 0 and their covariance the identity. The distance is
    (|m|^2 + |C - I|^2) / num of the mean m and the covariance C of generated images, averaged over the last batches.
    Its gradient is that of the last batch, as if the average were of the present generator alone.

    Args:
        features: from images (B, C, H, W) in [-1, 1] to (B, F), differentiable.
        images: stored training images (N, C, H, W).
        num: directions of the features that are matched, those of the most variance; fewer where there are fewer that
            vary, or where there are less than two training images for each.

    Attributes:
        mean: E[u] of the features u of generated images, (num,).
        second: E[u u^T], (num, num).
        batches: of which they are averages.
    """

    centre: Tensor
    whitening: Tensor
    mean: Tensor
    second: Tensor
    batches: Tensor

    def __init__(self, features: Callable[[Tensor], Tensor], images: Tensor, num: int):
        super().__init__()
        self.features = features
        chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:MOST_IMAGES]
        with torch.no_grad():
            known = torch.cat([features(to_float(part)) for part in blocks(images[chosen], 500)]).double()
        variances, directions = torch.linalg.eigh(torch.cov(known.T).reshape(known.shape[1], -1))
        num = max(1, min(num, int((variances > LEAST * variances.mean()).sum()), len(known) // 2))
        self.register_buffer("centre", known.mean(0).float())
        self.register_buffer("whitening", (directions[:, -num:] * variances[-num:].rsqrt()).float())
        self.register_buffer("mean", torch.zeros(num))
        self.register_buffer("second", torch.zeros(num, num))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        """The distance, a scalar, after the moments took in generated images (B, C, H, W) in [-1, 1]."""
        with torch.autocast(images.device.type, enabled=False):
            u = self.white(images)
            self.batches += 1
            mean = self._averaged(self.mean, u.mean(0))
            second = self._averaged(self.second, u.T @ u / len(u))
            covariance = second - mean.outer(mean)
            identity = torch.eye(len(mean), device=mean.device)
            return (mean.square().sum() + (covariance - identity).square().sum()) / len(mean)

    def white(self, images: Tensor) -> Tensor:
        """Whitened features (B, num) of images (B, C, H, W) in [-1, 1]."""
        return (self.features(images.to(self.whitening.dtype)) - self.centre) @ self.whitening

    def averages(self) -> dict[str, Tensor]:
        """The averages over the last batches."""
        return {name: getattr(self, name).clone() for name in ("mean", "second", "batches")}

    def go_on_from(self, averages: dict[str, Tensor]) -> None:
        """Sets the averages, as `averages` gave them."""
        for name, value in averages.items():
            getattr(self, name).copy_(value)

    def _averaged(self, average: Tensor, new: Tensor) -> Tensor:
        """The average that took in a value of this batch, over all processes, with the gradient of that value."""
        taken = new.detach().clone()
        if distributed.is_initialized():
            distributed.all_reduce(taken)
            taken /= distributed.get_world_size()
        # the first batches count alike, as without a start at 0
        average.lerp_(taken, torch.clamp(1 / self.batches, min=1 / BATCHES))
        return average.clone() + new - new.detach()


@torch.no_grad()
def explained(matching: Matching, dataset: Dataset, extractor: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """How much of what is measured the matched features know, and as many principal components.

    `explained` and `explained_pca` are the share of the variance of the extractor's features of validation images that
    a ridge regression on them explains, which is fitted to training images. Only what is known can be matched.

    Args:
        matching: of features of this data set.
        dataset: with training images, for the components and the regression, and validation images.
        extractor: from stored images (N, C, H, W) to (N, d).
    """
    images = first(dataset.train.images, MAX_IMAGES), dataset.validation.images[:MAX_IMAGES]
    measured, num = [extractor(part).double().numpy() for part in images], len(matching.mean)
    mean, rows, _ = map(torch.from_numpy, components(images[0], num))
    linear = Matching(lambda x: (x.flatten(1) - mean) @ rows.T, dataset.train.images, num)
    return {
        "num_features": num,
        "explained": _explained(matching, images, measured),
        "explained_pca": _explained(linear, images, measured),
    }


def _explained(matching: Matching, images: tuple[Tensor, Tensor], measured: list[np.ndarray]) -> float:
    """R^2 of what is measured, of the second images, by a regression on features that is fitted to the first."""
    from sklearn.linear_model import RidgeCV  # slow, and a run without matching needs neither
    from sklearn.metrics import r2_score

    known = [torch.cat([matching.white(to_float(part)) for part in blocks(of, 500)]).double().numpy() for of in images]
    fitted = RidgeCV(alphas=10.0 ** np.arange(-2, 5)).fit(known[0], measured[0])
    return float(r2_score(measured[1], fitted.predict(known[1]), multioutput="variance_weighted"))


def features_of(autoencoder: Any) -> Callable[[Tensor], Tensor]:
    """The function from images (B, C, H, W) to what the layer before the code knows of them, (B, F).

    The code itself, where there is no such layer: it knows less of what a classifier sees.
    """
    encoder = getattr(autoencoder, "encoder", None)
    return encoder[:-1] if isinstance(encoder, nn.Sequential) and len(encoder) > 1 else autoencoder.encode
