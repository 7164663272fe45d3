"""The contract of data sets, their formats, and errors in people's files."""

import gzip
import hashlib
import re
import struct
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch import nn

from datamodules import ImageDataModule, split_off
from datamodules.cifar10 import CIFAR10DataModule
from datamodules.digits import Digits
from datamodules.fashion_mnist import FashionMNISTDataModule
from datamodules.folder import FolderDataModule
from datamodules.kmnist import KMNISTDataModule
from datamodules.mnist import MNISTDataModule
from datamodules.svhn import SVHNDataModule
from lightning_genae import registry
from lightning_genae.data.dataset import Images
from lightning_genae.data.storage import to_float
from lightning_genae.evaluation.metrics import Samples
from lightning_genae.evaluation.metrics.modes import ModeMetric
from tests.test_models import train


def write_idx(folder: Path, compress: bool, num: int = 40) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for split in ("train", "t10k"):
        images = generator.integers(0, 256, (num, 28, 28), np.uint8)
        labels = (np.arange(num) % 10).astype(np.uint8)
        for name, array in ((f"{split}-images-idx3-ubyte", images), (f"{split}-labels-idx1-ubyte", labels)):
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            content = header + array.tobytes()
            (folder / (name + ".gz" * compress)).write_bytes(gzip.compress(content) if compress else content)


def write_cifar10(folder: Path, num: int = 40) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        records = generator.integers(0, 256, (num, 3073), np.uint8)
        records[:, 0] = np.arange(num) % 10
        records.tofile(folder / name)


def write_svhn(folder: Path, num: int = 40) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        labels = (np.arange(num) % 10 + 1).reshape(-1, 1)
        savemat(
            folder / f"{split}_32x32.mat", {"X": generator.integers(0, 256, (32, 32, 3, num), np.uint8), "y": labels}
        )


def make(name: str, tmp_path: Path, picture_folder: Path):
    """A data set of any kind, from files of its format."""
    root = tmp_path / "root"
    if name == "digits":
        return Digits(batch_size=8)
    if name in ("ring", "grid", "audio", "timeseries"):
        return registry.load("datamodules", name)(batch_size=8)
    if name in ("mnist", "fashion_mnist", "kmnist"):
        write_idx(root, compress=name == "kmnist")
    elif name == "cifar10":
        write_cifar10(root)
    elif name == "svhn":
        write_svhn(root)
    elif name == "folder":
        root = picture_folder
    elif name == "text":
        root.write_text("".join(f"{i} and {i * i}\n" for i in range(400)))
    elif name == "table":
        root.write_text("a,b\n" + "".join(f"{i},{i * i % 7}\n" for i in range(60)))
    else:  # of a newcomer, which says by `example(folder)` how to make a small one, if it needs files
        data_class = registry.load("datamodules", name)
        return data_class.example(tmp_path) if hasattr(data_class, "example") else data_class(batch_size=8)
    return registry.load("datamodules", name)(root=str(root), batch_size=8)


@pytest.mark.parametrize("name", registry.names("datamodules"))
def test_contract(name, tmp_path, picture_folder):
    datamodule = make(name, tmp_path, picture_folder)
    datamodule.prepare_data()
    datamodule.setup()
    dataset = datamodule.dataset
    dtype = (
        torch.uint8 if dataset.modality.is_categorical else dataset.modality.as_stored(torch.zeros(1, 1, 1, 1)).dtype
    )
    for split in (dataset.train, dataset.validation, dataset.pool, dataset.heldout):
        assert split.images.dtype == dtype
        assert split.images.shape[1:] == dataset.image_shape
        assert split.labels.dtype == torch.int64
        assert len(split.labels) == len(split.images)
        assert 0 <= split.labels.min() <= split.labels.max() < max(1, dataset.num_classes)
    batches = list(datamodule.train_dataloader())
    assert len(batches) == datamodule.batches_per_epoch == len(dataset.train.images) // 8
    assert all(images.shape == (8, *dataset.image_shape) and images.dtype == dtype for images, _ in batches)
    assert sum(len(images) for images, _ in datamodule.val_dataloader()) == len(dataset.heldout.images)
    stored = dataset.heldout.images[:4]
    assert len(dataset.modality.inverse_transform(stored)) == len(stored)
    assert dataset.item_name == dataset.modality.item_name
    if dataset.modality.is_sequence:
        assert dataset.image_shape[1] == 1
        assert np.array_equal(
            datamodule.dataset.modality.inverse_transform(stored),
            datamodule.dataset.modality.inverse_transform(to_float(stored)),
            equal_nan=dtype.is_floating_point,
        )
    again = make(name, tmp_path, picture_folder)
    again.setup()
    assert again.dataset.train.fingerprint == datamodule.dataset.train.fingerprint


class Negative(nn.Module):
    def restart(self, seed):
        pass

    def forward(self, images, labels):
        assert images.min() >= -1
        assert images.max() <= 1
        return -images


class Spy(nn.Module):
    """Not a model; keeps the batches that it is shown."""


def spy(datamodule, steps):
    """The batches that a model is shown in training, and the first noise it draws for each."""
    from lightning_genae.models.ae import Autoencoder

    model = Autoencoder(datamodule.dataset.image_shape, network="mlp", hidden=[4])
    seen, noise = [], []
    original = model.training_step

    def training_step(batch, batch_idx):
        seen.append((batch[0].clone(), batch[1].clone()))
        noise.append(torch.randn(3))
        return original(batch, batch_idx)

    model.training_step = training_step
    train(model, datamodule, steps)
    return seen, torch.stack(noise)


def batches_of(split: Images) -> set:
    return {tuple(image.flatten().tolist()) for image in split.images.float() / 127.5 - 1}


def test_augmentation_in_training_only(digits):
    plain, plain_noise = spy(digits, 5)
    digits.batches = 0
    digits.augment = Negative()
    augmented, noise = spy(digits, 5)
    for (x, labels), (y, same_labels) in zip(plain, augmented):
        assert torch.equal(-x, y)
        assert torch.equal(labels, same_labels)
        assert {tuple(image.flatten().tolist()) for image in x} <= batches_of(digits.dataset.train)
    # arms share the order of the images and all other random numbers
    assert torch.equal(plain_noise, noise)
    assert len({tuple(row.tolist()) for row in noise}) == 5
    digits.trainer.training = False
    images, _ = digits.on_after_batch_transfer(
        [digits.dataset.heldout.images[:4], digits.dataset.heldout.labels[:4]], 0
    )
    assert torch.equal(images, digits.dataset.heldout.images[:4].float() / 127.5 - 1)


def test_order_is_the_seeds_and_resumes_where_it_was(digits):
    whole, noise = spy(digits, 8)  # an epoch has three batches
    digits.batches = 0
    first, first_noise = spy(digits, 4)
    torch.manual_seed(99)
    rest, rest_noise = spy(digits, 8)
    assert len(first) == len(rest) == 4
    for (x, labels), (y, same_labels) in zip(whole, first + rest):
        assert torch.equal(x, y)
        assert torch.equal(labels, same_labels)
    assert torch.equal(noise, torch.cat([first_noise, rest_noise]))
    digits.batches, digits.seed = 0, 1
    other, _ = spy(digits, 8)
    assert not torch.equal(whole[0][0], other[0][0])


def test_an_epoch_shows_every_image_once(digits):
    digits.batch_size = 50
    seen, _ = spy(digits, 4)
    shown = torch.cat([x for x, _ in seen])
    assert {tuple(image.flatten().tolist()) for image in shown} == batches_of(digits.dataset.train)


def test_subsets_are_stratified_and_chosen_by_their_seed():
    subsets = [Digits(num_train=100, split_seed=seed) for seed in (0, 0, 1)]
    for subset in subsets:
        subset.setup()
    assert (
        subsets[0].dataset.train.fingerprint
        == subsets[1].dataset.train.fingerprint
        != subsets[2].dataset.train.fingerprint
    )
    counts = subsets[0].dataset.train.labels.bincount()
    assert counts.min() >= 9
    assert counts.max() <= 11
    assert batches_of(subsets[0].dataset.train) <= batches_of(subsets[0].dataset.pool)
    assert not batches_of(subsets[0].dataset.pool) & batches_of(subsets[0].dataset.heldout)


class Numbered(ImageDataModule):
    """Images of which no two are equal: a pixel for the split, two for the number; two classes, three to one."""

    def __init__(self, num: int = 400, num_heldout: int = 60, **kwargs):
        super().__init__(batch_size=1, **kwargs)
        self.num, self.num_heldout = num, num_heldout

    def load(self):
        return _numbered(0, self.num), _numbered(1, self.num_heldout), 2


def _numbered(which: int, num: int) -> Images:
    images = torch.tensor([[which, i // 256, i % 256] for i in range(num)], dtype=torch.uint8).reshape(num, 3, 1, 1)
    return Images(images, (torch.arange(num) % 4 == 0).long())


def content(split: Images) -> set[tuple]:
    return {tuple(image.flatten().tolist()) for image in split.images}


@pytest.mark.parametrize(
    "num, num_heldout, num_train, num_validation",
    [
        (400, 60, 100, 60),  # as many as are held out
        (400, 60, 350, 50),  # all that is left
        (400, 60, 390, 10),
        (400, 60, None, 40),  # a tenth is kept aside
        (800, 60, None, 60),
        (40, 60, None, 10),
    ],
)
def test_what_chooses_is_neither_trained_on_nor_reported(num, num_heldout, num_train, num_validation):
    datamodule = Numbered(num, num_heldout, num_train=num_train)
    datamodule.setup()
    train, validation, heldout = map(
        content, (datamodule.dataset.train, datamodule.dataset.validation, datamodule.dataset.heldout)
    )
    assert (len(train), len(validation)) == (num_train or num - num_validation, num_validation)
    assert not train & validation and not (train | validation) & heldout
    assert train | validation <= content(datamodule.dataset.pool)
    assert datamodule.dataset.validation.labels.double().mean() == pytest.approx(0.25, abs=0.06)
    again = Numbered(num, num_heldout, num_train=num_train)
    again.setup()
    assert again.dataset.validation.fingerprint == datamodule.dataset.validation.fingerprint


def test_at_most_ten_thousand_images_choose(monkeypatch):
    monkeypatch.setattr("datamodules._base.MAX_VALIDATION", 20)
    for num_train in (100, None):
        datamodule = Numbered(num_train=num_train)
        datamodule.setup()
        assert len(datamodule.dataset.validation.images) == 20


@pytest.mark.parametrize("num_train", [None, 5])
def test_too_few_images_to_choose_by(num_train):
    with pytest.raises(ValueError, match=r"--data: expected more than 10 images beside those held out, .*; got 10;"):
        Numbered(10, num_train=num_train).setup()


@pytest.mark.parametrize("num_train", [None, 100])
def test_seeds_draw_the_data_but_not_what_is_held_out(num_train):
    def loaded(seed: int, split_seed: int | None = None):
        datamodule = Numbered(num_train=num_train, split_seed=split_seed)
        datamodule.seed = seed  # as build_datamodule does
        datamodule.setup()
        return datamodule

    zero, one = loaded(0), loaded(1)
    assert content(zero.dataset.train) != content(one.dataset.train) and content(zero.dataset.validation) != content(
        one.dataset.validation
    )
    assert zero.dataset.heldout.fingerprint == one.dataset.heldout.fingerprint
    assert loaded(1).dataset.train.fingerprint == one.dataset.train.fingerprint  # arms of one seed have the same data
    assert loaded(1, split_seed=0).dataset.train.fingerprint == zero.dataset.train.fingerprint
    assert loaded(0, split_seed=1).dataset.validation.fingerprint == one.dataset.validation.fingerprint


def test_split_off_without_enough_images_of_a_class():
    split = Images(torch.arange(5, dtype=torch.uint8).reshape(5, 1, 1, 1), torch.tensor([0, 0, 0, 0, 1]))
    rest, chosen = split_off(split, 2, seed=0)
    assert sorted([*rest.images.flatten().tolist(), *chosen.images.flatten().tolist()]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"num_train": 1191},
            "--data.num_train: expected at most 1190, so that 10 of 1200 images are left to choose by; got 1191",
        ),
        (
            {"num_train": 20, "batch_size": 64},
            r"--data.num_train: expected at least one batch .*; got 20 images \(beside 597 to choose by and 597 held "
            r"out\) and batches of 64",
        ),
    ],
)
def test_wrong_sizes(options, message):
    with pytest.raises(ValueError, match=message):
        Digits(**options).setup()


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("below", ["", "KMNIST/raw"])
def test_idx_files(tmp_path, compress, below):
    write_idx(tmp_path / below, compress)
    datamodule = KMNISTDataModule(root=str(tmp_path), batch_size=8)
    datamodule.setup()
    expected = np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8)
    assert np.array_equal(datamodule.dataset.pool.images.squeeze(1).numpy(), expected)
    assert datamodule.dataset.pool.labels.tolist() == [i % 10 for i in range(40)]


def test_images_are_reduced_as_pillow_does_it(tmp_path):
    write_svhn(tmp_path)
    whole, half = (SVHNDataModule(root=str(tmp_path), batch_size=8, image_size=size) for size in (None, 16))
    for datamodule in (whole, half):
        datamodule.setup()
    for split in ("pool", "heldout"):
        originals, reduced = (getattr(datamodule.dataset, split) for datamodule in (whole, half))
        assert reduced.images.dtype == torch.uint8 and torch.equal(reduced.labels, originals.labels)
        for original, image in zip(originals.images[:5], reduced.images[:5]):
            picture = Image.fromarray(original.permute(1, 2, 0).numpy())
            expected = np.asarray(picture.resize((16, 16), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
            assert np.abs(image.numpy().astype(int) - expected).max() <= 1
    with pytest.raises(ValueError, match=r"--data\.image_size: expected at most 32, as published; got 33"):
        SVHNDataModule(root=str(tmp_path), image_size=33).setup()


def test_svhn_calls_ten_a_zero(tmp_path):
    write_svhn(tmp_path)
    datamodule = SVHNDataModule(root=str(tmp_path), batch_size=8)
    datamodule.setup()
    assert datamodule.dataset.pool.labels[:10].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]


def test_cifar10_is_read_in_channel_order(tmp_path):
    write_cifar10(tmp_path / "cifar-10-batches-bin")
    datamodule = CIFAR10DataModule(root=str(tmp_path), batch_size=8)
    datamodule.setup()
    record = np.fromfile(tmp_path / "cifar-10-batches-bin" / "data_batch_1.bin", np.uint8)[:3073]
    assert np.array_equal(datamodule.dataset.pool.images[0].flatten().numpy(), record[1:])
    assert len(datamodule.dataset.pool.images) == 200


def test_a_pickle_that_is_not_the_published_one_is_not_opened(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]:
        (folder / name).write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(FileNotFoundError, match="found none that is whole"):
        CIFAR10DataModule(root=str(tmp_path)).setup()
    assert not Path("opened").exists()


@pytest.mark.parametrize(
    "datamodule", [MNISTDataModule, FashionMNISTDataModule, CIFAR10DataModule, SVHNDataModule], ids=lambda c: c.__name__
)
def test_missing_files_name_the_option(datamodule, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"--data.root: .*--data.download true"):
        datamodule(root=str(tmp_path)).setup()


def test_damaged_files(tmp_path):
    write_idx(tmp_path, compress=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"--data.root: '.*train-images-idx3-ubyte.gz' is damaged"):
        MNISTDataModule(root=str(tmp_path)).setup()
    path.write_bytes(gzip.compress(b"\0\0\x08\x03 and then something else"))
    with pytest.raises(ValueError, match="is no IDX file of bytes in 3 dimensions, or is cut short"):
        MNISTDataModule(root=str(tmp_path)).setup()
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    write_cifar10(tmp_path)
    (tmp_path / "data_batch_3.bin").write_bytes(b"short")
    with pytest.raises(ValueError, match="expected records of 3073 bytes"):
        CIFAR10DataModule(root=str(tmp_path)).setup()
    (tmp_path / "train_32x32.mat").write_bytes(b"no matrix")
    with pytest.raises(ValueError, match="is damaged"):
        SVHNDataModule(root=str(tmp_path)).setup()


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn"])
def test_a_label_out_of_range_is_named(name, tmp_path):
    {"mnist": partial(write_idx, compress=False), "cifar10": write_cifar10, "svhn": write_svhn}[name](tmp_path)
    if name == "svhn":
        path, label = tmp_path / "test_32x32.mat", 11
        labels = np.arange(40).reshape(-1, 1) % 10 + 1
        labels[7] = label
        savemat(path, {"X": np.zeros((32, 32, 3, 40), np.uint8), "y": labels})
    else:
        path, place, label = {
            "mnist": (tmp_path / "train-labels-idx1-ubyte", 8 + 7, 10),
            "cifar10": (tmp_path / "data_batch_3.bin", 7 * 3073, 255),
        }[name]
        content = bytearray(path.read_bytes())
        content[place] = label
        path.write_bytes(content)
    message = f"--data.root: '{path}' gives image 7 the label {label} (1 are wrong); expected 0 to 9"
    with pytest.raises(ValueError, match=re.escape(message)):
        registry.load("datamodules", name)(root=str(tmp_path)).setup()


def test_download_from_a_stand_in(tmp_path, monkeypatch):
    """torchvision's own downloading, from a server on this machine."""
    write_idx(tmp_path / "server", compress=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path / "server"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    dataset = FashionMNISTDataModule.published
    resources = [
        (path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in sorted((tmp_path / "server").iterdir())
    ]
    monkeypatch.setattr(dataset, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    monkeypatch.setattr(dataset, "resources", resources)
    datamodule = FashionMNISTDataModule(root=str(tmp_path / "new"), download=True, batch_size=8)
    datamodule.prepare_data()
    datamodule.setup()
    assert len(datamodule.dataset.pool.images) == 40
    server.shutdown()
    server.server_close()
    datamodule.prepare_data()  # the files are there: nothing is fetched
    with pytest.raises(ValueError, match=r"--data.download: expected to fetch the files, but it failed"):
        FashionMNISTDataModule(root=str(tmp_path / "other"), download=True).prepare_data()


def test_folder_packs_once_and_sees_changes(picture_folder, tmp_path):
    def loaded():
        datamodule = FolderDataModule(root=str(picture_folder), batch_size=4)
        datamodule.cache_dir = str(tmp_path / "cache")
        datamodule.setup()
        return datamodule

    datamodule = loaded()
    assert datamodule.dataset.num_classes == 3
    assert datamodule.dataset.image_shape == (3, 10, 12)
    assert len(datamodule.dataset.heldout.images) == 12
    assert datamodule.dataset.heldout.labels.bincount().tolist() == [4, 4, 4]
    originals = {
        np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes(): "abc".index(path.parent.name)
        for path in picture_folder.rglob("*.png")
    }
    for split in (datamodule.dataset.train, datamodule.dataset.heldout):
        for image, label in zip(*split):
            assert originals[image.numpy().tobytes()] == label
    (pack,) = (tmp_path / "cache" / "images").glob("*.npy")
    written = pack.stat().st_ino
    assert loaded().dataset.train.fingerprint == datamodule.dataset.train.fingerprint
    assert pack.stat().st_ino == written
    Image.new("RGB", (12, 10)).save(next(picture_folder.rglob("*.png")))
    loaded()
    assert len(list((tmp_path / "cache" / "images").glob("*.npy"))) == 2


def test_folder_without_classes_grey_and_resized(tmp_path):
    for i in range(20):
        Image.new("L", (20 + i, 30), color=12 * i).save(tmp_path / f"{i}.jpg")
    datamodule = FolderDataModule(root=str(tmp_path), image_size=16, batch_size=2)
    datamodule.cache_dir = str(tmp_path / "cache")
    datamodule.setup()
    assert datamodule.dataset.num_classes == 0
    assert datamodule.dataset.image_shape == (1, 16, 16)
    assert {
        int(image.float().mean().round()) // 12
        for image in torch.cat(
            [datamodule.dataset.train.images, datamodule.dataset.validation.images, datamodule.dataset.heldout.images]
        )
    } == set(range(20))
    assert (len(datamodule.dataset.train.images), len(datamodule.dataset.validation.images)) == (6, 10)
    # what is trained on is no copy in memory
    assert datamodule.dataset.train.images.data_ptr() == datamodule.dataset.pool.images.data_ptr()


def test_folder_errors(tmp_path, picture_folder):
    def error(root, **options):
        datamodule = FolderDataModule(root=str(root), batch_size=2, **options)
        datamodule.cache_dir = str(tmp_path / "cache")
        with pytest.raises((ValueError, OSError)) as info:
            datamodule.setup()
        assert "\n" not in str(info.value)
        return str(info.value)

    assert "--data.root: expected a folder of images, a zip archive" in error(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "found none" in error(tmp_path / "empty")
    Image.new("RGB", (9, 9)).save(picture_folder / "a" / "odd.png")
    assert "--data.image_size: expected images of one size" in error(picture_folder)
    (picture_folder / "a" / "odd.png").write_text("not a picture")
    assert "odd.png' is a broken image" in error(picture_folder)
    whole = next((picture_folder / "b").iterdir()).read_bytes()
    (picture_folder / "a" / "odd.png").write_bytes(whole[: len(whole) // 2])
    assert "odd.png' is a broken image" in error(picture_folder)
    assert not list((tmp_path / "cache").rglob("*.npy"))
    (picture_folder / "a" / "odd.png").rename(picture_folder / "odd.png")
    assert "expected every image in a subfolder" in error(picture_folder)


@pytest.mark.skipif(
    not Path(FashionMNISTDataModule.system_folders[0]).is_dir(), reason="needs Debian's package dataset-fashion-mnist"
)
def test_the_real_fashion_mnist():
    datamodule = FashionMNISTDataModule(num_train=500)
    datamodule.setup()
    assert datamodule.dataset.pool.images.shape == (60_000, 1, 28, 28)
    assert datamodule.dataset.heldout.labels.bincount().tolist() == [1000] * 10
    assert datamodule.dataset.train.labels.bincount().tolist() == [50] * 10
    # the published mean and standard deviation
    assert datamodule.dataset.pool.images.float().mean() / 255 == pytest.approx(0.2860, abs=1e-4)
    assert datamodule.dataset.pool.images.float().std() / 255 == pytest.approx(0.3530, abs=1e-4)


@pytest.mark.parametrize("name, num_modes", [("ring", 8), ("grid", 25)])
def test_points(name, num_modes):
    """A perfect sampler has 98.9 % of its points within three deviations of a mode."""
    points = registry.load("datamodules", name)()
    points.setup()

    def measure(images):
        return ModeMetric(Samples(), points.dataset).measure(Samples(images=images))

    measured = measure(points.dataset.train.images)
    assert measured["modes"] == num_modes
    assert measured["good"] == pytest.approx(1 - np.exp(-4.5), abs=2e-3)
    assert points.dataset.train.images.abs().max() < 1
    # a collapsed sampler, and one that draws anywhere
    one_mode = points.dataset.train.images[points.dataset.train.labels == 3]
    assert measure(one_mode)["modes"] == 1
    anywhere = measure(torch.rand(1000, 2, 1, 1) * 2 - 1)
    assert anywhere["good"] < 0.1
    halfway = (points.centres[0] + points.centres[1]).reshape(1, 2, 1, 1) / 2
    assert measure(halfway) == {"modes": 0, "good": 0}


def test_grey_images_of_16_bits_are_scaled(tmp_path):
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    for i in range(30):
        Image.fromarray(values).save(tmp_path / f"{i}.png")
    data = FolderDataModule(root=str(tmp_path), batch_size=4)
    data.cache_dir = str(tmp_path / "cache")
    data.setup()
    assert data.dataset.image_shape == (1, 8, 8)
    assert np.array_equal(data.dataset.train.images[0, 0].numpy(), (values / 257).round().astype(np.uint8))


def folder_data(root: Path, cache: Path, **options) -> FolderDataModule:
    datamodule = FolderDataModule(root=str(root), batch_size=4, **options)
    datamodule.cache_dir = str(cache)
    datamodule.setup()
    return datamodule


@pytest.mark.parametrize("around", ["", "my pictures/"])
def test_an_archive_gives_what_its_folder_gives(picture_folder, tmp_path, around, caplog):
    """Also where one folder of the archive holds all others, and beside what a Mac adds to it."""
    archive = tmp_path / "pictures.zip"
    with ZipFile(archive, "w") as file:
        for path in sorted(picture_folder.rglob("*.png")):
            file.write(path, around + str(path.relative_to(picture_folder)))
        file.writestr("__MACOSX/._0.png", "no picture")
        file.writestr(around + "a/.hidden.png", "no picture")
        file.writestr(around + "readme.txt", "no picture")
    caplog.set_level("INFO", "lightning_genae")
    unpacked, packed = (folder_data(root, tmp_path / "cache").dataset for root in (picture_folder, archive))
    assert packed.num_classes == 3
    for split in ("train", "validation", "heldout"):
        assert torch.equal(getattr(unpacked, split).images, getattr(packed, split).images)
        assert torch.equal(getattr(unpacked, split).labels, getattr(packed, split).labels)
    assert "60 files of" in caplog.text and "1 skipped" in caplog.text
    packs = len(list((tmp_path / "cache" / "images").glob("*.npy")))
    with ZipFile(archive, "a") as file:  # a change makes a new pack
        file.write(next(picture_folder.rglob("*.png")), around + "a/new.png")
    folder_data(archive, tmp_path / "cache")
    assert len(list((tmp_path / "cache" / "images").glob("*.npy"))) == packs + 1


def test_files_that_cannot_be_had_from_an_archive_are_named(picture_folder, tmp_path):
    (tmp_path / "broken.zip").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(ValueError, match=r"--data.root: expected a folder or a zip archive, got '.*broken.zip'"):
        folder_data(tmp_path / "broken.zip", tmp_path / "cache")
    with ZipFile(tmp_path / "empty.zip", "w") as file:
        file.writestr("a.txt", "text")
    with pytest.raises(FileNotFoundError, match=r"expected images \(.jpg.*\) in '.*empty.zip', found none"):
        folder_data(tmp_path / "empty.zip", tmp_path / "cache")
    with ZipFile(tmp_path / "odd.zip", "w") as file:
        for i, path in enumerate(sorted(picture_folder.rglob("*.png"))):
            file.writestr(f"{i}.png", path.read_bytes()[: 40 if i == 7 else None])
    with pytest.raises(ValueError, match=r"odd.zip/7.png' is a broken image"):
        folder_data(tmp_path / "odd.zip", tmp_path / "cache")
    with ZipFile(tmp_path / "odd.zip", "w") as file:
        for i in range(20):
            file.write(next(picture_folder.rglob("*.png")), f"{i}.png")
    content = bytearray((tmp_path / "odd.zip").read_bytes())
    start = content.find(b"PK\x01\x02")  # of the directory, whose first file is now said to be encrypted
    content[start + 8] |= 1
    (tmp_path / "odd.zip").write_bytes(content)
    with pytest.raises(OSError, match=r"^--data.root: '.*odd.zip/0.png' cannot be read: .*encrypted"):
        folder_data(tmp_path / "odd.zip", tmp_path / "cache")


@pytest.mark.parametrize(
    ("is_there", "message"),
    [
        (False, "expected '.*pictures.zip/metadata.csv' with a column kind, found no such file"),
        (True, "'.*' cannot be read: .*encrypted"),
    ],
)
def test_metadata_that_an_archive_does_not_give_is_named(picture_folder, tmp_path, is_there, message):
    archive = tmp_path / "pictures.zip"
    with ZipFile(archive, "w") as file:
        if is_there:
            file.writestr("metadata.csv", "file_name,kind")
        for path in picture_folder.rglob("*.png"):
            file.write(path, path.name)
    content = bytearray(archive.read_bytes())
    content[content.find(b"PK\x01\x02") + 8] |= 1  # the first file of the directory is said to be encrypted
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=f"--data.label: {message}"):
        folder_data(archive, tmp_path / "cache", label="kind")


def test_classes_by_a_column_of_the_metadata(picture_folder, tmp_path, caplog):
    caplog.set_level("INFO", "lightning_genae")
    names = [path.relative_to(picture_folder) for path in sorted(picture_folder.rglob("*.png"))]
    kinds = {name: ("old", "new")[int(name.stem) % 2] for name in names}
    rows = ["file_name,kind,one", *(f"{name},{kind},x" for name, kind in kinds.items())]
    (picture_folder / "metadata.csv").write_text("\n".join(rows))
    dataset = folder_data(picture_folder, tmp_path / "cache", label="kind").dataset
    pixels = {np.asarray(Image.open(picture_folder / name)).transpose(2, 0, 1).tobytes(): kinds[name] for name in names}
    assert dataset.num_classes == 2
    assert "1 skipped: 'metadata.csv' (what --data.label reads)" in caplog.text
    for image, label in zip(*dataset.heldout):
        assert pixels[image.numpy().tobytes()] == ("new", "old")[label]
    for label, message in (
        ("size", "expected a column size in '.*metadata.csv'; got file_name, kind, one"),
        ("one", "expected two classes at least in column one of '.*'; got x"),
    ):
        with pytest.raises(ValueError, match=f"--data.label: {message}"):
            folder_data(picture_folder, tmp_path / "cache", label=label)
    for wrong, message in (
        (
            [*rows[:-1], rows[-1].replace(",old,", ",,").replace(",new,", ", ,")],
            "expected a value of kind for each image",
        ),
        ([*rows, f"{names[0]},other,x"], f"expected one row for '{names[0]}' in '.*'; got .* and other"),
        (rows[:1], "expected a row for each image in '.*'; '.*' has none"),
        ([""], "expected a column file_name in '.*'; got none"),
    ):
        (picture_folder / "metadata.csv").write_text("\n".join(wrong))
        with pytest.raises(ValueError, match=f"--data.label: {message}"):
            folder_data(picture_folder, tmp_path / "cache", label="kind")
    caplog.set_level("INFO", "lightning_genae")
    (picture_folder / "metadata.csv").write_text("\n".join([*rows, "gone.png,old,x", "away.png,new,x"]))
    assert torch.equal(
        folder_data(picture_folder, tmp_path / "cache", label="kind").dataset.heldout.labels, dataset.heldout.labels
    )
    assert "WARNING: 2 rows of" in caplog.text and "no image that is there, such as 'away.png'" in caplog.text
    (picture_folder / "metadata.csv").write_text("\n".join(rows[:-1]))
    with pytest.raises(ValueError, match=r"expected a row for each image in '.*'; '.*png' has none"):
        folder_data(picture_folder, tmp_path / "cache", label="kind")
    (picture_folder / "metadata.csv").unlink()
    with pytest.raises(ValueError, match=r"expected '.*metadata.csv' with a column kind, found no such file"):
        folder_data(picture_folder, tmp_path / "cache", label="kind")


def test_mirrored_twins_are_trained_on_alone(picture_folder, tmp_path):
    plain, twins = (folder_data(picture_folder, tmp_path / "cache", mirror=mirror).dataset for mirror in (False, True))
    num = len(plain.train.images)
    assert torch.equal(twins.train.images[:num], plain.train.images)
    assert np.array_equal(twins.train.images[num:].numpy(), plain.train.images.numpy()[:, :, :, ::-1])
    assert torch.equal(twins.train.labels, torch.cat([plain.train.labels, plain.train.labels]))
    for part in ("validation", "heldout", "pool"):
        assert torch.equal(getattr(twins, part).images, getattr(plain, part).images)
    assert twins.fingerprint != plain.fingerprint


def test_what_is_cropped_is_said(tmp_path, caplog):
    """Once, with how much of the longer side: a third of 12x8, a half of 16x32, nothing of squares."""
    caplog.set_level("INFO", "lightning_genae")
    for i, size in enumerate([(12, 8)] * 10 + [(16, 32)] * 10 + [(9, 9)] * 20):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.new("RGB", size, (i, 0, 0)).save(tmp_path / "pictures" / f"{i}.png")
    for _ in range(2):
        folder_data(tmp_path / "pictures", tmp_path / "cache", image_size=8)
    said = "20 of 40 images are not square; both ends of their longer side are cropped, 42 % of it on average"
    assert caplog.text.count(said) == 1


def test_a_coloured_background(tmp_path):
    """Grey glyphs on green are in colour; on grey they stay grey."""
    (tmp_path / "pictures").mkdir()
    for i in range(30):
        glyph = Image.new("LA", (6, 5), (10 * (i % 20), 255))
        glyph.putpixel((0, 0), (0, 0))
        glyph.save(tmp_path / "pictures" / f"{i}.png")

    def first(background: str) -> list[int]:
        return (
            folder_data(tmp_path / "pictures", tmp_path / "cache", background=background)
            .dataset.train.images[0, :, 0, 0]
            .tolist()
        )

    assert first("#00ff08") == [0, 255, 8]
    assert first("lime") == [0, 255, 0]
    assert first("grey") == [128]
    with pytest.raises(
        ValueError, match=r"--data.background: expected a colour such as white or '#336699'; got 'greem'"
    ):
        first("greem")
