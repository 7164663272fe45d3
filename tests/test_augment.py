"""The contract of augment/__init__.py for every arm, their options, where they come from and what they must not see."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_genae import registry
from lightning_genae.augment import _training
from lightning_genae.augment._arm import Arm
from lightning_genae.augment.ae import AutoencoderAugment
from lightning_genae.augment.noise import NoiseAugment
from lightning_genae.augment.pca import PCAAugment
from lightning_genae.augment.repeat import Repeat
from lightning_genae.augment.vae import VariationalAugment
from lightning_genae.augmentation import Augmentation
from lightning_genae.command_line import signature
from lightning_genae.extractors.pixels import PixelFeatures
from lightning_genae.images import settle, to_float
from lightning_genae.models.ae import Autoencoder
from lightning_genae.models.gan import GAN
from lightning_genae.models.vae import VAE
from tests.test_models import train

PACKAGE = "lightning_genae.augment"
NAMES = registry.names(PACKAGE)
QUIET = {"accelerator": "cpu", "enable_progress_bar": False}
# another value for every option of an arm, and what else must be given so that it counts
OTHER = {
    "jitter": 0.2, "scale": 0.5, "warp": 0.8,
    "flip": True, "shift": 0.4, "crop": 0.5, "rotate": 90.0, "contrast": 0.9,
    "colour": False, "translation": 0.5, "cutout": 0.9, "blits": False, "geometry": False,
    "deviation": 0.5, "match": "ae", "perturb": None, "strength": 0.9, "detail": "decode", "neighbours": 50,
    "autoencoder": "mlp", "latent_dim": 3, "width": 4, "steps": 100, "lr": 0.02, "beta": 20.0,
}  # fmt: skip
NEEDS = {
    "neighbours": {"perturb": "interpolate"},
    "beta": {"perturb": "prior"},
}
OF_SERIES = {"jitter", "scale", "warp"}
# loading is tested by itself
ELSEWHERE = {"checkpoint", "foreign"}


def options_of(name: str) -> set[str]:
    return set(signature(registry.load(PACKAGE, name))) - ELSEWHERE


def make(name: str, **options) -> Arm:
    few = {"steps": 50} if "steps" in options_of(name) else {}
    return registry.load(PACKAGE, name)(**{**few, **options})


def fitted(arm: Arm, datamodule) -> Arm:
    arm.check(datamodule)
    arm.fit(datamodule, **QUIET)
    return arm


def batch(datamodule, num: int = 64):
    return to_float(datamodule.train.images[:num]), datamodule.train.labels[:num]


def seeded(function, *arguments):
    torch.manual_seed(0)
    return function(*arguments)


@pytest.fixture(params=NAMES)
def arm(request, digits):
    """Every augmentation, fitted with few steps."""
    return fitted(make(request.param), digits)


def test_contract(arm, digits):
    x, labels = batch(digits)
    for given in (labels, None):
        varied = seeded(arm.vary, x, given)
        assert varied.shape == x.shape
        assert varied.dtype == x.dtype
        assert varied.isfinite().all()
        assert not varied.requires_grad
        assert torch.equal(varied, seeded(arm.vary, x, given))
        assert torch.equal(arm(x, given, 0.0), x)
        half = seeded(arm, x, given, 0.5)
        changed = (half != x).flatten(1).any(1).double().mean()
        assert changed <= 0.5 or isinstance(arm, registry.load(PACKAGE, "ada"))
    assert not any(weight.requires_grad for weight in arm.parameters())


@pytest.mark.parametrize("kind", ["series", "masked", "text"])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("ada", "diffaug")])
def test_sequences(name, kind, waves):
    """Variations of sequences are sequences of the same kind, and gradients pass."""
    datamodule = waves(kind)
    if (name, kind) == ("classic", "text"):
        with pytest.raises(ValueError, match="--augment: classic expected images, series or sounds; got text"):
            make(name).check(datamodule)
        return
    augment = Augmentation({name: make(name)}, on=None if name == "none" else "data", fraction=1.0)
    augment.check(datamodule, Autoencoder(datamodule.image_shape, kind=kind))
    augment.fit(datamodule, **QUIET)
    x, labels = batch(datamodule, 16)
    varied = seeded(augment, x, labels)
    assert varied.shape == x.shape
    assert torch.equal(varied, settle(varied, kind))
    assert torch.equal(varied, x) == (name in ("none", "repeat")) or name == "repeat" or kind == "text"
    x.requires_grad_()
    (augment.arms[name].vary(x, labels) * torch.randn_like(x)).sum().backward()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "perturb, autoencoder",
    [(perturb, "conv") for perturb in ("gaussian", "interpolate", "extrapolate", "resample")]
    + [("gaussian", "rae"), ("interpolate", "recurrent")],
)
def test_codes_of_sequences_are_perturbed_as_those_of_images(perturb, autoencoder, waves):
    """The same arm: the identity without strength, and the more strength the further from the original."""
    datamodule = waves()
    arm = make("ae", perturb=perturb, autoencoder=autoencoder, steps=60)
    fitted(arm, datamodule)
    x, labels = batch(datamodule)
    distances = []
    for arm.strength in (0.0, 0.3, 0.9):
        distances.append(float((seeded(arm.vary, x, labels) - x).square().mean()))
    assert distances[0] < 1e-10
    assert 0 < distances[1] < distances[2]


def test_the_residual_of_text_replaces_what_decodes_differently(waves):
    datamodule = waves("text")
    arm = fitted(make("ae", steps=300, latent_dim=8, strength=1.0), datamodule)
    x, labels = batch(datamodule)
    z, varied = seeded(arm.codes, x, labels)
    changed = arm.autoencoder.decode(varied).argmax(1) != arm.autoencoder.decode(z).argmax(1)
    tokens = seeded(arm.vary, x, labels).argmax(1)
    assert 0.05 < changed.double().mean() < 0.95
    assert torch.equal(tokens[~changed], x.argmax(1)[~changed])
    assert torch.equal(tokens[changed], arm.autoencoder.decode(varied).argmax(1)[changed])


@pytest.mark.parametrize("name", ["ada", "diffaug"])
def test_what_is_for_images_refuses_sequences(name, waves):
    with pytest.raises(ValueError, match=f"--augment: {name} expected grey or RGB images"):
        make(name).check(waves())


def test_what_can_stand_before_a_critic_is_differentiable_in_every_pixel(arm, digits):
    if "critic" not in arm.fractions:
        pytest.skip("stands on the data alone")
    x, labels = batch(digits, 16)
    x.requires_grad_()
    torch.manual_seed(1)
    (arm.vary(x, labels) * torch.randn_like(x)).sum().backward()
    # cutout and what a shift moves out of sight are not seen
    assert (x.grad != 0).double().mean() > 0.4


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_precisions_before_a_critic(arm, digits, precision):
    if "critic" not in arm.fractions:
        pytest.skip("stands on the data alone")
    augment = Augmentation({"arm": arm}, on="critic", fraction=0.5)
    model = GAN(digits.image_shape, 10, conditional="projection")
    augment.check(digits, model)
    model.view = augment.view
    trainer = train(model, digits, 3, precision=precision)
    assert all(value.isfinite() for value in trainer.callback_metrics.values())


@pytest.mark.parametrize("shape", [(3, 12, 10), (1, 9, 8)])
def test_every_arm_goes_with_odd_shapes(arm, shape):
    x = torch.rand(6, *shape) * 2 - 1
    if not hasattr(arm, "autoencoder"):
        assert arm.vary(x, None).shape == x.shape


@pytest.mark.parametrize("name, option", [(name, option) for name in NAMES for option in sorted(options_of(name))])
def test_every_option_changes_the_variations(digits, waves, name, option):
    digits = waves() if option in OF_SERIES else digits
    choices = {"vae": "prior"}.get(name, "resample")
    other = choices if option == "perturb" else OTHER[option]
    needs = NEEDS.get(option, {})
    if name == "noise" and option not in ("deviation", "match"):
        needs = {**needs, "match": "ae"}  # the others are of the arm that is matched
    x, labels = batch(digits)
    varied = [
        seeded(fitted(make(name, **{**needs, **given}), digits).vary, x, labels) for given in ({}, {option: other})
    ]
    assert not torch.equal(*varied)


def test_options_need_another_value_here():
    assert set().union(*(options_of(name) for name in NAMES)) <= set(OTHER)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_fraction(digits, fraction):
    noise = NoiseAugment()
    x, labels = batch(digits, 51)
    shares = [(noise(x, labels, fraction) != x).flatten(1).any(1).double().mean() for _ in range(40)]
    assert torch.stack(shares).mean() == pytest.approx(fraction, abs=0.02)


@pytest.mark.parametrize("name", ["ae", "pca", "vae"])
def test_residual_of_strength_0_is_the_identity(digits, name):
    arm = fitted(make(name, strength=0.0), digits)
    x, labels = batch(digits)
    assert torch.equal(arm.vary(x, labels), x)
    arm.detail = "decode"
    assert torch.equal(arm.vary(x, labels), arm.reconstruct(x))


def test_repeat_shows_fewer_originals_of_the_same_classes(digits):
    x, labels = batch(digits)
    repeated = Repeat()(x, labels, 0.5)
    rows = {tuple(image.flatten().tolist()): int(label) for image, label in zip(x, labels)}
    assert all(rows[tuple(image.flatten().tolist())] == label for image, label in zip(repeated, labels))
    assert 32 <= len({tuple(image.flatten().tolist()) for image in repeated}) <= 40
    assert len({tuple(image.flatten().tolist()) for image in Repeat()(x, None, 0.75)}) == 16


def test_noise_matches_the_error_of_the_ae_arm(digits):
    given = {"steps": 50, "strength": 0.8, "perturb": "gaussian"}
    noise, other = fitted(NoiseAugment(match="ae", **given), digits), fitted(AutoencoderAugment(**given), digits)
    x, labels = batch(digits, 200)
    errors = [(arm.vary(x, labels).clamp(-1, 1) - x).square().mean() for arm in (noise, other)]
    assert errors[0] == pytest.approx(float(errors[1]), rel=0.05)
    assert errors[0] > 0.01


@pytest.mark.parametrize("arm_class, model", [(AutoencoderAugment, Autoencoder), (VariationalAugment, VAE)])
def test_the_autoencoder_sees_the_training_subset_alone(digits, monkeypatch, arm_class, model):
    other = type(digits)(num_train=200, split_seed=1)
    other.cache_dir = digits.cache_dir
    other.setup()
    seen, original = [], model.training_step

    def watched(self, batch, batch_idx):
        seen.append(batch[0])
        return original(self, batch, batch_idx)

    monkeypatch.setattr(model, "training_step", watched)
    arm_class(steps=30, lr=0.0011).fit(other, **QUIET)
    seen = {tuple(image.flatten().tolist()) for image in torch.cat(seen)}
    train = [tuple(image.flatten().tolist()) for image in other.train.images.float() / 127.5 - 1]
    assert seen <= set(train)
    aside = _training._split(other.train)[1].images.float() / 127.5 - 1
    assert len(aside) == 20
    assert not seen & {tuple(image.flatten().tolist()) for image in aside}
    assert len(seen) > 150


def test_training_stops_when_the_error_on_images_kept_aside_stops_falling(digits, monkeypatch):
    looks = []
    monkeypatch.setattr(_training._Stop, "every", 10)
    original = _training._Stop._look

    def look(self, model):
        original(self, model)
        looks.append((self.best, {name: value.clone() for name, value in model.state_dict().items()}))

    monkeypatch.setattr(_training._Stop, "_look", look)
    arm = AutoencoderAugment(steps=3000, lr=0.02)
    arm.fit(digits, **QUIET)
    assert len(looks) < 150
    bests = [best for best, _ in looks]
    assert len(bests) - 1 - bests.index(bests[-1]) == _training._Stop.patience
    best = looks[bests.index(bests[-1])][1]
    assert all(torch.equal(value, best[name]) for name, value in arm.autoencoder.state_dict().items())


def test_fit_does_not_depend_on_the_run(digits):
    """Runs of other seeds, batch sizes and what was drawn before share one autoencoder."""
    augment = AutoencoderAugment(steps=10, lr=0.0012)
    augment.fit(digits, **QUIET)
    digits.seed, digits.batch_size, digits.cache_dir = 5, 32, f"{digits.cache_dir}/another"
    torch.manual_seed(99)
    again = AutoencoderAugment(steps=10, lr=0.0012)
    again.fit(digits, **QUIET)
    for a, b in zip(augment.autoencoder.state_dict().values(), again.autoencoder.state_dict().values()):
        assert torch.equal(a, b)
    assert digits.augment is None
    assert digits.batches == 0


@pytest.mark.slow
def test_the_adversarial_autoencoder(digits):
    arm = fitted(AutoencoderAugment(autoencoder="aegan", steps=300), digits)
    x, labels = batch(digits)
    assert (arm.reconstruct(x) - x).square().mean() < 0.25
    assert type(arm.autoencoder).__name__ == "AEGAN"
    assert not torch.equal(arm.vary(x, labels), x)


def test_the_cost_of_a_batch_does_not_grow_with_the_data():
    arm = PCAAugment(latent_dim=2, perturb="resample")
    arm.set_codes(torch.randn(3 * arm.max_bank, 2), torch.arange(3 * arm.max_bank) % 4)
    assert len(arm.bank) == len(arm.bank_labels) == arm.max_bank
    assert len(arm.weights) == 4 * 3


def test_two_processes_that_start_together_train_one_autoencoder(tmp_path):
    code = """
import logging, sys
logging.basicConfig(level=logging.INFO)
from datamodules.digits import Digits
from lightning_genae.augment.ae import AutoencoderAugment
from lightning_genae.cache import hash_weights
digits = Digits(num_train=100)
digits.cache_dir = sys.argv[1]
digits.setup()
augment = AutoencoderAugment(steps=100)
augment.fit(digits, accelerator="cpu", enable_progress_bar=False)
print(hash_weights(augment.autoencoder))
"""
    root = str(Path(__file__).parents[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert len({out for out, _ in outputs}) == 1
    assert sum("Training the autoencoder" in err for _, err in outputs) == 1


def test_wrong_checkpoints(digits, tmp_path):
    path = tmp_path / "some.ckpt"
    path.write_text("no checkpoint")
    expected = (
        r"--augment.checkpoint: expected a checkpoint of --model ae or --model aegan or --model rae, got .*some.ckpt"
    )
    with pytest.raises(ValueError, match=expected):
        AutoencoderAugment(checkpoint=str(path)).check(digits)
    with pytest.raises(ValueError, match=r"expected a checkpoint of --model vae"):
        VariationalAugment(checkpoint=str(path)).check(digits)
    with pytest.raises(FileNotFoundError, match=r"--augment.checkpoint: expected a checkpoint or a run folder"):
        AutoencoderAugment(checkpoint=str(tmp_path / "none")).check(digits)


@pytest.mark.parametrize("model", ["ae", "aegan", "vae"])
def test_a_checkpoint_of_other_images_is_refused_unless_that_is_meant(cli, digits, model):
    short = ("--steps", "5", "--metrics.features", "pixels", "--data.num_train", "200")
    assert cli("--model", model, *short, "--folder", "same")[0] == 0
    assert cli("--model", model, *short, "--data.split_seed", "1", "--folder", "other")[0] == 0
    arm_class = VariationalAugment if model == "vae" else AutoencoderAugment
    same = fitted(arm_class(checkpoint="same"), digits)
    assert same.trained_on == digits.fingerprint
    with pytest.raises(ValueError, match=r"--augment.foreign true says that it is meant"):
        arm_class(checkpoint="other").check(digits)
    foreign = fitted(arm_class(checkpoint="other", foreign=True), digits)
    assert foreign.trained_on not in (digits.fingerprint, "unknown")
    x, _ = batch(digits)
    extractor = PixelFeatures(digits)
    quality = foreign.quality(digits, extractor, x, extractor(digits.validation.images))
    assert quality["autoencoder_images"] == foreign.trained_on


def test_an_arm_is_a_file():
    assert {"none", "classic", "noise", "pca", "repeat", "ae", "vae", "diffaug", "ada"} <= set(NAMES)
    assert all(issubclass(registry.load(PACKAGE, name), Arm | nn.Module) for name in NAMES)
