"""A trained VAE's variations: latents drawn from an image's posterior, or a step in the prior (arXiv 1312.6114)."""

from typing import Any, Literal

import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from lightning_genae.augment import _training
from lightning_genae.augment._autoencoding import AutoencodingAugmentation, Detail, of_all
from lightning_genae.augment._perturbations import (
    fit_classes,
    gaussian,
    gaussian_of_class,
    posterior,
    posterior_of_class,
)
from lightning_genae.data.dataset import Dataset, Images
from lightning_genae.models import vae
from lightning_genae.nn import networks


class VariationalAugment(AutoencodingAugmentation):
    """Variations of images by a VAE of this project.

    It is trained on exactly the images that the model will be trained on, or loaded from a checkpoint.

    Args:
        perturb: posterior draws a latent code from the encoder's gaussian, mean + s sigma e, and within classes from
            its posterior given the class too; prior takes a step from the mean, sqrt(1 - s^2) z + s e, which keeps the
            distribution of latents of the prior N(0, I), or within classes that of the class.
        strength: s, in [0, 1]: 1 is a sample of the posterior, or of the prior, far from the image. 0: none.
        network: convolutional, dense or residual.
        latent_dim: dimensions of its latent code, at least 1.
        width: channels at full resolution; all except mlp. A narrow network costs less in every batch.
        beta: weight of the KL divergence to the prior in its training.
        steps: maximum number of training batches of 32 images (fewer above 128x128); training stops earlier when the
            error on a tenth of the training images, set aside for that, hardly falls any more.
        lr: learning rate of Adam, above 0.
        checkpoint: of a trained VAE (`--model vae`), a run folder or its checkpoints/last.ckpt. null: trains a VAE.
        foreign: the checkpoint may have been trained on other images than this run.
    """

    def __init__(
        self,
        perturb: Literal["posterior", "prior"] = "posterior",
        strength: ClosedUnitInterval = 0.5,
        detail: Detail = "residual",
        network: networks.Network = "conv",
        latent_dim: PositiveInt = 16,
        width: PositiveInt = 8,
        beta: NonNegativeFloat = 1.0,
        steps: PositiveInt = 1000,
        lr: PositiveFloat = 2e-3,
        checkpoint: str | None = None,
        foreign: bool = False,
        **kwargs: Any,
    ):
        super().__init__(strength, detail, **kwargs)
        self.perturb = perturb
        self.options = {"network": network, "latent_dim": latent_dim, "beta": beta, "lr": lr}
        self.options |= {} if network == "mlp" else {"width": width}
        self.steps = steps
        self.checkpoint = checkpoint
        self.foreign = foreign

    def check(self, dataset: Dataset) -> None:
        """Loads the checkpoint, if one is set.

        Raises:
            ValueError: it is of another model, of images of another shape or of other images.
            FileNotFoundError: there is no checkpoint.
        """
        super().check(dataset)
        if self.checkpoint:
            arguments = {"vae": vae.VAE}, self.checkpoint, self.foreign, dataset
            self.autoencoder, self.trained_on = _training.loaded(*arguments)

    def fit(self, dataset: Dataset, **trainer_options: Any) -> None:
        """Trains the VAE, unless it was loaded."""
        if not self.checkpoint:
            arguments = vae.VAE, self.options, self.steps, dataset, trainer_options
            self.autoencoder, self.trained_on = _training.trained(*arguments)
        self._learn_latents(dataset.train, dataset.cache_dir)

    def latents(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        z, log_variance = self.autoencoder.posterior(images)
        if self.perturb == "prior" and labels is not None:
            return z, gaussian_of_class(z, labels, self.classes, self.strength)
        if self.perturb == "prior":
            return z, gaussian(z, torch.zeros_like(z[0]), torch.eye(z.shape[1]).to(z), self.strength)
        if labels is not None:
            return z, posterior_of_class(z, log_variance, labels, self.classes, self.strength)
        return z, posterior(z, log_variance, self.strength)

    def _learn_latents(self, split: Images, folder: str | None = None) -> None:
        """Learns the distribution of the latents of each class: of the posterior means, plus the posterior variance."""

        def posterior_of(x: Tensor) -> Tensor:
            return torch.stack(self.autoencoder.posterior(x), 1)

        both = of_all(posterior_of, self.autoencoder, split.images, folder)
        means, log_variances = (tensor.contiguous() for tensor in both.unbind(1))
        self.learn_classes(fit_classes(means, split.labels, log_variances.exp().mean(0)))
