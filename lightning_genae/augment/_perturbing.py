"""The base class of augmentations that perturb latents by the distribution of the training latents."""

from typing import Any, Literal

import torch
from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor

from lightning_genae.augment._autoencoding import AutoencodingAugmentation, Detail, of_all
from lightning_genae.augment._perturbations import (
    fit_classes,
    fit_mixtures,
    gaussian,
    gaussian_of_class,
    interpolate,
    resample,
)
from lightning_genae.data.dataset import Images

Perturb = Literal["gaussian", "interpolate", "extrapolate", "resample"]


class PerturbingAugmentation(AutoencodingAugmentation):
    """Variations by perturbed latents.

    Args:
        perturb: how a latent code changes: gaussian noise that keeps the mean of the latents of its class, and the
            covariance that the classes share; a step towards or away from one of its nearest neighbours of the same
            class; or a step in a mixture fitted to the latents of its class, which keeps their distribution.
        strength: of the perturbation, in [0, 1]: of the noise in standard deviations of the latents, or the length of
            the step (interpolate with 1 arrives at the neighbour). 0: none.
        neighbours: number of nearest neighbours to draw from; interpolate and extrapolate only.
    """

    mean: Tensor
    cholesky: Tensor
    bank: Tensor
    bank_labels: Tensor
    weights: Tensor  # this and the next three: of resample alone
    means: Tensor
    deviations: Tensor
    component_labels: Tensor

    max_bank = 2048  # latents kept for neighbours, so that the cost of a batch does not grow with the data

    def __init__(
        self,
        perturb: Perturb = "gaussian",
        strength: ClosedUnitInterval = 0.5,
        detail: Detail = "residual",
        neighbours: PositiveInt = 5,
        **kwargs: Any,
    ):
        super().__init__(strength, detail, **kwargs)
        self.perturb = perturb
        self.neighbours = neighbours

    def learn_latents(self, split: Images, folder: str | None = None) -> None:
        """Learns the distribution of the latents of the training images; latents of many images are cached."""
        self.set_latents(of_all(self.autoencoder.encode, self.autoencoder, split.images, folder), split.labels)

    def set_latents(self, latents: Tensor, labels: Tensor) -> None:
        """Fits the perturbations to training latents (N, d) and labels (N,).

        Raises:
            ValueError: resample finds no class with two images.
        """
        self.register_buffer("mean", latents.mean(0))
        covariance = torch.cov(latents.double().T).reshape(latents.shape[1], latents.shape[1])
        ridge = 1e-9 * covariance.trace() * torch.eye(len(covariance), dtype=torch.double)
        self.register_buffer("cholesky", torch.linalg.cholesky(covariance + ridge).to(latents.dtype))
        self.learn_classes(fit_classes(latents, labels))
        chosen = torch.randperm(len(latents), generator=torch.Generator().manual_seed(0))[: self.max_bank]
        self.register_buffer("bank", latents[chosen])
        self.register_buffer("bank_labels", labels[chosen])
        if self.perturb == "resample":
            components, component_labels = fit_mixtures(latents, labels)
            if not len(component_labels):
                raise ValueError("--augment.perturb: expected a class with at least 2 images for resample; got none")
            for name, tensor in zip(("weights", "means", "deviations"), components):
                self.register_buffer(name, tensor)
            self.register_buffer("component_labels", component_labels)

    def latents(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        z = self.autoencoder.encode(images)
        if self.perturb == "gaussian" and labels is not None:
            return z, gaussian_of_class(z, labels, self.classes, self.strength)
        if self.perturb == "gaussian":
            return z, gaussian(z, self.mean, self.cholesky, self.strength)
        if self.perturb == "resample":
            components = self.weights, self.means, self.deviations
            return z, resample(z, labels, components, self.component_labels, self.strength)
        step = {"interpolate": self.strength, "extrapolate": -self.strength}[self.perturb]
        return z, interpolate(z, labels, self.bank, self.bank_labels, self.neighbours, step)
