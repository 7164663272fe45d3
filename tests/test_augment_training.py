"""How the autoencoders that augment are trained, kept and loaded, with a stand-in that is trained in no time."""

import logging
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch import nn

from lightning_genae import registry
from lightning_genae.augment import _training
from lightning_genae.augment._perturbations import fit_classes
from lightning_genae.augment.ae import AUTOENCODER, AutoencoderAugment
from lightning_genae.augment.vae import VariationalAugment
from lightning_genae.checkpoints import WholeCheckpoints
from lightning_genae.data.dataset import Images
from lightning_genae.data.modalities.series import Series
from lightning_genae.models import ae, vae
from lightning_genae.profiling import NoProfiler
from tests.data import dataset_of, images_of


class Constant(LightningModule):
    """An "autoencoder" that gives back the same image, its weight, whatever it is shown."""

    def __init__(self, image_shape, num_classes, modality="image", has_mask=False, height=0.0):
        super().__init__()
        self.save_hyperparameters()
        self.weight = nn.Parameter(torch.full(image_shape, height) + torch.rand(image_shape))

    def reconstruct(self, x):
        return self.weight.expand_as(x)

    @classmethod
    def load_from_checkpoint(cls, path, map_location, weights_only):
        """As Lightning's own, which takes a tenth of a second."""
        content = torch.load(path, map_location=map_location, weights_only=weights_only)
        model = cls(**content["hyper_parameters"])
        model.load_state_dict(content["state_dict"])
        assert weights_only
        return model


class Other(Constant):
    """Another model, with other weights."""

    def __init__(self, image_shape, num_classes, modality="image", has_mask=False, height=0.0):
        super().__init__(image_shape, num_classes, modality, has_mask, height)
        self.more = nn.Parameter(torch.zeros(1))


class FakeTrainer:
    """Notes what it is told; a fit sets all weights to 7."""

    made: ClassVar[list] = []

    def __init__(self, **options):
        self.options = options
        FakeTrainer.made.append(self)

    def fit(self, model, datamodule):
        self.model, self.datamodule = model, datamodule
        self.begin = model.weight.detach().clone()
        torch.rand(3)
        model.weight.data.fill_(7.0)

    def save_checkpoint(self, path, weights_only):
        assert weights_only
        save(self.model, path)


def save(model, path, **states):
    """A checkpoint as Lightning writes it."""
    content = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams), "epoch": 3}
    torch.save(content | states, path)


@pytest.fixture
def trainers(monkeypatch):
    """All trainers that were made in this test."""
    monkeypatch.setattr(_training, "Trainer", FakeTrainer)
    monkeypatch.setattr(FakeTrainer, "made", [])
    return FakeTrainer.made


@pytest.fixture
def data(tmp_path):
    """23 images of 2x3 pixels, each of one value, its number."""
    images = torch.arange(23).to(torch.uint8)[:, None, None, None].repeat(1, 1, 2, 3)
    train = Images(images, torch.arange(23) % 4)
    return dataset_of(train, num_classes=4, fingerprint="mine", cache_dir=str(tmp_path))


def train(data, steps=30, trainer_options=None, model=Constant, **options):
    return _training.trained(model, options, steps, data, trainer_options or {})


def test_a_tenth_is_kept_aside_and_the_rest_is_learnt_from(trainers, data):
    train(data)
    alone, stop = trainers[0].datamodule, trainers[0].options["callbacks"][-1]
    rest, aside = alone.dataset.train.images[:, 0, 0, 0].tolist(), stop.images[:, 0, 0, 0].tolist()
    assert len(aside) == 2 and sorted([*rest, *aside]) == list(range(23))
    assert alone.dataset.train.labels.tolist() == [number % 4 for number in rest]
    assert (stop.steps, alone.batch_size) == (30, 21)


@pytest.mark.parametrize("num, expected", [(9, 0), (10, 1), (20, 2)])
def test_less_than_ten_images_are_all_learnt_from(num, expected):
    split = Images(torch.arange(num), torch.arange(num) * 10)
    torch.manual_seed(3)
    rest, aside = _training._split(split)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert drawn == torch.rand(1)  # the run's random numbers do not notice
    assert len(aside.images) == expected and sorted([*rest.images, *aside.images]) == list(range(num))
    for part in (rest, aside):
        assert torch.equal(part.labels, 10 * part.images)
    assert torch.equal(_training._split(split)[0].images, rest.images)
    assert rest.images.tolist() != sorted(rest.images.tolist())  # drawn at random


def test_batches_are_of_32_images_at_most(trainers, data):
    train(replace(data, train=images_of(torch.zeros(90, 1, 2, 3))))
    assert trainers[0].datamodule.batch_size == 32


@pytest.mark.parametrize("size, expected", [(128, 32), (129, 31), (256, 8), (512, 2), (1024, 1)])
def test_batches_are_of_fewer_images_that_are_large(trainers, data, size, expected):
    train(replace(data, train=images_of(torch.zeros(1, 3, 1, 1).expand(90, 3, size, size))))
    assert trainers[0].datamodule.batch_size == expected


def test_the_training_does_not_depend_on_the_run_and_leaves_it_as_it_was(trainers, data):
    data = replace(data, modality=Series(has_mask=True))
    before, drawn = vars(data).copy(), []
    for _ in range(2):  # trained, then found
        torch.manual_seed(1)
        train(data, height=2.0)
        drawn.append(torch.rand(1))
    assert drawn[0] == drawn[1] and len(trainers) == 1
    alone = trainers[0].datamodule
    assert (alone.seed, alone.batches, alone.trainer, alone.augment) == (0, 0, None, None)
    assert vars(data) == before
    model = trainers[0].model
    about = {"image_shape": (1, 2, 3), "num_classes": 4, "modality": "series", "has_mask": True}
    assert dict(model.hparams) == about | {"height": 2.0}
    torch.manual_seed(99)
    train(data, steps=31, height=2.0)
    assert torch.equal(trainers[0].begin, trainers[1].begin)


def test_the_training_is_one_quiet_process_that_keeps_its_checkpoints_to_itself(trainers, data):
    train(data, trainer_options={"accelerator": "cpu", "callbacks": ["bar"]})
    options = trainers[0].options
    assert options.pop("callbacks")[0] == "bar"
    environment, checkpoints = options.pop("plugins")
    assert isinstance(environment, LightningEnvironment) and isinstance(checkpoints, WholeCheckpoints)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "limit_val_batches": 0}
    assert isinstance(options.pop("profiler"), NoProfiler)
    assert options == {"accelerator": "cpu", "devices": 1, "max_epochs": -1, **quiet}
    train(data, steps=31)
    assert len(trainers[1].options["callbacks"]) == 1


def test_an_autoencoder_is_trained_once_for_the_same_images_and_options(trainers, data, monkeypatch):
    sources = []

    def source(*modules):
        sources.append({module.__name__ for module in modules})
        return version

    version = "1"
    monkeypatch.setattr(_training, "source", source)
    model, fingerprint = train(data)
    assert fingerprint == "mine" and (model.weight == 7).all()
    assert not model.training and not any(weight.requires_grad for weight in model.parameters())
    again, fingerprint = train(data)
    assert len(trainers) == 1 and fingerprint == "mine" and (again.weight == 7).all()
    # neither a change of what was learnt, nor of how, nor of the code is overlooked
    train(data, steps=29)
    train(data, height=1.0)
    train(data, model=Other)
    data = replace(data, fingerprint="other")
    assert train(data)[1] == "other"
    data = replace(data, modality=Series())
    train(data)
    data = replace(data, modality=Series(has_mask=True))
    train(data)
    data = replace(data, train=data.train.subset(slice(20)))
    train(data)
    version = "2"
    train(data)
    assert len(trainers) == 9
    assert all(names == {__name__, "lightning_genae.data", "lightning_genae.nn"} for names in sources)


def test_the_code_that_an_autoencoder_depends_on_is_that_of_its_classes_too():
    names = [module.__name__ for module in _training._modules_of(registry.load("lightning_genae.models", "aae"))]
    assert names[:2] == ["lightning_genae.models.aae", "lightning_genae.models._two_players"]
    assert all(name.startswith("lightning_genae.models.") for name in names)


def test_the_weights_of_the_best_look_are_kept(trainers, data, monkeypatch):
    best = {"weight": torch.full((1, 2, 3), 4.0)}
    monkeypatch.setattr(_training._Stop, "restore", lambda self, model: model.load_state_dict(best))
    assert (train(data)[0].weight == 4).all()


@pytest.mark.parametrize("spoilt", [torch.nan, torch.inf])
def test_a_training_that_diverges_is_an_error_and_is_not_kept(trainers, data, monkeypatch, spoilt):
    def fit(self, model, datamodule):
        self.model = model
        model.weight.data[0, 1, 1] = spoilt

    monkeypatch.setattr(FakeTrainer, "fit", fit)
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"--augment.autoencoder.lr: expected one at which the autoencoder learns; it diverged"
        ):
            train(data)
    assert len(trainers) == 2


def test_a_damaged_autoencoder_in_the_cache_is_named(trainers, data, tmp_path):
    train(data)
    (path,) = (path for path in (tmp_path / "autoencoder").iterdir() if not path.suffix)
    path.write_text("damaged")
    with pytest.raises(ValueError, match=f"--cache: '{path}' is damaged"):
        train(data)


def run_with(errors, images=None, steps=10_000):
    """Lets a callback look at reconstructions with these errors, one after the other; batches until it stops."""
    x = torch.linspace(-1, 0.5, 12).reshape(2, 1, 2, 3) if images is None else images
    model = Constant((1, 2, 3), 0)
    stop = _training._Stop(steps, x, model)
    trainer = SimpleNamespace(datamodule=SimpleNamespace(batches=0), should_stop=False)
    stop.on_train_start(trainer, model)
    errors = iter(errors)

    def reconstruct(x):
        error = next(errors)
        averaged.weight.data.fill_(error)  # so that the weights tell which look they are from
        return x + error

    averaged = stop.averaged.module
    averaged.reconstruct = reconstruct
    while not trainer.should_stop:
        trainer.datamodule.batches += 1
        stop.on_train_batch_end(trainer, model)
    return trainer.datamodule.batches, stop, model


def test_a_training_ends_after_four_looks_without_a_better_one():
    """Every 50 batches; errors are squares, whatever their sign, and one that is as small is no better."""
    batches, stop, model = run_with([4.0, -1.0, -5.0, 1.0, 3.0, 2.0, 0.5])
    assert batches == 6 * 50 and stop.best == pytest.approx(1)
    stop.restore(model)
    assert (model.weight == -1).all()
    batches, _, model = run_with([4.0, 3.0, 5.0, 5.0, 5.0, 2.0, 6.0, 6.0, 6.0, 6.0])
    assert batches == 10 * 50
    # less than a hundredth is too little to go on for, but is taken along
    batches, stop, model = run_with([1.0, 0.999, 0.998, 0.997, 0.996, 0.5])
    assert batches == 5 * 50
    stop.restore(model)
    assert (model.weight == 0.996).all()
    assert run_with([0.99**look for look in range(9)], steps=400)[0] == 400
    batches, stop, model = run_with([torch.nan] * 9)
    assert batches == 4 * 50
    stop.restore(model)  # there is no best one
    assert model.weight.isnan().all()  # and it is an error; see above


def test_the_weights_are_averages_over_the_last_batches():
    """The i-th batch has weight i in the mean at first; from the hundredth on the mean moves by a fiftieth a batch."""
    model = Constant((1, 2, 3), 0)
    stop = _training._Stop(1000, torch.zeros(0), model)
    trainer = SimpleNamespace(datamodule=SimpleNamespace(batches=0), should_stop=False)
    stop.restore(model)
    before = model.weight.clone()
    stop.on_train_start(trainer, model)
    for heights, expected in (((3.0, *[5.0] * 30), 5 - 2 / (31 * 32 / 2)), ([9.0] * 30, None), ([7.0] * 800, 7.0)):
        for height in heights:
            model.weight.data.fill_(height)
            stop.on_train_batch_end(trainer, model)
        assert not torch.equal(model.weight, before) and (model.weight == heights[-1]).all()
        if expected:
            stop.restore(model)
            assert torch.allclose(model.weight, torch.tensor(expected))
    for height in [9.0] * 30:
        model.weight.data.fill_(height)
        stop.on_train_batch_end(trainer, model)
    stop.restore(model)
    assert torch.allclose(model.weight, torch.tensor(9 - 2 * 0.98**30))


@pytest.mark.parametrize("steps", [49, 50, 120])
def test_a_training_ends_after_its_batches_at_the_latest(steps):
    assert run_with([3.0, 2.0, 1.0], steps=steps)[0] == steps
    nothing_aside = torch.zeros(0, 1, 2, 3)
    assert run_with([], nothing_aside, steps)[0] == steps


@pytest.fixture
def checkpoint(tmp_path):
    """Makes a checkpoint of a model of images of a fingerprint."""

    def make(model=None, **states):
        save(model or Constant((1, 2, 3), 4), tmp_path / "some.ckpt", **states)
        return str(tmp_path / "some.ckpt")

    return make


CLASSES = {"other": Other, "constant": Constant}


def test_a_checkpoint_is_of_the_model_that_fits_it(checkpoint, data):
    for kind in (Constant, Other):
        model = kind((1, 2, 3), 4)
        path = checkpoint(model, Images={"batches": 3, "fingerprint": "mine"}, callbacks={})
        found, fingerprint = _training.loaded(CLASSES, path, False, data)
        assert type(found) is kind and fingerprint == "mine" and torch.equal(found.weight, model.weight)
        assert not found.training and not found.weight.requires_grad
    with pytest.raises(ValueError, match=r"expected a checkpoint of --model constant, got '.*some.ckpt'"):
        _training.loaded({"constant": Constant}, path, True, data)
    with pytest.raises(FileNotFoundError, match=r"--augment.checkpoint: expected a checkpoint or a run folder"):
        _training.loaded(CLASSES, "nowhere.ckpt", True, data)


def test_a_checkpoint_of_other_images_is_refused(checkpoint, data):
    mine = {"fingerprint": "mine"}
    path = checkpoint(Constant((1, 3, 2), 4), Images=mine)
    with pytest.raises(ValueError, match=r"expected an autoencoder of images \(1, 2, 3\), got one of \(1, 3, 2\)"):
        _training.loaded(CLASSES, path, True, data)
    for states, fingerprint in (({"Images": {"fingerprint": "theirs"}}, "theirs"), ({}, "unknown")):
        path = checkpoint(**states)
        with pytest.raises(ValueError, match=r"trained on exactly this run's training images; got one of others"):
            _training.loaded(CLASSES, path, False, data)
        assert _training.loaded(CLASSES, path, True, data)[1] == fingerprint
    assert _training.loaded(CLASSES, checkpoint(Images=mine), True, data)[1] == "mine"


class Code:
    """What a file that is not trusted may hold."""

    has_run = False

    def __setstate__(self, state):
        Code.has_run = True


def test_a_checkpoint_is_not_let_run_code(checkpoint, data):
    instance = Code()
    instance.more = 1
    with pytest.raises(ValueError, match=r"--augment.checkpoint: '.*' is damaged \(Weights only load failed"):
        _training.loaded(CLASSES, checkpoint(Images={"fingerprint": "mine"}, code=instance), True, data)
    assert not Code.has_run


MODELS = {name: registry.load("lightning_genae.models", name) for name in AUTOENCODER.names()}
MODULES = [(AutoencoderAugment, MODELS), (VariationalAugment, {"vae": vae.VAE})]


@pytest.mark.parametrize("arm_class, models", MODULES)
@pytest.mark.parametrize("foreign", [False, True])
def test_an_arm_with_a_checkpoint_trains_nothing(arm_class, models, foreign, data, monkeypatch, caplog):
    given, network = [], SimpleNamespace(hparams=SimpleNamespace(latent_dim=3))
    monkeypatch.setattr(_training, "loaded", lambda *arguments: given.append(arguments) or (network, "theirs"))
    monkeypatch.setattr(_training, "trained", None)
    network.encode = lambda x: x.flatten(1)
    network.posterior = lambda x: (x.flatten(1), x.flatten(1))
    arm = arm_class(checkpoint="some.ckpt", foreign=foreign)
    with caplog.at_level(logging.INFO, logger="lightning_genae"):
        arm.check(data)
    assert given == [(models, "some.ckpt", foreign, data)]
    assert (arm.autoencoder, arm.trained_on) == (network, "theirs")
    assert arm.settings() == {}
    if arm_class is AutoencoderAugment:
        assert "The autoencoder of 'some.ckpt' augments, of 3 latent dimensions" in caplog.text
    arm.fit(data)
    assert arm.classes.labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("arm_class, model", [(AutoencoderAugment, ae.Autoencoder), (VariationalAugment, vae.VAE)])
def test_an_arm_without_a_checkpoint_is_trained_as_its_options_say(arm_class, model, data, monkeypatch):
    given = []
    network = SimpleNamespace(encode=lambda x: x.flatten(1), posterior=lambda x: (x.flatten(1), 0 * x.flatten(1) - 1))
    monkeypatch.setattr(_training, "trained", lambda *arguments: given.append(arguments) or (network, "mine"))
    chosen = {"latent_dim": 5, "lr": 0.5}
    if arm_class is AutoencoderAugment:
        chosen = {"autoencoder": {"name": "ae", "network": "conv", **chosen}}
    arm = arm_class(**chosen, steps=12)
    arm.check(data)
    arm.fit(data, accelerator="cpu")
    ((found, options, steps, dataset, trainer_options),) = given
    assert (found, steps, trainer_options) == (model, 12, {"accelerator": "cpu"}) and dataset is data
    beta = {"beta": 1.0} if model is vae.VAE else {}
    assert options == {"network": "conv", "latent_dim": 5, "width": 8, "lr": 0.5} | beta
    # and learns where the latents of each class lie
    z = data.train.images.flatten(1) / 127.5 - 1
    expected = fit_classes(z, data.train.labels, torch.full((6,), 0.0 if model is ae.Autoencoder else 1 / torch.e))
    for part, other in zip(arm.classes, expected):
        assert torch.allclose(part, other, rtol=1e-4)


def test_the_latents_of_a_vae_are_as_uncertain_as_the_encoder_says_on_average(data):
    """0.1 and 0.3 of a variance: 0.2, whatever the mean of their logarithms."""
    arm = VariationalAugment()
    variances = torch.tensor([0.1, 0.3])[torch.arange(23) % 2][:, None].expand(-1, 6)
    arm.autoencoder = SimpleNamespace(posterior=lambda x: (x.flatten(1), variances.log()))
    arm._learn_latents(data.train)
    mean = float(variances[:, 0].mean())
    z = data.train.images.flatten(1).double() / 127.5 - 1
    apart = torch.cat([z[data.train.labels == label] - z[data.train.labels == label].mean(0) for label in range(4)])
    expected = apart.T @ apart / (23 - 4) + mean * torch.eye(6)
    assert torch.allclose((arm.classes.cholesky @ arm.classes.cholesky.T).double(), expected.double(), atol=1e-5)


SIZES = {
    "ae": ({}, {"network": "mlp", "hidden": [256]}),
    "ae ": ({"network": "resnet"}, {"width": 8}),
    "ae  ": ({"network": "conv", "width": 5}, {}),
    "ae   ": ({"network": "recurrent"}, {}),  # 64 units, as the model has it
    "ae    ": ({"hidden": [7]}, {"network": "mlp"}),
    "vaegan": ({}, {"width": 8}),  # whose option network is that of a class which it is derived from
    "rnn_ae": ({}, {}),
}


@pytest.mark.parametrize("name", SIZES)
def test_an_autoencoder_that_augments_is_small(name):
    options, added = SIZES[name]
    open_ones = {"hidden": None, "width": None}
    augment = AutoencoderAugment(autoencoder={"name": name.strip(), **open_ones, **options})
    assert augment.model is registry.load("lightning_genae.models", name.strip())
    assert augment.options == open_ones | options | added
    sizes = {f"autoencoder.{option}": value for option, value in (options | added).items() if option != "network"}
    assert augment.settings() == sizes


@pytest.mark.parametrize("network", ["conv", "mlp", "resnet"])
def test_the_options_of_a_vae_that_augments(network):
    width = {"width": 5} if network != "mlp" else {}
    given = {"network": network, "latent_dim": 16, "beta": 1.0, "lr": 2e-3, **width}
    assert VariationalAugment(network=network, width=5).options == given


def test_what_is_wrong_with_an_autoencoder_is_said_by_its_own_option(data, tmp_path):
    augment = AutoencoderAugment(autoencoder={"name": "ae", "noise": "masking", "noise_level": 2.0})
    with pytest.raises(ValueError, match=r"--augment.autoencoder.noise_level: expected .* at most 1; got 2.0"):
        augment.fit(data, accelerator="cpu")


def test_an_autoencoder_of_sequences_does_not_learn_images(data):
    with pytest.raises(
        ValueError,
        match=r"--augment.autoencoder: expected aae or ae or .* or vaegan for data of modality image .*; got rnn_ae",
    ):
        AutoencoderAugment(autoencoder="rnn_ae").check(data)
    AutoencoderAugment(autoencoder="ae").check(data)


@pytest.mark.parametrize("arm_class", [AutoencoderAugment, VariationalAugment])
def test_an_autoencoder_learns_from_two_images_at_least(arm_class, data):
    for num in (2, 1):
        data = replace(data, train=data.train.subset(slice(num)))
        if num == 2:
            arm_class().check(data)
            continue
        with pytest.raises(ValueError, match=r"--data.num_train: expected at least 2 images for an autoencoder"):
            arm_class().check(data)
