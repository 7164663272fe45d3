"""Metrics against closed forms and against other libraries on the same features."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import polynomial_kernel
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from lightning_genae import metrics
from lightning_genae.cache import cached


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
    assert metrics.frechet_distance(*features) == pytest.approx(float(expected), rel=0.01)


@pytest.mark.parametrize("num, dims", [(500, 8), (300, 64), (40, 64)])
def test_frechet_distance_against_torch_fidelity(num, dims):
    real, fake = torch.randn(num, dims), torch.randn(num, dims) * 1.3 + 0.2
    statistics = [fid_features_to_statistics(features) for features in (real, fake)]
    expected = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert metrics.frechet_distance(real, fake) == pytest.approx(expected, rel=1e-3)
    assert metrics.frechet_distance(real, real) == pytest.approx(0, abs=1e-3)


def test_kernel_distance_against_scikit_learn():
    real, fake = torch.randn(60, 7), torch.randn(60, 7) + 0.5
    xx, yy, xy = (
        polynomial_kernel(a.double(), b.double(), degree=3, gamma=1 / 7, coef0=1)
        for a, b in ((real, real), (fake, fake), (real, fake))
    )
    expected = sum((k.sum() - np.trace(k)) / (60 * 59) for k in (xx, yy)) - 2 * xy.mean()
    assert metrics.kernel_distance(real, fake) == pytest.approx(expected, rel=1e-4)


def test_kernel_distance_is_repeatable_and_leaves_the_random_numbers_alone():
    real, fake = torch.randn(900, 4), torch.randn(900, 4)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = metrics.kernel_distance(real, fake)
    assert torch.rand(1) == expected
    assert metrics.kernel_distance(real, fake) == first


def test_to_uint8_rounds_and_clamps():
    images = torch.tensor([-2.0, -1, -0.9999, 0, 0.9999, 1, 1.1])
    assert metrics.to_uint8(images).tolist() == [0, 0, 0, 128, 255, 255, 255]
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(metrics.to_uint8(every.float() / 127.5 - 1), every)


@pytest.fixture
def both(digits):
    return {"classifier": metrics.classifier(digits), "pixels": metrics.pixels(digits.train_split.images)}


def test_classifier_is_good_and_cached(digits, caplog):
    first = metrics.classifier(digits)
    assert first.description["accuracy_heldout"] > 0.94
    caplog.clear()
    torch.manual_seed(7)
    second = metrics.classifier(digits)
    assert "Training" not in caplog.text
    assert second.description == first.description
    features = first(digits.train_split.images)
    assert features.shape == (1200, 64)
    assert features.std(0).mean() == pytest.approx(1, rel=1e-3)  # the fixed scale


@pytest.mark.parametrize("name", ["classifier", "pixels"])
def test_order_of_real_and_spoilt_images(both, digits, name):
    heldout, train = digits.heldout.images, digits.train_split.images[torch.randperm(1200)[:597]]
    compare = metrics.Comparison(both[name], {"": heldout})
    noise = torch.randn(train.shape)
    spoilt = [(train.float() + 255 * s * noise).clamp(0, 255).to(torch.uint8) for s in (0, 0.2, 0.5)]
    spoilt.append(torch.randint(0, 256, train.shape, dtype=torch.uint8))
    values = [compare(images) for images in spoilt]
    for metric in ("fd", "kid"):
        ordered = [value[metric] for value in values]
        assert ordered == sorted(ordered), (metric, ordered)


def test_extractor_choice(digits, tmp_path):
    assert metrics.extractor(None, None, digits).description["extractor"] == "classifier"
    unlabelled = SimpleNamespace(num_classes=0, train_split=digits.train_split, image_shape=(1, 8, 8))
    assert metrics.extractor(None, None, unlabelled).description["extractor"] == "pixels"
    with pytest.raises(ValueError, match=r"--metrics.features: classifier needs labels"):
        metrics.extractor("classifier", None, unlabelled)
    with pytest.raises(ValueError, match=r"--metrics.weights: goes with --metrics.features inception"):
        metrics.extractor("pixels", "some.pth", digits)


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory):
    """A file of the right form for torch-fidelity's Inception, with random weights."""
    from torch_fidelity import feature_extractor_inceptionv3 as module

    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    original = module.FeatureExtractorInceptionV3.load_state_dict
    module.FeatureExtractorInceptionV3.load_state_dict = lambda self, state: None
    try:
        torch.save({}, path)
        network = module.FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(path))
    finally:
        module.FeatureExtractorInceptionV3.load_state_dict = original
    torch.save(network.state_dict(), path)
    return path


def test_inception_from_a_file(inception_weights, digits):
    extractor = metrics.inception(str(inception_weights))
    features = extractor(digits.heldout.images[:3])
    assert features.shape == (3, 2048)
    assert torch.isfinite(features).all()
    assert extractor.description["extractor"] == "inception"
    assert "TensorFlow" in extractor.description["resize"]


class Malicious:
    def __reduce__(self):
        return open, ("opened", "w")


@pytest.mark.parametrize("content", ["damaged", "another network", "pickle"])
def test_wrong_inception_weights(tmp_path, content):
    path = tmp_path / "weights.pth"
    if content == "damaged":
        path.write_bytes(b"PK\x03\x04 cut short")
    else:
        torch.save({"a": torch.zeros(1)} if content == "another network" else Malicious(), path)
    with pytest.raises(ValueError, match=r"--metrics.weights: '.*weights.pth' does not hold Inception's weights"):
        metrics.inception(str(path))
    assert not (tmp_path / "opened").exists()


def test_missing_inception_weights(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"--metrics.weights: expected a file of weights"):
        metrics.inception(str(tmp_path / "none.pth"))

    def no_internet(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_internet)
    with pytest.raises(ValueError, match=r"--metrics.weights: .* could not be fetched .*no route to host.* https://"):
        metrics.inception()


def test_inception_without_torch_fidelity(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ValueError, match=r'pip install -e "\.\[inception\]"'):
        metrics.inception()


def test_a_failed_build_leaves_nothing_in_the_cache(tmp_path):
    def fail(path):
        path.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cached(tmp_path, "kind", {"a": 1}, fail)
    path = cached(tmp_path, "kind", {"a": 1}, lambda path: path.write_text("whole"))
    assert path.read_text() == "whole"
    assert cached(tmp_path, "kind", {"a": 1}, fail) == path


def test_precision_recall_density_coverage_of_equal_distributions():
    """Density 1 and coverage 1 - prod over j of (N - j)/(N + M - j) (Naeem et al. 2020, arXiv 2002.09797)."""
    n, m, k = 1500, 1200, 5
    precision, recall, density, coverage = metrics.prdc(torch.randn(n, 3), torch.randn(m, 3), k)
    expected = 1 - np.prod([(n - j) / (n + m - j) for j in range(1, k + 1)])
    assert density == pytest.approx(1, abs=0.05)
    assert coverage == pytest.approx(expected, abs=0.02)
    assert precision == pytest.approx(recall, abs=0.03)
    assert precision > 0.9


def test_precision_and_recall_tell_quality_from_variety():
    real = torch.cat([torch.randn(500, 2), torch.randn(500, 2) + 20])
    one_mode, far = torch.randn(800, 2), torch.randn(800, 2) + 100
    precision, recall, _, coverage = metrics.prdc(real, one_mode)
    assert precision > 0.9
    assert recall == pytest.approx(0.5, abs=0.05)
    assert coverage == pytest.approx(0.5, abs=0.05)
    assert metrics.prdc(real, far) == (0, 0, 0, 0)
    assert metrics.prdc(real, torch.cat([real, far]))[0] == pytest.approx(1000 / 1800, abs=0.01)


def test_the_distance_to_the_nearest_shows_copies():
    images = torch.randint(0, 256, (700, 1, 4, 4), dtype=torch.uint8)
    assert metrics.distance_to_nearest(images[:600], images) == pytest.approx(0, abs=1e-2)
    flat = images.double().flatten(1) / 127.5 - 1
    expected = torch.cdist(flat[:600], flat[600:]).min(1).values.mean() / 4
    assert metrics.distance_to_nearest(images[:600], images[600:]) == pytest.approx(float(expected), rel=1e-4)
