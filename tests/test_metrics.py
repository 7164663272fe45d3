"""Metrics against closed forms and against other libraries on the same features."""

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from scipy.linalg import sqrtm
from scipy.stats import t as student
from sklearn.metrics.pairwise import polynomial_kernel
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from lightning_genae import registry
from lightning_genae.cache import cached
from lightning_genae.data import modalities
from lightning_genae.data.modalities.image import Image
from lightning_genae.data.modalities.points import Points
from lightning_genae.data.modalities.series import Series
from lightning_genae.data.modalities.text import Text
from lightning_genae.data.storage import to_float, to_uint8
from lightning_genae.evaluation.metrics import _recurrent, classification_accuracy
from lightning_genae.evaluation.metrics._metric import Given, SampleMetric, Samples, jackknife
from lightning_genae.evaluation.metrics.classes import ClassMetric
from lightning_genae.evaluation.metrics.frechet import FrechetMetric, frechet_distance
from lightning_genae.evaluation.metrics.kernel import KernelMetric, kernel_distance
from lightning_genae.evaluation.metrics.memorisation import MemorisationMetric, nearest
from lightning_genae.evaluation.metrics.neighbours import curve, prdc, radii
from lightning_genae.evaluation.sampling import CHUNK, draw, draw_parts
from tests.data import dataset_of


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """Recurrent networks are hardly trained here; what they say is tested in test_series.py."""
    monkeypatch.setattr(_recurrent, "NUM_STEPS", 10)


NAMES = registry.names("lightning_genae.evaluation.metrics")


def some(num, seed, shift=0.0):
    """A set of images with features and logits that have to do with nothing."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(num, 6, generator=generator) + shift
    images = torch.randint(0, 256, (num, 1, 4, 4), dtype=torch.uint8, generator=generator)
    return Samples(features, torch.randn(num, 10, generator=generator) * 3, images)


def some_text(num, seed, shift=0.0):
    """The same with texts: three letters and blanks."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, len(LETTERS), (num, 1, 1, 20), generator=generator)
    images = torch.zeros(num, len(LETTERS), 1, 20, dtype=torch.uint8).scatter_(1, tokens, 255)
    return some(num, seed, shift)._replace(images=images)


def some_series(num, seed, shift=0.0):
    """A set of random sequences in two channels, with features as `some` has them."""
    steps = torch.randn(num, 2, 1, 12, generator=torch.Generator().manual_seed(seed)) + shift
    return some(num, seed, shift)._replace(images=(steps.cumsum(3) / 10).clamp(-1, 1))


def some_points(num, seed, shift=0.0):
    """A set of random points, with features as `some` has them."""
    points = torch.randn(num, 2, 1, 1, generator=torch.Generator().manual_seed(seed)) / 3 + shift
    return some(num, seed, shift)._replace(images=points)


LETTERS = "abc  "
OF_MODALITY = {  # what makes data of a modality
    Image(): some,
    Points(centres=torch.zeros(1, 2), std=0.3): some_points,
    Series(): some_series,
    Text(decode=lambda tokens: ["".join(LETTERS[i] for i in row) for row in tokens]): some_text,
}


def suiting(name):
    """A metric's class, and a modality that it is for with a maker of such data."""
    metric = registry.load("lightning_genae.evaluation.metrics", name)
    return metric, *next(pair for pair in OF_MODALITY.items() if modalities.supports(metric, pair[0]))


@pytest.mark.parametrize("name", NAMES)
def test_contract(name):
    """Repeatable, silent to the random numbers, finite at the floor, and of values that it describes."""
    build, modality, some = suiting(name)
    real, fake = some(120, 0), some(100, 1, 0.3)
    metric = build(real, dataset_of(some(80, 2).images, real.images, modality, num_classes=1))
    assert isinstance(metric, SampleMetric)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    values = metric.measure(fake)
    more = metric.at_the_end(fake)
    of_model = metric.of_model(Knowing()) | metric.of_model_at_the_end(Knowing())
    assert torch.rand(1) == expected
    assert values | more | of_model
    assert all(isinstance(value, float) and np.isfinite(value) for value in (values | more | of_model).values())
    assert not set(values) & set(more)
    said = {name for known in metric.values for name in (known, f"{known}_low", f"{known}_high")}
    assert set(values | more | of_model) <= said
    assert metric.measure(fake) == values and metric.at_the_end(fake) == more
    floor = set(metric.floor(some(100, 4)))
    assert floor == set(values) if values else floor <= set(more)  # some have nothing to say but at the end
    assert floor or of_model
    for key in values:
        if f"{key}_low" in more:
            assert more[f"{key}_low"] < values[key] < more[f"{key}_high"]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_metric_lacks(name):
    """Without classes or training images a metric of these says nothing, instead of something wrong."""
    build, modality, some = suiting(name)
    real, fake = some(120, 0)._replace(logits=None), some(100, 1)._replace(logits=None)
    metric = build(real, dataset_of(some(80, 2).images, real.images, modality))
    metric.trained_on = None
    values = metric.measure(fake) | metric.at_the_end(fake)
    of_models = ("likelihood", "reconstruction", "classification_accuracy")
    assert bool(values) == (name not in ("classes", "memorisation", *of_models))
    # it has neither an encoder nor a likelihood nor classes
    assert metric.of_model(torch.nn.Identity()) == metric.of_model_at_the_end(torch.nn.Identity()) == {}


class Knowing:
    """A model that reconstructs, knows how probable data are, and samples one class."""

    device, dtype, num_conditions = torch.device("cpu"), torch.float32, 1

    def sample(self, num, labels):
        return some(num, 5).images.float() / 127.5 - 1

    def reconstruct(self, x):
        return x / 2

    def log_likelihood(self, x, num_latents):
        return x.flatten(1).sum(1)


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


def distance_to(metric, mean, covariance):
    """Frechet distance of a gaussian with these very moments to the real images of a metric."""
    root = torch.from_numpy(sqrtm(metric.covariance.numpy())).real
    mixed = torch.linalg.eigvalsh(root @ covariance @ root).clamp(min=0).sqrt().sum()
    return float((mean - metric.mean).square().sum() + metric.covariance.trace() + covariance.trace() - 2 * mixed)


def real_and_draws(d, num_real, num, num_draws, shift, scale):
    """A metric of real features, its distance to the distribution of samples, and sets of samples."""
    generator = torch.Generator().manual_seed(0)
    deviations = torch.linspace(1.5, 0.5, d)
    metric = FrechetMetric(Samples(torch.randn(num_real, d, generator=generator) * deviations))
    metric.covariance = torch.cov(
        (torch.randn(num_real, d, generator=generator.manual_seed(0)) * deviations).double().T
    )
    truth = distance_to(metric, torch.full((d,), float(shift)).double(), (scale * deviations).double().square().diag())
    draws = (torch.randn(num, d, generator=generator) * deviations * scale + shift for _ in range(num_draws))
    return metric, truth, draws


def test_bias_of_the_frechet_distance():
    """d (d + 5) / (2n) for n a side of one isotropic gaussian."""
    d, n = 16, 800
    sets = (torch.randn(2, n, d, generator=torch.Generator().manual_seed(seed)) for seed in range(12))
    assert np.mean([frechet_distance(*both) for both in sets]) == pytest.approx(d * (d + 5) / (2 * n), rel=0.1)


@pytest.mark.parametrize("shift, scale", [(0, 1), (0.3, 1), (0, 1.3)])
def test_the_distance_of_infinitely_many_samples_is_unbiased(shift, scale):
    """Within its Monte Carlo error, for as few samples as it is reported of."""
    metric, truth, draws = real_and_draws(8, 400, 8 * 32, 60, shift, scale)
    values = [metric.at_the_end(Samples(draw))["fd_infinity"] for draw in draws]
    error = np.std(values) / np.sqrt(60)
    assert abs(np.mean(values) - truth) < 2.5 * error and error < 0.02 + 0.02 * truth


def test_what_few_samples_say_is_left_out():
    """The line is through sets of a quarter of the samples at least, which has to be 8 times the dimensions."""
    features = torch.randn(200, 6)
    metric = FrechetMetric(Samples(features))
    assert metric.left_out(191) == {"fd_infinity": "191 samples in 6 dimensions; it is biased below 192"}
    assert metric.left_out(192) == {}
    assert "fd_infinity" not in metric.at_the_end(Samples(features[:191]))
    assert "fd_infinity" in metric.at_the_end(Samples(features[:192]))
    # a line over 1 / n is found: distances a + b / n give a
    metric._distance = lambda features: 3 + 70 / len(features)
    assert metric._at_infinity(features) == pytest.approx(3)


@pytest.mark.parametrize("d, num, shift, scale", [(4, 200, 0, 1), (16, 200, 0, 1), (8, 300, 0.1, 1.3)])
def test_intervals_of_the_frechet_distance_cover(d, num, shift, scale):
    """95 % of them hold the mean distance of sets of so many samples: 200 of them, 3 deviations of their share."""
    metric, _, draws = real_and_draws(d, 200, num, 600, shift, scale)
    truth = np.mean([metric.measure(Samples(next(draws)))["fd"] for _ in range(400)])
    bounds = [metric.interval(Samples(draw)).values() for draw in draws]
    assert len(bounds) == 200
    covered = np.mean([low <= truth <= high for low, high in bounds])
    assert 0.95 - 3 * 0.0154 <= covered <= 0.95 + 3 * 0.0154


def test_pseudo_values_are_those_of_leaving_one_out():
    """Of 400 samples: N value - (N - 1) value without one."""
    real, fake = torch.randn(300, 3).double(), torch.randn(400, 3).double() * 1.3 + 0.2
    metric = FrechetMetric(Samples(real))
    exact = [metric._distance(torch.cat([fake[:i], fake[i + 1 :]])) for i in range(30)]
    pseudo = 400 * metric._distance(fake) - 399 * torch.tensor(exact)
    found = metric._jackknife(fake)[0][:30]
    assert (found - found.mean()).tolist() == pytest.approx((pseudo - pseudo.mean()).tolist(), abs=0.02)


def test_the_jackknife_by_hand():
    """Of the mean of nine 0 and a 10: pseudo-values are the values, its variance theirs, 10, over 10; that of it is the
    mean fourth power, 657, less 10 ** 2, over 10 ** 3; so there are 2 / 0.557 degrees of freedom."""
    variance, pairs, reach = jackknife(torch.tensor([0.0] * 9 + [10]), torch.zeros(1))
    assert (variance, pairs) == (pytest.approx(1), 0)
    assert reach == pytest.approx(student.ppf(0.975, 2 / 0.557), rel=1e-4)
    _, pairs, reach = jackknife(torch.randn(400), torch.tensor([2.0, 6]))
    assert pairs == pytest.approx(2 * 20 / 400**2) and 1.96 < reach < 1.98
    assert jackknife(torch.tensor([0.0] * 9 + [10]), torch.full((1,), 99.0))[1] == pytest.approx(0.75)


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


@pytest.mark.parametrize("shift, most", [(0, 1), (0.5, 0.99)])
def test_intervals_of_the_kernel_distance_cover(shift, most):
    """100 of them: 3 deviations of their share; at equal distributions it is too wide."""
    generator = torch.Generator().manual_seed(0)
    metric = KernelMetric(Samples(torch.randn(80, 8, generator=generator)))
    metric.num_subsets, metric.num_resamples = 1, 200
    sets = [torch.randn(60, 8, generator=generator) + shift for _ in range(100)]
    truth = np.mean([metric.measure(Samples(fake))["kid"] for fake in sets])
    bounds = [metric.interval(Samples(fake)).values() for fake in sets]
    assert 0.95 - 3 * 0.0218 <= np.mean([low <= truth <= high for low, high in bounds]) <= most


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
    metric = MemorisationMetric(Samples(images=heldout), dataset_of(train))
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
    parts = [part for rank in range(num_ranks) for part in draw_parts(Noise(), num, 4, None, rank, num_ranks)]
    assert [start for start, _ in parts] == [0, CHUNK, 2 * CHUNK, 3 * CHUNK]
    assert torch.equal(torch.cat([part for _, part in parts]), draw(Noise(), num, 4))
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


def test_reach_of_an_interval_with_few_degrees_of_freedom():
    """Pairs are at most three quarters of a variance, and Student's t has at least 2 degrees of freedom."""
    variance, pairs, reach = jackknife(torch.tensor([0.0] * 9 + [10]), torch.full((1,), 99.0))
    assert (variance, pairs) == (pytest.approx(1), pytest.approx(0.75))
    assert reach == pytest.approx(student.ppf(0.975, 2))
    assert jackknife(torch.tensor([1.0, -1.0] * 50), torch.zeros(1))[2] == pytest.approx(
        student.ppf(0.975, 1e9), rel=1e-3
    )


class Counts(SampleMetric):
    """Tells how much it was given of what."""

    def measure(self, samples):
        return {name: float(len(part)) for name, part in samples._asdict().items() if part is not None}


def test_what_a_metric_says_of_which_it_says_nothing():
    metric = Counts(Samples())
    assert (metric.trained_on, metric.modality.name) == (None, "image")
    assert metric.left_out(3) == metric.at_the_end(Samples()) == {}
    assert metric.floor(Samples(logits=torch.zeros(2, 3))) == {"logits": 2}


def test_the_interval_of_the_frechet_distance_is_where_the_distance_is_not_too_far_off(monkeypatch):
    """At its ends m is (distance - m)^2 what the variance is there, that of the distance times m / distance, less what
    pairs add twice, times the square of the reach."""
    metric, fake = FrechetMetric(Samples(torch.randn(300, 3))), Samples(torch.randn(200, 3) + 0.3)
    value = metric.measure(fake)["fd"]
    for variance, pairs, reach in ((0.01, 0.004, 2.5), (4.0, 1.0, 3.0)):
        found = variance, pairs, reach
        monkeypatch.setattr("lightning_genae.evaluation.metrics.frechet.jackknife", lambda *given, found=found: found)
        bounds = metric.interval(fake)
        assert bounds["fd_low"] < value < bounds["fd_high"]
        for bound in bounds.values():
            expected = reach**2 * (variance * bound / value - pairs)
            assert (value - bound) ** 2 == pytest.approx(expected, rel=1e-6)
    monkeypatch.setattr("lightning_genae.evaluation.metrics.frechet.jackknife", lambda *given: (1e-6, 2e-6, 2.0))
    low, high = metric.interval(fake).values()
    assert low == high == pytest.approx(value, rel=1e-4)  # there is no such mean
    equal = metric.interval(Samples(metric.real.features))
    assert all(np.isfinite(bound) for bound in equal.values())


def test_terms_of_pairs_are_those_of_leaving_two_out():
    """N / 2 times the difference of differences of sums: N value less (N - 1) value without one or the other of two
    samples, plus (N - 2) value without both."""
    num = 500
    real, fake = torch.randn(300, 3).double(), torch.randn(num, 3).double() * torch.tensor([1.5, 0.8, 1.0]) + 0.2
    metric = FrechetMetric(Samples(real))
    pseudo, pairs = metric._jackknife(fake)
    assert pseudo.shape == (num,) and pairs.shape == (num * 8,)  # 4,000 of them: the next eight of each

    def total(*out):
        return (num - len(out)) * metric._distance(fake[[i for i in range(num) if i not in out]])

    exact, found, whole = [], [], total()
    for i in range(1, 16):
        for shift in (1, 3):
            other = (i - shift) % num
            exact.append(num / 2 * (whole - total(i) - total(other) + total(i, other)))
            found.append(float(pairs[(shift - 1) * num + i]))
    assert np.corrcoef(exact, found)[0, 1] > 0.9999
    assert np.polyfit(exact, found, 1) == pytest.approx([1, 0], abs=0.02)
    small = FrechetMetric(Samples(real / 1000))._jackknife(fake / 1000)  # in units a thousand times as large
    assert torch.allclose(1e6 * small[0], pseudo) and torch.allclose(1e6 * small[1], pairs)
    few = metric._jackknife(fake[:4])
    assert few[0].shape == (4,) and few[1].shape == (4 * 3,)  # all pairs there are
    few = metric._jackknife(fake[:2])
    assert few[1].shape == (2,) and few[1].isfinite().all()  # of samples in fewer dimensions than there are


def test_pseudo_values_of_few_samples_are_those_of_leaving_one_out():
    """Of 80 samples, where what a sample adds beside itself counts; each but for the same constant."""
    real, fake = torch.randn(300, 2).double(), torch.randn(80, 2).double() * 1.3 + 0.2
    metric = FrechetMetric(Samples(real))
    exact = torch.tensor([metric._distance(torch.cat([fake[:i], fake[i + 1 :]])) for i in range(80)])
    pseudo, found = 80 * metric._distance(fake) - 79 * exact, metric._jackknife(fake)[0]
    assert (found - found.mean()).tolist() == pytest.approx((pseudo - pseudo.mean()).tolist(), abs=0.04)


def test_the_distance_of_infinitely_many_samples_is_from_eight_sizes():
    metric, sizes = FrechetMetric(Samples(torch.randn(200, 2))), []
    metric._distance = lambda features: sizes.append(len(features)) or 1.0
    torch.manual_seed(3)
    metric._at_infinity(torch.randn(202, 2))
    assert sizes == [50, 72, 94, 115, 137, 159, 180, 202]  # from a quarter of them on
    features = torch.arange(202.0)[:, None].expand(-1, 2)
    seen = []
    metric._distance = lambda features: seen.append(features[:, 0].tolist()) or 1.0
    torch.manual_seed(3)
    metric._at_infinity(features)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert drawn == torch.rand(1)
    assert sorted(seen[-1]) == list(range(202)) and seen[0] == seen[-1][:50] != sorted(seen[0])


def test_frechet_distances_of_float32_are_computed_in_float64():
    real, fake = torch.randn(300, 4) + 1000, torch.randn(200, 4) * 1.2 + 1000
    assert frechet_distance(real, fake) == frechet_distance(real.double(), fake.double())
    low, high = FrechetMetric(Samples(real)).interval(Samples(fake)).values()
    assert [low, high] == list(FrechetMetric(Samples(real.double())).interval(Samples(fake.double())).values())


def test_the_interval_of_the_kernel_distance_is_scikit_learns_of_resampled_sets():
    """Samples and their copies are no pairs; quantiles of the deviations from the mean, about the value."""
    real, fake = torch.randn(40, 5), torch.randn(25, 5) * 1.5 + 0.5
    metric = KernelMetric(Samples(real))
    torch.manual_seed(3)
    bounds = metric.interval(Samples(fake))
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert drawn == torch.rand(1)
    kernel = {"degree": 3, "gamma": 1 / 5, "coef0": 1}
    x, y = fake.double().numpy(), real.double().numpy()
    of_samples, of_both = polynomial_kernel(x, x, **kernel), polynomial_kernel(x, y, **kernel)
    generator, values = torch.Generator().manual_seed(0), []
    for _ in range(200):
        chosen = torch.randint(25, (25,), generator=generator).numpy()
        apart = chosen[:, None] != chosen
        within = of_samples[np.ix_(chosen, chosen)][apart].mean()
        values.append(within - 2 * of_both[chosen].mean())
    low, high = np.quantile(values - np.mean(values), [0.025, 0.975])
    value = metric.measure(Samples(fake))["kid"]
    assert bounds == pytest.approx({"kid_low": value + low, "kid_high": value + high}, rel=1e-6)


@pytest.mark.parametrize("num_real, num_fake, size", [(600, 700, 500), (60, 700, 60), (700, 50, 50)])
def test_the_kernel_distance_is_the_mean_over_20_subsets_of_500(num_real, num_fake, size):
    """As torchmetrics has it, where subsets are drawn by the same seed."""
    real, fake = torch.randn(num_real, 4), torch.randn(num_fake, 4) * 1.3
    other = KernelInceptionDistance(feature=Given(4), subsets=20, subset_size=size)
    other.update(real, real=True)
    other.update(fake, real=False)
    torch.manual_seed(0)
    expected = pytest.approx(float(other.compute()[0]), rel=1e-5)
    assert KernelMetric(Samples(real)).measure(Samples(fake))["kid"] == kernel_distance(real, fake) == expected


def test_neighbourhoods_do_not_hold_their_borders():
    """Of points on a grid, many of which are as far as the fifth neighbour; as the package prdc has it."""
    real, fake = (torch.randint(0, 4, (num, 2)).double() for num in (40, 30))
    real, fake = real + torch.arange(40)[:, None] // 20 * 10, fake + torch.arange(30)[:, None] // 15 * 10
    assert prdc(real, fake) == pytest.approx(compute_prdc(real.numpy(), fake.numpy(), nearest_k=5))
    # 0 is the fifth neighbour of 5, and 10 is as far from it
    assert prdc(10 * torch.arange(1.0, 7)[:, None], torch.arange(6.0)[:, None])["recall"] == 0


def test_radii_by_hand():
    points = torch.tensor([[0.0], [1], [3], [7]])
    assert radii(points, 1).tolist() == [1, 1, 2, 4]
    assert radii(points, 2).tolist() == [3, 2, 3, 6]
    assert radii(points, 9).tolist() == [7, 6, 4, 7]  # there are no nine others
    assert radii(points.float(), 1).dtype == torch.double


def test_the_curve_of_precision_and_recall_by_hand():
    """Real images at 0 and 10, half and half, samples nine to one: at equal weights the smaller of each, 0.6."""
    real, fake = torch.tensor([0.0, 10] * 50)[:, None], torch.tensor([0.0] * 9 + [10])[:, None].repeat(12, 1)
    recall, precision = curve(real, fake[:100], num_clusters=2)
    slopes = np.tan(np.linspace(1e-3, np.pi / 2 - 1e-3, 201))
    expected = np.minimum(slopes * 0.5, 0.9) + np.minimum(slopes * 0.5, 0.1)
    assert precision.numpy() == pytest.approx(expected, rel=1e-3)
    assert recall.numpy() == pytest.approx(expected / slopes, rel=1e-3)
    assert float(precision[100]) == pytest.approx(0.6, rel=1e-3)
    other, _ = curve(fake[:3], real[:1])  # cut to one image, in one cluster
    assert other.shape == (201,) and other.max() == pytest.approx(1)
    of_more = curve(torch.cat([real, real + 100]), fake[:100], num_clusters=2)
    assert torch.equal(of_more[0], recall)
    of_more = curve(real, torch.cat([fake[:100], fake + 100]), num_clusters=2)
    assert torch.equal(of_more[0], recall)


def test_what_is_alike_is_in_one_of_twenty_clusters(monkeypatch):
    """Real images at 0, 10, ... 190; the samples that should be at 0 are at 0.1."""
    real = 10 * (torch.arange(100.0) % 20)[:, None]
    fake = torch.where(real == 0, 0.1, real)
    assert float(curve(real, fake)[1][100]) == pytest.approx(1, rel=1e-3)
    real, fake = torch.randn(300, 2), torch.randn(300, 2) * 1.5
    first, again = curve(real, fake), curve(real, fake)
    assert torch.equal(first[1], again[1])
    monkeypatch.setattr("lightning_genae.evaluation.metrics.neighbours.MAX_IMAGES", 50)
    assert torch.equal(curve(real, fake)[0], curve(real[:50], fake[:50])[0])


def test_classes_count_from_a_tenth_of_their_share_on():
    """Four classes, of which real images have two, half and half."""
    sure = torch.eye(4) * 100
    metric = ClassMetric(Samples(logits=sure[:2].repeat(50, 1)))
    for num, coverage in ((20, 1.0), (19, 0.5)):  # of 400, where 20 are a tenth of a half
        logits = torch.cat([sure[:1].repeat(400 - num, 1), sure[1:2].repeat(num, 1)])
        assert metric.measure(Samples(logits=logits))["class_coverage"] == coverage
    beside = metric.measure(Samples(logits=torch.cat([sure[:2].repeat(9, 1), sure[2:].repeat(9, 1)])))
    assert beside["class_coverage"] == 1  # others do not count
    assert metric.measure(Samples()) == ClassMetric(Samples()).measure(Samples(logits=sure)) == {}


def test_distances_to_the_training_images_by_hand():
    """Of images of two pixels, 0 and 255 being -1 and 1, by pairs of a sample and a held-out image."""
    train = torch.tensor([[0, 0], [255, 255]], dtype=torch.uint8).reshape(2, 1, 1, 2)
    heldout = torch.tensor([[51, 0], [255, 102], [153, 255]], dtype=torch.uint8).reshape(3, 1, 1, 2)
    distances = [(0.4**2 / 2) ** 0.5, (1.2**2 / 2) ** 0.5, (0.8**2 / 2) ** 0.5]
    metric = MemorisationMetric(Samples(images=heldout), dataset_of(train))
    assert metric.floor(Samples()) == {"distance_to_train": pytest.approx(np.mean(distances)), "copying": 0.5}
    fake = torch.tensor([[255, 180], [0, 0], [255, 255], [0, 75]], dtype=torch.uint8).reshape(4, 1, 1, 2)
    values = metric.measure(Samples(images=fake))  # 0 and 75 / 127.5, which is less than two of the three
    assert values["distance_to_train"] == pytest.approx(75 / 127.5 / 2 / 2**0.5)
    assert values["copying"] == pytest.approx((2 * 3 + 2 * 2) / 12)
    alone = MemorisationMetric(Samples(images=heldout))
    assert alone.measure(Samples(images=fake)) == alone.floor(Samples()) == {}


def test_the_nearest_is_found_anywhere_and_the_first_one_of_equals():
    others = torch.full((10_001, 1, 1, 1), 1.0)
    places = [0, 4999, 5000, 9999, 10_000]
    others[places] = torch.tensor([-1.0, -0.6, -0.2, 0.2, 0.6])[:, None, None, None]
    distances, which = nearest(others[places] + 0.01, others)
    assert which.tolist() == places and distances.tolist() == pytest.approx([0.01] * 5, abs=1e-3)
    others[7000] = -1.0
    assert nearest(others[:1], others)[1].tolist() == [0]
    assert nearest(torch.zeros(0, 1, 1, 1), others)[1].dtype == torch.long


class Teacher(torch.nn.Module):
    """A conditional model whose samples of a class are real images of that class plus `shift`."""

    num_conditions, device = 10, torch.device("cpu")

    def __init__(self, split, shift=0):
        super().__init__()
        self.split, self.shift, self.asked = split, shift, []

    def sample(self, num, labels):
        self.asked += labels.tolist()
        members = torch.nonzero(self.split.labels == (labels[0] + self.shift) % 10).flatten()
        return to_float(self.split.images[members[torch.randint(len(members), (num,))]])


def test_samples_teach_a_classifier_as_well_as_what_they_show(digits, monkeypatch):
    """Real images teach it, those of the next class teach it the next class, and nobody asks models without classes."""
    monkeypatch.setattr(classification_accuracy, "NUM_SAMPLES", 1000)
    data = digits.dataset
    metric = classification_accuracy.ClassificationAccuracyMetric(Samples(images=data.heldout.images), data)
    good, wrong = Teacher(data.train), Teacher(data.train, shift=1)
    values = [metric.of_model_at_the_end(model) for model in (good, wrong)]
    assert values[0]["classification_accuracy"] > 0.9
    assert values[1]["classification_accuracy"] < 0.1
    assert values[0]["classification_accuracy_train"] == values[1]["classification_accuracy_train"] > 0.9
    assert metric.of_model_at_the_end(good) == values[0]  # always the same
    shares = data.train.labels.bincount() / len(data.train.labels)
    assert torch.tensor(good.asked).bincount() / 2000 == pytest.approx(shares, abs=1e-3)
    good.num_conditions = 0
    assert metric.of_model_at_the_end(good) == {}


def test_classes_in_proportion():
    labels = torch.tensor([0] * 6 + [3] * 3)
    assert classification_accuracy.classes_in_proportion(labels, 6, 5).tolist() == [0, 0, 0, 0, 3, 3]
    assert classification_accuracy.classes_in_proportion(labels, 7, 5).tolist() == [0] * 5 + [3] * 2
