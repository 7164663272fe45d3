"""Generative adversarial network (Goodfellow et al. 2014, arXiv 1406.2661), with later losses."""

from typing import Any, Literal, cast

import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import one_hot

from lightning_genae.models._two_players import Transform, TwoPlayers
from lightning_genae.models._usual import usual, usual_network
from lightning_genae.nn import losses, networks
from lightning_genae.options import warn_unused

Loss = Literal["ns", "minimax", "lsgan", "hinge", "wgan", "wgan-gp", "kl", "reverse-kl", "pearson", "js"]
# options of a critic that learns alone, and where they are off
LEARNED = {"conditional": "no", "reconstruct": 0.0, "spectral_norm": False, "minibatch_std": False, "clip": None}
PATH_EVERY, PATH_DECAY = 4, 0.99  # updates of the generator between two with a path length, and of their mean
PSEUDO_IMAGES = 50_000  # shown while the fraction of pseudo augmentation can go from 0 to 1; 500,000 in the paper


class GAN(TwoPlayers):
    """GAN: a generator against a critic.

    For text the generator outputs probabilities, and the critic discriminates them from tokens (arXiv 1704.00028,
    section 5.5). Without labels, a conditional GAN samples classes in the proportions of the training images.

    WGAN-GP with its paper's settings is `--model.loss wgan-gp --model.n_critic 5 --model.lr 1e-4 --model.beta1 0
    --model.beta2 0.9`.

    Deviations: all losses use this project's networks, Adam, alternating updates and an averaged generator unless
    options say otherwise; WGAN's paper has RMSprop, five updates of the critic and no average. lsgan lacks the paper's
    factor 1/2, so that a penalty added to it weighs half as much as it would there. The generator of an f-divergence
    has the loss of the paper's section 3.2, not that of the minimax game. With an augmentation on the critic r1 takes,
    as in StyleGAN2-ADA, the gradient with respect to the real image before augmentation; gradient_penalty, whose paper
    has no augmentation, takes it with respect to the input of the critic, between augmented images, because the critic
    has to be 1-Lipschitz. Consistency is that of two views of the critic's own augmentation, of which one is also
    scored; bCR's paper has flips and shifts beside the image as it is.

    Args:
        loss: non-saturating or minimax logistic (arXiv 1406.2661), least squares (1611.04076), hinge
            (1705.02894), Wasserstein with clipped weights (1701.07875) or a gradient penalty (1704.00028), or
            the f-divergences Kullback-Leibler, reverse KL, Pearson chi^2 and Jensen-Shannon (1606.00709). null: hinge
            with fastgan, ns with other networks.
        r1: gamma; half of it is the weight of the mean squared norm of the critic's gradient at real images
            (arXiv 1801.04406). 0: none.
        r1_every: batches between those in which r1 is computed, with as many times its weight (StyleGAN2: 16).
        path_length: weight of the mean squared difference of the generator's path lengths from their moving average
            (StyleGAN2, arXiv 1912.04958: 2), in every fourth of its updates, with four times the weight; only for
            stylegan2. 0: none.
        lecam: weight of the regularisation that keeps the critic's outputs on real images near its average output on
            generated ones, and the other way round (LeCam, arXiv 2104.03310). 0: none.
        consistency: weight of the mean squared difference of the critic's outputs on two draws of its augmentation of
            the same images, real and generated (bCR, arXiv 2002.04724, with flips and shifts and a weight of 10; here
            with whatever --augment puts before the critic). 0: none.
        apa: adaptive pseudo augmentation (arXiv 2111.06849): a fraction of the real images are generated ones, which
            rises while the critic's overfitting signal r_t is above this value, and falls while it is below; 0.6 in the
            paper. 0: none.
        reconstruct: weight of the error by which the critic's maps of real images are decoded to those images and to
            parts of them (FastGAN, arXiv 2101.04775); not mlp or recurrent. 0: none. null: 1 with fastgan and a critic
            that learns, 0 with others.
        reconstruct_clean: decode to the image before the augmentation of the critic, not to that which it saw.
        gradient_penalty: weight of WGAN-GP's penalty. null: 10 for wgan-gp, 0 for the others.
        clip: largest absolute weight of the critic; wgan only. null: 0.01.
        critic: a network that learns, or heads on the maps of one that does not (Projected GAN, arXiv 2111.01007, with
            hinge loss and DiffAugment before it).
        features: what the projected critic sees by: those of an autoencoder that is trained on the training images
            alone, of it untrained (a control), of efficientnet (needs the extra pretrained), or of any network of timm
            by its name; or by what the error of reconstruct is perceptual (arXiv 1801.03924). null: autoencoder for the
            projected critic, and the error of pixels for reconstruct.
        weights: path of the weights of a network of timm, which needs them: its own state_dict, saved by torch.
        minibatch_std: tell the critic how much the images of a group of four differ (arXiv 1710.10196).
        spectral_norm: bound the Lipschitz constant of the critic's layers (arXiv 1802.05957).
        conditional: give both players the classes, the critic by projection (arXiv 1802.05637) or by
            concatenation (arXiv 1411.1784); sample then takes labels.
        network: dense layers, convolutions (DCGAN without batch norm in the critic), residual blocks, for images
            FastGAN's (arXiv 2101.04775) or StyleGAN2's (1912.04958), or, for sequences, recurrent networks. null:
            fastgan for colour images of 64 pixels and more a side, conv for all others.
        lr: learning rate of Adam for both players, above 0. null: 2e-4 with fastgan, 4e-4 with other networks.
    """

    modalities = None  # all
    has_matching = True
    of_augmented = ("consistency", "reconstruct_clean")
    critic: Any  # a Critic, or a ProjectedCritic, which is no autoencoder and has no classes
    critic_transform: Transform
    class_fractions: Tensor
    mean_outputs: Tensor  # see `_lecam`
    mean_path: Tensor  # see `_path_length`
    pseudo_fraction: Tensor  # see `_with_pseudo`

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        *,
        loss: Loss | None = None,
        r1: NonNegativeFloat = 0.0,
        r1_every: PositiveInt = 1,
        path_length: NonNegativeFloat = 0.0,
        lecam: NonNegativeFloat = 0.0,
        consistency: NonNegativeFloat = 0.0,
        apa: ClosedUnitInterval = 0.0,
        reconstruct: NonNegativeFloat | None = None,
        reconstruct_clean: bool = False,
        gradient_penalty: NonNegativeFloat | None = None,
        clip: PositiveFloat | None = None,
        critic: Literal["learned", "projected"] = "learned",
        features: str | None = None,
        weights: str | None = None,
        minibatch_std: bool = False,
        spectral_norm: bool = False,
        conditional: networks.Conditional = "no",
        network: networks.Network | None = None,
        lr: PositiveFloat | None = None,
        **kwargs: Any,
    ):
        network = network or usual_network(image_shape, kwargs.get("modality", "image"))
        values = usual(network, critic)
        loss = loss or cast(Loss, values.loss)
        lr = lr or values.lr
        reconstruct = values.reconstruct if reconstruct is None else reconstruct
        super().__init__(image_shape, num_classes, network=network, lr=lr, **kwargs)
        # also where a subclass was given null: Lightning saves what the outermost class got
        self.hparams.update(network=network, loss=loss, lr=lr, reconstruct=reconstruct)
        warn_unused("clip", clip, loss == "wgan", "--model.loss wgan")
        warn_unused("reconstruct_clean", reconstruct_clean or None, reconstruct > 0, "--model.reconstruct")
        warn_unused("r1_every", r1_every if r1_every > 1 else None, r1 > 0, "--model.r1")
        if loss == "wgan-gp" and gradient_penalty == 0:
            raise ValueError(
                "--model.gradient_penalty: expected a weight above 0 for wgan-gp; got 0; see --model.loss wgan"
            )
        if conditional != "no" and num_classes == 0:
            raise ValueError(f"--model.conditional: expected data with labels for {conditional}; got none")
        self.num_conditions = 0 if conditional == "no" else num_classes
        self.game = "wgan" if loss == "wgan-gp" else loss
        self.clip = (clip or 0.01) if loss == "wgan" else None
        self.penalty = (10.0 if loss == "wgan-gp" else 0.0) if gradient_penalty is None else gradient_penalty
        self.generator = self.new_decoder(self.hparams["latent_dim"] + self.num_conditions, batch_norm=True)
        if critic == "projected":
            self.critic = self._new_projected(features)
        else:
            warn_unused("features", features, reconstruct > 0, "--model.critic projected or --model.reconstruct")
            warn_unused(
                "weights",
                weights,
                features is not None and reconstruct > 0,
                "--model.features NAME, of a network of timm, for the critic or for --model.reconstruct",
            )
            self.critic = networks.Critic(
                image_shape,
                **self.size,
                spectral_norm=spectral_norm,
                conditional=conditional,
                num_classes=num_classes,
                minibatch_std=minibatch_std,
            )
        if reconstruct > 0:
            self.critic.reconstruction = self._new_reconstruction(features)
        self.decision_threshold = losses.GAMES[self.game].decision_threshold
        if self.decision_threshold is not None:
            self.watch(torch.zeros(1), self.decision_threshold)
        if apa > 0:
            if self.decision_threshold is None:
                raise ValueError(f"--model.apa: expected 0 for {loss}, whose outputs do not say real or not; got {apa}")
            self.register_buffer("pseudo_fraction", torch.zeros(()))
        self.average_generator()
        if path_length > 0:
            if self.hparams["network"] != "stylegan2":
                raise ValueError(
                    "--model.path_length: expected --model.network stylegan2, which has styles; got "
                    f"{self.hparams['network']}"
                )
            self.register_buffer("mean_path", torch.zeros(()))
        if lecam > 0:
            self.register_buffer("mean_outputs", torch.zeros(3))  # on real and generated images, and of how many
        if self.num_conditions:
            self.register_buffer("class_fractions", torch.full((num_classes,), 1 / num_classes))

    @staticmethod
    def usual_batch_size(options: dict, image_shape: tuple[int, ...], modality: str) -> int:
        """What --data.batch_size is where it is null: 16 with fastgan, 64 with other networks.

        Args:
            options: of the model.
            image_shape: (C, H, W) of the images.
            modality: name of what they are.
        """
        return usual(options["network"] or usual_network(image_shape, modality), options["critic"]).batch_size

    @property
    def frozen(self) -> networks.FrozenMaps | None:
        """What a projected critic sees images by, or a reconstruction compares them by; None for others. It wants its
        weights before the training begins."""
        if isinstance(self.critic, networks.ProjectedCritic):
            return self.critic.features
        return self.critic.reconstruction.seen_by if self.hparams["reconstruct"] > 0 else None

    @property
    def seen_by(self) -> str | None:
        """The pretrained network by which the critic sees images: samples are not to be measured in its features."""
        return None if self.frozen is None else self.frozen.extractor

    def on_fit_start(self) -> None:
        dataset = getattr(self.trainer.datamodule, "dataset", None)  # type: ignore[attr-defined]  # set dynamically
        if self.num_conditions and dataset is not None:
            counts = torch.bincount(dataset.train.labels, minlength=self.num_conditions)
            self.class_fractions.copy_(counts / counts.sum())

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        if self.num_conditions:  # older checkpoints do not have the fractions
            checkpoint["state_dict"].setdefault("class_fractions", self.class_fractions)

    @torch.no_grad()
    def sample(self, num: int, labels: Tensor | None = None) -> Tensor:
        """Images (num, C, H, W) in [-1, 1] of the averaged generator; labels (num,) are the classes if conditional.

        Without labels a conditional model draws classes in the proportions of the training images.
        """
        if self.num_conditions and labels is None:
            labels = torch.multinomial(self.class_fractions.float(), num, replacement=True)
        output = self.averaged.eval()(self._input(num, labels))
        return self.modality.project(self.modality.bound(output))

    def loss_critic(self, x: Tensor, labels: Tensor) -> Tensor:
        has_r1 = self.hparams["r1"] > 0 and self.is_due(self.hparams["r1_every"])
        with torch.no_grad():
            fake = self.generate(labels)
            original = self._with_pseudo(x, labels)
        original = original.detach().requires_grad_(has_r1)
        with torch.set_grad_enabled(has_r1):
            seen = self.seen(original, fake, labels)
        output_real, output_fake, loss = self._judged(seen.detach(), labels, original)
        self.log_part("output_real", output_real.mean())
        self.log_part("output_fake", output_fake.mean())
        self._watched(output_real, output_fake)
        loss = loss + losses.critic(self.game, output_real, output_fake)
        if self.hparams["lecam"] > 0:
            loss = loss + self._term("lecam", self._lecam(output_real, output_fake), self.hparams["lecam"])
        if self.hparams["consistency"] > 0:
            again = self.critic(self.seen(original, fake, labels).detach(), labels.repeat(2))
            difference = (torch.cat([output_real, output_fake]) - again).square().mean()
            loss = loss + self._term("consistency", difference, self.hparams["consistency"])
        x, fake = seen.chunk(2)
        if has_r1:
            r1 = losses.r1(lambda images: self.critic(images, labels), original, seen=x)
            loss = loss + self._term("r1", r1, self.hparams["r1"] * self.hparams["r1_every"])
        if self.penalty > 0:
            penalty = losses.gradient_penalty(lambda images: self.critic(images, labels), x.detach(), fake.detach())
            loss = loss + self._term("gradient_penalty", penalty, self.penalty)
        return loss

    def _judged(self, seen: Tensor, labels: Tensor, original: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The critic's outputs (B,) on real images and on generated ones, and its weighted error of reconstruction.

        Args:
            seen: real and then generated images (2B, C, H, W), as the critic sees them.
            labels: classes (B,).
            original: the real ones (B, C, H, W) before their augmentation.
        """
        both = labels.repeat(2)
        if self.hparams["reconstruct"] == 0:
            real, fake = self.critic(seen, both).chunk(2)
            return real, fake, seen.new_zeros(())
        maps, features = self.critic.maps(seen, both)
        wanted = original if self.hparams["reconstruct_clean"] else seen[: len(labels)]
        error = self.critic.reconstruction([one[: len(labels)] for one in maps], wanted.detach())
        real, fake = self.critic.judge(features, both).chunk(2)
        return real, fake, self._term("reconstruct", error, self.hparams["reconstruct"])

    def _term(self, name: str, value: Tensor, weight: float) -> Tensor:
        """A term of the loss times its weight; it is logged without the weight."""
        self.log_part(name, value)
        return weight * value

    def _watched(self, output_real: Tensor, output_fake: Tensor) -> None:
        """Takes note of how well the critic does, by its outputs (B,) on real and generated images."""
        if self.decision_threshold is None:
            return
        self.watch(output_real, self.decision_threshold)
        self.score(output_real, output_fake, self.decision_threshold)
        if self.hparams["apa"] > 0:
            overfitting = self.over_processes(self.overfitting)
            step = len(output_real) * self.trainer.world_size / PSEUDO_IMAGES
            self.pseudo_fraction.add_(step * (overfitting - self.hparams["apa"]).sign()).clamp_(0, 1)
            self.log_part("pseudo_fraction", self.pseudo_fraction.clone())

    def _with_pseudo(self, x: Tensor, labels: Tensor) -> Tensor:
        """Real images (B, C, H, W), of which a fraction that adapts are generated ones, of the same classes (B,)."""
        if self.hparams["apa"] == 0:
            return x
        chosen = torch.rand(len(x), 1, 1, 1, device=x.device) < self.pseudo_fraction
        return torch.where(chosen, self.generate(labels), x)

    def _new_projected(self, features: str | None) -> networks.ProjectedCritic:
        given = self.hparams
        for option, default in LEARNED.items():
            if given[option] != default:
                raise ValueError(
                    f"--model.{option}: expected --model.critic learned; got {given[option]} with a projected one"
                )
        shape, width = given["image_shape"], 2 * (given["width"] or 16)
        return networks.ProjectedCritic(self._new_frozen(features), shape, width)

    def _new_frozen(self, features: str | None) -> networks.FrozenMaps:
        frozen = networks.frozen(features, self.hparams["image_shape"])
        if self.hparams["weights"] and not frozen.needs_file:
            raise ValueError(
                f"--model.weights: expected none for --model.features {frozen.source}, which comes with its own; got "
                f"'{self.hparams['weights']}'; they are of a network of timm"
            )
        return frozen

    def _new_reconstruction(self, features: str | None) -> networks.Reconstruction:
        shape = self.hparams["image_shape"]
        seen_by = None if features is None else self._new_frozen(features)
        with torch.no_grad():
            maps, _ = self.critic.maps(torch.zeros(1, *shape), torch.zeros(1, dtype=torch.long))
        return networks.Reconstruction(maps, shape[0], self.modality.bound, seen_by)

    def _lecam(self, output_real: Tensor, output_fake: Tensor) -> Tensor:
        """LeCam's regularisation, a scalar, after the moving averages took in the critic's outputs (B,) each."""
        with torch.no_grad():
            means, num = self.mean_outputs[:2], self.mean_outputs[2].add_(1)
            now = torch.stack([output_real.mean(), output_fake.mean()]).to(means)
            means.lerp_(now, torch.clamp(1 / num, min=0.01))  # the first outputs count alike, as without a start at 0
        return losses.lecam(output_real, output_fake, *self.mean_outputs[:2].clone())

    def loss_generator(self, x: Tensor, labels: Tensor) -> Tensor:
        fake = self.generate(labels)
        output = self.critic(self.critic_transform(fake, labels), labels)
        loss = losses.generator(self.game, output) + self.matched(fake)
        if self.hparams["path_length"] > 0 and self.batches // self.hparams["n_critic"] % PATH_EVERY == 0:
            weight = self.hparams["path_length"] * PATH_EVERY
            loss = loss + self._term("path_length", self._path_length(labels), weight)
        return loss

    def _path_length(self, labels: Tensor) -> Tensor:
        """The mean squared difference, a scalar, of path lengths of half a batch of classes (B,) from their average."""
        labels = labels[: max(1, len(labels) // 2)]
        mapping, synthesis = self.generator.children()
        with torch.autocast(self.device.type, enabled=False):
            styles = mapping(self._input(len(labels), labels))
            lengths = losses.path_lengths(self.modality.bound(synthesis(styles)), styles)
        with torch.no_grad():
            self.mean_path.lerp_(lengths.mean(), 1 - PATH_DECAY)
        return (lengths - self.mean_path.clone()).square().mean()

    @torch.no_grad()
    def after_critic_step(self) -> None:
        if self.clip is not None:
            for name, weight in self.critic.named_parameters():
                if weight.requires_grad and not name.startswith("reconstruction"):  # decoders score nothing
                    weight.clamp_(-self.clip, self.clip)

    def generate(self, labels: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] of random noise, of classes (B,) if the model is conditional."""
        return self.modality.bound(self.generator(self._input(len(labels), labels)))

    def _input(self, num: int, labels: Tensor | None) -> Tensor:
        if not self.num_conditions:
            return self.noise(num)
        assert labels is not None  # `sample` draws them
        return torch.cat([self.noise(num), one_hot(labels, self.num_conditions).to(self.dtype)], 1)
