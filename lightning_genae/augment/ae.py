"""A trained autoencoder's variations: encode, perturb the code, decode (DeVries & Taylor 2017, arXiv 1702.05538)."""

import copy
import logging
from pathlib import Path
from typing import Literal

import torch
from jsonargparse.typing import ClosedUnitInterval, PositiveFloat, PositiveInt
from pytorch_lightning import Trainer
from pytorch_lightning.plugins.environments import LightningEnvironment
from sklearn.decomposition import PCA
from torch import Tensor, nn

from lightning_genae import codes, losses, metrics, networks
from lightning_genae.cache import cached, naming_damage, source
from lightning_genae.models import ae
from lightning_genae.run_folder import checkpoint_of

log = logging.getLogger("lightning_genae")


class AutoencoderAugment(nn.Module):
    """Replaces a fraction of each batch by an autoencoder's variations of its images.

    The autoencoder is this project's `ae`, trained on exactly the images that the model will be trained on,
    or a given checkpoint of it.

    Args:
        fraction: share of the images of a batch that is replaced, in [0, 1]; 0.5 equals, in distribution,
            training on the originals and as many variations.
        perturb: what happens to a code: gaussian noise that keeps the codes' covariance, or a step towards
            one of its nearest neighbours of the same class.
        strength: of the perturbation, in [0, 1]: of the noise in deviations of the codes, or the length of
            the step (1 arrives at the neighbour). 0: none.
        detail: residual adds the change that the perturbation makes in the decoded image to the original,
            x + dec(z') - dec(z), and so keeps what the decoder blurs; decode is dec(z') itself.
        checkpoint: of an autoencoder (`--model ae`), a run folder or its checkpoints/last.ckpt. null: trains one.
        network: of the autoencoder that is trained here.
        latent_dim: dimensions of its code, at least 1.
        steps: batches of 64 images that it learns from.
        lr: learning rate of Adam, above 0.
    """

    num_neighbours = 5
    max_bank = 4096  # codes kept for neighbours, so that the cost of a batch does not grow with the data

    def __init__(
        self,
        fraction: ClosedUnitInterval = 0.5,
        perturb: Literal["gaussian", "interpolate"] = "interpolate",
        strength: ClosedUnitInterval = 0.5,
        detail: Literal["residual", "decode"] = "residual",
        checkpoint: str | None = None,
        network: networks.Network = "conv",
        latent_dim: PositiveInt = 16,
        steps: PositiveInt = 1000,
        lr: PositiveFloat = 2e-3,
    ):
        super().__init__()
        self.fraction = fraction
        self.perturb = perturb
        self.strength = strength
        self.detail = detail
        self.checkpoint = checkpoint
        self.steps = steps
        self.options = {"network": network, "latent_dim": latent_dim, "lr": lr}

    def check(self, datamodule) -> None:
        """Loads a given checkpoint.

        Raises:
            ValueError: it is of another model or of images of another shape, or there is one training image.
            FileNotFoundError: there is none.
        """
        if len(datamodule.train.images) < 2:
            raise ValueError("--augment: ae expected at least 2 training images (--data.num_train); got 1")
        if self.checkpoint:
            self.autoencoder = self._load(datamodule)
            log.info(
                f"The autoencoder of '{self.checkpoint}' augments, of {self.autoencoder.hparams.latent_dim} latent "
                "dimensions; --augment.network, latent_dim, steps and lr have no effect"
            )

    def fit(self, datamodule, **trainer_options) -> None:
        """Trains the autoencoder, unless it was loaded, and learns the distribution of the training codes.

        Args:
            datamodule: after its setup; `datamodule.train` is all that is looked at.
            trainer_options: for Lightning's Trainer, such as accelerator and callbacks.
        """
        if not self.checkpoint:
            self.autoencoder = self._train(datamodule, trainer_options)
        self.autoencoder.eval().requires_grad_(False)
        parts = datamodule.train.images.split(500)
        codes = torch.cat([self.autoencoder.encode(metrics.to_float(part)) for part in parts])
        self.set_codes(codes, datamodule.train.labels)

    def set_codes(self, codes: Tensor, labels: Tensor) -> None:
        """Takes the training codes (N, d) and labels (N,) that perturbations refer to."""
        self.register_buffer("mean", codes.mean(0))
        covariance = torch.cov(codes.double().T).reshape(codes.shape[1], codes.shape[1])
        ridge = 1e-9 * covariance.trace() * torch.eye(len(covariance), dtype=torch.double)
        self.register_buffer("cholesky", torch.linalg.cholesky(covariance + ridge).to(codes.dtype))
        chosen = torch.randperm(len(codes), generator=torch.Generator().manual_seed(0))[: self.max_bank]
        self.register_buffer("bank", codes[chosen])
        self.register_buffer("bank_labels", labels[chosen])

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """The batch (B, C, H, W) in [-1, 1] with a fraction of its images replaced by variations."""
        # rounded at random so that small batches get the fraction on average; batches are shuffled, so the
        # first images are random ones
        num = int(self.fraction * len(images) + torch.rand(()).item())
        if num == 0:
            return images
        return torch.cat([self.vary(images[:num], labels[:num]), images[num:]])

    def vary(self, images: Tensor, labels: Tensor) -> Tensor:
        """A variation (B, C, H, W) in [-1, 1] of every image."""
        z = self.autoencoder.encode(images)
        if self.perturb == "gaussian":
            varied = gaussian(z, self.mean, self.cholesky, self.strength)
        else:
            varied = interpolate(z, labels, self.bank, self.bank_labels, self.num_neighbours, self.strength)
        decoded = self.autoencoder.decode(varied)
        if self.detail == "decode":
            return decoded
        return (images + (decoded - self.autoencoder.decode(z))).clamp(-1, 1)

    def reconstruct(self, images: Tensor) -> Tensor:
        """The images (B, C, H, W), encoded and decoded."""
        return self.autoencoder.reconstruct(images)

    @torch.no_grad()
    def quality(self, datamodule, extractor: metrics.Extractor, max_images: int = 2000) -> dict[str, float]:
        """The gate: errors on held-out images, and how far variations move the training images from them.

        `mse_*` is the squared error per pixel in [-1, 1]; `fd_*` the Frechet distance to the held-out
        images; `distance_*` the root mean squared difference per pixel of a variation to its original and
        to the nearest other training image.
        """
        images, labels = (part[:max_images] for part in datamodule.train)
        real, x, heldout = (
            datamodule.heldout.images[:max_images],
            metrics.to_float(images),
            metrics.to_float(datamodule.heldout.images[:max_images]),
        )
        # a draw of its own, so that nothing that follows depends on the gate
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            varied = self.vary(x, labels)
        features = extractor(real)

        def distance(generated: Tensor) -> float:
            return metrics.frechet_distance(features, extractor(metrics.as_stored(generated)))

        num_components = min(self.bank.shape[1], len(x) - 1, x[0].numel())
        pca = PCA(num_components, svd_solver="full").fit(x.flatten(1).numpy())
        flat = heldout.flatten(1).numpy()
        to_others = torch.cdist(varied.flatten(1), x.flatten(1)).fill_diagonal_(torch.inf).min(1).values
        return {
            "mse_heldout": float((self.reconstruct(heldout) - heldout).square().mean()),
            "mse_pca": float(((pca.inverse_transform(pca.transform(flat)) - flat) ** 2).mean()),
            "num_components": num_components,
            "fd_originals": distance(x),
            "fd_decoded": distance(self.reconstruct(x)),
            "fd_variations": distance(varied),
            "distance_to_original": float((varied - x).square().flatten(1).mean(1).sqrt().mean()),
            "distance_to_nearest_other": float(to_others.mean() / x[0].numel() ** 0.5),
            "images_trained_on": datamodule.fingerprint,
        }

    def _train(self, datamodule, trainer_options: dict) -> ae.Autoencoder:
        """Trains an autoencoder on the training subset, or finds in the cache the one that was."""
        batch_size = min(64, len(datamodule.train.images))
        key = {"data": datamodule.fingerprint, "steps": self.steps, "batch_size": batch_size, **self.options}
        key["source"] = source(ae, codes, networks, losses)

        def build(path: Path) -> None:
            log.info(f"Training the autoencoder that augments, on the {len(datamodule.train.images):,} training images")
            alone = copy.copy(datamodule)  # the same images, but neither the run's seed nor its augmentation
            alone.augment, alone.seed, alone.batches, alone.batch_size, alone.trainer = None, 0, 0, batch_size, None
            trainer = Trainer(
                **trainer_options,
                devices=1,
                plugins=LightningEnvironment(),  # one process, whatever launched this one
                max_steps=self.steps,
                logger=False,
                enable_checkpointing=False,
                enable_model_summary=False,
                limit_val_batches=0,
            )
            with torch.random.fork_rng():
                torch.manual_seed(0)
                model = ae.Autoencoder(datamodule.image_shape, datamodule.num_classes, **self.options)
                trainer.fit(model, datamodule=alone)
            trainer.save_checkpoint(path, weights_only=True)

        path = cached(datamodule.cache_dir, "autoencoder", key, build)
        with naming_damage("--cache", path):
            return _open(path)

    def _load(self, datamodule) -> ae.Autoencoder:
        path = checkpoint_of("--augment.checkpoint", self.checkpoint)
        try:
            autoencoder = _open(path)
        except Exception as error:  # torch raises many kinds for a file that is no checkpoint
            raise ValueError(f"--augment.checkpoint: expected a checkpoint of --model ae, got '{path}'") from error
        shape = tuple(autoencoder.hparams.image_shape)
        if shape != datamodule.image_shape:
            raise ValueError(
                f"--augment.checkpoint: expected an autoencoder of images {datamodule.image_shape}, got one of {shape}"
            )
        trained_on = torch.load(path, weights_only=True).get(type(datamodule).__qualname__, {}).get("fingerprint")
        if trained_on != datamodule.fingerprint:
            log.warning(
                "--augment.checkpoint: the autoencoder was not trained on exactly this run's training images; it may "
                "know held-out ones, which flatters the results"
            )
        return autoencoder


def gaussian(z: Tensor, mean: Tensor, cholesky: Tensor, strength: float) -> Tensor:
    """Codes with gaussian noise, such that codes of covariance L L' keep it at every strength.

    z' = mean + sqrt(1 - s^2) (z - mean) + s L e with e ~ N(0, I), written so that s = 0 is the identity.

    Args:
        z: codes, (B, d).
        mean: the training codes' mean, (d,).
        cholesky: L, the Cholesky factor of their covariance, (d, d).
        strength: s in [0, 1]; 1 forgets the code altogether.
    """
    noise = torch.randn_like(z) @ cholesky.T
    return z + ((1 - strength**2) ** 0.5 - 1) * (z - mean) + strength * noise


def interpolate(
    z: Tensor, labels: Tensor, bank: Tensor, bank_labels: Tensor, num_neighbours: int, strength: float
) -> Tensor:
    """Codes moved towards one of their nearest neighbours of the same class, drawn at random.

    Args:
        z: codes, (B, d).
        labels: their classes, (B,).
        bank: training codes, (N, d).
        bank_labels: their classes, (N,).
        num_neighbours: how many of the nearest can be drawn.
        strength: share of the way; 0 stays, 1 arrives.

    Returns:
        codes (B, d); one whose class has no other code stays where it is.
    """
    distances = torch.cdist(z, bank, compute_mode="donot_use_mm_for_euclid_dist")
    # the code itself, which the bank may hold, is no neighbour
    itself = distances <= 1e-5 * z.norm(dim=1, keepdim=True)
    distances = distances.masked_fill(itself | (labels[:, None] != bank_labels[None]), torch.inf)
    nearest, index = distances.topk(min(num_neighbours, len(bank)), largest=False)
    drawn = torch.rand_like(nearest).masked_fill(nearest.isinf(), -1).argmax(1, keepdim=True)
    exists = ~nearest.gather(1, drawn).isinf()
    neighbour = bank[index.gather(1, drawn).squeeze(1)]
    return z + strength * torch.where(exists, neighbour - z, 0.0)


def _open(path: Path) -> ae.Autoencoder:
    return ae.Autoencoder.load_from_checkpoint(path, map_location="cpu", weights_only=True)
