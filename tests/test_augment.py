"""The contract of augment/__init__.py, and the mathematics of perturbed codes (see the docstrings)."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from lightning_genae import metrics, registry
from lightning_genae.augment import ae
from lightning_genae.augment.ae import AutoencoderAugment

PACKAGE = "lightning_genae.augment"


@pytest.fixture(params=registry.names(PACKAGE))
def arm(request, digits, accelerator):
    """Every augmentation, fitted with few steps."""
    augment_class = registry.load(PACKAGE, request.param)
    augment = augment_class(steps=50) if request.param == "ae" else augment_class()
    augment.check(digits)
    augment.fit(digits, accelerator="cpu", enable_progress_bar=False)
    return augment


def test_contract(arm, digits):
    x, labels = digits.train.images[:64].float() / 127.5 - 1, digits.train.labels[:64]
    for images in (arm(x, labels), arm.vary(x, labels)):
        assert images.shape == x.shape
        assert images.dtype == x.dtype
        assert images.abs().max() <= 1
        assert not images.requires_grad
    torch.manual_seed(0)
    first = arm(x, labels)
    torch.manual_seed(0)
    assert torch.equal(first, arm(x, labels))
    assert isinstance(arm, nn.Module)
    quality = arm.quality(digits, metrics.pixels(digits.train.images))
    assert all(isinstance(value, float | int | str) for value in quality.values())


@pytest.fixture(scope="module")
def linear():
    """An augmentation whose autoencoder is PCA of gaussian data: all of its moments are known."""
    torch.manual_seed(0)
    eigenvalues = torch.tensor([0.09, 0.04, 0.02, 0.01, 0.004, 0.001])
    basis = torch.linalg.qr(torch.randn(6, 6)).Q
    x = (torch.randn(60_000, 6) * eigenvalues.sqrt()) @ basis.T
    top = basis[:, :3]

    class Linear(nn.Module):
        def encode(self, x):
            return x.flatten(1) @ top

        def decode(self, z):
            return (z @ top.T).reshape(-1, 1, 2, 3)

    augment = AutoencoderAugment(perturb="gaussian")
    augment.autoencoder = Linear()
    augment.set_codes(x @ top, torch.zeros(len(x), dtype=torch.long))
    return augment, x.reshape(-1, 1, 2, 3), eigenvalues


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.7, 1.0])
def test_gaussian_keeps_the_covariance_of_the_codes(linear, strength):
    augment, x, eigenvalues = linear
    z = augment.autoencoder.encode(x)
    varied = ae.gaussian(z, augment.mean, augment.cholesky, strength)
    assert torch.allclose(torch.cov(varied.T), torch.cov(z.T), atol=2e-3)
    correlation = torch.cov(torch.stack([z[:, 0], varied[:, 0]]))[0, 1] / eigenvalues[0]
    assert correlation == pytest.approx((1 - strength**2) ** 0.5, abs=0.02)
    if strength == 0:
        assert torch.equal(varied, z)


def test_interpolation_halfway_between_random_pairs_halves_the_covariance():
    z = torch.randn(40_000, 3)
    labels = torch.zeros(len(z), dtype=torch.long)
    # one code each in the bank, of which the only neighbour is a random one
    halfway = torch.cat(
        [
            ae.interpolate(part, labels[: len(part)], other, labels[: len(other)], 1, 0.5)
            for part, other in zip(z.split(1), torch.randn(2000, 3).split(1))
        ]
    )
    assert torch.allclose(torch.cov(halfway.T), torch.eye(3) / 2, atol=0.06)


@pytest.mark.parametrize("detail, strength", [("decode", 0.4), ("residual", 0.4), ("residual", 0.0)])
def test_frechet_distance_of_a_linear_autoencoders_variations(linear, detail, strength):
    """Decoding loses the discarded eigenvalues; the residual form loses nothing (covariance is kept)."""
    augment, x, eigenvalues = linear
    augment.detail, augment.strength = detail, strength
    varied = augment.vary(x, torch.zeros(len(x), dtype=torch.long))
    distance = metrics.frechet_distance(x.flatten(1), varied.flatten(1))
    expected = eigenvalues[3:].sum() if detail == "decode" else 0.0
    assert distance == pytest.approx(float(expected), abs=1e-3)


def test_interpolation_goes_towards_a_near_one_of_the_same_class():
    bank = torch.tensor([[0.0, 0], [1, 0], [0, 3], [0.1, 0.1]])
    labels = torch.tensor([0, 0, 0, 1])
    for _ in range(10):
        moved = ae.interpolate(bank[:1], labels[:1], bank, labels, num_neighbours=1, strength=0.5)
        assert torch.equal(moved, torch.tensor([[0.5, 0]]))
    many = torch.cat([ae.interpolate(bank[:1], labels[:1], bank, labels, 2, 1.0) for _ in range(40)])
    assert {tuple(row) for row in many.tolist()} == {(1.0, 0.0), (0.0, 3.0)}
    # a class of one image has no neighbour
    assert torch.equal(ae.interpolate(bank[3:], labels[3:], bank, labels, 2, 0.5), bank[3:])


@pytest.mark.parametrize("perturb", ["gaussian", "interpolate"])
def test_residual_of_strength_0_is_the_identity(digits, perturb):
    augment = AutoencoderAugment(perturb=perturb, strength=0.0, steps=20)
    augment.fit(digits, accelerator="cpu", enable_progress_bar=False)
    x = digits.train.images[:50].float() / 127.5 - 1
    assert torch.equal(augment.vary(x, digits.train.labels[:50]), x)
    augment.detail = "decode"
    assert torch.equal(augment.vary(x, digits.train.labels[:50]), augment.reconstruct(x))


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_fraction(digits, fraction):
    augment = AutoencoderAugment(fraction=fraction, steps=20)
    augment.fit(digits, accelerator="cpu", enable_progress_bar=False)
    x, labels = digits.train.images[:51].float() / 127.5 - 1, digits.train.labels[:51]
    shares = [(augment(x, labels) != x).flatten(1).any(1).double().mean() for _ in range(40)]
    assert torch.stack(shares).mean() == pytest.approx(fraction, abs=0.02)


def test_the_autoencoder_sees_the_training_subset_alone(digits):
    other = type(digits)(num_train=200, split_seed=1)
    other.cache_dir = digits.cache_dir
    other.setup()
    seen = []
    original = ae.ae.Autoencoder.training_step

    def watched(self, batch, batch_idx):
        seen.append(batch[0])
        return original(self, batch, batch_idx)

    ae.ae.Autoencoder.training_step = watched
    try:
        AutoencoderAugment(steps=30, lr=0.0011).fit(other, accelerator="cpu", enable_progress_bar=False)
    finally:
        ae.ae.Autoencoder.training_step = original
    seen = {tuple(image.flatten().tolist()) for image in torch.cat(seen)}
    allowed = {tuple(image.flatten().tolist()) for image in other.train.images.float() / 127.5 - 1}
    assert seen <= allowed
    assert len(seen) > 150


def test_fit_does_not_depend_on_the_run(digits):
    """Runs of other seeds, batch sizes and what was drawn before share one autoencoder."""
    augment = AutoencoderAugment(steps=10, lr=0.0012)
    augment.fit(digits, accelerator="cpu", enable_progress_bar=False)
    digits.seed, digits.batch_size, digits.cache_dir = 5, 32, f"{digits.cache_dir}/another"
    torch.manual_seed(99)
    again = AutoencoderAugment(steps=10, lr=0.0012)
    again.fit(digits, accelerator="cpu", enable_progress_bar=False)
    for a, b in zip(augment.autoencoder.state_dict().values(), again.autoencoder.state_dict().values()):
        assert torch.equal(a, b)
    assert digits.augment is None
    assert digits.batches == 0


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


def test_quality_gate(digits):
    augment = AutoencoderAugment(steps=300, strength=0.1)
    augment.fit(digits, accelerator="cpu", enable_progress_bar=False)
    quality = augment.quality(digits, metrics.pixels(digits.train_split.images))
    train, heldout = (split.images.float().flatten(1).numpy() / 127.5 - 1 for split in (digits.train, digits.heldout))
    pca = PCA(16).fit(train)
    expected = ((pca.inverse_transform(pca.transform(heldout)) - heldout) ** 2).mean()
    assert quality["mse_pca"] == pytest.approx(expected, rel=1e-3)
    assert quality["mse_heldout"] < 0.2
    assert quality["fd_variations"] < quality["fd_decoded"]  # residual keeps what decoding loses
    assert 0 < quality["distance_to_original"] < 0.5
    assert quality["images_trained_on"] == digits.train.fingerprint


def test_wrong_checkpoints(digits, tmp_path):
    path = tmp_path / "some.ckpt"
    path.write_text("no checkpoint")
    with pytest.raises(ValueError, match=r"--augment.checkpoint: expected a checkpoint of --model ae, got .*some.ckpt"):
        AutoencoderAugment(checkpoint=str(path)).check(digits)
    with pytest.raises(FileNotFoundError, match=r"--augment.checkpoint: expected a checkpoint or a run folder"):
        AutoencoderAugment(checkpoint=str(tmp_path / "none")).check(digits)
