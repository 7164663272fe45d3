"""Models trained on data of which theory says what they must reach (Baldi & Hornik 1989; Lucas et al. 2019, arXiv
1911.02469; and the papers of the models)."""

import math

import pytest
import torch
from sklearn.decomposition import PCA
from torch.distributions import Categorical, MixtureSameFamily, Normal

from lightning_genae.data.batches import Batches
from lightning_genae.data.storage import to_float
from lightning_genae.evaluation.metrics import Samples
from lightning_genae.evaluation.metrics.frechet import frechet_distance
from lightning_genae.evaluation.metrics.modes import ModeMetric
from lightning_genae.models.aae import AdversarialAutoencoder
from lightning_genae.models.ae import Autoencoder
from lightning_genae.models.began import BEGAN
from lightning_genae.models.bigan import BiGAN
from lightning_genae.models.ebgan import EBGAN
from lightning_genae.models.gan import GAN
from lightning_genae.models.vae import VAE
from lightning_genae.nn import losses, networks
from tests.data import dataset_of
from tests.test_models import train

LINEAR = {"network": "mlp", "hidden": []}


def train_finer(model, datamodule, *stages: tuple[int, float]) -> None:
    """Trains in stages of (batches, learning rate)."""
    for steps, model.hparams.lr in stages:
        datamodule.batches = 0
        train(model, datamodule, steps)


def descend(model, datamodule, *stages: tuple[int, float]) -> None:
    """Takes steps on all data at once, without a Trainer, in stages of (steps, learning rate)."""
    model.log = lambda *args, **options: None
    batch = to_float(datamodule.dataset.train.images), datamodule.dataset.train.labels
    for steps, model.hparams.lr in stages:
        optimizer = model.configure_optimizers()
        for _ in range(steps):
            optimizer.zero_grad()
            model.training_step(batch, 0).backward()
            optimizer.step()


class Gaussian(Batches):
    """Gaussian points, centred, whose covariance has just these eigenvalues, along random axes."""

    num = 2000

    def __init__(self, *eigenvalues: float):
        super().__init__(batch_size=self.num)
        self.eigenvalues = torch.tensor(eigenvalues)
        self.dataset = dataset_of(self.points()[:, :, None, None])

    def points(self):
        generator = torch.Generator().manual_seed(0)
        dims = len(self.eigenvalues)
        x = torch.randn(self.num, dims, generator=generator)
        x = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T, correction=0))).T
        axes = torch.linalg.qr(torch.randn(dims, dims, generator=generator)).Q
        return (x * self.eigenvalues.sqrt()) @ axes.T


def test_a_linear_autoencoder_is_pca(digits):
    x = digits.dataset.train.images.float() / 127.5 - 1
    flat = x.flatten(1).numpy()
    pca = PCA(8).fit(flat)
    expected = ((pca.inverse_transform(pca.transform(flat)) - flat) ** 2).mean()
    model = Autoencoder(digits.dataset.image_shape, latent_dim=8, **LINEAR)
    descend(model, digits, (800, 3e-2), (300, 5e-3), (100, 5e-4))
    with torch.no_grad():
        error = (model.decoder(model.encode(x)) - x).square().mean().item()
    assert error == pytest.approx(expected, rel=0.02)
    assert error > expected * 0.9999  # nothing linear is better


def test_a_linear_denoiser_shrinks_by_the_closed_form():
    """Error of the best rank-2 denoiser of x + N(0, t^2): sum lambda - sum of lambda^2 / (lambda + t^2) kept."""
    data, t = Gaussian(1.0, 0.5, 0.2, 0.1), 0.5
    model = Autoencoder(data.dataset.image_shape, latent_dim=2, noise="gaussian", noise_level=t, **LINEAR)
    descend(model, data, (200, 2e-2), (200, 2e-3))
    x = data.dataset.train.images
    with torch.no_grad():
        errors = [
            (model.decoder(model.encode(x + t * torch.randn_like(x))) - x).square().sum((1, 2, 3)) for _ in range(50)
        ]
    kept = [eigenvalue**2 / (eigenvalue + t**2) for eigenvalue in (1.0, 0.5)]
    assert torch.cat(errors).mean().item() == pytest.approx(1.8 - sum(kept), rel=0.02)


def test_a_denoiser_is_the_posterior_mean():
    """E[x given y] = y + t^2 d/dy log p_t(y), for two gaussians on a line."""

    class TwoGaussians(Gaussian):
        def points(self):
            return torch.randn(self.num, 1) * 0.2 + torch.randint(2, (self.num, 1)) * 1.4 - 0.7

    data, t = TwoGaussians(1.0), 0.5
    model = Autoencoder(
        data.dataset.image_shape, latent_dim=1, network="mlp", hidden=[64], noise="gaussian", noise_level=t
    )
    descend(model, data, (300, 1e-2), (300, 1e-3))
    y = torch.linspace(-1.5, 1.5, 61, dtype=torch.double, requires_grad=True)
    noisy = MixtureSameFamily(
        Categorical(torch.ones(2).double()), Normal(torch.tensor([-0.7, 0.7]).double(), math.hypot(0.2, t))
    )
    (score,) = torch.autograd.grad(noisy.log_prob(y).sum(), y)
    expected = (y + t**2 * score).detach().float()
    with torch.no_grad():
        denoised = model.decoder(model.encode(y.float()[:, None, None, None])).flatten()
    assert (denoised - expected).abs().mean() < 0.05
    assert (y.float() - expected).abs().mean() > 0.2


def elbo(model: VAE, x: torch.Tensor, num_draws: int = 50) -> float:
    """Mean evidence lower bound in nats."""
    with torch.no_grad():
        return float(torch.stack([model.log_likelihood(x, 1).mean() for _ in range(num_draws)]).mean())


@pytest.mark.slow
def test_a_linear_vae_is_probabilistic_pca():
    eigenvalues = [2.0, 1.0, 0.5, 0.1, 0.08, 0.06, 0.05, 0.03]
    data, k = Gaussian(*eigenvalues), 3
    model = VAE(data.dataset.image_shape, likelihood="gaussian", latent_dim=k, **LINEAR)
    train_finer(model, data, (400, 2e-2), (200, 2e-3), (100, 2e-4))
    discarded = sum(eigenvalues[k:]) / (8 - k)
    assert model.log_sigma.exp().item() ** 2 == pytest.approx(discarded, rel=0.02)
    log_eigenvalues = sum(map(math.log, eigenvalues[:k])) + (8 - k) * math.log(discarded)
    expected = -0.5 * (8 * math.log(2 * math.pi) + log_eigenvalues + 8)
    x = data.dataset.train.images
    assert elbo(model, x) == pytest.approx(expected, rel=0.02)
    # for this model the bound is tight, so more importance samples change nothing
    assert model.log_likelihood(x, 50).mean().item() == pytest.approx(expected, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("beta", [1.0, 4.0, 16.0])
def test_posterior_collapse_of_a_linear_beta_vae(beta):
    """Dimension j lives iff lambda_j > s = beta sigma^2, with KL ln(lambda_j / s) / 2."""
    eigenvalues, sigma = [1.0, 0.5, 0.2, 0.08, 0.02], 0.2
    data, s = Gaussian(*eigenvalues), beta * sigma**2
    model = VAE(data.dataset.image_shape, likelihood="gaussian", latent_dim=5, sigma=sigma, beta=beta, **LINEAR)
    train_finer(model, data, (600, 2e-2), (200, 2e-3), (100, 2e-4))
    x = data.dataset.train.images
    with torch.no_grad():
        mean, log_variance = model.posterior(x)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean(0)
        z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        error = (model.decoder(z) - x).square().flatten(1).sum(1).mean().item()
    living = [eigenvalue for eigenvalue in eigenvalues if eigenvalue > s]
    expected = sorted((0.5 * math.log(eigenvalue / s) for eigenvalue in living), reverse=True)
    assert int((kl > 0.05).sum()) == len(living)
    assert kl.sum().item() == pytest.approx(sum(expected), rel=0.05)
    rest = sum(eigenvalues) - sum(living)
    assert error == pytest.approx(len(living) * s + rest, rel=0.05)


@pytest.mark.slow
def test_latents_of_an_adversarial_autoencoder_reach_the_prior(digits):
    model = AdversarialAutoencoder(
        digits.dataset.image_shape, latent_dim=4, network="mlp", hidden=[64], adversarial=0.1
    )
    x = digits.dataset.train.images.float() / 127.5 - 1
    prior = torch.randn(20_000, 4)

    def distance() -> float:
        with torch.no_grad():
            return frechet_distance(prior, model.encode(x))

    before = distance()
    train(model, digits, 1000)
    floor = 4 * (4 + 5) / (4 * len(x))
    assert distance() < max(0.2, 4 * floor)
    assert before > 1


@pytest.mark.slow
def test_a_bigans_encoder_inverts_its_generator():
    """Linear and gaussian: x = A z, so that the best encoder is A's inverse."""
    data = Gaussian(1.0, 0.4)
    data.batch_size = 250

    class Linear(BiGAN):
        """Without the tanh that images need."""

        def _pairs(self, x, fake, z, labels):
            return torch.cat([x, self.generator(z)]), torch.cat([self.encoder(x), z])

    model = Linear(data.dataset.image_shape, latent_dim=2, **LINEAR)
    train_finer(model, data, (1000, 2e-3), (300, 2e-4))
    with torch.no_grad():
        z = torch.randn(1000, 2)
        again = model.encode(model.averaged.module(z))
        x = model.averaged.module(torch.randn(5000, 2))
    assert (again - z).square().mean() < 0.1
    assert frechet_distance(data.dataset.train.images.flatten(1), x.flatten(1)) < 0.3


def test_a_trained_critic_is_optimal():
    """Its probability is p / (p + q), its loss log 4 - 2 JSD."""
    p, q = Normal(-0.5, 0.5), Normal(0.5, 0.8)
    critic = networks.Critic((1, 1, 1), "mlp", hidden=[32, 32])
    optimizer = torch.optim.Adam(critic.parameters(), 3e-3)
    values = []
    for _ in range(500):
        real, fake = p.sample((1500, 1, 1, 1)), q.sample((1500, 1, 1, 1))
        loss = losses.critic("ns", critic(real), critic(fake))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    x = torch.linspace(-1.5, 1.5, 50)
    density_p, density_q = p.log_prob(x).exp(), q.log_prob(x).exp()
    with torch.no_grad():
        found = critic(x[:, None, None, None]).sigmoid()
    assert (found - density_p / (density_p + density_q)).abs().max() < 0.06
    x = torch.linspace(-6, 6, 10_001).double()
    density_p, density_q = p.log_prob(x).exp(), q.log_prob(x).exp()
    middle = (density_p + density_q) / 2
    divergence = sum(0.5 * torch.trapezoid(d * (d / middle).log(), x) for d in (density_p, density_q))
    assert sum(values[-200:]) / 200 == pytest.approx(math.log(4) - 2 * divergence.item(), abs=0.02)


def test_the_gap_of_a_clipped_linear_critic():
    """c times the L1 norm of the shift between the distributions."""
    model = GAN((2, 1, 1), loss="wgan", clip=0.05, **LINEAR)
    optimizer = torch.optim.Adam(model.critic.parameters(), 1e-2)
    fake = torch.randn(100, 2, 1, 1)
    real = fake + torch.tensor([3.0, -0.5])[:, None, None]
    for _ in range(100):
        loss = losses.critic(model.game, model.critic(real), model.critic(fake))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.after_critic_step()
    gap = -losses.critic("wgan", model.critic(real), model.critic(fake))
    assert gap.item() == pytest.approx(0.05 * 3.5, rel=1e-4)


def test_ebgans_critic_loses_the_margin_where_energies_are_equal(digits):
    model = EBGAN(digits.dataset.image_shape, margin=5.0)
    x = digits.dataset.train.images[:64].float() / 127.5 - 1
    model.generate = lambda num: x
    model.log_part = lambda *args: None
    assert model.loss_critic(x, torch.zeros(64)).item() == pytest.approx(5, rel=1e-5)


@pytest.mark.slow
def test_began_reaches_its_equilibrium(digits):
    """The errors' ratio goes to gamma, k stays within [0, 1]."""
    model = BEGAN(digits.dataset.image_shape, network="mlp", hidden=[64], gamma=0.6, lambda_k=0.05)
    ratios, convergences = [], []
    original = model.loss_generator

    def watched(x, labels):
        fake = original(x, labels)
        ratios.append(float(fake.detach() / model.error_real))
        convergences.append(float(model.error_real + (0.6 * model.error_real - fake.detach()).abs()))
        assert 0 <= model.k <= 1
        return fake

    model.loss_generator = watched
    trainer = train(model, digits, 800)
    assert sum(ratios[-300:]) / 300 == pytest.approx(0.6, abs=0.1)
    assert trainer.callback_metrics["train/convergence"] == pytest.approx(convergences[-1], rel=1e-5)
    assert convergences[-1] < convergences[0]


@pytest.mark.parametrize("model_class", [EBGAN, BEGAN])
def test_a_critic_that_is_an_autoencoder_knows_real_images(model_class, digits):
    model = model_class(digits.dataset.image_shape, network="mlp", hidden=[64], lr=3e-3)
    train(model, digits, 100)
    x = digits.dataset.heldout.images.float() / 127.5 - 1
    shuffled = x.flatten(1)[:, torch.randperm(64)].reshape(x.shape)  # the pixels' values, but no digit
    noise = torch.rand_like(x) * 2 - 1

    def error(images):
        return (model.reconstruct(images) - images).square().mean()

    assert error(x) < 0.5 * error(shuffled)
    assert error(x) < 0.5 * error(noise)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, good", [({"loss": "ns", "r1": 0.1}, 0.3), ({"loss": "wgan-gp", "gradient_penalty": 0.1}, 0.1)], ids=str
)
def test_regularised_gans_find_all_modes_of_the_ring(options, good):
    from datamodules.ring import Ring

    ring = Ring(batch_size=256)
    ring.setup()
    model = GAN(
        ring.dataset.image_shape,
        ring.dataset.num_classes,
        network="mlp",
        hidden=[128, 128],
        lr=1e-3,
        latent_dim=2,
        **options,
    )
    train(model, ring, 3000)
    found = ModeMetric(Samples(), ring.dataset).measure(Samples(images=model.sample(2500)))
    assert found["modes"] == 8
    assert found["good"] > good
