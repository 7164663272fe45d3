"""The candidates of benchmarks/autoencoder_wins: their terms by hand, and nothing of them at weight 0."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lightning_genae.data.modalities.image import Image
from lightning_genae.models.gan import GAN

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks/autoencoder_wins"))
import gates
from genae_candidates.candidates import Consistency, Moments, Predict, Reconstruct, Round
from genae_candidates.codes import Codes
from genae_candidates.discrete import Discrete, VQAutoencoder
from genae_candidates.gan import CANDIDATES, CandidateGAN

USES = list(CANDIDATES)


class Given:
    """Codes that are the first pixels, of training images whose codes are given."""

    encoder = "ae"

    def __init__(self, bank):
        self.bank = bank

    def __call__(self, x):
        return x.flatten(1)[:, : self.bank.shape[1]]


class ImagesAlone:
    """What a candidate asks of a data set."""

    def __init__(self, images):
        self.train, self.image_shape = self, images.shape[1:]
        self.images = images


@pytest.fixture(scope="module")
def models(dataset):
    """A candidate GAN of each use after `on_fit_start`, without a Trainer."""
    made = {}
    for use in USES:
        torch.manual_seed(0)
        model = CandidateGAN(dataset.image_shape, use=use, num_codes=8, weight=0.0, network="mlp", hidden=[16])
        model.log_part = lambda *args, **options: None
        model.candidate.steps = 10
        model.candidate.fit(Codes("pca", "code", 8, dataset), dataset)
        made[use] = model
    return made


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    from datamodules.digits import Digits

    data = Digits(num_train=100)
    data.cache_dir = str(tmp_path_factory.mktemp("cache"))
    data.setup()
    return data.dataset


@pytest.mark.parametrize("use", USES)
def test_with_weight_0_it_is_gan(use, models, dataset):
    model = models[use]
    torch.manual_seed(0)
    plain = GAN(dataset.image_shape, network="mlp", hidden=[16])
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if "candidate" not in name})
    plain.log_part = lambda *args, **options: None
    x, labels = dataset.train.images[:8].float() / 127.5 - 1, torch.zeros(8).long()
    losses = []
    for one in (model, plain):
        torch.manual_seed(1)
        first = one.loss_critic(x, labels).item()
        torch.manual_seed(2)
        losses.append((first, one.loss_generator(x, labels).item()))
    assert losses[0] == losses[1]


def test_pca_codes_are_white(dataset):
    codes = Codes("pca", "code", 8, dataset)
    x = dataset.train.images.float() / 127.5 - 1
    assert torch.allclose(codes(x), codes.bank, atol=1e-4)
    assert torch.allclose(codes.bank.mean(0), torch.zeros(8), atol=1e-4)
    assert torch.allclose(torch.cov(codes.bank.T), torch.eye(8), atol=1e-3)


def test_untrained_codes_are_the_same_in_every_run(dataset):
    first, second = (Codes("untrained", "hidden", 8, dataset) for _ in range(2))
    assert torch.equal(first.bank, second.bank) and first.bank.shape == (100, 8)


def test_moments_by_hand():
    """Squared differences of means and covariances over the number of codes; the queue counts, the batch has the
    gradient, as large as if all were of it."""
    bank = torch.tensor([[-1.0, 0], [1, 0], [0, -2], [0, 2]])
    term = Moments((1, 1, 2), 3, 2, False)
    term.fit(Given(bank), None)
    first, second = torch.randn(2, 6, 1, 1, 2).double().float()
    wanted = torch.cov(bank.T)

    def distance(codes):
        return (codes.mean(0).square().sum() + (torch.cov(codes.T) - wanted).square().sum()) / 2

    assert term.generator_term(first).item() == pytest.approx(distance(first.flatten(1)).item(), rel=1e-5)
    both = torch.cat([second, first]).flatten(1)
    assert term.generator_term(second).item() == pytest.approx(2 * distance(both).item(), rel=1e-5)
    assert int(term.filled) == 12 and torch.equal(term.queue[:12], both)
    # nothing to do for images with the moments of the training images
    same = Moments((1, 1, 2), 3, 2, False)
    same.fit(Given(bank), None)
    assert same.generator_term(bank.reshape(4, 1, 1, 2)).item() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("permuted", [False, True])
def test_predict_learns_codes_of_its_own_image_alone(permuted):
    torch.manual_seed(0)
    x, fake = torch.randn(2, 32, 1, 1, 2)
    term = Predict((1, 1, 2), 2, 2, permuted)
    term.fit(Given(torch.zeros(4, 2)), None)
    with torch.no_grad():
        term.head.weight.copy_(torch.eye(2))
        term.head.bias.zero_()
    value = term.critic_term(Round(x, fake, torch.cat([x, fake]).flatten(1), None, None)).item()
    assert (value > 0.5) if permuted else value == 0


def test_reconstruct_is_of_real_images_in_half_size():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    term = Reconstruct((1, 4, 4), 3, 2, False)
    with torch.no_grad():
        term.head.weight.zero_()
        term.head.bias.copy_(torch.tensor([2.5, 4.5, 10.5, 12.5]) + torch.tensor([2.0, 0, 0, 0]))
    value = term.critic_term(Round(x, torch.full_like(x, 9), torch.zeros(2, 3), None, None))
    assert value.item() == pytest.approx(4 / 4)


def test_consistency_is_of_half_a_batch():
    """A critic that sums the pixels, and a variation that adds 1 to each."""
    term = Consistency((1, 1, 2), 3, 2, False)
    term.__dict__["vary"] = lambda images, labels: images + 1
    seen = Round(
        torch.randn(8, 1, 1, 2), torch.randn(8, 1, 1, 2), None, lambda x, labels: x.flatten(1).sum(1), torch.zeros(8)
    )
    counted = []
    term.__dict__["vary"] = lambda images, labels: counted.append(len(images)) or images + 1
    assert term.critic_term(seen).item() == pytest.approx(2.0**2, rel=1e-5)
    assert counted == [4 + 4]


def test_a_term_every_third_batch_weighs_three_times_as_much(dataset, monkeypatch):
    model = CandidateGAN(dataset.image_shape, use="reconstruct", weight=0.5, every=3, network="mlp", hidden=[16])
    model.log_part = lambda *args, **options: None
    monkeypatch.setattr(model.candidate, "critic_term", lambda seen: torch.tensor(2.0))
    monkeypatch.setattr(model.candidate, "generator_term", lambda fake: torch.tensor(1.0))
    x, labels = torch.zeros(4, 1, 8, 8), torch.zeros(4).long()

    def losses(batches):
        monkeypatch.setattr(GAN, "batches", batches)
        torch.manual_seed(0)
        return torch.stack([model.loss_critic(x, labels), model.loss_generator(x, labels)])

    changes = torch.stack([losses(batches) for batches in range(4)]) - losses(1)
    assert changes.tolist() == [pytest.approx(row, abs=1e-5) for row in ([3, 1.5], [0, 0], [0, 0], [3, 1.5])]


@pytest.mark.parametrize("permuted", [False, True])
def test_mixing_with_an_equal_image_changes_nothing(permuted):
    """Pairs of equal images are their own nearest neighbours."""
    torch.manual_seed(0)
    critic = GAN((1, 8, 8), width=4).critic
    images = torch.randn(4, 1, 8, 8).repeat(2, 1, 1, 1)
    term = CANDIDATES["mix"]((1, 8, 8), 3, 4, permuted)
    term.fit(Given(torch.zeros(4, 4)), None)
    value = term.critic_term(Round(images, images, None, critic, torch.zeros(8))).item()
    assert (value > 1e-6) if permuted else value < 1e-9


@pytest.mark.parametrize("permuted", [False, True])
def test_swapped_images_keep_what_is_coarse_and_exchange_the_rest(permuted):
    torch.manual_seed(0)
    images = torch.randn(200, 1, 4, 4)
    term = CANDIDATES["swap"]((1, 4, 4), 3, 2, permuted)
    codes = Given(torch.zeros(4, 2))
    codes.reconstruct = term._blurred
    term.fit(codes, None)
    swapped = term.transform(images)
    coarse = term._blurred(images)
    changed = (swapped - images).flatten(1).abs().amax(1) > 1e-5
    assert 60 < changed.sum() < 140
    detail = (images - coarse).flatten(1)
    distances = torch.cdist((swapped - coarse).flatten(1), detail)
    assert distances.amin(1).max() < 0.01  # every detail is that of some image
    assert (distances.argmin(1)[changed] != torch.arange(200)[changed]).all()


@pytest.mark.parametrize("permuted", [False, True])
def test_a_warm_generator_decodes_codes_of_its_own_images(dataset, permuted):
    torch.manual_seed(0)
    model = CandidateGAN(dataset.image_shape, use="warm", num_codes=8, latent_dim=8, permuted=permuted, width=8)
    codes = Codes("pca", "code", 8, dataset)
    model.candidate.fit(codes, dataset)
    model.candidate.begin(model.generator, dataset)
    x = dataset.train.images.float() / 127.5 - 1
    with torch.no_grad():
        error = F.mse_loss(model.generator.eval()(codes.bank).tanh(), x)
    of_mean = (x - x.mean(0)).square().mean()
    assert (error < 0.5 * of_mean) != permuted


def test_a_queue_is_no_longer_than_its_size():
    term = Moments((1, 1, 2), 3, 2, False)
    term.fit(Given(torch.randn(9, 2)), None)
    parts = [torch.randn(300, 1, 1, 2) for _ in range(5)]
    for part in parts:
        term.generator_term(part)
    assert int(term.filled) == 1024
    assert torch.equal(term.queue, torch.cat(parts[::-1]).flatten(1)[:1024])
    assert F.mse_loss(term.queue[:300], parts[-1].flatten(1)) == 0


def test_a_codebook_learns_codes_and_the_codes_commit_to_it():
    """VQ-VAE's three terms by hand, with an encoder that is the identity and a decoder that multiplies by 3."""
    model = VQAutoencoder(1, num_entries=2, length=1)
    model.encoder, model.decoder = torch.nn.Identity(), torch.nn.Conv2d(1, 1, 1, bias=False)
    torch.nn.init.constant_(model.decoder.weight, 3)
    model.entries = torch.nn.Parameter(torch.tensor([[0.5], [-1.0]]))
    x = torch.tensor([[[[0.3, -0.8]]]], requires_grad=True)
    assert model.encode(x).tolist() == [[[0, 1]]]
    decoded = torch.tensor([1.5, -3.0]).tanh()
    error = (decoded - x.flatten()).square()
    away = torch.tensor([0.2, -0.2])  # of the entries from the codes
    loss = model.loss(x)
    assert loss.item() == pytest.approx((error + 1.25 * away.square()).mean().item(), rel=1e-5)
    loss.backward()
    assert torch.allclose(model.entries.grad.flatten(), away)  # 2 away / 2, and nothing of the error
    # of an input that is its own code: as the code straight through the entries, as the target, and its commitment
    through = (decoded - x.flatten()) * (1 - decoded.square()) * 3
    assert torch.allclose(x.grad.flatten(), through - (decoded - x.flatten()) - 0.25 * away, atol=1e-6)


@pytest.mark.parametrize(("permuted", "num_near"), [(False, 4), (True, 7)])
def test_a_fifth_of_the_entries_become_others_in_half_of_the_images(permuted, num_near, monkeypatch):
    torch.manual_seed(0)
    term = Discrete((1, 16, 16), 3, 2, permuted)
    network = VQAutoencoder(1, num_entries=8, length=1)
    network.train_on = lambda images, steps: network.entries.data.copy_(torch.arange(8.0).reshape(8, 1))
    monkeypatch.setattr("genae_candidates.discrete.VQAutoencoder", lambda channels: network)
    term.fit(None, ImagesAlone(torch.zeros(1, 1, 16, 16)))
    network.encode = lambda images: images[:, 0].round().long()
    network.decode = lambda indices: indices[:, None].float()
    images = torch.randint(8, (400, 1, 16, 16)).float() + 0.1
    images.requires_grad_(True)
    varied = term.transform(images)
    varied.sum().backward()
    assert torch.equal(images.grad, torch.ones_like(images))
    chosen = (varied != images).flatten(1).any(1)
    assert 160 < chosen.sum() < 240
    before, after = images[chosen].detach().round(), varied[chosen].detach().round()
    changed = before != after
    assert changed.float().mean().item() == pytest.approx(0.2, abs=0.01)
    found = {int(entry): set(after[changed & (before == entry)].int().tolist()) for entry in range(8)}
    assert {len(others) for others in found.values()} == {num_near}
    assert permuted or found[0] == {1, 2, 3, 4}


def test_discrete_codes_of_digits_are_learned(dataset):
    torch.manual_seed(0)
    model = VQAutoencoder(1)
    model.train_on(dataset.train.images, 300)
    x = dataset.train.images.float() / 127.5 - 1
    with torch.no_grad():
        indices = model.encode(x)
        error = F.mse_loss(model.decode(indices), x)
    assert error < 0.15 * (x - x.mean(0)).square().mean()
    assert len(indices.unique()) > 32


def test_a_gate_counts_variations_that_stay_by_their_source():
    images = torch.randint(256, (20, 1, 4, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    shares = [
        gates.nearest_is_source(vary, images)
        for vary in (lambda x: x + 0.01, lambda x: x.roll(1, 0), lambda x: torch.cat([x[:15], x[15:].roll(1, 0)]))
    ]
    assert shares == [1, 0, 0.75]


def test_a_gate_compares_the_distances_with_and_without_variations():
    """Of one pixel and its value as the feature, where a Frechet distance is one of two means and deviations."""
    train, real = torch.tensor([50, 60, 70, 90], dtype=torch.uint8), torch.tensor([[40.0], [100], [120], [130]])
    dataset = SimpleNamespace(train=SimpleNamespace(images=train.view(4, 1, 1, 1)), modality=Image())

    def distance(pixels):
        return (np.mean(pixels) - np.mean(real.numpy())) ** 2 + (np.std(pixels, ddof=1) - real.std().item()) ** 2

    found = gates.nearer(lambda x: x + 80 / 127.5, dataset, lambda images: images.flatten(1).float(), real)
    assert found == pytest.approx(distance([50, 60, 70, 90, 130, 140, 150, 170]) / distance([50, 60, 70, 90]), rel=1e-4)


@pytest.mark.parametrize(
    ("vary", "area"), [(lambda x: x, 1), (lambda x: -x, 0), (torch.zeros_like, 0.5), (lambda x: x * (x > 0.8), 0.75)]
)
def test_a_gate_says_how_well_the_critic_tells_training_images(vary, area):
    """Pixels 200 and 250 against 10 and 20, by a critic that adds them up; the last variation keeps 250 alone."""
    sets = [
        SimpleNamespace(images=torch.tensor(pixels, dtype=torch.uint8).view(2, 1, 1, 1))
        for pixels in ([200, 250], [10, 20])
    ]
    dataset = SimpleNamespace(train=sets[0], heldout=sets[1])
    assert gates.told(vary, lambda x: x.flatten(1).sum(1), dataset) == area
