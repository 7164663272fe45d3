"""Recurrent autoencoder of sequences (Srivastava et al. 2015, arXiv 1502.04681; variational: arXiv 1511.06349)."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from lightning_genae.data import modalities
from lightning_genae.data.sequences import lengths
from lightning_genae.models._model import Model
from lightning_genae.nn import losses
from lightning_genae.nn.latents import Sampler, TrainingLatents, reparameterise
from lightning_genae.nn.networks import as_sequence, as_steps, run
from lightning_genae.options import chosen_of, warn_unused

MIN_LOG_SCALE = -4.0  # of data in [-1, 1]: without it the density of exactly predicted values is unbounded


class RecurrentAutoencoder(Model):
    """RAE: a recurrent encoder maps a sequence to a latent code of fixed size, a recurrent decoder maps it back.

    The decoder gets the latent code and the previous step, and outputs a distribution of the next step: gaussian or
    Laplace with a scale learned for each channel, or categorical over tokens. Steps beyond the end of a sequence are
    neither read nor counted in the loss. It generates by decoding drawn latents: of the prior if it is variational,
    otherwise of a distribution fitted to the latest training latents.

    Deviations: the decoder gets the latent code at every step and as its initial state, that of 1502.04681 only as its
    initial state. The KL weight rises linearly, in 1511.06349 along a sigmoid; free bits are from 1606.04934. Steps
    hidden by word_dropout are 0, in 1511.06349 the token of an unknown word. Teacher forcing is drawn for a whole
    batch, in 1506.03099 for every step; its probability falls linearly.

    Args:
        image_shape: (C, 1, L) of the sequences: channels and steps.
        num_classes: number of classes in the data; not used by this model.
        modality: of the data; see lightning_genae/data/modalities.
        has_mask: whether the last channel says where items end.
        cell: of both networks; on a CPU lstm is twice as fast.
        latent_dim: dimensions of the latent code, at least 1.
        width: units of a recurrent layer.
        num_layers: recurrent layers of each network.
        loss: mse: the distribution is gaussian; l1: Laplace; ce: of tokens. null: ce for text, otherwise mse.
        variational: the encoder outputs a gaussian over latents, and the loss is the evidence lower bound. null: true
            for text, otherwise false.
        beta: weight of the KL divergence to the prior; variational only. null: 1.
        warmup: batches over which that weight rises from 0 (arXiv 1511.06349); variational only. null: 1000.
        free_bits: bits of every latent dimension's mean KL that are not penalised (arXiv 1606.04934); variational only.
            They keep the decoder, which knows the previous step, from ignoring the latent code. null: 0.5 for text,
            otherwise 0.
        word_dropout: fraction of the previous steps that are hidden from the decoder, so that it has to rely on the
            latent code (arXiv 1511.06349). null: 0.25 for variational text models, otherwise 0.
        teacher_forcing: initial fraction of the batches with teacher forcing: the decoder gets the true previous step
            instead of its own prediction (Williams & Zipser 1989).
        teacher_decay: batches over which that fraction falls to 0 (arXiv 1506.03099). 0: it stays constant. null: 0 for
            text, otherwise 1000.
        temperature: of the steps drawn during generation; 0 takes the likeliest. null: 1 if teacher_decay is 0,
            otherwise 0.
        sampler: distribution of the latents that samples are decoded from, as in `ae`; only if not variational. null:
            mixture.
        lr: learning rate of Adam, above 0. null: 5e-3 for text, otherwise 2e-3.
        gradient_clip: largest norm of the gradient. 0: no clipping.
    """

    modalities = ("series", "text", "audio")

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        modality: str = "series",
        has_mask: bool = False,
        cell: Literal["lstm", "gru"] = "lstm",
        latent_dim: PositiveInt = 16,
        width: PositiveInt = 64,
        num_layers: PositiveInt = 1,
        loss: Literal["mse", "l1", "ce"] | None = None,
        variational: bool | None = None,
        beta: NonNegativeFloat | None = None,
        warmup: NonNegativeInt | None = None,
        free_bits: NonNegativeFloat | None = None,
        word_dropout: ClosedUnitInterval | None = None,
        teacher_forcing: ClosedUnitInterval = 1.0,
        teacher_decay: NonNegativeInt | None = None,
        temperature: NonNegativeFloat | None = None,
        sampler: Sampler | None = None,
        lr: PositiveFloat | None = None,
        gradient_clip: NonNegativeFloat = 1.0,
    ):
        super().__init__()
        self.save_hyperparameters()
        self.modality = modalities.new(modality, has_mask)
        is_text = self.modality.is_categorical
        self.loss = chosen_of("loss", loss, ("ce",) if is_text else ("mse", "l1"), modality)
        self.variational = is_text if variational is None else variational
        warn_unused("beta", beta, self.variational, "--model.variational true")
        warn_unused("warmup", warmup, self.variational, "--model.variational true")
        warn_unused("free_bits", free_bits, self.variational, "--model.variational true")
        warn_unused("sampler", sampler, not self.variational, "--model.variational false")
        self.free_bits = (0.5 if is_text else 0.0) if free_bits is None else free_bits
        self.beta, self.warmup = 1.0 if beta is None else beta, 1000 if warmup is None else warmup
        self.word_dropout = (0.25 if is_text and self.variational else 0.0) if word_dropout is None else word_dropout
        self.teacher_decay = (0 if is_text else 1000) if teacher_decay is None else teacher_decay
        self.temperature = float(self.teacher_decay == 0) if temperature is None else temperature
        num_channels, _, self.length = image_shape
        network = {"gru": nn.GRU, "lstm": nn.LSTM}[cell]
        self.encoder = network(num_channels, width, num_layers, batch_first=True)
        self.to_code = nn.Linear(width * num_layers, latent_dim * (1 + self.variational))
        self.num_states = num_layers * (2 if cell == "lstm" else 1)
        self.start = nn.Linear(latent_dim, width * self.num_states)
        self.decoder = network(num_channels + latent_dim, width, num_layers, batch_first=True)
        self.output = nn.Linear(width, num_channels)
        if not is_text:
            self.log_scale = nn.Parameter(torch.full((num_channels - has_mask,), -1.0))
        if not self.variational:
            self.latents = TrainingLatents(latent_dim)

    def encode(self, x: Tensor) -> Tensor:
        """Latents (B, latent_dim), means if variational, of sequences (B, C, 1, L) in [-1, 1]."""
        return self.posterior(x)[0]

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean and log variance, (B, latent_dim) each, of the latents of sequences (B, C, 1, L) in [-1, 1].

        If not variational, the latents and None.
        """
        # in reverse, so that the steps decoded first were read last (Sutskever et al. 2014, arXiv 1409.3215)
        steps = as_steps(x)
        in_reverse: Tensor | PackedSequence
        if self.hparams["has_mask"]:
            num = lengths(x).clamp(min=1)
            index = (num[:, None] - 1 - torch.arange(x.shape[3], device=x.device)).clamp(min=0)
            steps = steps.gather(1, index[:, :, None].expand_as(steps))
            in_reverse = pack_padded_sequence(steps, num.cpu(), batch_first=True, enforce_sorted=False)
        else:
            in_reverse = steps.flip(1)
        _, states = run(self.encoder, in_reverse)
        last = states[0] if isinstance(states, tuple) else states
        latents = self.to_code(last.transpose(0, 1).flatten(1))
        return latents.chunk(2, dim=1) if self.variational else (latents, None)

    def decode(self, z: Tensor) -> Tensor:
        """The likeliest sequences (B, C, 1, L) in [-1, 1] of latents (B, latent_dim), step by step."""
        return as_sequence(self._free_running(z, temperature=0.0))

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Sequences (B, C, 1, L) in [-1, 1], each encoded and decoded."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def sample(self, num: int, labels: Tensor | None = None) -> Tensor:
        """Sequences (num, C, 1, L) in [-1, 1] decoded from drawn latents; labels are ignored."""
        steps = self._free_running(self._draw_latents(num), self.temperature, drawn=True)
        return self.modality.project(as_sequence(steps))

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, num_latents: int) -> Tensor:
        """Estimate of log p(x), (B,), in nats, a lower bound on average that rises to it with the number of latents.

        Importance-weighted if variational (Burda et al. 2015, arXiv 1509.00519); otherwise with latents drawn
        independently of the sequence.

        Args:
            x: sequences (B, C, 1, L) in [-1, 1].
            num_latents: drawn for every sequence.
        """
        mean, log_variance = self.posterior(x)
        weights = []
        for _ in range(num_latents):
            log_ratio: Tensor | float = 0.0  # log p(z) - log q(z | x)
            if log_variance is None:
                z = self._draw_latents(len(x))
            else:
                noise = torch.randn_like(mean)
                z = mean + (log_variance / 2).exp() * noise
                log_ratio = (noise.square() + log_variance - z.square()).sum(1) / 2
            weights.append(self._log_p(self._teacher_forced(z, x), x) + log_ratio)
        return torch.stack(weights).logsumexp(0) - math.log(num_latents)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, _ = batch
        mean, log_variance = self.posterior(x)
        z = mean if log_variance is None else reparameterise(mean, log_variance)
        is_teacher_forced = torch.rand(()).item() < self._teacher_fraction()
        hidden = self.word_dropout
        output = (
            self._teacher_forced(z, x, hidden)
            if is_teacher_forced
            else self._free_running(z, 0.0, bounded=False, hidden=hidden)
        )
        log_p = self._log_p(output, x).mean()
        parts = {"log_likelihood": log_p}
        loss = -log_p
        if log_variance is not None:
            kl = losses.kl_to_standard_normal(mean, log_variance).mean(0)
            rate = kl.clamp_min(self.free_bits * math.log(2)).sum()
            loss = loss + self.beta * min(1.0, (self.batches + 1) / max(1, self.warmup)) * rate
            parts |= {"kl": kl.sum(), "elbo": log_p - kl.sum()}
        else:
            self.latents.keep(mean)
        # per step and channel, so that the learning rate means the same for sequences of every size
        loss = loss / (self.length if self.loss == "ce" else x[0].numel())
        self.log_part("loss", loss, prog_bar=True)
        for name, value in parts.items():
            self.log_part(name, value)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        lr = self.hparams["lr"] or (5e-3 if self.modality.is_categorical else 2e-3)
        return self.adam(self.parameters(), lr=lr)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.hparams["gradient_clip"] > 0:
            self.clip_gradients(optimizer, gradient_clip_val=self.hparams["gradient_clip"])

    def _teacher_fraction(self) -> float:
        passed = self.batches / self.teacher_decay if self.teacher_decay else 0.0
        return self.hparams["teacher_forcing"] * max(0.0, 1 - passed)

    def _draw_latents(self, num: int) -> Tensor:
        if self.variational:
            return torch.randn(num, self.hparams["latent_dim"], device=self.device, dtype=self.dtype)
        return self.latents.draw(num, self.hparams["sampler"] or "mixture").to(self.dtype)

    def _states(self, z: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The decoder's initial states, from latents (B, latent_dim)."""
        states = self.start(z).tanh().unflatten(1, (self.num_states, -1)).transpose(0, 1).contiguous()
        return states.chunk(2) if self.hparams["cell"] == "lstm" else states

    def _teacher_forced(self, z: Tensor, x: Tensor, hidden: float = 0.0) -> Tensor:
        """Outputs (B, L, C) of the decoder, which gets the true previous steps except a hidden fraction of them.

        Args:
            z: latents (B, latent_dim).
            x: sequences (B, C, 1, L) in [-1, 1].
            hidden: fraction of the previous steps that are hidden from the decoder.
        """
        previous = _hide(F.pad(as_steps(x), (0, 0, 1, -1)), hidden)
        latents = z[:, None].expand(-1, self.length, -1)
        return self.output(run(self.decoder, torch.cat([previous.to(z.dtype), latents], 2), self._states(z))[0])

    def _free_running(
        self, z: Tensor, temperature: float, bounded: bool = True, drawn: bool = False, hidden: float = 0.0
    ) -> Tensor:
        """Steps (B, L, C) of the decoder, which gets its own previous steps except a hidden fraction of them.

        Args:
            z: latents (B, latent_dim).
            temperature: of the steps fed back to the decoder. 0: the likeliest.
            bounded: return the likeliest steps as values in [-1, 1] or probabilities; otherwise the outputs.
            drawn: return the steps that are fed back to the decoder instead.
            hidden: fraction of the previous steps that are hidden from the decoder.
        """
        states, step, steps = self._states(z), z.new_zeros(len(z), 1, self.output.out_features), []
        for _ in range(self.length):
            output, states = run(self.decoder, torch.cat([_hide(step, hidden).to(z.dtype), z[:, None]], 2), states)
            output = self.output(output)
            step = self._next(output, temperature)
            steps.append(step if drawn else self._likeliest(output) if bounded else output)
        return torch.cat(steps, 1)

    def _likeliest(self, output: Tensor) -> Tensor:
        """Outputs (B, L, C) as values in [-1, 1]; those of tokens as probabilities, mapped to [-1, 1]."""
        if self.loss == "ce":
            return 2 * output.softmax(2) - 1
        if self.hparams["has_mask"]:
            return torch.cat([output[..., :-1].clamp(-1, 1), 2 * output[..., -1:].sigmoid() - 1], 2)
        return output.clamp(-1, 1)

    def _next(self, output: Tensor, temperature: float) -> Tensor:
        """The step (B, 1, C) that is fed back to the decoder, from its output (B, 1, C)."""
        if self.loss == "ce":
            drawn = output + temperature * _gumbel(output) if temperature else output
            return 2 * F.one_hot(drawn.argmax(2), output.shape[2]).to(output.dtype) - 1
        values = self._likeliest(output)
        if not temperature:
            return values
        num = len(self.log_scale)
        noise = torch.randn_like(output[..., :num])
        if self.loss == "l1":  # Laplace: the difference of two exponentials
            noise = torch.empty_like(noise).exponential_() - torch.empty_like(noise).exponential_()
        drawn = (output[..., :num] + temperature * self._log_scale.exp() * noise).clamp(-1, 1)
        ends = torch.where(output[..., num:].sigmoid() > torch.rand_like(output[..., num:]), 1.0, -1.0)
        return torch.cat([drawn, ends.to(drawn.dtype)], 2)

    @property
    def _log_scale(self) -> Tensor:
        return self.log_scale.clamp(min=MIN_LOG_SCALE)

    def _log_p(self, output: Tensor, x: Tensor) -> Tensor:
        """Log likelihood (B,) in nats of sequences x (B, C, 1, L) given the decoder's outputs (B, L, C)."""
        if self.loss == "ce":
            return losses.categorical_log_likelihood(as_sequence(output), x)
        target, num = as_steps(x), len(self.log_scale)
        difference, scale = (target - output)[..., :num], self._log_scale
        if self.loss == "mse":
            log_p = -0.5 * ((difference / scale.exp()).square() + math.log(2 * math.pi)) - scale
        else:
            log_p = -difference.abs() / scale.exp() - scale - math.log(2)
        if not self.hparams["has_mask"]:
            return log_p.flatten(1).sum(1)
        present = (target[..., -1:] > 0).to(output.dtype)
        ends = F.binary_cross_entropy_with_logits(output[..., -1:], present, reduction="none")
        return (log_p * present).flatten(1).sum(1) - ends.flatten(1).sum(1)


def _hide(steps: Tensor, fraction: float) -> Tensor:
    """Steps (B, L, C), a random fraction of which is 0."""
    return steps * (torch.rand_like(steps[..., :1]) >= fraction) if fraction else steps


def _gumbel(like: Tensor) -> Tensor:
    """Gumbel noise, with which the largest logit is a draw from the softmax (Gumbel 1954)."""
    return -torch.empty_like(like).exponential_().log()
