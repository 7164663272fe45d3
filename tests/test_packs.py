"""Many images that stay on disk: the same images, batches and fingerprints, and no copy of them."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules import _packs, split_off
from datamodules._base import with_twins
from datamodules._packs import Packed, new_array, opened
from datamodules.folder import FolderDataModule
from lightning_genae.augment._autoencoding import of_all
from lightning_genae.data.dataset import Images
from lightning_genae.data.storage import num_at_once
from lightning_genae.evaluation.components import components
from lightning_genae.evaluation.evaluation import Evaluation
from lightning_genae.evaluation.fidelity import fidelity
from lightning_genae.evaluation.metrics import memorisation


def pack_of(num: int) -> Path:
    path = Path("pack.npy")
    np.save(path, np.random.default_rng(0).integers(0, 256, (num, 3, 4, 4), np.uint8))
    return path


def test_packed_images_are_those_of_the_tensor(monkeypatch):
    path = pack_of(300)
    whole = opened(path)
    assert isinstance(whole, torch.Tensor)
    monkeypatch.setattr(_packs, "FEW", 1000)
    packed, index = opened(path), torch.randperm(300)[:200]
    assert isinstance(packed, Packed) and packed[3:9].data_ptr() == packed.whole[3:9].data_ptr()
    labels = torch.arange(300) % 5
    subset, expected = Images(packed, labels).subset(index), whole[index]
    assert isinstance(subset.images, Packed) and subset.images.shape == expected.shape and len(subset.images) == 200
    assert torch.equal(subset.labels, labels[index])
    for chosen in (slice(10), slice(5, 200, 3), torch.tensor([4, 4, 199]), index < 100, 7):
        assert torch.equal(subset.images[chosen], expected[chosen])
    assert torch.equal(torch.cat(list(subset.images.split(64))), expected)
    assert torch.equal(torch.stack(list(subset.images)), expected)
    few = subset.subset(torch.tensor([0, 2]))
    assert (
        isinstance(few.images, torch.Tensor)
        and few.fingerprint == Images(expected, labels[index]).subset(torch.tensor([0, 2])).fingerprint
    )
    for ours, theirs in zip(split_off(subset, 20, 0), split_off(Images(expected, labels[index]), 20, 0)):
        assert torch.equal(ours.images[:], theirs.images) and torch.equal(ours.labels, theirs.labels)


def test_twins_of_images_that_stay_on_disk_are_mirrored_when_they_are_read(monkeypatch):
    path = pack_of(300)
    whole = opened(path)
    monkeypatch.setattr(_packs, "FEW", 1000)
    index, labels = torch.randperm(300)[:200], torch.arange(300) % 5
    packed = with_twins(Images(opened(path), labels).subset(index))
    expected = with_twins(Images(whole[index], labels[index]))
    assert isinstance(packed.images, Packed) and torch.equal(packed.labels, expected.labels)
    assert torch.equal(expected.images[200], whole[index[0]].flip(2))
    for chosen in (slice(150, 260), slice(200, 400), torch.tensor([4, 204, 399]), 3, 303):
        assert torch.equal(packed.images[chosen], expected.images[chosen])
    assert torch.equal(torch.stack(list(packed.images)), expected.images)
    in_order = Images(opened(path), labels).subset(slice(5, 200))
    assert torch.equal(with_twins(in_order).images[195:], whole[5:200].flip(3))
    assert packed.fingerprint != Images(packed.images.subset(slice(200)), labels[index]).fingerprint


def test_the_fingerprint_of_many_is_their_contents_and_reads_them_once(monkeypatch):
    monkeypatch.setattr(_packs, "FEW", 1000)
    path = pack_of(300)

    def fingerprint(index=None) -> str:
        images = Images(opened(path), torch.zeros(300, dtype=torch.long))
        return (images if index is None else images.subset(index)).fingerprint

    first = fingerprint()
    hashed = []
    with monkeypatch.context() as patch:
        patch.setattr(_packs.hashlib, "file_digest", lambda *given: hashed.append(given))
        assert fingerprint() == first and fingerprint(torch.arange(300)) == first and not hashed
        assert len({first, fingerprint(torch.arange(299)), fingerprint(torch.arange(300).flip(0))}) == 3
    os.rename(path, "elsewhere.npy")
    path.with_suffix(".sha256").unlink()
    path = Path("elsewhere.npy")
    assert fingerprint() == first
    array = np.load(path)
    array[7, 0, 0, 0] += 1
    path = Path("changed.npy")
    np.save(path, array)
    assert fingerprint() != first


def test_a_run_on_many_images_is_that_on_few(cli, picture_folder, monkeypatch):
    words = ["--data", "folder", "--data.root", str(picture_folder), "--data.batch_size", "8", "--steps", "6"]
    words += ["--augment", "pca", "--model.network", "mlp", "--model.hidden", "[4]", "--metrics.features", "pixels"]
    assert cli(*words, "--folder", "few")[0] == 0
    monkeypatch.setattr(_packs, "FEW", 100)
    assert cli(*words, "--folder", "many")[0] == 0
    few, many = (
        torch.load(f"{name}/checkpoints/last.ckpt", weights_only=True)["state_dict"] for name in ("few", "many")
    )
    assert few.keys() == many.keys() and all(torch.equal(few[name], many[name]) for name in few)
    few, many = (Path(name, "metrics.csv").read_text() for name in ("few", "many"))
    assert few == many
    data = FolderDataModule(root=str(picture_folder), batch_size=8)
    data.cache_dir = "shared"
    data.setup()
    assert isinstance(data.dataset.train.images, Packed)
    distances, latents, network = [], [], torch.nn.Linear(1, 1)
    monkeypatch.setattr(memorisation, "nearest", lambda *given: distances.append(given) or (torch.rand(12), None))

    def encode(x: torch.Tensor) -> torch.Tensor:
        latents.append(len(x))
        return x[:, 0, 0].clone()

    for _ in range(2):  # the second start finds both in the cache
        Evaluation(data.dataset, "pixels")
        assert of_all(encode, network, data.dataset.train.images, data.cache_dir).shape == (sum(latents), 12)
    assert len(distances) == len(latents) == 1


def test_large_images_are_looked_at_a_few_at_a_time():
    assert num_at_once((3, 64, 64), 500) == 500 and num_at_once((3, 512, 512), 500) == 42
    assert num_at_once((3, 10_000, 10_000), 500) == 1


def test_components_of_many_values_are_scikit_learns(monkeypatch):
    images = torch.randint(0, 256, (50, 1, 8, 8), dtype=torch.uint8)
    expected = components(images, 6)
    monkeypatch.setattr("lightning_genae.evaluation.components.MAX_VALUES", 0)
    monkeypatch.setattr("lightning_genae.data.storage.AT_ONCE", 100)
    found = components(images, 6)
    assert np.abs((found.rows * expected.rows).sum(1)) == pytest.approx(np.ones(6), abs=1e-5)
    assert found.variances == pytest.approx(expected.variances, rel=1e-5)
    assert found.mean_squared_error(images) == pytest.approx(expected.mean_squared_error(images), rel=1e-5)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_an_error_before_anything_is_packed(small_disk):
    """Written to without a reservation, a memory map ends the process by SIGBUS."""
    with pytest.raises(
        OSError, match=r"--cache: expected 2000000 bytes of space in '.*' for 20 packed images of 100x1000, "
    ):
        new_array(small_disk / "pack.npy", (20, 1, 1000, 100))
    new_array(small_disk / "small.npy", (5, 1, 100, 100))[:] = 7


@pytest.mark.parametrize("side", [4, 16])
def test_the_fidelity_of_many_values_is_that_of_all(monkeypatch, side):
    x = torch.rand(20, 3, side, side) * 2 - 1
    x_hat = (x + 0.1 * torch.randn_like(x)).clamp(-1, 1)
    expected = fidelity(x, x_hat)
    monkeypatch.setattr("lightning_genae.evaluation.fidelity.MAX_VALUES", 3 * side**2 * 3)
    blocked = fidelity(x, x_hat)
    assert blocked.keys() == expected.keys() and blocked != expected
    assert blocked == pytest.approx(expected, rel=1e-5)
