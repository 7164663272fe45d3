"""What arms share that perturb codes by where the training codes lie."""

from typing import Literal

import torch
from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor

from lightning_genae.augment._autoencoding import AutoencodingArm, Detail, of_all
from lightning_genae.perturb import fit_classes, fit_mixtures, gaussian, gaussian_of_class, interpolate, resample

Perturb = Literal["gaussian", "interpolate", "extrapolate", "resample"]


class PerturbingArm(AutoencodingArm):
    """Variations by perturbed codes.

    Args:
        perturb: what happens to a code: gaussian noise that keeps the mean of the codes of its class, and the
            covariance that the classes share; a step towards or away from one of its nearest neighbours of the same
            class; or a step in a mixture fitted to the codes of its class, which is kept.
        strength: of the perturbation, in [0, 1]: of the noise in deviations of the codes, or the length of the
            step (interpolate with 1 arrives at the neighbour). 0: none.
        neighbours: how many of the nearest one is drawn from; for the steps alone.
    """

    max_bank = 2048  # codes kept for neighbours, so that the cost of a batch does not grow with the data

    def __init__(
        self,
        perturb: Perturb = "gaussian",
        strength: ClosedUnitInterval = 0.5,
        detail: Detail = "residual",
        neighbours: PositiveInt = 5,
    ):
        super().__init__(strength, detail)
        self.perturb = perturb
        self.neighbours = neighbours

    def learn_codes(self, split, folder: str | None = None) -> None:
        """Learns where the codes of the training images lie; those of many are kept in the cache."""
        self.set_codes(of_all(self.autoencoder.encode, self.autoencoder, split.images, folder), split.labels)

    def set_codes(self, codes: Tensor, labels: Tensor) -> None:
        """Takes the training codes (N, d) and labels (N,) that perturbations refer to."""
        self.register_buffer("mean", codes.mean(0))
        covariance = torch.cov(codes.double().T).reshape(codes.shape[1], codes.shape[1])
        ridge = 1e-9 * covariance.trace() * torch.eye(len(covariance), dtype=torch.double)
        self.register_buffer("cholesky", torch.linalg.cholesky(covariance + ridge).to(codes.dtype))
        self.learn_classes(fit_classes(codes, labels))
        chosen = torch.randperm(len(codes), generator=torch.Generator().manual_seed(0))[: self.max_bank]
        self.register_buffer("bank", codes[chosen])
        self.register_buffer("bank_labels", labels[chosen])
        if self.perturb == "resample":
            components, component_labels = fit_mixtures(codes, labels)
            if not len(component_labels):
                raise ValueError("--augment.perturb: expected a class with at least 2 images for resample; got none")
            for name, part in zip(("weights", "means", "deviations"), components):
                self.register_buffer(name, part)
            self.register_buffer("component_labels", component_labels)

    def codes(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
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
