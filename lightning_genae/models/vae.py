"""Variational autoencoder (Kingma & Welling 2013, arXiv 1312.6114) and beta-VAE (Higgins et al. 2017)."""

import math

import torch
from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from lightning_genae.data import modalities
from lightning_genae.data.modalities import Likelihood
from lightning_genae.models._model import Model
from lightning_genae.nn import losses, networks
from lightning_genae.nn.latents import reparameterise
from lightning_genae.options import chosen_of, warn_unused, warn_unused_size


class VAE(Model):
    """VAE: an encoder to a gaussian over latents and a decoder, trained on the evidence lower bound (ELBO).

    It generates by decoding latents of the prior N(0, I). The terms of the ELBO are logged in nats per image.

    Deviations: the loss is the negative bound divided by the number of pixels, so that lr means the same for every
    size; grey pixels are read as probabilities, for which bernoulli is not a density (continuous Bernoulli, arXiv
    1907.06845); beta multiplies the KL divergence in nats per image, as in the paper. free_bits bound every dimension's
    mean over the batch, as arXiv 1606.04934 does for groups of dimensions.

    Args:
        image_shape: (C, H, W) of the images.
        num_classes: number of classes in the data; not used by this model.
        modality: of the data; see lightning_genae/data/modalities.
        has_mask: whether the last channel says where items end.
        network: dense layers, convolutions, residual blocks, for images FastGAN's (arXiv 2101.04775) or StyleGAN2's
            (1912.04958), or, for sequences, a recurrent network.
        latent_dim: dimensions of the latent code, at least 1.
        hidden: sizes of the dense layers between image and latent code; mlp only. null: [512, 256].
        width: channels at full resolution, doubled with every halving of the image, conv, resnet and stylegan2, or at
            128 pixels a side, fastgan (the paper's: 64). null: 16.
        likelihood: of the pixels given the latents: bernoulli, the pixels read as probabilities, or gaussian; of the
            tokens of text: categorical. null: bernoulli for images and points, categorical for text, gaussian for the
            others.
        sigma: standard deviation of the gaussian (images span [-1, 1]). null: learned, which reconstructs well, but
            samples badly while the latents are still far from the prior (arXiv 2006.13202).
        beta: weight of the KL divergence to the prior; 1 is the ELBO.
        warmup: batches over which that weight rises from 0 (arXiv 1511.06349).
        free_bits: bits of every latent dimension's mean KL that are not penalised (arXiv 1606.04934). 0: none.
        lr: learning rate of Adam, above 0.
    """

    log_sigma: Tensor

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        modality: str = "image",
        has_mask: bool = False,
        network: networks.Network = "conv",
        latent_dim: PositiveInt = 16,
        hidden: list[PositiveInt] | None = None,
        width: PositiveInt | None = None,
        likelihood: Likelihood | None = None,
        sigma: PositiveFloat | None = None,
        beta: NonNegativeFloat = 1.0,
        warmup: NonNegativeInt = 0,
        free_bits: NonNegativeFloat = 0.0,
        lr: PositiveFloat = 2e-3,
    ):
        super().__init__()
        self.save_hyperparameters()
        warn_unused_size(network, hidden, width)
        self.modality = modalities.new(modality, has_mask)
        self.likelihood = chosen_of("likelihood", likelihood, self.modality.likelihoods, modality)
        warn_unused("sigma", sigma, self.likelihood == "gaussian", "--model.likelihood gaussian")
        self.encoder = networks.initialise(networks.encoder(image_shape, 2 * latent_dim, network, hidden, width))
        self.decoder = networks.initialise(networks.decoder(image_shape, latent_dim, network, hidden, width))
        if self.likelihood == "gaussian":
            if sigma is None:
                self.log_sigma = nn.Parameter(torch.tensor(-1.0))
            else:
                self.register_buffer("log_sigma", torch.tensor(math.log(sigma)))

    def encode(self, x: Tensor) -> Tensor:
        """Latents (B, latent_dim), the means, of images (B, C, H, W) in [-1, 1]."""
        return self.posterior(x)[0]

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, (B, latent_dim) each, of the latents of images (B, C, H, W) in [-1, 1]."""
        return self.encoder(x).chunk(2, dim=1)

    def decode(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] of latents (B, latent_dim)."""
        loss = {"gaussian": "mse", "bernoulli": "bce", "categorical": "ce"}[self.likelihood]
        return losses.to_image(loss, self.decoder(z))

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1], each encoded to its mean latent code and decoded."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def sample(self, num: int, labels: Tensor | None = None) -> Tensor:
        """Images (num, C, H, W) in [-1, 1] decoded from latents of the prior; labels are ignored."""
        z = torch.randn(num, self.hparams["latent_dim"], device=self.device, dtype=self.dtype)
        return self.modality.project(self.decode(z))

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, num_latents: int) -> Tensor:
        """Importance-weighted estimate (Burda et al. 2015, arXiv 1509.00519) of log p(x), (B,), in nats.

        Args:
            x: images (B, C, H, W) in [-1, 1].
            num_latents: drawn for every image; the estimate is a lower bound that rises to log p(x) with them.
        """
        mean, log_variance = self.posterior(x)
        weights = []
        for _ in range(num_latents):
            noise = torch.randn_like(mean)
            z = mean + (log_variance / 2).exp() * noise
            log_ratio = (noise.square() + log_variance - z.square()).sum(1) / 2  # log p(z) - log q(z | x)
            weights.append(self._log_p(self.decoder(z), x) + log_ratio)
        return torch.stack(weights).logsumexp(0) - math.log(num_latents)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, _ = batch
        mean, log_variance = self.posterior(x)
        z = reparameterise(mean, log_variance)
        log_p = self._log_p(self.decoder(z), x).mean()
        kl = losses.kl_to_standard_normal(mean, log_variance).mean(0)
        rate = kl.clamp_min(self.hparams["free_bits"] * math.log(2)).sum()
        # per pixel, so that the learning rate means the same for images of every size
        loss = (self._kl_weight() * rate - log_p) / x[0].numel()
        self.log_part("loss", loss, prog_bar=True)
        parts = {"elbo": log_p - kl.sum(), "log_likelihood": log_p, "kl": kl.sum()}
        if self.likelihood == "gaussian":
            parts["sigma"] = self.log_sigma.exp()
        for name, value in parts.items():
            self.log_part(name, value)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.adam(self.parameters(), lr=self.hparams["lr"])

    def _kl_weight(self) -> float:
        fraction = min(1.0, (self.batches + 1) / max(1, self.hparams["warmup"]))
        return self.hparams["beta"] * fraction

    def _log_p(self, output: Tensor, x: Tensor) -> Tensor:
        if self.likelihood == "gaussian":
            return losses.gaussian_log_likelihood(output, x, self.log_sigma)
        if self.likelihood == "categorical":
            return losses.categorical_log_likelihood(output, x)
        return losses.bernoulli_log_likelihood(output, x)
