"""Metrics and features of series: against closed forms, statsmodels and scikit-learn, and on real series."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel
from statsmodels.datasets import elnino, sunspots
from statsmodels.tsa.arima_process import ArmaProcess

from datamodules._sequences import SequenceDataModule
from datamodules.timeseries import TimeSeriesDataModule
from lightning_genae.data.dataset import Images
from lightning_genae.data.modalities.series import Series
from lightning_genae.data.modalities.text import Text
from lightning_genae.data.sequences import apart, num_independent, values_and_valid, with_mask
from lightning_genae.evaluation.evaluation import Evaluation
from lightning_genae.evaluation.extractors.rocket import RocketFeatures
from lightning_genae.evaluation.metrics import Samples, _recurrent, predictive
from lightning_genae.evaluation.metrics._recurrent import MAX_LENGTH, MAX_SEQUENCES, Recurrent, stretches
from lightning_genae.evaluation.metrics.discriminative import DiscriminativeMetric
from lightning_genae.evaluation.metrics.frechet import frechet_distance
from lightning_genae.evaluation.metrics.mmd import DiscrepancyMetric
from lightning_genae.evaluation.metrics.predictive import PredictiveMetric
from lightning_genae.evaluation.metrics.spectrum import SpectrumMetric
from lightning_genae.report import table
from tests.data import dataset_of

METRICS = [SpectrumMetric, DiscrepancyMetric, DiscriminativeMetric, PredictiveMetric]
WHITE, AR1, AR2 = (ArmaProcess(ar) for ar in ([1.0], [1, -0.7], [1, -1.2, 0.8]))


def drawn(process, num, length=24, seed=0, std=0.2):
    """Stored series (num, 1, 1, length) of a stationary process, of which next to nothing is beyond [-1, 1]."""
    noise = np.random.default_rng(seed).standard_normal
    x = process.generate_sample((num, length), axis=1, distrvs=lambda size: noise(size), burnin=100)
    return torch.from_numpy(x * std / math.sqrt(process.acovf(1)[0])).float()[:, None, None]


def cut(images, seed=0, shortest=2):
    """The same series (N, C, 1, L), each of a length of its own: masked (N, C + 1, 1, L), with rubbish at the end."""
    num, _, _, length = images.shape
    lengths = torch.randint(shortest, length + 1, (num,), generator=torch.Generator().manual_seed(seed))
    valid = torch.arange(length) < lengths[:, None]
    values = torch.where(valid[:, None], images[:, :, 0], 0.9)
    return with_mask(values, valid, True)[:, :, None]


def made(metric, real, has_mask=False):
    return metric(Samples(images=real), dataset_of(real, modality=Series(has_mask)))


def values_of(metric, images):
    samples = Samples(images=images)
    return metric.measure(samples) | metric.at_the_end(samples)


def test_values_and_masks():
    mask = torch.tensor([[1.0, 1, -1, 1], [0.2, 0.1, 0.3, 0.1], [0, 1, 1, 1]])  # a sequence ends once
    images = torch.stack([torch.ones(3, 4), mask], 1)[:, :, None]
    values, valid = values_and_valid(images, True)
    assert valid.tolist() == [[True, True, False, False], [True] * 4, [False] * 4]
    assert torch.equal(values[:, 0], valid.float())
    assert torch.equal(with_mask(values, valid, True)[:, 1], 2 * valid.float() - 1)
    values, valid = values_and_valid(images, False)
    assert torch.equal(with_mask(values, valid, False), images[:, :, 0]) and valid.all()


@pytest.fixture
def few_steps(monkeypatch):
    """Networks are hardly trained."""
    monkeypatch.setattr(_recurrent, "NUM_STEPS", 10)


@pytest.mark.parametrize("metric", METRICS)
def test_masked_series_beyond_their_end_do_not_count(metric, few_steps):
    """Nor is it an error if a model makes sequences without any value, or of one alone."""
    real = cut(drawn(AR1, 60, 10))
    metric = made(metric, real, True)
    fake = cut(drawn(AR1, 60, 10, seed=1), seed=1)
    fake[:5, -1], fake[5:10, -1, :, 1:] = -1, -1
    values, valid = values_and_valid(fake, True)
    expected = values_of(metric, with_mask(values, valid, True)[:, :, None])
    assert values_of(metric, fake) == expected
    nothing = fake.clone()
    nothing[:, -1] = -1
    assert all(math.isfinite(value) for value in values_of(metric, nothing).values())


@pytest.mark.parametrize("metric", [DiscriminativeMetric, PredictiveMetric])
def test_networks_are_trained_wherever_gradients_are_off(metric, few_steps):
    real, fake = drawn(AR1, 40, 5), drawn(AR1, 40, 5, seed=1)
    expected = values_of(made(metric, real), fake)
    with torch.no_grad():
        assert values_of(made(metric, real), fake) == expected
    with torch.inference_mode():
        assert values_of(made(metric, real + 0), fake + 0) == expected


@pytest.mark.parametrize("process", [AR1, AR2])
@pytest.mark.parametrize("is_masked", [False, True])
def test_autocorrelation_against_statsmodels(process, is_masked):
    real = drawn(process, 3000)
    metric = made(SpectrumMetric, cut(real) if is_masked else real, is_masked)
    assert metric.of_real[0][0].numpy() == pytest.approx(process.acf(13)[1:], abs=0.03)


def test_autocorrelation_distance_of_known_processes():
    """Of AR(1) with coefficient p to white noise: the mean of p^k."""
    metric = made(SpectrumMetric, drawn(AR1, 3000))
    values = metric.measure(Samples(images=drawn(WHITE, 3000)))
    assert values["autocorrelation_distance"] == pytest.approx(np.mean(0.7 ** np.arange(1, 13)), abs=0.02)
    values = metric.measure(Samples(images=drawn(AR2, 3000)))
    expected = np.abs(AR1.acf(13) - AR2.acf(13))[1:].mean()
    assert values["autocorrelation_distance"] == pytest.approx(expected, abs=0.02)


def expected_spectrum(process, length):
    """The mean of the one-sided periodogram, sum over |k| < L of (1 - |k| / L) gamma(k) cos(w k), with the sum 1."""
    lags = np.arange(1, length)
    covariances, w = process.acovf(length), 2 * np.pi * np.arange(length // 2 + 1) / length
    tapered = (1 - lags / length) * covariances[1:]
    powers = covariances[0] + 2 * np.cos(w[:, None] * lags) @ tapered
    powers[1 : None if length % 2 else -1] *= 2
    return powers / powers.sum()


@pytest.mark.parametrize("length", [24, 25])
def test_spectrum_against_statsmodels(length):
    processes = (WHITE, AR1, AR2)
    metrics = [made(SpectrumMetric, drawn(process, 3000, length)) for process in processes]
    expected = [expected_spectrum(process, length) for process in processes]
    for metric, spectrum in zip(metrics, expected):
        assert metric.of_real[1][0].numpy() == pytest.approx(spectrum, abs=0.02)
    values = metrics[1].measure(Samples(images=drawn(AR2, 3000, length, seed=1)))
    assert values["spectrum_distance"] == pytest.approx(np.abs(expected[1] - expected[2]).sum() / 2, abs=0.02)
    values = metrics[1].measure(Samples(images=drawn(WHITE, 3000, length, seed=1)))
    assert values["spectrum_distance"] == pytest.approx(np.abs(expected[1] - expected[0]).sum() / 2, abs=0.02)


def test_spectrum_of_the_same_and_of_nothing():
    real = torch.cat([drawn(AR1, 200), drawn(AR2, 200)], 1)
    metric = made(SpectrumMetric, real)
    assert set(metric.measure(Samples(images=real)).values()) == {0}
    scaled = metric.measure(Samples(images=real / 2 + 0.1))  # neither level nor scale counts
    assert scaled == pytest.approx({"autocorrelation_distance": 0, "spectrum_distance": 0}, abs=1e-5)
    constant = metric.measure(Samples(images=torch.full_like(real, 0.3)))
    assert constant["spectrum_distance"] == pytest.approx(1, abs=0.2) and constant["autocorrelation_distance"] > 0.7


def mean_kernel(width, d, variance, shift):
    """E k of isotropic gaussians, by the sum of their variances and the square of the distance of their means."""
    total = width**2 + variance
    return (width**2 / total) ** (d / 2) * math.exp(-shift / (2 * total))


def test_discrepancy_of_two_gaussians():
    a, b, shift, d, values, expected = 0.2, 0.3, 0.1, 6, [], []
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        real, fake = (torch.randn(500, 2, 1, 3, generator=generator) for _ in range(2))
        metric = made(DiscrepancyMetric, real * a)
        values.append(values_of(metric, fake * b + shift)["mmd"])
        within = sum(mean_kernel(metric.width, d, 2 * variance, 0) for variance in (a**2, b**2))
        expected.append(within - 2 * mean_kernel(metric.width, d, a**2 + b**2, d * shift**2))
    assert metric.width == pytest.approx(a * math.sqrt(2 * d), rel=0.1)  # the median heuristic
    assert np.mean(values) == pytest.approx(np.mean(expected), rel=0.05)


def test_discrepancy_against_scikit_learn():
    real, fake = drawn(AR1, 50), drawn(AR2, 40)
    metric = made(DiscrepancyMetric, real)
    x, y = (images.flatten(1).double().numpy() for images in (real, fake))
    xx, yy, xy = (rbf_kernel(*pair, gamma=1 / (2 * metric.width**2)) for pair in ((x, x), (y, y), (x, y)))
    expected = sum((k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (xx, yy)) - 2 * xy.mean()
    assert values_of(metric, fake)["mmd"] == pytest.approx(expected, rel=1e-6)
    floors = [
        values_of(made(DiscrepancyMetric, drawn(AR1, 50, seed=2 * i)), drawn(AR1, 50, seed=2 * i + 1))["mmd"]
        for i in range(20)
    ]
    assert abs(np.mean(floors)) < 3 * np.std(floors) / math.sqrt(20)  # unbiased


def test_discriminative_score_is_a_coins_at_the_floor(monkeypatch):
    """0.399 / sqrt(n) of n sequences in the test; one whose answers are all the same scores less."""
    monkeypatch.setattr(_recurrent, "NUM_STEPS", 20)
    scores = [
        made(DiscriminativeMetric, drawn(AR1, 60, 4, seed=2 * i)).floor(
            Samples(images=drawn(AR1, 60, 4, seed=2 * i + 1))
        )
        for i in range(16)
    ]
    mean = np.mean([score["discriminative_score"] for score in scores])
    assert 0.6 < mean / (0.399 / math.sqrt(60)) < 1.3


def test_discriminative_score_tells_samples():
    real = drawn(AR1, 200, 12)
    metric = made(DiscriminativeMetric, real)
    assert values_of(metric, torch.full_like(real, 0.3))["discriminative_score"] > 0.45
    assert values_of(metric, drawn(AR2, 200, 12))["discriminative_score"] > 0.25
    too_long = with_mask(real[:, :, 0], torch.ones(200, 12, dtype=torch.bool), True)[:, :, None]
    metric = made(DiscriminativeMetric, cut(real), True)
    assert values_of(metric, too_long)["discriminative_score"] > 0.35


def test_predictive_score_of_known_processes(monkeypatch):
    """The best error of AR(1) is s sqrt(2 / pi); expecting no change is worse by sqrt(2 / (1 + p))."""
    monkeypatch.setattr(_recurrent, "NUM_STEPS", 100)
    p, std = 0.7, 0.2
    best = std * math.sqrt(1 - p**2) * math.sqrt(2 / math.pi)
    metric = made(PredictiveMetric, drawn(AR1, 500, 24, seed=5, std=std))
    values, _ = metric.of_real
    persistence = float((values[:, :, 1:] - values[:, :, :-1]).abs().mean())
    assert persistence == pytest.approx(best * math.sqrt(2 / (1 + p)), rel=0.03)
    floor = metric.floor(Samples(images=drawn(AR1, 300, 24, std=std)))["predictive_score"]
    assert floor == pytest.approx(best, rel=0.04) and floor < 0.96 * persistence
    assert values_of(metric, drawn(WHITE, 300, 24, std=std))["predictive_score"] > 1.2 * best


def test_stretches_of_long_series():
    images = torch.arange(300.0).expand(MAX_SEQUENCES + 5, 2, 1, 300) / 300
    values, valid = stretches(images, False)
    assert values.shape == (MAX_SEQUENCES, 2, MAX_LENGTH) and valid.shape == (MAX_SEQUENCES, MAX_LENGTH)
    assert values.diff(dim=2).numpy() == pytest.approx(1 / 300, abs=1e-6)
    assert values[:, 0, 0].min() < 0.01 and values[:, 0, -1].max() > 0.99
    assert torch.equal(values[:, 0], values[:, 1])
    values, valid = stretches(cut(images, shortest=40), True)
    lengths = valid.sum(1)
    assert lengths.min() < 60 and lengths.max() == MAX_LENGTH  # as much as there is
    assert torch.equal(values[:, 0] * ~valid, torch.zeros_like(values[:, 0]))


def windows(x, length=24, step=2):
    """Stored windows of one long series, in random order."""
    parts = np.lib.stride_tricks.sliding_window_view(x, length)[::step]
    parts = np.random.default_rng(0).permutation(2 * (parts - x.min()) / (x.max() - x.min()) - 1)
    return torch.from_numpy(parts).float()[:, None, None]


def extractor_of(images, modality=None):
    return RocketFeatures(dataset_of(images, modality=modality or Series()))


@pytest.mark.parametrize("name", ["sunspots", "elnino"])
def test_order_of_real_and_spoilt_series(name):
    if name == "sunspots":
        series = windows(sunspots.load_pandas().data.SUNACTIVITY.to_numpy(), step=1)
    else:
        series = windows(elnino.load_pandas().data.iloc[:, 1:].to_numpy().ravel())
    fresh, real = series.chunk(2)
    extractor = extractor_of(fresh)
    real, noise = extractor(real), torch.randn(fresh.shape)
    noisy = [(fresh + strength * noise).clamp(-1, 1) for strength in (0, 0.05, 0.15, 0.4)]
    distances = [frechet_distance(real, extractor(images)) for images in noisy]
    assert distances == sorted(distances)
    shuffled = fresh.gather(3, torch.rand(fresh.shape).argsort(3))
    for spoilt in (fresh.flip(3), shuffled, (fresh + 0.2).clamp(-1, 1), fresh[:1].repeat(len(fresh), 1, 1, 1)):
        assert frechet_distance(real, extractor(spoilt)) > 1.5 * distances[0]


def test_features_are_of_one_scale():
    images = torch.cat([drawn(AR1, 300), drawn(AR2, 300) / 100], 1)
    features = extractor_of(images)(images)
    for half in features.chunk(2, 1):  # shares and maxima
        assert half.std(0).mean() == pytest.approx(1, rel=1e-3)


def test_features_of_masked_series():
    images = cut(drawn(AR1, 100))
    extractor = extractor_of(images, Series(has_mask=True))
    features = extractor(images)
    assert features.shape == (100, 65) and features.isfinite().all()
    values, valid = values_and_valid(images, True)
    assert torch.equal(extractor(with_mask(values, valid, True)[:, :, None]), features)
    lengths = valid.sum(1).float()
    centred = lengths - lengths.mean()
    assert torch.allclose(features[:, -1] / features[:, -1].max(), centred / centred.max(), atol=1e-4)
    images[:, -1] = -1
    assert extractor(images).isfinite().all()


@pytest.mark.parametrize("length", [2, 3, 6, 100])
def test_features_of_short_and_long_series(length):
    images = torch.cat([drawn(AR1, 50, length)] * 3, 1)
    features = extractor_of(images)(images)
    assert features.shape == (50, 64) and features.isfinite().all() and features.std(0).min() >= 0
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-3)


def test_features_of_texts_know_the_order_of_tokens():
    """Texts in which one of 80 tokens follows another, against the same tokens in any order."""
    start = torch.randint(80, (300, 1))
    texts = (start + torch.arange(32)) % 80
    stored = [
        torch.nn.functional.one_hot(tokens, 80).movedim(1, 2)[:, :, None].to(torch.uint8) * 255
        for tokens in (texts[:150], texts[150:], texts[150:].gather(1, torch.rand(150, 32).argsort(1)))
    ]
    extractor = extractor_of(stored[0], Text())
    real, fresh, spoilt = (extractor(images) for images in stored)
    assert frechet_distance(real, spoilt) > 5 * frechet_distance(real, fresh)


class Process(SequenceDataModule):
    """AR(1) of 12 places."""

    def load(self):
        splits = [Images(drawn(AR1, num, 12, seed=seed), torch.zeros(num, dtype=torch.long))
                  for seed, num in enumerate((200, 160))]  # fmt: skip
        return *splits, 0


def test_series_are_measured_by_their_metrics(tmp_path, monkeypatch):
    monkeypatch.setattr(_recurrent, "NUM_STEPS", 60)
    datamodule = Process(batch_size=20)
    datamodule.cache_dir = str(tmp_path)
    datamodule.setup()
    evaluation = Evaluation(datamodule.dataset)
    model = torch.nn.Module()
    model.device = torch.device("cpu")
    model.sample = lambda num, labels: drawn(WHITE, num, 12, int(torch.randint(9, ())))
    fast = {"fd", "kid", "autocorrelation_distance", "spectrum_distance", "mmd"}
    slow = {"discriminative_score", "predictive_score"}
    floor = evaluation.protocol["floor"]
    assert evaluation.protocol["extractor"] == "rocket" and fast | slow <= set(floor)
    values = evaluation.measure(model, at_the_end=False)
    assert fast <= set(values) and not slow & set(values)
    values = evaluation.measure(model)
    assert fast | slow <= set(values)
    assert {name for name in fast | slow if values[name] <= floor[name]} == set()


def long_windows(x, length=24):
    """All windows of a long series (L,) as samples that know where they are cut from, in random order."""
    starts = torch.randperm(len(x) - length + 1, generator=torch.Generator().manual_seed(0))
    places = torch.stack([torch.zeros_like(starts), starts, starts + length], 1)
    return Samples(images=x.unfold(0, length, 1)[starts][:, None, None], places=places)


def values_in(images):
    return set(images.flatten().tolist())


def test_halves_of_windows_share_no_value():
    windows = long_windows(torch.arange(100.0), 8)
    first, second = apart(windows.places, 93)
    assert len(first) == 46 - 7 and len(second) == 47  # seven windows lie across the border
    assert not values_in(windows.images[first]) & values_in(windows.images[second])
    assert num_independent(windows.places, 93) == 12 and num_independent(windows.places[second], 47) == 6
    # whole series, drawn at random, but one that is cut in the middle
    many = [(series, start, start + 3) for series in range(9) for start in range(0, 10, 2)]
    first, second = apart(torch.tensor(many), 45, seed=1)
    series = [{many[i][0] for i in half.tolist()} for half in (first, second)]
    assert len(series[0] & series[1]) == 1 and series[0] | series[1] == set(range(9))
    assert [series[0], series[1]] != [set(range(5)), set(range(4, 9))]
    steps = [{(many[i][0], step) for i in half.tolist() for step in range(*many[i][1:])} for half in (first, second)]
    assert not steps[0] & steps[1] and len(first) + len(second) == 45 - 1
    # windows that share nothing are halved at random
    first, second = apart(None, 21)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(21)) and len(first) == 10
    assert sorted(first.tolist()) != list(range(10)) and num_independent(None, 21) == 21


def test_the_network_is_tested_on_what_shares_nothing_with_its_training(monkeypatch):
    """Neither among the real sequences nor, at the floor, among the real ones in the place of samples."""
    real, fresh = long_windows(torch.arange(400.0) / 1000), long_windows(-torch.arange(300.0) / 1000)
    metric = DiscriminativeMetric(real, dataset_of(real.images, modality=Series()))
    (values, _, is_real), (tested, _, tested_is_real) = metric._halves(fresh)
    for label in (0, 1):
        assert not values_in(values[is_real == label]) & values_in(tested[tested_is_real == label])
    assert is_real.mean() == 0.5 and len(tested) == 139 + 189
    monkeypatch.setattr(_recurrent, "NUM_STEPS", 1)
    few = long_windows(torch.arange(200.0) / 1000)
    metric = DiscriminativeMetric(few, dataset_of(few.images, modality=Series()))
    assert metric.at_the_end(fresh) == {}
    assert "4 to test on that share no value; it wants 5" in metric.left_out(100)["discriminative_score"]


def test_the_accuracy_is_the_mean_of_both_kinds(monkeypatch):
    """A classifier that takes all for real is right of all real ones and of no sample: no better than a coin."""
    monkeypatch.setattr(_recurrent, "NUM_STEPS", 1)
    metric = made(DiscriminativeMetric, drawn(AR1, 90, 4))
    fake = Samples(images=drawn(AR1, 30, 4, seed=1))
    for bias in (9.0, -9.0):
        monkeypatch.setattr(
            _recurrent.Recurrent, "forward", lambda self, x, bias=bias: torch.full((len(x), x.shape[2], 1), bias)
        )
        monkeypatch.setattr("lightning_genae.evaluation.metrics.discriminative.train", lambda make, loss, num: make())
        assert metric.accuracy(fake) == 0.5


def test_real_against_real_of_one_long_series_is_at_the_floor(monkeypatch):
    """Of 600 steps of AR(1) 30 windows are tested that share nothing: a coin scores 0.399 / sqrt(60) at most."""
    monkeypatch.setattr(_recurrent, "NUM_STEPS", 40)
    scores = []
    for seed in range(4):
        real, fresh = (long_windows(drawn(AR1, 1, 600, 2 * seed + i)[0, 0, 0], 10) for i in range(2))
        metric = DiscriminativeMetric(real, dataset_of(real.images, modality=Series()))
        scores.append(metric.floor(fresh)["discriminative_score"])
    second = apart(real.places, len(real.places))[1]
    assert num_independent(real.places[second], 0) == 30
    assert np.mean(scores) < 1.3 * 0.399 / math.sqrt(60)


def test_evaluations_tell_metrics_which_windows_overlap(tmp_path):
    class Long(SequenceDataModule):
        """A walk through [-1, 1], no value twice."""

        def load(self):
            sides = [long_windows(torch.linspace(-1, 1, 301)[part], 12) for part in (slice(0, 180), slice(180, 301))]
            self.places = {name: side.places for name, side in zip(("pool", "heldout"), sides)}
            return *(Images(side.images, torch.zeros(len(side.images)).long()) for side in sides), 0

    datamodule = Long(batch_size=4)
    datamodule.cache_dir = str(tmp_path)
    datamodule.setup()
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DiscriminativeMetric, "floor", lambda self, fresh: seen.append((self.real, fresh)) or {})
        patch.setattr(PredictiveMetric, "floor", lambda self, fresh: {})
        protocol = Evaluation(datamodule.dataset, "moments", num_samples=30).protocol
    ((real, fresh),) = seen
    for samples, length in ((real, 110), (fresh, 30)):
        starts = samples.places[:, 1]
        # a window's place says where its values are from
        assert len(samples.images) == length
        assert (samples.images[:, 0, 0, 0].argsort() == starts.argsort()).all()
    assert protocol["n_independent"] == 10 and "fd_infinity" in protocol["left_out"]
    lines = "\n".join(table({}, protocol | {"generator": "raw"}))
    assert "held-out sequences overlap: only 10 of them share nothing" in lines
    assert "left out: fd_infinity, Frechet distance of infinitely many samples (30 samples in" in lines


@pytest.mark.parametrize("stride, num_train", [(1, None), (3, None), (1, 20)])
def test_what_chooses_shares_no_value_with_training(tmp_path, stride, num_train):
    """One long series in which no value is twice."""
    np.save(tmp_path / "long.npy", np.arange(300.0))
    options = {"window": 10, "stride": stride, "num_train": num_train}
    data = TimeSeriesDataModule(str(tmp_path / "long.npy"), batch_size=2, **options)
    data.setup()
    parts = [values_in(split.images) for split in (data.dataset.train, data.dataset.validation, data.dataset.heldout)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    total, num = len(data.dataset.pool.images), len(data.dataset.validation.images)
    assert num == max(10, total // 10)
    assert len(data.dataset.train.images) == (num_train or total - num - math.ceil(9 / stride))
    for name in ("pool", "train", "validation", "heldout"):
        values = data.dataset.modality.inverse_transform(getattr(data.dataset, name).images)[:, 0, 0]
        first = values - (210 if name == "heldout" else 0)
        assert first.round().tolist() == data.dataset.places[name][:, 1].tolist()


def test_whole_series_choose(tmp_path):
    np.save(tmp_path / "many.npy", np.arange(40 * 20.0).reshape(40, 20, 1))
    data = TimeSeriesDataModule(str(tmp_path / "many.npy"), batch_size=2, window=8)
    data.setup()
    splits = (data.dataset.train, data.dataset.validation, data.dataset.heldout)
    values = [data.dataset.modality.inverse_transform(split.images) for split in splits]
    series = [set((part.round() // 20).astype(int).flatten()) for part in values]
    assert [len(part) for part in series] == [25, 3, 12] and len(set.union(*series)) == 40
    with pytest.raises(ValueError, match=r"--data.num_train: expected at most 325, the sequences that share nothing"):
        TimeSeriesDataModule(str(tmp_path / "many.npy"), batch_size=2, window=8, num_train=326).setup()
    whole = TimeSeriesDataModule(str(tmp_path / "many.npy"), batch_size=2)
    whole.setup()
    assert whole.dataset.places == {} and len(whole.dataset.validation.images) == 10


class LastValue(torch.nn.Module):
    """Answers at every place with the value of one channel there."""

    def __init__(self, channel=0):
        super().__init__()
        self.channel = channel

    def forward(self, x):
        return x[:, self.channel, :, None]


@pytest.fixture
def answers_with_values(monkeypatch):
    """Instead of training: notes what would be trained, and answers with the first channel."""
    asked = []

    def train(make, loss, num):
        asked.append((make, loss, num))
        return LastValue()

    monkeypatch.setattr("lightning_genae.evaluation.metrics.discriminative.train", train)
    return asked


def constant(values, length=3):
    """Series of two channels, the first of which is the same at all places but the last: there it is `values`."""
    images = torch.full((len(values), 2, 1, length), 0.5)
    images[:, 0, 0, -1] = torch.tensor(values)
    return images


@pytest.mark.parametrize("share, score", [(1.0, 0.5), (0.75, 0.375), (0.0, 0.0)])
def test_the_discriminative_score_by_hand(answers_with_values, share, score):
    """All real sequences are known for what they are, and a share of the others: (1 + share) / 2 is right."""
    real = constant([0.3] * 41)
    fake = constant([-0.3 if i % 4 < 4 * share else 0.3 for i in range(40)])
    metric = made(DiscriminativeMetric, real)
    known = [float(value) < 0 for value in fake[apart(None, 40, 1)[1], 0, 0, -1]]
    expected = abs((1 + np.mean(known)) / 2 - 0.5)
    assert values_of(metric, fake) == {"discriminative_score": pytest.approx(expected)}
    assert expected == pytest.approx(score, abs=0.1)
    wrong = made(DiscriminativeMetric, constant([-0.3] * 41))
    assert wrong.accuracy(Samples(images=constant([0.3] * 40))) == 0  # and that tells them, too
    assert values_of(wrong, constant([0.3] * 40))["discriminative_score"] == 0.5
    decision_threshold = made(DiscriminativeMetric, constant([0.0] * 41))
    assert decision_threshold.accuracy(Samples(images=constant([-0.3] * 40))) == 0.5  # 0 is taken for a sample
    slightly = made(DiscriminativeMetric, constant([0.2] * 41))
    assert slightly.accuracy(Samples(images=constant([-0.2] * 40))) == 1


def test_what_the_discriminating_network_learns(answers_with_values):
    """Binary cross-entropy at the last place with a value, equally many of both kinds, with values in units of their
    std; of masked sequences the mask is told as well."""
    real, fake = cut(drawn(AR1, 60, 10), shortest=1), cut(drawn(AR2, 30, 10, seed=1), seed=1)
    metric = made(DiscriminativeMetric, real, True)
    metric.accuracy(Samples(images=fake))
    ((make, loss, num),) = answers_with_values
    (x, valid, is_real), (tested, _, tested_is_real) = metric._halves(Samples(images=fake))
    assert num == len(x) == 30 and is_real.tolist() == [1.0] * 15 + [0.0] * 15
    assert tested_is_real.tolist() == [1.0] * 30 + [0.0] * 15 and tested.shape[1:] == (2, 10)
    network = make()
    assert network.gru.input_size == 2 and network.head.out_features == 1
    assert float(network.std) == pytest.approx(float(x.std()))
    chosen = torch.tensor([3, 3, *range(30)])
    assert valid.sum(1).min() == 1
    p = torch.sigmoid(torch.stack([x[i, 0, valid[i].sum() - 1] for i in chosen]))
    expected = -torch.where(is_real[chosen] == 1, p.log(), (1 - p).log()).mean()
    assert float(loss(LastValue(), chosen)) == pytest.approx(float(expected), rel=1e-5)


def test_halves_of_at_most_500_sequences(monkeypatch):
    monkeypatch.setattr("lightning_genae.evaluation.metrics.discriminative.MAX_SEQUENCES", 21)
    metric = made(DiscriminativeMetric, drawn(WHITE, 90, 4))
    (_, _, is_real), (_, _, tested_is_real) = metric._halves(Samples(images=drawn(WHITE, 60, 4, seed=1)))
    assert is_real.tolist() == tested_is_real.tolist() == [1.0] * 10 + [0.0] * 10


@pytest.mark.parametrize("num, is_left_out", [(8, True), (9, False), (10, False)])
def test_five_real_sequences_have_to_be_tested(answers_with_values, num, is_left_out):
    metric, fake = made(DiscriminativeMetric, drawn(WHITE, num, 4)), drawn(WHITE, 20, 4, seed=1)
    reason = f"held-out sequences leave {num // 2} to test on that share no value; it wants 5 at least"
    assert metric.left_out(20) == ({"discriminative_score": reason} if is_left_out else {})
    assert (values_of(metric, fake) == {}) == is_left_out
    assert values_of(metric, fake[:1]) == {}  # one sample is no two halves


def test_without_a_half_to_train_on_there_is_no_score():
    """Ten windows that overlap come first, and eight series of one window after them: none is before the middle one."""
    for long in range(9):
        others = [(series, 0, 4) for series in range(9) if series != long]
        places = torch.tensor([*[(long, start, start + 12) for start in range(10)], *others])
        if not len(apart(places, 18)[0]):
            break
    real = Samples(images=drawn(WHITE, 18, 4), places=places)
    assert num_independent(places[apart(places, 18)[1]], 9) == 9
    reason = DiscriminativeMetric(real, dataset_of(real.images, modality=Series())).left_out(100)[
        "discriminative_score"
    ]
    assert reason.startswith("held-out sequences leave 0 to test on")


@pytest.mark.parametrize("has_mask", [False, True])
def test_the_error_of_a_prediction_by_hand(has_mask):
    """A network that expects each value to go on by its std times the value, of places that have one."""
    network = SimpleNamespace(std=torch.tensor(0.5))
    images = drawn(AR1, 30, 6)
    images = torch.cat([images, images.flip(0) ** 2], 1)
    stored = cut(images) if has_mask else images
    values, valid = values_and_valid(stored, has_mask)
    errors = []
    for i in range(30):
        for place in range(1, int(valid[i].sum())):
            before, after = values[i, :, place - 1], values[i, :, place]
            errors.append(float((before + 0.5 * before - after).abs().mean()))
    given = []

    class Same(torch.nn.Module):
        std = network.std

        def forward(self, x):
            given.append(x)
            return x.movedim(1, 2)

    assert float(predictive._error(Same(), values, valid)) == pytest.approx(np.mean(errors), rel=1e-5)
    assert torch.equal(given[0], values[:, :, :-1])  # of the last place nothing is to be predicted
    nothing = torch.zeros_like(valid)
    assert float(predictive._error(Same(), values, nothing)) == 0
    nothing[0, :2] = True  # one step
    one = (1.5 * values[0, :, 0] - values[0, :, 1]).abs().mean()
    assert float(predictive._error(Same(), values, nothing)) == pytest.approx(float(one), rel=1e-5)


def test_what_the_predicting_network_learns(monkeypatch):
    """All channels by all, of the samples, and it is tested on the real ones."""
    asked = []
    still = SimpleNamespace(std=0.0)

    class Still(torch.nn.Module):
        std = still.std

        def forward(self, x):
            return x.movedim(1, 2)

    monkeypatch.setattr(predictive, "train", lambda *arguments: asked.append(arguments) or Still())
    real, fake = (torch.cat([drawn(process, 40, 8)] * 3, 1) for process in (AR1, WHITE))
    metric = made(PredictiveMetric, real)
    score = values_of(metric, fake)["predictive_score"]
    assert score == pytest.approx(float(real.diff(dim=3).abs().mean()), rel=1e-5)  # nothing is expected to change
    ((make, loss, num),) = asked
    network = make()
    assert (num, network.gru.input_size, network.head.out_features) == (40, 3, 3)
    assert float(network.std) == pytest.approx(float(fake.std()))
    values, _ = stretches(fake, False, seed=1)
    chosen = torch.tensor([3, 9])
    assert float(loss(Still(), chosen)) == pytest.approx(float(values[chosen].diff(dim=2).abs().mean()), rel=1e-5)


def test_the_recurrent_network():
    """Half as many units as channels, at least 8; each output knows the places up to its own, in units of a
    std."""
    assert [Recurrent(channels, 1, torch.ones(())).gru.hidden_size for channels in (1, 17, 18, 30)] == [8, 8, 9, 15]
    network, x = Recurrent(2, 3, torch.tensor(0.2)), torch.randn(4, 2, 7)
    out = network(x)
    assert out.shape == (4, 7, 3)
    later = x.clone()
    later[:, :, 5:] += 1
    changed = (network(later) != out).any(2)
    assert not changed[:, :5].any() and changed[:, 5:].all()
    assert torch.allclose(network(x[1:2]), out[1:2], atol=1e-6)
    network.std = torch.tensor(0.4)
    assert torch.allclose(network(2 * x), out, atol=1e-6)
    assert float(Recurrent(1, 1, torch.tensor(0.0)).std) == pytest.approx(1e-3)  # what does not vary
    assert float(Recurrent(1, 1, torch.tensor(0.5)).std) == 0.5


def test_training_is_adam_with_one_cycle_of_its_rate(monkeypatch):
    """Of a loss whose slope is always the same: the rate goes from 1/25 up to the largest by half a cosine in three
    tenths of the steps, and down to nearly nothing by another; the momentum from 0.95 to 0.85 and back."""
    steps, largest, given = 40, 2e-2, []
    monkeypatch.setattr(_recurrent, "NUM_STEPS", steps)

    def loss(network, chosen):
        given.append(chosen)
        return -3 * network.weight.sum()

    def make():
        network = torch.nn.Linear(1, 1)
        network.begin = network.weight.detach().clone()
        return network

    torch.manual_seed(3)
    network = _recurrent.train(make, loss, 7)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert drawn == torch.rand(1)
    moved, mean, up = 0.0, 0.0, 0.3 * steps - 1
    for i in range(steps):
        share = i / up if i <= up else 1 - (i - up) / (steps - 1 - up)
        height = (1 - math.cos(math.pi * share)) / 2
        rate = (largest / 25 if i <= up else 0) * (1 - height) + largest * height
        momentum = 0.95 - 0.1 * height
        mean = momentum * mean + (1 - momentum)  # of slopes, in units of the slope
        moved += rate * mean / (1 - momentum ** (i + 1))
    assert float(network.weight - network.begin) == pytest.approx(moved, rel=1e-4)
    assert not network.training and not network.weight.requires_grad
    assert len(given) == steps and all(chosen.shape == (128,) for chosen in given)
    assert set(torch.cat(given).tolist()) == set(range(7)) and not torch.equal(given[0], given[1])
    again = _recurrent.train(make, loss, 7)
    assert torch.equal(again.weight, network.weight) and torch.equal(given[steps], given[0])


def test_stretches_by_hand(monkeypatch):
    """Of series of 3 to 9 values, each a number of its own, stretches of 4; shorter ones from their beginning."""
    monkeypatch.setattr(_recurrent, "MAX_LENGTH", 4)
    lengths = torch.arange(3, 10).repeat(300)
    numbers = (torch.arange(9.0) + 10 * torch.arange(2100)[:, None])[:, None] / 30_000
    stored = with_mask(numbers, torch.arange(9) < lengths[:, None], True)[:, :, None]
    torch.manual_seed(3)
    values, valid = stretches(stored, True, seed=2, most=2000)
    after = torch.rand(1)
    torch.manual_seed(3)
    assert after == torch.rand(1)
    assert values.shape == (2000, 1, 4) and valid.shape == (2000, 4)
    first = (values[:, 0, 0] * 30_000).round().long()
    which, start = first // 10, first % 10
    assert len(which.unique()) == 2000 and which.tolist() != sorted(which.tolist())
    of_each = lengths[which]
    for length in range(3, 10):
        assert set(start[of_each == length].tolist()) == set(range(max(1, length - 3)))
    assert torch.equal(valid.sum(1), of_each.clamp(max=4))
    expected = (first[:, None] + torch.arange(4)) * valid
    assert (values[:, 0] * 30_000).round().long().tolist() == expected.tolist()


def by_definition(images, has_mask):
    """Autocorrelations and spectrum of a set, sum by sum."""
    values, valid = (part.double().numpy() for part in values_and_valid(images, has_mask))
    num, channels, length = values.shape
    mean = values.sum((0, 2)) / valid.sum()
    centred = (values - mean[:, None]) * valid[:, None]
    covariances = np.zeros((channels, length // 2 + 1))
    for channel in range(channels):
        for lag in range(length // 2 + 1):
            pairs = [
                centred[i, channel, place] * centred[i, channel, place + lag]
                for i in range(num)
                for place in range(length - lag)
                if valid[i, place] and valid[i, place + lag]
            ]
            covariances[channel, lag] = np.mean(pairs) if pairs else 0
    waves = np.exp(-2j * np.pi * np.outer(np.arange(length // 2 + 1), np.arange(length)) / length)
    powers = (np.abs(centred @ waves.T) ** 2).mean(0)
    powers[:, 1 : None if length % 2 else -1] *= 2  # one-sided
    return covariances[:, 1:] / covariances[:, :1], powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize("length", [5, 12, 24])
@pytest.mark.parametrize("has_mask", [False, True])
def test_autocorrelations_and_spectra_by_definition(has_mask, length):
    sets = [torch.cat([drawn(AR1, 6, length, seed) + 0.2, drawn(other, 6, length, seed) / 2], 1)
            for seed, other in enumerate((AR2, WHITE))]  # fmt: skip
    real, fake = (cut(images) if has_mask else images for images in sets)
    metric = made(SpectrumMetric, real, has_mask)
    expected = by_definition(real, has_mask), by_definition(fake, has_mask)
    for found, part in zip(metric.of_real, expected[0]):
        assert found.numpy() == pytest.approx(part, abs=1e-5)
    values = metric.measure(Samples(images=fake))
    distances = [np.abs(one - other) for one, other in zip(*expected)]
    assert values["autocorrelation_distance"] == pytest.approx(distances[0].mean(), abs=1e-5)
    assert values["spectrum_distance"] == pytest.approx(distances[1].sum(1).mean() / 2, abs=1e-5)


def test_autocorrelations_of_two_values():
    """About their mean they are opposite: -1 at a lag of 1, of one pair, and beyond it there are none."""
    images = torch.tensor([[0.1, 0.5, 9, 9, 9, 9], [1, 1, -1, -1, -1, -1]])[None, :, None]
    autocorrelations, _ = made(SpectrumMetric, images, True).of_real
    assert autocorrelations[0].tolist() == pytest.approx([-1, 0, 0], abs=1e-9)


def test_what_does_not_vary_varies_infinitely_slowly():
    alone = with_mask(torch.full((3, 1, 6), 0.8), torch.zeros(3, 6, dtype=torch.bool), True)[:, :, None]
    alone[1, 1, 0, 0] = 1.0  # a single value
    for images, has_mask in ((torch.full((4, 2, 1, 6), 0.4), False), (alone, True)):
        autocorrelations, spectrum = made(SpectrumMetric, images, has_mask).of_real
        assert (autocorrelations == 1).all() and (spectrum[:, 0] == 1).all() and (spectrum[:, 1:] == 0).all()


def test_the_width_of_the_kernel_where_most_sequences_are_copies():
    """The mean distance instead of the median, 4 of 10 being 0.6; where all are copies, 1."""
    images = torch.zeros(5, 1, 1, 4)
    images[4] = 0.3
    assert made(DiscrepancyMetric, images).width == pytest.approx(0.4 * 0.6, rel=1e-5)
    metric = made(DiscrepancyMetric, torch.zeros(5, 1, 1, 4))
    assert metric.width == 1.0
    values = metric.measure(Samples(images=images))
    k = math.exp(-(0.6**2) / 2)
    assert values["mmd"] == pytest.approx(1 + (6 + 4 * k) / 10 - 2 * (4 + k) / 5, rel=1e-5)


def test_the_discrepancy_of_masked_sequences_is_of_what_they_have_and_of_their_ends():
    real, fake = cut(drawn(AR1, 30, 6)), cut(drawn(AR2, 20, 6), seed=1)
    metric = made(DiscrepancyMetric, real, True)
    x, y = (
        np.concatenate([part[0].flatten(1).numpy(), 2 * part[1].numpy() - 1], 1)
        for part in (values_and_valid(images, True) for images in (real, fake))
    )
    xx, yy, xy = (rbf_kernel(*pair, gamma=1 / (2 * metric.width**2)) for pair in ((x, x), (y, y), (x, y)))
    expected = sum((k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (xx, yy)) - 2 * xy.mean()
    assert values_of(metric, fake)["mmd"] == pytest.approx(expected, rel=1e-5)
    assert metric.points.dtype == torch.double
