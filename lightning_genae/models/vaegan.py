"""An autoencoder as the generator of a GAN; VAE-GAN is the reference form (Larsen et al. 2015, arXiv 1512.09300)."""

from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from lightning_genae.checkpoints import read
from lightning_genae.models._two_players import Transform, TwoPlayers
from lightning_genae.nn import losses, networks
from lightning_genae.nn.latents import Sampler, TrainingLatents, reparameterise
from lightning_genae.options import warn_unused
from lightning_genae.run_folder import checkpoint_of


class VAEGAN(TwoPlayers):
    """VAEGAN: encoder and decoder reconstruct, and a critic scores reconstructions and images of drawn latents.

    As in VAE-GAN only the decoder learns from the adversarial loss, and the reconstruction error includes the critic's
    features. Every term has a weight; 0 switches it off.

    Deviations: VAE-GAN reconstructs in the critic's features alone (`--model.pixels 0`), which are those of one layer,
    and a gaussian log likelihood, summed; here they are the last layer's, and the mean square. Its encoder learns from
    the features and the KL divergence, here also from the pixels. The KL divergence is divided by the number of pixels,
    as the other terms are. The critic's loss is the mean over reconstructions and images of drawn latents, VAE-GAN's
    their sum, which counts generated images twice; the decoder's adversarial loss is non-saturating, the paper's
    minimax. Features are compared without the augmentation on the critic, which applies only to scored images.

    Args:
        latent_dim: dimensions of the latent code, at least 1.
        variational: the encoder outputs a gaussian over latents, regularised towards N(0, I), from which samples are
            drawn; otherwise a latent code.
        pixels: weight of the squared reconstruction error per pixel.
        features: weight of the squared error in the critic's features, per feature.
        adversarial: weight of the adversarial loss.
        kl: weight of the KL divergence to N(0, I), in nats per pixel; variational only. null: 2.
        sampler: distribution of the latents that samples are decoded from, if not variational: one gaussian or a
            mixture of ten fitted to training latents, or the standard normal. null: gaussian.
        start: run folder or checkpoint of an `ae` with the same network and latent_dim, whose decoder (and encoder,
            if not variational) initialises this one. null: random weights.
        lr: learning rate of Adam for both players, above 0.
    """

    has_matching = True
    critic_transform: Transform
    critic: networks.Critic

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        latent_dim: PositiveInt = 16,
        variational: bool = True,
        pixels: NonNegativeFloat = 1.0,
        features: NonNegativeFloat = 1.0,
        adversarial: NonNegativeFloat = 0.1,
        kl: NonNegativeFloat | None = None,
        sampler: Sampler | None = None,
        start: str | None = None,
        lr: PositiveFloat = 1e-3,
        **kwargs: Any,
    ):
        super().__init__(image_shape, num_classes, latent_dim=latent_dim, lr=lr, **kwargs)
        self.hparams["start"] = None  # a checkpoint of this model no longer needs the other one
        warn_unused("kl", kl, variational, "--model.variational true")
        warn_unused("sampler", sampler, not variational, "--model.variational false")
        self.kl_weight = 2.0 if kl is None else kl
        self.sampler = "standard" if variational else sampler or "gaussian"
        self.encoder = networks.initialise(self.new_encoder(2 * latent_dim if variational else latent_dim))
        self.generator = networks.initialise(self.new_decoder(latent_dim))
        self.critic = networks.Critic(image_shape, **self.size)
        self.latents = TrainingLatents(latent_dim)
        self.watch(torch.zeros(1))
        if start is not None:
            self._start_from(checkpoint_of("--model.start", start))
        self.average_generator()

    def encode(self, x: Tensor) -> Tensor:
        """Latents (B, latent_dim), means if variational, of images (B, C, H, W) in [-1, 1]."""
        return self.encoder(x)[:, : self.hparams["latent_dim"]]

    def decode(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] of latents (B, latent_dim)."""
        return self.generator(z).tanh()

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1], each encoded and decoded."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def sample(self, num: int, labels: Tensor | None = None) -> Tensor:
        """Images (num, C, H, W) in [-1, 1] that the averaged decoder makes of drawn latents; labels are ignored."""
        return self.averaged.eval()(self._draw(num, self.sampler)).tanh()

    def loss_critic(self, x: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            z, _ = self._encode_and_kl(x)
            self.latents.keep(z)
            fake = self.decode(torch.cat([z, self._drawn_for_critic(len(x))]))
            seen = self.seen(x, fake, labels)
        output_real, output_fake = self.critic(seen).tensor_split([len(x)])
        self.watch(output_real)
        self.score(output_real, output_fake)
        return losses.critic("ns", output_real, output_fake)

    def loss_generator(self, x: Tensor, labels: Tensor) -> Tensor:
        z, kl = self._encode_and_kl(x)
        x_hat = self.decode(z)
        with torch.no_grad():
            target = self.critic.features(x)
        scored = self.decode(torch.cat([z.detach(), self._drawn_for_critic(len(x))]))
        parts = {
            "pixels": losses.reconstruction("mse", x_hat, x),
            "features": (self.critic.features(x_hat) - target).square().mean(),
            "adversarial": losses.generator("ns", self.critic(self.critic_transform(scored, labels.repeat(2)))),
            "kl": kl / x[0].numel(),
        }
        generated = scored[len(z) :]
        for name, value in parts.items():
            self.log_part(name, value)
        weights = {name: self.hparams[name] for name in ("pixels", "features", "adversarial")}
        weights["kl"] = self.kl_weight
        return sum((weights[name] * value for name, value in parts.items()), start=self.matched(generated))

    def _encode_and_kl(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (B, d), drawn if variational, and their mean KL divergence to N(0, I) in nats."""
        if not self.hparams["variational"]:
            return self.encoder(x), torch.zeros((), device=x.device)
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return reparameterise(mean, log_variance), losses.kl_to_standard_normal(mean, log_variance).sum(1).mean()

    def _drawn_for_critic(self, num: int) -> Tensor:
        # fitting a mixture takes too long for every batch
        return self._draw(num, "gaussian" if self.sampler == "mixture" else self.sampler)

    def _draw(self, num: int, sampler: Sampler) -> Tensor:
        return self.latents.draw(num, sampler).to(self.dtype)

    def _start_from(self, path: Path) -> None:
        players = {"decoder": self.generator} | ({} if self.hparams["variational"] else {"encoder": self.encoder})
        state = read("--model.start", path, "give another one")["state_dict"]
        try:
            state["latents.latents"]  # other models with a decoder, such as a vae, keep no latents
            for name, network in players.items():
                prefix = f"{name}."
                weights = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
                network.load_state_dict(weights)
        except Exception as error:  # torch raises many types for a file that does not fit
            raise ValueError(
                f"--model.start: expected an `ae` of the same images, --model.network, latent_dim, hidden and width; "
                f"'{path}' is none"
            ) from error
