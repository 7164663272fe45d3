"""Losses and likelihoods of the models without a critic, and their gradients, against formulas in plain numpy."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from scipy.special import expit, log_expit, log_softmax
from scipy.stats import kstest, laplace, norm
from torch import nn

from lightning_genae.models.ae import Autoencoder
from lightning_genae.models.rnn_ae import RecurrentAutoencoder
from lightning_genae.models.vae import VAE
from tests.data import project
from tests.test_values import SHAPE, TINY, X, apply, fit_one, values

NUM, PIXELS, LATENT = 3, 4, 2
BATCH = torch.from_numpy(X).reshape(NUM, *SHAPE), torch.zeros(NUM).long()


def prepare(model, batch: int = 0):
    """The model in float64 with fixed weights, told that it trains on the batch of this number."""
    generator = torch.Generator().manual_seed(1)
    for weight in model.double().parameters():
        weight.data = 0.6 * torch.randn(weight.shape, generator=generator, dtype=torch.double)
    model.logged = {}
    model.log_part = lambda name, value, **options: model.logged.update({name: float(value.detach())})
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    model.trainer = Trainer(accelerator="cpu", devices=1, enable_model_summary=False, **quiet)
    model.trainer.fit_loop.epoch_loop.batch_progress.total.ready = batch + 1
    return model


def check(model, batch, expected) -> None:
    """The loss is as expected, and so is its gradient by some weights, by differences."""

    def loss():
        torch.manual_seed(0)
        return model.training_step(batch, 0)

    found = loss()
    assert found.item() == pytest.approx(expected(), rel=1e-6)
    weights = [pair for pair in model.named_parameters() if pair[1].requires_grad]
    gradients = torch.autograd.grad(found, [weight for _, weight in weights], allow_unused=True)
    step = 1e-5
    for (name, weight), gradient in zip(weights, gradients):
        flat = weight.data.view(-1)
        for i in {0, len(flat) // 2}:
            flat[i] += step
            above = expected()
            flat[i] -= 2 * step
            below = expected()
            flat[i] += step
            value = 0.0 if gradient is None else float(gradient.view(-1)[i])
            assert value == pytest.approx((above - below) / (2 * step), rel=2e-3, abs=2e-5), name


def cross_entropy(logits: np.ndarray, x: np.ndarray) -> np.ndarray:
    """-log p of pixels in [-1, 1] that are read as probabilities."""
    p = (x + 1) / 2
    return -(p * log_expit(logits) + (1 - p) * log_expit(-logits))


ERRORS = {"mse": lambda y, x: (y - x) ** 2, "l1": lambda y, x: np.abs(y - x), "bce": cross_entropy}


@pytest.mark.parametrize("loss", ERRORS)
def test_autoencoder(loss):
    model = prepare(Autoencoder(SHAPE, **TINY, loss=loss))
    check(model, BATCH, lambda: ERRORS[loss](apply(model.decoder, apply(model.encoder, X)), X).mean())
    assert np.allclose(model.latents.latents[:NUM], apply(model.encoder, X))
    output = apply(model.decoder, apply(model.encoder, X))
    shown = 2 * expit(output) - 1 if loss == "bce" else np.clip(output, -1, 1)
    assert np.allclose(model.reconstruct(BATCH[0]).flatten(1), shown)


def test_a_denoising_autoencoder_is_told_noise_and_asked_for_the_image():
    model = prepare(Autoencoder(SHAPE, **TINY, noise="gaussian", noise_level=0.5))

    def expected():
        torch.manual_seed(0)
        noisy = X + 0.5 * torch.randn(NUM, *SHAPE, dtype=torch.double).flatten(1).numpy()
        return ((apply(model.decoder, apply(model.encoder, noisy)) - X) ** 2).mean()

    check(model, BATCH, expected)
    assert np.allclose(model.latents.latents[:NUM], apply(model.encoder, X))  # samples are of clean images' latents


def without_trainer(model):
    """The model in float64, which notes what it logs as (value, whether a bar shows it) by name."""
    model.logged = {}
    model.log_part = lambda name, value, prog_bar=False: model.logged.update({name: (float(value.detach()), prog_bar)})
    return model.double()


@pytest.mark.parametrize("noise", ["gaussian", "masking", "diffaug"])
def test_latents_that_are_kept_are_of_clean_images(noise):
    """Though the autoencoder is told noisy ones, so that samples are of what images have."""
    model = without_trainer(Autoencoder(SHAPE, **TINY, noise=noise, noise_level=0.9))
    told, corrupt = [], model._corrupt
    model._corrupt = lambda x: told.append(corrupt(x)) or told[-1]
    loss = model.training_step(BATCH, 0).item()
    noisy = told[0].flatten(1).numpy()
    assert not np.allclose(noisy, X)
    assert loss == pytest.approx(((apply(model.decoder, apply(model.encoder, noisy)) - X) ** 2).mean())
    assert np.allclose(model.latents.latents[:NUM], apply(model.encoder, X))
    assert model.logged == {"loss": (pytest.approx(loss), True)}  # shown while it trains


def test_autoencoder_of_text():
    """Its loss is the cross-entropy of the tokens, and it shows their probabilities."""
    x = project(torch.randn(NUM, 3, 1, 5, generator=torch.Generator().manual_seed(2)).double(), "text")
    model = without_trainer(Autoencoder((3, 1, 5), modality="text", **TINY))
    output = apply(model.decoder, apply(model.encoder, x.flatten(1).numpy())).reshape(NUM, 3, 5)
    log_p = np.take_along_axis(log_softmax(output, axis=1), x.argmax(1).numpy(), 1)
    assert model.training_step((x, BATCH[1]), 0).item() == pytest.approx(-log_p.mean())
    shown = 2 * np.exp(log_softmax(output, axis=1)) - 1
    assert np.allclose(model.reconstruct(x).squeeze(2), shown)


def test_samples_of_an_autoencoder_are_decoded_latents():
    model = Autoencoder(SHAPE, **TINY, sampler="mixture").double()
    z, drawn = torch.tensor([[3.0, -4.0], [0.5, 0.1]]), []
    model.latents.draw = lambda num, sampler: drawn.append((num, sampler)) or z
    assert np.allclose(model.sample(2).flatten(1), np.clip(apply(model.decoder, z.numpy()), -1, 1))
    assert drawn == [(2, "mixture")]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"loss": "ce"}, "--model.loss: expected mse or bce or l1 for data of modality image; got ce"),
        (
            {"noise": "masking", "noise_level": 1.5},
            "--model.noise_level: expected a fraction of pixels, at most 1; got 1.5",
        ),
    ],
)
def test_what_an_autoencoder_cannot_do_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Autoencoder(SHAPE, **TINY, **options)


@pytest.mark.parametrize(
    "options, level",
    [
        ({}, None),
        ({"noise": "gaussian"}, 0.3),
        ({"noise": "gaussian", "noise_level": 1.5}, 1.5),
        ({"noise": "masking"}, 0.3),
        ({"noise": "masking", "noise_level": 1.0}, 1.0),
    ],
)
def test_levels_of_noise(caplog, options, level):
    """Gaussian noise may be of any size, and all pixels be masked; nobody is warned of a level that counts."""
    model = Autoencoder(SHAPE, **TINY, **options)
    assert caplog.messages == []
    assert level is None or model.noise_level == level
    for without in ({}, {"noise": "diffaug"}):
        Autoencoder(SHAPE, **TINY, **without, noise_level=0.1)
    assert caplog.messages == ["--model.noise_level has no effect without --model.noise gaussian or masking"] * 2


@pytest.mark.parametrize("kind", [Autoencoder, VAE])
def test_both_halves_have_the_size_that_is_asked_for(kind):
    model = kind((1, 8, 8), network="conv", width=3, latent_dim=5)
    for half in (model.encoder, model.decoder):
        channels = [layer.weight.shape[:2] for layer in half if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
        assert {number for pair in channels for number in pair} == {1, 3, 6}
    assert model.decoder[0].in_features == 5
    model = kind(SHAPE, network="mlp", hidden=[7, 6], latent_dim=5)
    sizes = [
        [layer.out_features for layer in half if isinstance(layer, nn.Linear)]
        for half in (model.encoder, model.decoder)
    ]
    assert sizes == [[7, 6, 10 if kind is VAE else 5], [6, 7, 4]]


def kl_divergence(mean: np.ndarray, log_variance: np.ndarray) -> np.ndarray:
    """KL(N(mean, variance) || N(0, 1)), (N, d), in nats."""
    return np.log(1 / np.sqrt(np.exp(log_variance))) + (np.exp(log_variance) + mean**2) / 2 - 0.5


def log_p_pixels(model, output: np.ndarray, x: np.ndarray) -> np.ndarray:
    """log p(x given code), (N,), in nats."""
    if model.likelihood == "bernoulli":
        return -cross_entropy(output, x).sum(1)
    return norm(output, np.exp(values(model.log_sigma))).logpdf(x).sum(1)


VAES = [
    {},
    {"likelihood": "gaussian"},
    {"likelihood": "gaussian", "sigma": 0.3, "beta": 2.5},
    {"free_bits": 1.3},
    {"beta": 3.0, "warmup": 8},
]


@pytest.mark.parametrize("options", VAES, ids=str)
def test_vae(options):
    """-(E log p - beta KL) per pixel; in the third of eight batches of warmup beta is three eighths."""
    model = prepare(VAE(SHAPE, **TINY, **options), batch=2)
    torch.manual_seed(0)
    noise = torch.randn(NUM, LATENT, dtype=torch.double).numpy()

    def parts():
        mean, log_variance = np.split(apply(model.encoder, X), 2, axis=1)
        z = mean + np.sqrt(np.exp(log_variance)) * noise
        return log_p_pixels(model, apply(model.decoder, z), X).mean(), kl_divergence(mean, log_variance).mean(0)

    def expected():
        log_p, kl = parts()
        beta = options.get("beta", 1.0) * (3 / 8 if "warmup" in options else 1)
        free = options.get("free_bits", 0.0) * 0.6931471805599453
        return (beta * np.maximum(kl, free).sum() - log_p) / PIXELS

    check(model, BATCH, expected)
    log_p, kl = parts()
    assert model.logged["kl"] == pytest.approx(kl.sum())
    assert model.logged["elbo"] == pytest.approx(log_p - kl.sum())
    assert model.logged["log_likelihood"] == pytest.approx(log_p)
    if "free_bits" in options:
        assert kl.min() < 1.3 * math.log(2) < kl.max()  # one dimension is free and the other is not


def test_vae_of_text():
    x = project(torch.randn(NUM, 3, 1, 5, generator=torch.Generator().manual_seed(2)).double(), "text")
    model = prepare(VAE((3, 1, 5), modality="text", **TINY))
    torch.manual_seed(0)
    noise = torch.randn(NUM, LATENT, dtype=torch.double).numpy()
    tokens = x.argmax(1).squeeze(1).numpy()

    def expected():
        mean, log_variance = np.split(apply(model.encoder, x.flatten(1).numpy()), 2, axis=1)
        logits = apply(model.decoder, mean + np.exp(log_variance / 2) * noise).reshape(NUM, 3, 5)
        log_p = np.take_along_axis(log_softmax(logits, axis=1), tokens[:, None], 1).sum((1, 2))
        return (kl_divergence(mean, log_variance).sum(1) - log_p).mean() / 15

    check(model, (x, BATCH[1]), expected)


@pytest.mark.parametrize(
    "num_latents, options",
    [(1, {"likelihood": "gaussian", "sigma": 0.7}), (3, {"likelihood": "gaussian"}), (3, {})],
    ids=str,
)
def test_importance_weights_of_a_vae(num_latents, options):
    """log of the mean of p(x given z) p(z) / q(z given x) over latents of q."""
    model = prepare(VAE(SHAPE, **TINY, **options))
    mean, log_variance = np.split(apply(model.encoder, X), 2, axis=1)
    torch.manual_seed(0)
    weights = []
    for _ in range(num_latents):
        z = mean + np.exp(log_variance / 2) * torch.randn(NUM, LATENT, dtype=torch.double).numpy()
        log_prior = norm.logpdf(z).sum(1)
        log_posterior = norm(mean, np.exp(log_variance / 2)).logpdf(z).sum(1)
        weights.append(np.exp(log_p_pixels(model, apply(model.decoder, z), X) + log_prior - log_posterior))
    torch.manual_seed(0)
    assert np.allclose(model.log_likelihood(BATCH[0], num_latents), np.log(np.mean(weights, 0)))


@pytest.mark.parametrize(
    "options, likelihood",
    [
        ({}, "bernoulli"),
        ({"likelihood": "gaussian"}, "gaussian"),
        ({"modality": "series"}, "gaussian"),
        ({"modality": "series", "has_mask": True}, "gaussian"),
        ({"modality": "audio"}, "gaussian"),
        ({"modality": "text"}, "categorical"),
        ({"modality": "series", "likelihood": "bernoulli"}, "bernoulli"),
    ],
)
def test_likelihoods_of_modalities(caplog, options, likelihood):
    """A deviation that is not given is learned, from 1/e on; one of another likelihood has no effect."""
    model = VAE((2, 1, 4), **TINY, **options)
    assert model.likelihood == likelihood
    assert hasattr(model, "log_sigma") == (likelihood == "gaussian")
    if likelihood == "gaussian":
        assert model.log_sigma.exp().item() == pytest.approx(math.exp(-1)) and model.log_sigma.requires_grad
    assert caplog.messages == []
    given = VAE((2, 1, 4), **TINY, **options, sigma=0.3)
    if likelihood == "gaussian":
        assert given.log_sigma.exp().item() == pytest.approx(0.3) and not given.log_sigma.requires_grad
    needs = "--model.sigma has no effect without --model.likelihood gaussian"
    assert caplog.messages == ([] if likelihood == "gaussian" else [needs])


def test_pixels_have_no_tokens():
    message = "--model.likelihood: expected bernoulli or gaussian for data of modality image; got categorical"
    with pytest.raises(ValueError, match=message):
        VAE(SHAPE, **TINY, likelihood="categorical")


@pytest.mark.parametrize(
    "options, shown",
    [
        ({}, lambda output: 2 * expit(output) - 1),
        ({"likelihood": "gaussian"}, lambda output: output.clip(-1, 1)),
        ({"modality": "text"}, lambda output: 2 * np.exp(log_softmax(output, axis=1)) - 1),
    ],
    ids=["bernoulli", "gaussian", "categorical"],
)
def test_what_a_vae_shows(monkeypatch, options, shown):
    """Reconstructions are decoded means, samples are decoded latents of N(0, I), of text the likeliest tokens."""
    model = prepare(VAE((3, 1, 5), **TINY, **options))
    x = torch.randn(NUM, 3, 1, 5, generator=torch.Generator().manual_seed(2)).double()
    mean, log_variance = np.split(apply(model.encoder, x.flatten(1).numpy()), 2, axis=1)
    assert np.allclose(model.encode(x).detach(), mean)
    assert np.allclose(model.posterior(x)[1].detach(), log_variance)
    expected = shown(apply(model.decoder, mean).reshape(NUM, 3, 5))
    assert np.allclose(model.reconstruct(x).squeeze(2), expected)
    torch.manual_seed(3)
    z = torch.randn(NUM, LATENT, dtype=torch.double).numpy()
    torch.manual_seed(3)
    expected = shown(apply(model.decoder, z).reshape(NUM, 3, 5))
    if "modality" in options:
        expected = np.where(expected == expected.max(1, keepdims=True), 1.0, -1.0)
    assert np.allclose(model.sample(NUM).squeeze(2), expected)


def of_batch(model, batch: int):
    """The model told that it trains on the batch of this number, without a trainer."""
    model._trainer = SimpleNamespace(fit_loop=SimpleNamespace(total_batch_idx=batch))
    return without_trainer(model)


@pytest.mark.parametrize("batch, share", [(0, 1 / 8), (2, 3 / 8), (7, 1), (20, 1)])
def test_the_weight_of_the_kl_divergence_rises_on_a_line(batch, share):
    assert of_batch(VAE(SHAPE, **TINY, beta=3.0, warmup=8), batch)._kl_weight() == pytest.approx(3 * share)
    assert of_batch(VAE(SHAPE, **TINY, beta=3.0), batch)._kl_weight() == 3.0


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_what_a_vae_logs(likelihood):
    """The parts of its bound in nats per image; its loss is shown while it trains."""
    model = of_batch(VAE(SHAPE, **TINY, likelihood=likelihood, free_bits=0.1, beta=2.0), 0)
    torch.manual_seed(0)
    noise = torch.randn(NUM, LATENT, dtype=torch.double).numpy()
    torch.manual_seed(0)
    loss = model.training_step(BATCH, 0).item()
    mean, log_variance = np.split(apply(model.encoder, X), 2, axis=1)
    log_p = log_p_pixels(model, apply(model.decoder, mean + np.exp(log_variance / 2) * noise), X).mean()
    kl = kl_divergence(mean, log_variance).mean(0)
    assert loss == pytest.approx((2 * np.maximum(kl, 0.1 * math.log(2)).sum() - log_p) / PIXELS)
    parts = {"log_likelihood": log_p, "kl": kl.sum(), "elbo": log_p - kl.sum()}
    parts |= {"sigma": math.exp(-1)} if likelihood == "gaussian" else {}
    expected = {name: (pytest.approx(value), False) for name, value in parts.items()}
    assert model.logged == expected | {"loss": (pytest.approx(loss), True)}


@pytest.mark.parametrize("kind", [VAE, RecurrentAutoencoder])
def test_the_bound_of_a_batch_is_the_mean_of_its_images_bounds(kind, monkeypatch):
    """Also of a last batch that has one image."""
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    torch.manual_seed(0)
    options = TINY if kind is VAE else RAE | {"variational": True}
    model = of_batch(kind((2, 1, 4), modality="series", **options), 0)
    losses = [
        model.training_step((SERIES[some], BATCH[1][some]), 0).item()
        for some in (slice(None), slice(0, 1), slice(1, 2), slice(2, 3))
    ]
    assert losses[0] == pytest.approx(np.mean(losses[1:]))


@pytest.mark.parametrize(
    "build",
    [
        lambda: Autoencoder(SHAPE, **TINY),
        lambda: VAE(SHAPE, **TINY),
        lambda: RecurrentAutoencoder((1, 1, 4), **RAE),
        lambda: RecurrentAutoencoder((1, 1, 4), **RAE, variational=True),
    ],
    ids=["ae", "vae", "rnn_ae", "variational rnn_ae"],
)
def test_samples_are_drawn_in_the_precision_of_the_model(build):
    """Whatever that of the latents is that they keep."""
    model = build().double()
    if hasattr(model, "latents"):
        model.latents.float()
        model.latents.keep(torch.randn(40, 2))
    samples = model.sample(4)
    assert samples.dtype == torch.double and samples.shape == (4, *model.hparams.image_shape)
    assert len({tuple(one) for one in samples.flatten(1).tolist()}) == 4


# the recurrent autoencoder


def lstm(network: nn.LSTM, steps: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (N, L, width) and last states (N, 2 * width) of one layer, whose gates are i, f, g, o."""
    w_x, w_h = values(network.weight_ih_l0), values(network.weight_hh_l0)
    bias, outputs = values(network.bias_ih_l0) + values(network.bias_hh_l0), []
    for t in range(steps.shape[1]):
        i, f, g, o = np.split(steps[:, t] @ w_x.T + h @ w_h.T + bias, 4, axis=1)
        c = expit(f) * c + expit(i) * np.tanh(g)
        h = expit(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, 1), np.concatenate([h, c], 1)


def read(model, steps: np.ndarray) -> np.ndarray:
    """What the reader makes of steps (N, L, C), from the last to the first."""
    zeros = np.zeros((len(steps), 3))
    return apply(model.to_code, lstm(model.encoder, steps[:, ::-1], zeros, zeros)[1][:, :3])


def write(model, z: np.ndarray, told: np.ndarray | None, length: int) -> np.ndarray:
    """Outputs (N, L, C) of the writer that is told steps (N, L, C), the one before each, or else its own, bounded."""
    states = np.tanh(apply(model.start, z))
    step, outputs = np.zeros((len(z), 1, model.output.out_features)), []
    for t in range(length):
        before = step if told is None or t == 0 else told[:, t - 1 : t]
        hidden, states = lstm(model.decoder, np.concatenate([before, z[:, None]], 2), states[:, :3], states[:, 3:])
        outputs.append(apply(model.output, hidden))
        step = outputs[-1].clip(-1, 1)
    return np.concatenate(outputs, 1)


SERIES = (torch.rand(NUM, 2, 1, 4, generator=torch.Generator().manual_seed(3)) * 1.6 - 0.8).double()
STEPS = SERIES.squeeze(2).transpose(1, 2).numpy()
RAE = {"width": 3, "latent_dim": 2}


@pytest.mark.parametrize("loss, distribution", [("mse", norm), ("l1", laplace)])
@pytest.mark.parametrize("teacher_forcing", [1.0, 0.0])
def test_recurrent_autoencoder(loss, distribution, teacher_forcing):
    """With a teacher the writer is told the series, without one what it wrote."""
    model = prepare(RecurrentAutoencoder((2, 1, 4), loss=loss, teacher_forcing=teacher_forcing, **RAE))

    def expected():
        output = write(model, read(model, STEPS), STEPS if teacher_forcing else None, 4)
        return -distribution(output, np.exp(values(model.log_scale))).logpdf(STEPS).sum() / STEPS.size

    check(model, (SERIES, BATCH[1]), expected)
    assert np.allclose(model.latents.latents[:NUM], read(model, STEPS))


@pytest.mark.parametrize("batch, share", [(0, 0.8), (25, 0.6), (50, 0.4), (99, 0.008), (300, 0.0)])
def test_the_teacher_leaves_on_a_line(batch, share):
    model = prepare(RecurrentAutoencoder((2, 1, 4), teacher_forcing=0.8, teacher_decay=100, **RAE), batch)
    assert model._teacher_fraction() == pytest.approx(share)
    told = []
    model._teacher_forced = lambda z, x, hidden=0.0: told.append(1) or torch.zeros(NUM, 4, 2)
    model._free_running = lambda z, *args, **options: torch.zeros(NUM, 4, 2)
    for seed in range(20):
        torch.manual_seed(seed)
        should = torch.rand(()).item() < share
        torch.manual_seed(seed)
        model.training_step((SERIES, BATCH[1]), 0)
        assert len(told) == should
        told.clear()


@pytest.mark.parametrize("options", [{}, {"free_bits": 0.0, "beta": 3.0}, {"warmup": 10}], ids=str)
def test_variational_recurrent_autoencoder_of_text(options):
    x = project(torch.randn(NUM, 3, 1, 5, generator=torch.Generator().manual_seed(2)).double(), "text")
    steps, tokens = x.squeeze(2).transpose(1, 2).numpy(), x.argmax(1).squeeze(1).numpy()
    model = prepare(RecurrentAutoencoder((3, 1, 5), modality="text", word_dropout=0.0, **RAE, **options), batch=3)
    torch.manual_seed(0)
    noise = torch.randn(NUM, LATENT, dtype=torch.double).numpy()

    def expected():
        mean, log_variance = np.split(read(model, steps), 2, axis=1)
        output = write(model, mean + np.exp(log_variance / 2) * noise, steps, 5)
        log_p = np.take_along_axis(log_softmax(output, axis=2), tokens[:, :, None], 2).sum((1, 2)).mean()
        kl = kl_divergence(mean, log_variance).mean(0)
        free = options.get("free_bits", 0.5) * 0.6931471805599453
        beta = options.get("beta", 1.0) * 4 / options.get("warmup", 1000)  # in the fourth batch
        return (beta * np.maximum(kl, free).sum() - log_p) / 5

    check(model, (x, BATCH[1]), expected)


def test_importance_weights_of_a_recurrent_autoencoder():
    model = prepare(RecurrentAutoencoder((2, 1, 4), variational=True, **RAE))
    mean, log_variance = np.split(read(model, STEPS), 2, axis=1)
    torch.manual_seed(0)
    weights = []
    for _ in range(3):
        z = mean + np.exp(log_variance / 2) * torch.randn(NUM, LATENT, dtype=torch.double).numpy()
        output = write(model, z, STEPS, 4)
        log_p = norm(output, np.exp(values(model.log_scale))).logpdf(STEPS).sum((1, 2))
        log_ratio = norm.logpdf(z).sum(1) - norm(mean, np.exp(log_variance / 2)).logpdf(z).sum(1)
        weights.append(np.exp(log_p + log_ratio))
    torch.manual_seed(0)
    assert np.allclose(model.log_likelihood(SERIES, 3), np.log(np.mean(weights, 0)))


def test_a_recurrent_autoencoders_code_counts_without_weights_if_it_is_no_gaussian():
    """log of the mean of p(x given z) over latents that know nothing of x."""
    model = prepare(RecurrentAutoencoder((2, 1, 4), **RAE))
    latents = torch.tensor([[[0.3, -1.0]], [[1.2, 0.4]]]).double().expand(2, NUM, 2)
    drawn = iter(latents)
    model._draw_latents = lambda num: next(drawn)
    log_p = [
        norm(write(model, z.numpy(), STEPS, 4), np.exp(values(model.log_scale))).logpdf(STEPS).sum((1, 2))
        for z in latents
    ]
    assert np.allclose(model.log_likelihood(SERIES, 2).detach(), np.log(np.exp(log_p).mean(0)))


@pytest.mark.parametrize(
    "build",
    [
        lambda: Autoencoder(SHAPE, **TINY),
        lambda: VAE(SHAPE, **TINY, likelihood="gaussian"),
        lambda: RecurrentAutoencoder((1, 1, 4), **RAE),
    ],
    ids=["ae", "vae", "rnn_ae"],
)
def test_an_update_lowers_the_error_of_the_reconstruction(build):
    model, x = build(), torch.from_numpy(X).float()
    model.hparams.lr = 1e-2
    x = x.reshape(NUM, *(SHAPE if model.hparams.image_shape == SHAPE else (1, 1, 4)))

    def error():
        return float((model.reconstruct(x) - x).square().mean())

    before = error()
    fit_one(model, (x, BATCH[1]))
    assert error() < before


RESOLVED = ("loss", "variational", "free_bits", "beta", "warmup", "word_dropout", "teacher_decay", "temperature")


@pytest.mark.parametrize(
    "options, values",
    [
        ({}, ("mse", False, 0.0, 1.0, 1000, 0.0, 1000, 0.0)),
        ({"modality": "series", "has_mask": True}, ("mse", False, 0.0, 1.0, 1000, 0.0, 1000, 0.0)),
        ({"modality": "text"}, ("ce", True, 0.5, 1.0, 1000, 0.25, 0, 1.0)),
        ({"modality": "text", "variational": False}, ("ce", False, 0.5, 1.0, 1000, 0.0, 0, 1.0)),
        ({"modality": "audio", "variational": True}, ("mse", True, 0.0, 1.0, 1000, 0.0, 1000, 0.0)),
        ({"loss": "l1", "teacher_decay": 0}, ("l1", False, 0.0, 1.0, 1000, 0.0, 0, 1.0)),
        ({"modality": "text", "teacher_decay": 50}, ("ce", True, 0.5, 1.0, 1000, 0.25, 50, 0.0)),
    ],
    ids=str,
)
def test_what_a_recurrent_autoencoder_does_unless_it_is_told(caplog, options, values):
    """Text is variational, a writer that stays with its teacher draws its steps, and who is left to itself does not."""
    model = RecurrentAutoencoder((3, 1, 4), **RAE, **options)
    assert tuple(getattr(model, name) for name in RESOLVED) == values
    rate = model.configure_optimizers().param_groups[0]["lr"]
    assert rate == (5e-3 if options.get("modality") == "text" else 2e-3)
    # a deviation for each channel but the one that says where there are values, to begin with 1/e
    num_scales = 0 if options.get("modality") == "text" else 3 - options.get("has_mask", False)
    scales = [math.exp(-1)] * num_scales
    assert (model.log_scale.exp().tolist() if scales else []) == pytest.approx(scales)
    assert caplog.messages == []


def test_what_a_recurrent_autoencoder_is_told():
    given = {"variational": True, "free_bits": 0.7, "beta": 2.0, "warmup": 5, "word_dropout": 0.1, "temperature": 0.3}
    for modality in ("series", "text"):
        model = RecurrentAutoencoder((3, 1, 4), modality=modality, **RAE, **given, teacher_decay=9, lr=0.01)
        assert {name: getattr(model, name) for name in given} == given and model.teacher_decay == 9
        assert model.configure_optimizers().param_groups[0]["lr"] == 0.01


@pytest.mark.parametrize("modality, loss, expected", [("series", "ce", "mse or l1"), ("text", "mse", "ce")])
def test_losses_of_other_data_are_refused(modality, loss, expected):
    message = f"--model.loss: expected {expected} for data of modality {modality}; got {loss}"
    with pytest.raises(ValueError, match=message):
        RecurrentAutoencoder((3, 1, 4), modality=modality, loss=loss, **RAE)


@pytest.mark.parametrize("option, needs", [("beta", True), ("warmup", True), ("free_bits", True), ("sampler", False)])
@pytest.mark.parametrize("variational", [True, False])
def test_options_that_a_recurrent_autoencoder_has_no_use_for_warn(caplog, option, needs, variational):
    given = {option: "gaussian" if option == "sampler" else 0}
    RecurrentAutoencoder((2, 1, 4), **RAE, variational=variational, **given)
    expected = f"--model.{option} has no effect without --model.variational {str(needs).lower()}"
    assert caplog.messages == ([] if needs == variational else [expected])


def cells(network: nn.RNNBase, steps: np.ndarray, states: tuple[torch.Tensor, ...]) -> tuple[np.ndarray, list]:
    """Outputs and last states of each layer by torch's cells; a state (layers, N, width), or two of an LSTM."""
    kind, width = (nn.LSTMCell if isinstance(network, nn.LSTM) else nn.GRUCell), network.hidden_size
    sequence, last = list(torch.from_numpy(steps.copy()).unbind(1)), []
    for layer in range(network.num_layers):
        cell = kind(sequence[0].shape[1], width).double()
        cell.load_state_dict({name: getattr(network, f"{name}_l{layer}").detach() for name in cell.state_dict()})
        state, outputs = tuple(part[layer] for part in states), []
        for step in sequence:
            new = cell(step, state if len(state) == 2 else state[0])
            state = new if isinstance(new, tuple) else (new,)
            outputs.append(state[0])
        sequence = outputs
        last.append(state)
    return torch.stack(sequence, 1).detach().numpy(), last


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_layers_of_a_recurrent_autoencoder(cell):
    """The code is of the last states of all of the reader's layers, and starts all of the writer's."""
    model = prepare(RecurrentAutoencoder((2, 1, 4), cell=cell, num_layers=3, **RAE))
    zeros = (torch.zeros(3, NUM, 3).double(),) * (2 if cell == "lstm" else 1)
    last = cells(model.encoder, STEPS[:, ::-1], zeros)[1]
    code = apply(model.to_code, np.concatenate([states[0].detach().numpy() for states in last], 1))
    assert np.allclose(model.encode(SERIES).detach(), code)
    starts = np.tanh(apply(model.start, code)).reshape(NUM, -1, 3).transpose(1, 0, 2)
    states = tuple(torch.from_numpy(part) for part in np.split(starts, len(zeros)))
    before = np.concatenate([np.zeros((NUM, 1, 2)), STEPS[:, :-1]], 1)
    told = np.concatenate([before, np.repeat(code[:, None], 4, 1)], 2)
    output = apply(model.output, cells(model.decoder, told, states)[0])
    assert np.allclose(model._teacher_forced(torch.from_numpy(code), SERIES).detach(), output)


def test_a_recurrent_autoencoder_shows_what_it_writes_by_itself():
    model = prepare(RecurrentAutoencoder((2, 1, 4), **RAE))
    written = write(model, read(model, STEPS), None, 4).clip(-1, 1)
    assert np.allclose(model.reconstruct(SERIES).squeeze(2), written.transpose(0, 2, 1))
    model.output.bias.data.fill_(3.0)
    assert torch.equal(model.reconstruct(SERIES), torch.ones_like(SERIES))
    assert model._free_running(torch.zeros(1, 2).double(), 0.0, bounded=False).min() > 1


def test_a_recurrent_autoencoder_of_text_shows_probabilities_and_samples_tokens():
    """It is told the likeliest token before when it shows what it knows, and what it drew when it samples."""
    model = prepare(RecurrentAutoencoder((3, 1, 5), modality="text", **RAE))
    z = 3 * torch.randn(6, 2, generator=torch.Generator().manual_seed(1)).double()
    shown = model.decode(z).squeeze(2).detach().numpy().transpose(0, 2, 1)
    likeliest = np.where(shown == shown.max(2, keepdims=True), 1.0, -1.0)
    assert np.allclose(shown, 2 * np.exp(log_softmax(write(model, z.numpy(), likeliest, 5), axis=2)) - 1)
    p = np.array([0.6, 0.3, 0.1])
    model.output.weight.data.zero_()
    model.output.bias.data = torch.from_numpy(np.log(p))
    samples = model.sample(4000)
    assert torch.equal(samples, project(samples, "text"))
    assert (samples > 0).double().mean((0, 2, 3)).numpy() == pytest.approx(p, abs=0.02)


@pytest.mark.parametrize("temperature, expected", [(0.0, "likeliest"), (0.7, "drawn")])
def test_samples_of_a_recurrent_autoencoder(temperature, expected):
    """Written from drawn latents; where the temperature is 0, of likeliest steps."""
    model = prepare(RecurrentAutoencoder((2, 1, 4), temperature=temperature, **RAE))
    z, drawn = torch.from_numpy(read(model, STEPS)), []
    model.latents.draw = lambda num, sampler: drawn.append((num, sampler)) or z
    samples = model.sample(NUM).squeeze(2).numpy().transpose(0, 2, 1)
    likeliest = write(model, z.numpy(), None, 4).clip(-1, 1)
    assert np.allclose(samples, likeliest) == (expected == "likeliest")
    assert drawn == [(NUM, "mixture")] and np.abs(samples).max() <= 1
    # each step is one of the distribution that is told the steps before
    told = write(model, z.numpy(), samples, 4)
    assert np.abs(samples - told.clip(-1, 1)).max() < 5 * temperature * np.exp(values(model.log_scale)).max() + 1e-6


def test_latents_that_a_recurrent_autoencoder_writes_from():
    model, drawn = RecurrentAutoencoder((2, 1, 4), sampler="standard", **RAE), []
    model.latents.draw = lambda num, sampler: drawn.append((num, sampler)) or torch.zeros(num, 2)
    model._draw_latents(5)
    assert drawn == [(5, "standard")]
    variational = RecurrentAutoencoder((2, 1, 4), variational=True, **RAE).double()
    torch.manual_seed(0)
    expected = torch.randn(5, 2, dtype=torch.double)
    torch.manual_seed(0)
    assert torch.equal(variational._draw_latents(5), expected)  # of the prior


@pytest.mark.parametrize("variational", [True, False])
def test_what_a_recurrent_autoencoder_logs(variational):
    """The parts of its bound in nats per sequence; its loss is shown while it trains, per step and channel."""
    model = of_batch(RecurrentAutoencoder((2, 1, 4), variational=variational, **RAE), 0)
    loss = model.training_step((SERIES, BATCH[1]), 0).item()
    logged = {name: value for name, (value, _) in model.logged.items()}
    assert set(logged) == {"loss", "log_likelihood"} | ({"kl", "elbo"} if variational else set())
    assert [name for name, (_, is_shown) in model.logged.items() if is_shown] == ["loss"]
    if not variational:
        assert np.allclose(model.latents.latents[:NUM], read(model, STEPS))
        assert loss == pytest.approx(-logged["log_likelihood"] / 8)
        return
    kl = kl_divergence(*np.split(read(model, STEPS), 2, axis=1)).mean(0).sum()
    assert logged["kl"] == pytest.approx(kl)
    assert logged["elbo"] == pytest.approx(logged["log_likelihood"] - kl)
    assert loss == pytest.approx((kl / 1000 - logged["log_likelihood"]) / 8)  # the first of 1,000 batches


@pytest.mark.parametrize("warmup, batch, share", [(0, 0, 1), (1, 0, 1), (8, 2, 3 / 8), (8, 7, 1), (8, 50, 1)])
def test_a_recurrent_autoencoders_weight_of_the_kl_divergence_rises_and_stays(warmup, batch, share):
    model = of_batch(RecurrentAutoencoder((2, 1, 4), variational=True, beta=3.0, warmup=warmup, **RAE), batch)
    loss = model.training_step((SERIES, BATCH[1]), 0).item()
    (log_p, _), (kl, _) = (model.logged[name] for name in ("log_likelihood", "kl"))
    assert 8 * loss + log_p == pytest.approx(share * 3 * kl)


def test_what_a_writer_without_a_teacher_learns():
    """The error of its outputs as they are, not of the steps in [-1, 1] that it shows; told nothing but the code."""
    options = {"teacher_forcing": 0.0, "word_dropout": 1.0}
    model = of_batch(RecurrentAutoencoder((2, 1, 4), **options, **RAE), 0)
    model.output.bias.data.fill_(3.0)
    output = write(model, read(model, STEPS), np.zeros_like(STEPS), 4)
    assert output.min() > 1
    expected = -norm(output, math.exp(-1)).logpdf(STEPS).sum() / STEPS.size
    assert model.training_step((SERIES, BATCH[1]), 0).item() == pytest.approx(expected)


def test_what_is_beyond_the_end_of_a_series_is_not_read():
    """Each is read from its own last step to its first, and one without any as if it had one."""
    x = torch.cat([SERIES[:, :1], torch.full((NUM, 1, 1, 4), -1.0).double()], 1)
    ends = (4, 2, 0)
    for one, end in zip(x, ends):
        one[-1, 0, :end] = 1.0
    model = prepare(RecurrentAutoencoder((2, 1, 4), modality="series", has_mask=True, **RAE))
    steps = x.squeeze(2).transpose(1, 2).numpy()
    expected = [read(model, one[None, : max(1, end)])[0] for one, end in zip(steps, ends)]
    assert np.allclose(model.encode(x).detach(), expected)


def test_steps_of_masked_series_by_hand():
    """Two values and whether there are any: the likeliest, drawn ones, and their probability."""
    model = prepare(RecurrentAutoencoder((3, 1, 2), modality="series", has_mask=True, **RAE))
    model.log_scale.data = torch.tensor([-1.5, -2.0]).double()
    output = torch.tensor([[[0.4, -0.1, 2.0], [-3.0, 3.0, -1.0]], [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]]).double()
    there = 2 * expit(output[..., 2:].numpy()) - 1
    likeliest = np.concatenate([output[..., :2].numpy().clip(-1, 1), there], 2)
    assert np.allclose(model._likeliest(output), likeliest)
    drawn = model._next(output[:1, :1].expand(40_000, 1, 3), temperature=0.5).squeeze(1)
    assert drawn[:, :2].mean(0).tolist() == pytest.approx([0.4, -0.1], abs=0.01)
    assert drawn[:, :2].std(0).tolist() == pytest.approx([0.5 * math.exp(-1.5), 0.5 * math.exp(-2.0)], rel=0.02)
    assert set(drawn[:, 2].tolist()) == {-1.0, 1.0}
    assert (drawn[:, 2] > 0).double().mean().item() == pytest.approx(expit(2.0), abs=0.01)
    # the first series ends after one step, the second one later
    x = torch.tensor([[[0.1, 0.0], [0.3, 0.0], [1.0, -1.0]], [[0.1, -0.2], [0.3, 0.4], [1.0, 1.0]]]).double()[
        :, :, None
    ]
    first, second = (
        norm(output[..., i].numpy(), math.exp(scale)).logpdf(x[:, i, 0]) for i, scale in ((0, -1.5), (1, -2))
    )
    values_there = [first[0, 0] + second[0, 0], first[1].sum() + second[1].sum()]
    ends = [log_expit(2.0) + log_expit(1.0), log_expit(0.3) + log_expit(0.6)]
    assert np.allclose(model._log_p(output, x).detach(), np.add(values_there, ends))


@pytest.mark.parametrize("loss, distribution", [("mse", norm), ("l1", laplace)])
def test_drawn_values_have_the_distribution_of_the_likelihood(loss, distribution):
    model = RecurrentAutoencoder((1, 1, 4), loss=loss, **RAE)
    model.log_scale.data.fill_(-2.5)
    drawn = model._next(torch.full((20_000, 1, 1), 0.2), temperature=0.5).detach().flatten().numpy()
    assert kstest(drawn, distribution(0.2, 0.5 * math.exp(-2.5)).cdf).pvalue > 1e-3


def test_steps_are_within_the_bounds_of_data():
    model = RecurrentAutoencoder((1, 1, 4), **RAE)
    assert model._likeliest(torch.tensor([[[-3.0], [0.2], [3.0]]])).flatten().tolist() == pytest.approx(
        [-1.0, 0.2, 1.0]
    )
    for bound in (-1.0, 1.0):
        drawn = model._next(torch.full((100, 1, 1), bound), 1.0)
        assert drawn.abs().max() == 1.0 and (drawn == bound).any() and (drawn != bound).any()


def test_a_scale_is_bounded_below():
    """Else the density of what a writer is told exactly would have no bound."""
    model = RecurrentAutoencoder((1, 1, 4), **RAE).double()
    model.log_scale.data.fill_(-9.0)
    x = torch.full((1, 1, 1, 4), 0.5).double()
    expected = norm(0.5, math.exp(-4.0)).logpdf(0.51) * 4
    assert model._log_p(torch.full((1, 4, 1), 0.51).double(), x).item() == pytest.approx(expected)


def test_steps_of_text_by_hand():
    model = RecurrentAutoencoder((3, 1, 4), modality="text", **RAE)
    logits = torch.tensor([[[1.0, 0.5, -1.0]]])
    p = np.exp(log_softmax([1.0, 0.5, -1.0]))
    assert np.allclose(model._likeliest(logits), 2 * p - 1)
    assert model._next(logits, 0.0).tolist() == [[[1.0, -1.0, -1.0]]]
    for temperature in (1.0, 0.5):  # logits over the temperature are those of what is drawn
        drawn = model._next(logits.expand(40_000, 1, 3), temperature)
        shares = (drawn > 0).double().mean((0, 1))
        assert shares.numpy() == pytest.approx(np.exp(log_softmax(np.array([1.0, 0.5, -1.0]) / temperature)), abs=0.01)


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_a_recurrent_autoencoders_gradient_is_clipped_by_its_norm(clip):
    model, clipped = RecurrentAutoencoder((2, 1, 4), gradient_clip=clip, **RAE), []
    model.clip_gradients = lambda optimizer, gradient_clip_val: clipped.append((optimizer, gradient_clip_val))
    model.on_before_optimizer_step("its optimizer")
    assert clipped == ([("its optimizer", clip)] if clip else [])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_hidden_steps_are_hidden_from_a_writer_with_and_without_its_teacher(share):
    """All of them hidden, what was written before does not matter; the code does."""
    model = prepare(RecurrentAutoencoder((2, 1, 4), **RAE))
    z, nothing = torch.from_numpy(read(model, STEPS)), np.zeros_like(STEPS)
    told = write(model, z.numpy(), nothing if share else STEPS, 4)
    assert np.allclose(model._teacher_forced(z, SERIES, share).detach(), told)
    alone = write(model, z.numpy(), nothing if share else None, 4)
    assert np.allclose(model._free_running(z, 0.0, bounded=False, hidden=share).detach(), alone)
