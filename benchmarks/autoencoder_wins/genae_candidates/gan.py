"""A GAN whose losses have one more term, of a candidate."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from jsonargparse.typing import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from genae_candidates.candidates import Candidate, Consistency, Mix, Moments, Predict, Reconstruct, Round, Swap, Warm
from genae_candidates.codes import Codes, Encoder, Layer
from genae_candidates.discrete import Discrete
from lightning_genae.models.gan import GAN
from lightning_genae.nn import losses

CANDIDATES: dict[str, type[Candidate]] = {
    "moments": Moments,
    "predict": Predict,
    "reconstruct": Reconstruct,
    "mix": Mix,
    "consistency": Consistency,
    "swap": Swap,
    "warm": Warm,
    "discrete": Discrete,
}
Use = Literal["moments", "predict", "reconstruct", "mix", "consistency", "swap", "warm", "discrete"]


class CandidateGAN(GAN):
    """`gan` with a use of an autoencoder; with weight 0 it is `gan`.

    Args:
        use: of the codes; see candidates.py and discrete.py.
        encoder: an autoencoder trained on the training images, or its controls.
        layer: whose outputs, whitened, are the codes.
        num_codes: directions kept of them, those of the most variance.
        weight: of the term.
        every: batches between those with the term, which then weighs as many times as much.
        permuted: the control that the use names: codes of other images, random partners, translations, or any entries.
    """

    modalities = ("image",)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        use: Use = "moments",
        encoder: Encoder = "ae",
        layer: Layer = "code",
        num_codes: PositiveInt = 32,
        weight: NonNegativeFloat = 1.0,
        every: PositiveInt = 1,
        permuted: bool = False,
        **kwargs: Any,
    ):
        super().__init__(image_shape, num_classes, **kwargs)
        num_features = self.critic.score.in_features
        # among the critic's weights, so that its optimizer trains them
        self.critic.candidate = CANDIDATES[use](image_shape, num_features, num_codes, permuted)
        self.generated: Tensor

    @property
    def candidate(self) -> Candidate:
        return self.critic.candidate

    def on_fit_start(self) -> None:
        super().on_fit_start()
        dataset, options = self.trainer.datamodule.dataset, self.hparams
        codes = Codes(options["encoder"], options["layer"], options["num_codes"], dataset)
        self.candidate.fit(codes if self.candidate.needs_codes else None, dataset)
        if self.trainer.ckpt_path is None and options["weight"] > 0:
            with torch.random.fork_rng():
                self.candidate.begin(self.generator, dataset)
            self.averaged.module.load_state_dict(self.generator.state_dict())

    def generate(self, labels: Tensor) -> Tensor:
        self.generated = super().generate(labels)
        return self.generated

    def seen(self, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        return super().seen(self._transformed(real), self._transformed(fake), labels)

    def loss_critic(self, x: Tensor, labels: Tensor) -> Tensor:
        with _inputs(self.critic.score) as features:
            loss = super().loss_critic(x, labels)
        if not self.is_due(self.hparams["every"]):
            return loss
        seen = Round(x, self.generated.float(), features[0], self.critic, labels)
        return self._plus(loss, self.candidate.critic_term(seen))

    def loss_generator(self, x: Tensor, labels: Tensor) -> Tensor:
        fake = self.generate(labels)
        seen = self.critic_transform(self._transformed(fake), labels)
        loss = losses.generator(self.game, self.critic(seen, labels))
        return (
            self._plus(loss, self.candidate.generator_term(fake.float()))
            if self.is_due(self.hparams["every"])
            else loss
        )

    def _transformed(self, images: Tensor) -> Tensor:
        return self.candidate.transform(images) if self.hparams["weight"] > 0 else images

    def _plus(self, loss: Tensor, term: Tensor | None) -> Tensor:
        if term is None:
            return loss
        self.log_part(self.hparams["use"], term)
        return loss + self.hparams["weight"] * self.hparams["every"] * term


@contextmanager
def _inputs(layer: nn.Module) -> Iterator[list[Tensor]]:
    """A context with the list of what a layer gets in it."""
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        handle.remove()
