"""Metrics against closed forms and against other libraries on the same features."""

import numpy as np
import pytest
import torch
import torchmetrics
from prdc import compute_prdc
from sklearn.metrics.pairwise import polynomial_kernel
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance

from lightning_genae import registry
from lightning_genae.cache import cached
from lightning_genae.images import CHUNK, draw, to_uint8
from lightning_genae.metrics._metric import Given, SampleMetric, Samples
from lightning_genae.metrics.classes import ClassMetric
from lightning_genae.metrics.frechet import FrechetMetric, frechet_distance
from lightning_genae.metrics.kernel import KernelMetric, kernel_distance
from lightning_genae.metrics.memorisation import MemorisationMetric, nearest
from lightning_genae.metrics.neighbours import curve, prdc

NAMES = registry.names("lightning_genae.metrics")


def some(num, seed, shift=0.0):
    """A set of images with features and logits that have to do with nothing."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(num, 6, generator=generator) + shift
    images = torch.randint(0, 256, (num, 1, 4, 4), dtype=torch.uint8, generator=generator)
    return Samples(features, torch.randn(num, 10, generator=generator) * 3, images)


def some_text(num, seed, shift=0.0):
    """The same with texts, of which `read_text` gives the strings: three letters and blanks."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, len(LETTERS), (num, 1, 1, 20), generator=generator)
    images = torch.zeros(num, len(LETTERS), 1, 20, dtype=torch.uint8).scatter_(1, tokens, 255)
    return some(num, seed, shift)._replace(images=images)


def read_text(images):
    return ["".join(LETTERS[i] for i in row) for row in images.argmax(1).squeeze(1).tolist()]


def some_series(num, seed, shift=0.0):
    """A set of random sequences in two channels, with features as `some` has them."""
    steps = torch.randn(num, 2, 1, 12, generator=torch.Generator().manual_seed(seed)) + shift
    return some(num, seed, shift)._replace(images=(steps.cumsum(3) / 10).clamp(-1, 1))


LETTERS = "abc  "
# what data of a kind are made by, and what they are to people
OF_KIND = {"image": (some, None), "series": (some_series, None), "text": (some_text, read_text)}


def suiting(name):
    """A metric's class, a maker of data that it is for, and what else it is told: their `natural` and kind."""
    metric = registry.load("lightning_genae.metrics", name)
    kind = metric.kinds[0] if metric.kinds else "image"
    make, natural = OF_KIND[kind]
    return metric, make, (natural, kind)


@pytest.mark.parametrize("name", NAMES)
def test_contract(name):
    """A torchmetrics Metric: by parts as at once, repeatable, silent to the random numbers, finite at the floor."""
    build, some, told = suiting(name)
    real, fake = some(120, 0), some(100, 1, 0.3)
    metric = build(real, some(80, 2).images, *told)
    assert isinstance(metric, SampleMetric) and isinstance(metric, torchmetrics.Metric)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    values = metric.measure(fake)
    more = metric.at_the_end(fake)
    assert torch.rand(1) == expected
    assert values | more
    assert all(isinstance(value, float) and np.isfinite(value) for value in (values | more).values())
    assert not set(values) & set(more)
    assert metric.measure(fake) == values and metric.at_the_end(fake) == more
    for start in range(0, 100, 30):
        metric.update(Samples(*(None if part is None else part[start : start + 30] for part in fake)))
    assert metric.compute() == pytest.approx(values)
    floor = set(metric.floor(some(100, 4)))
    assert floor == set(values) if values else floor <= set(more)  # some have nothing to say but at the end
    assert floor
    for key in values:
        if f"{key}_low" in more:
            assert more[f"{key}_low"] < values[key] < more[f"{key}_high"]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_metric_lacks(name):
    """Without classes or training images a metric of these says nothing, instead of something wrong."""
    build, some, told = suiting(name)
    real, fake = some(120, 0)._replace(logits=None), some(100, 1)._replace(logits=None)
    metric = build(real, None, *told)
    values = metric.measure(fake) | metric.at_the_end(fake)
    assert bool(values) == (name not in ("classes", "memorisation"))


def gaussian_features(num, mean, covariance, seed):
    generator = torch.Generator().manual_seed(seed)
    cholesky = torch.linalg.cholesky(covariance)
    return torch.randn(num, len(mean), generator=generator, dtype=torch.double) @ cholesky.T + mean


def test_frechet_distance_of_two_gaussians():
    """For commuting covariances: |m1 - m2|^2 + sum of (s1 - s2)^2 over the deviations of the axes."""
    basis = torch.linalg.qr(torch.randn(5, 5, dtype=torch.double)).Q
    variances = torch.tensor([[4.0, 1, 1, 0.25, 2], [1, 1, 4, 0.25, 0.5]], dtype=torch.double)
    means = torch.tensor([[0.0, 0, 0, 0, 0], [1, 0, 2, 0, 0]], dtype=torch.double)
    expected = (means[0] - means[1]).square().sum() + (variances[0].sqrt() - variances[1].sqrt()).square().sum()
    features = [
        gaussian_features(200_000, mean, basis @ variance.diag() @ basis.T, seed)
        for seed, (mean, variance) in enumerate(zip(means, variances))
    ]
    assert frechet_distance(*features) == pytest.approx(float(expected), rel=0.01)


@pytest.mark.parametrize("num, dims", [(500, 8), (300, 64), (100, 64), (40, 64)])
def test_frechet_distance_against_others(num, dims):
    real, fake = torch.randn(num, dims).double(), torch.randn(num, dims).double() * 1.3 + 0.2
    statistics = [fid_features_to_statistics(features) for features in (real, fake)]
    expected = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    # with fewer samples than dimensions the root of a singular matrix is all that these are worth
    tolerance = 1e-6 if num > dims else 1e-3
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=tolerance)
    other = FrechetInceptionDistance(feature=Given(dims)).set_dtype(torch.float64)
    other.update(real, real=True)
    other.update(fake, real=False)
    assert frechet_distance(real, fake) == pytest.approx(float(other.compute()), rel=tolerance)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-6)


def test_bias_of_the_frechet_distance():
    """d (d + 5) / (2n) for n a side of one isotropic gaussian; a side's half stays, extrapolated over the other."""
    d, n = 16, 800
    both, extrapolated = [], []
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        real, fake = (torch.randn(n, d, generator=generator) for _ in range(2))
        metric = FrechetMetric(Samples(real))
        both.append(metric.measure(Samples(fake))["fd"])
        extrapolated.append(metric._at_infinity(fake))
    bias = d * (d + 5) / (2 * n)
    assert np.mean(both) == pytest.approx(bias, rel=0.1)
    assert np.mean(extrapolated) == pytest.approx(bias / 2, rel=0.2)


def test_interval_of_the_frechet_distance_covers():
    """Of 40 intervals some 95 % hold the value of very many samples plus the bias, far from equal distributions."""
    real = torch.randn(4000, 4, generator=torch.Generator().manual_seed(99))
    many = torch.randn(100_000, 4, generator=torch.Generator().manual_seed(98)) + 0.5
    truth = frechet_distance(real, many)
    covered = 0
    for seed in range(40):
        fake = torch.randn(1000, 4, generator=torch.Generator().manual_seed(seed)) + 0.5
        bounds = FrechetMetric(Samples(real)).interval(Samples(fake))
        covered += bounds["fd_low"] <= truth + 4 * 9 / 4000 <= bounds["fd_high"]
    assert 32 <= covered <= 40  # twenty resamples make the interval rough


def test_kernel_distance_against_scikit_learn():
    real, fake = torch.randn(60, 7).double(), torch.randn(60, 7).double() + 0.5
    xx, yy, xy = (
        polynomial_kernel(a, b, degree=3, gamma=1 / 7, coef0=1) for a, b in ((real, real), (fake, fake), (real, fake))
    )
    expected = sum((k.sum() - np.trace(k)) / (60 * 59) for k in (xx, yy)) - 2 * xy.mean()
    assert kernel_distance(real, fake) == pytest.approx(expected, rel=1e-6)


def test_kernel_distance_against_torch_fidelity():
    real, fake = torch.randn(200, 7).double(), torch.randn(200, 7).double() + 0.5
    other = kid_features_to_metric(real, fake, kid_subsets=1, kid_subset_size=200, kid_degree=3, verbose=False)
    expected = other["kernel_inception_distance_mean"]
    assert kernel_distance(real, fake) == pytest.approx(expected, rel=1e-6)


def test_interval_of_the_kernel_distance_covers():
    real = torch.randn(2000, 4, generator=torch.Generator().manual_seed(99))
    many = torch.randn(2000, 4, generator=torch.Generator().manual_seed(98)) + 0.5
    truth = kernel_distance(real, many, 2000, 1)
    covered = 0
    for seed in range(40):
        fake = torch.randn(400, 4, generator=torch.Generator().manual_seed(seed)) + 0.5
        bounds = KernelMetric(Samples(real)).interval(Samples(fake))
        covered += bounds["kid_low"] <= truth <= bounds["kid_high"]
    assert 34 <= covered <= 40


def test_kernel_distance_is_repeatable_and_leaves_the_random_numbers_alone():
    real, fake = torch.randn(900, 4), torch.randn(900, 4)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = kernel_distance(real, fake)
    assert torch.rand(1) == expected
    assert kernel_distance(real, fake) == first


@pytest.mark.parametrize("num_real, num_fake", [(300, 200), (150, 260)])
def test_neighbours_against_the_prdc_package(num_real, num_fake, capsys):
    real, fake = torch.randn(num_real, 5).double(), torch.randn(num_fake, 5).double() * 0.8 + 0.4
    expected = compute_prdc(real.numpy(), fake.numpy(), nearest_k=5)
    assert prdc(real, fake) == pytest.approx(expected, rel=1e-6)


def test_precision_recall_density_coverage_of_equal_distributions():
    """Density 1 and coverage 1 - prod over j of (N - j)/(N + M - j) (Naeem et al. 2020, arXiv 2002.09797)."""
    n, m, k = 1500, 1200, 5
    values = prdc(torch.randn(n, 3), torch.randn(m, 3))
    expected = 1 - np.prod([(n - j) / (n + m - j) for j in range(1, k + 1)])
    assert values["density"] == pytest.approx(1, abs=0.05)
    assert values["coverage"] == pytest.approx(expected, abs=0.02)
    assert values["precision"] == pytest.approx(values["recall"], abs=0.03)
    assert values["precision"] > 0.9


def test_precision_and_recall_tell_quality_from_variety():
    real = torch.cat([torch.randn(500, 2), torch.randn(500, 2) + 20])
    one_mode, far = torch.randn(800, 2), torch.randn(800, 2) + 100
    values = prdc(real, one_mode)
    assert values["precision"] > 0.9
    assert values["recall"] == pytest.approx(0.5, abs=0.05)
    assert values["coverage"] == pytest.approx(0.5, abs=0.05)
    assert set(prdc(real, far).values()) == {0}
    assert prdc(real, torch.cat([real, far]))["precision"] == pytest.approx(1000 / 1800, abs=0.01)


def test_precision_and_density_reward_noise():
    """Why they never stand without coverage: one point, drawn again and again, where real images are densest."""
    real = torch.randn(1000, 8)
    values = prdc(real, 0.01 * torch.randn(500, 8))
    assert values["precision"] == 1 and values["density"] > 1.5
    assert values["coverage"] < 0.9 and values["recall"] < 0.1


def test_curve_of_precision_and_recall():
    """Equal sets reach both ends; half of the modes reach precision 1 and recall 1/2 (arXiv 1806.00035)."""
    real = torch.cat([torch.randn(500, 2), torch.randn(500, 2) + 50])
    recall, precision = curve(real, real)
    assert recall.max() == pytest.approx(1, abs=1e-5) and precision.max() == pytest.approx(1, abs=1e-5)
    recall, precision = curve(real[torch.randperm(1000)], torch.randn(1000, 2))
    assert precision.max() > 0.9
    assert recall.max() == pytest.approx(0.5, abs=0.05)


def test_classifier_score_against_torch_fidelity():
    logits = torch.randn(200, 10).double() * 2
    other = isc_features_to_metric(logits, splits=1, shuffle=False)
    metric = ClassMetric(Samples(logits=logits))
    assert metric.measure(Samples(logits=logits))["classifier_score"] == pytest.approx(
        other["inception_score_mean"], rel=1e-6
    )


def test_classifier_score_and_class_coverage_at_their_ends():
    sure = torch.eye(4).repeat(50, 1) * 100
    metric = ClassMetric(Samples(logits=sure))
    values = metric.measure(Samples(logits=sure))
    assert values == pytest.approx({"classifier_score": 4, "class_coverage": 1}, rel=1e-5)
    values = metric.measure(Samples(logits=sure[:1].repeat(100, 1)))
    assert values == pytest.approx({"classifier_score": 1, "class_coverage": 0.25}, rel=1e-5)
    rare = torch.cat([sure[:1].repeat(99, 1), sure[1:2]])  # one of a hundred is too few of a quarter
    assert metric.measure(Samples(logits=rare))["class_coverage"] == 0.25


def test_the_nearest_shows_copies():
    images = torch.randint(0, 256, (5600, 1, 4, 4), dtype=torch.uint8)
    distances, which = nearest(images[:600], images)
    assert distances.max() < 1e-2
    assert torch.equal(images[which], images[:600])
    flat = images.double().flatten(1) / 127.5 - 1
    distances, which = nearest(images[:100], images[100:])
    expected = torch.cdist(flat[:100], flat[100:]).min(1)
    assert distances.double().numpy() == pytest.approx((expected.values / 4).numpy(), rel=1e-3)
    assert torch.equal(which, expected.indices)


def test_copying_tells_copies_from_fresh_images():
    train, heldout, fresh = (some(300, seed).images for seed in range(3))
    metric = MemorisationMetric(Samples(images=heldout), train)
    assert metric.measure(Samples(images=fresh))["copying"] == pytest.approx(0.5, abs=0.06)
    copies = metric.measure(Samples(images=train))
    assert copies["copying"] == 1
    assert copies["distance_to_train"] == pytest.approx(0, abs=1e-2)
    half = torch.cat([train[:150], fresh[:150]])
    assert metric.measure(Samples(images=half))["copying"] == pytest.approx(0.75, abs=0.06)


class Noise:
    """A model that knows nothing but noise."""

    device = torch.device("cpu")

    def sample(self, num, labels=None):
        return torch.randn(num, 1, 3, 3).clamp(-1, 1)


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 5])
def test_processes_draw_what_one_draws(num_ranks):
    num = 3 * CHUNK + 17
    parts = [draw(Noise(), num, 4, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]
    assert torch.equal(torch.cat(parts), draw(Noise(), num, 4))
    assert not torch.equal(draw(Noise(), num, 5), draw(Noise(), num, 4))
    assert len(draw(Noise(), num, 4)) == num


def test_to_uint8_rounds_and_clamps():
    images = torch.tensor([-2.0, -1, -0.9999, 0, 0.9999, 1, 1.1])
    assert to_uint8(images).tolist() == [0, 0, 0, 128, 255, 255, 255]
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(every.float() / 127.5 - 1), every)


def test_a_failed_build_leaves_nothing_in_the_cache(tmp_path):
    def fail(path):
        path.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cached(tmp_path, "kind", {"a": 1}, fail)
    path = cached(tmp_path, "kind", {"a": 1}, lambda path: path.write_text("whole"))
    assert path.read_text() == "whole"
    assert cached(tmp_path, "kind", {"a": 1}, fail) == path
