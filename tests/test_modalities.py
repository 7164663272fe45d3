"""Modalities: one contract for all of them, and nothing elsewhere that asks for one by its name."""

import ast
import csv
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from datamodules.table import TableDataModule
from lightning_genae import registry
from lightning_genae.checkpoints import restored
from lightning_genae.data import modalities
from lightning_genae.data.mel import Mel
from lightning_genae.data.modalities.audio import Audio
from lightning_genae.data.modalities.image import Image
from lightning_genae.data.modalities.points import Points
from lightning_genae.data.modalities.series import Series
from lightning_genae.data.modalities.table import Table
from lightning_genae.data.modalities.text import Text
from lightning_genae.models.rnn_ae import RecurrentAutoencoder
from lightning_genae.models.vae import VAE

ROOT = Path(__file__).parents[1]
NAMES = registry.names(modalities.PACKAGE)
# a modality with units, and a shape of its items; one that is not in it, because it is new, is tested without units
KNOWN = {
    "image": (Image(), (3, 8, 8)),
    "points": (Points(), (2, 1, 1)),
    "series": (Series(channels=("a", "b"), centre=np.array([1.0, 2]), half_range=np.array([3.0, 4])), (2, 1, 12)),
    "text": (Text(decode=lambda tokens: ["".join("abcde"[i] for i in row) for row in tokens]), (5, 1, 12)),
    "audio": (Audio(mel=Mel(8000, 8)), (8, 1, 16)),
    "table": (Table(columns=("a", "b", "c"), centre=np.zeros(3), half_range=np.arange(1.0, 4)), (3, 1, 1)),
}

NEW = {name: modalities.new(name) for name in NAMES if name not in KNOWN}
KNOWN |= {name: (modality, (3, 1, 12) if modality.is_sequence else (3, 8, 8)) for name, modality in NEW.items()}


def stored(modality, shape, num=4):
    """Random items as a data set holds them."""
    x = torch.rand(num, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return modality.as_stored(modality.project(x))


@pytest.mark.parametrize("name", NAMES)
def test_contract(name, tmp_path):
    modality, shape = KNOWN[name]
    assert modality.name == name and type(modalities.new(name)) is type(modality)
    x = stored(modality, shape)
    assert x.shape == (4, *shape) and x.dtype in (torch.uint8, torch.float32)
    wild = 3 * torch.randn(4, *shape)
    projected = modality.project(wild)
    assert projected.abs().max() <= 1 and torch.equal(modality.project(projected), projected)
    bound = modality.bound(wild.requires_grad_())
    assert bound.abs().max() <= 1 and torch.autograd.grad(bound.square().sum(), wild)[0].abs().sum() > 0
    same = torch.rand(4, *shape)
    assert torch.equal(modality.apply_change(projected, same, same), projected)  # without a change
    assert len(modality.inverse_transform(x)) == 4
    assert set(modality.losses) <= {"mse", "bce", "l1", "ce"} and set(modality.likelihoods)
    for name in modality.default_features(num_classes=3, num_values=64):
        registry.check("", "lightning_genae.evaluation.extractors", name)
    picture = modality.draw(tmp_path / "a" / "picture.png", x if x.is_floating_point() else x / 127.5 - 1, 2)
    assert np.asarray(Picture.open(picture).convert("L")).std() > 5
    written = modality.write(tmp_path / "samples", x)
    assert written and all(path.exists() for path in written)


@pytest.mark.parametrize("name", [name for name in NAMES if KNOWN[name][0].is_sequence])
def test_items_that_end_are_nothing_beyond(name):
    modality = modalities.new(name, has_mask=True)
    x = torch.randn(50, 4, 1, 9)
    projected = modality.project(x)
    there = (x[:, 3:] > 0).cumprod(3).bool()  # an item ends once
    assert torch.equal(projected[:, 3:] > 0, there) and set(projected[:, 3:].unique().tolist()) == {-1.0, 1.0}
    assert (projected[:, :3] * ~there == 0).all()
    alone = modalities.new(name).project(x[:, :3])
    assert torch.equal(projected[:, :3], alone * there)


def test_units_come_back():
    """What is scaled for a model and scaled back is what it was, in every column's own units."""
    values = np.array([[1.0, -2.0, 6.0], [-1.0, 2.0, 0.0]])
    table, _ = KNOWN["table"]
    assert table.transform(values)[0].tolist() == [1, -1, 2]
    x = torch.from_numpy(table.transform(values)).float()[:, :, None, None]
    assert table.inverse_transform(x) == pytest.approx(values)
    series, _ = KNOWN["series"]
    x = torch.tensor([[[0.0, 1.0]], [[-1.0, 0.5]]])[None]  # channels a and b at two steps
    assert series.inverse_transform(x)[0].tolist() == [[1, -2], [4, 4]]


def test_an_unknown_modality_is_named():
    with pytest.raises(ValueError, match=f"expected one of {', '.join(NAMES)}; got 'vidoe'"):
        modalities.new("vidoe")


@pytest.mark.parametrize(
    "kind, shape, modality, has_mask",
    [
        ("image", (1, 4, 4), "image", False),
        ("image", (2, 1, 1), "points", False),
        ("masked", (3, 1, 8), "series", True),
    ],
)
def test_checkpoints_of_before_say_their_kind(kind, shape, modality, has_mask):
    """A model that was saved when `kind` was one word for modality and mask is the same one now."""
    options = {"image_shape": shape, "num_classes": 0, "network": "mlp", "hidden": [4]}
    state = VAE(**options, modality=modality).state_dict()
    model = restored("--folder", "old.ckpt", VAE, {"hyper_parameters": {**options, "kind": kind}, "state_dict": state})
    assert (model.hparams.modality, model.hparams.has_mask) == (modality, has_mask)


def test_weights_of_before_have_their_old_names(tmp_path):
    """A recurrent autoencoder read and wrote once, and kept codes."""
    model = RecurrentAutoencoder((2, 1, 6), latent_dim=2, width=3)
    model.latents.latents.fill_(0.5)
    old = {"encoder.": "reader.", "decoder.": "writer.", "latents.latents": "codes.codes", "latents.": "codes."}
    state = {}
    for key, value in model.state_dict().items():
        start = next((name for name in old if key.startswith(name)), "")
        state[old.get(start, "") + key.removeprefix(start)] = value
    assert "reader.weight_hh_l0" in state and "codes.codes" in state and "codes.num_seen" in state
    options = {"image_shape": (2, 1, 6), "kind": "series", "latent_dim": 2, "width": 3}
    content = {"model": "rae", "hyper_parameters": options, "state_dict": state}
    again = restored("--folder", "old.ckpt", RecurrentAutoencoder, content)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    "words, message",
    [
        ("--model rae", "--model: expected one of .*; got 'rae'; it is called rnn_ae now"),
        ("--model aegan", "--model: expected one of .*; got 'aegan'; it is called vaegan now"),
        ("--augment noise --augment.deviation 0.2", "--augment.deviation: expected --augment.std, as it is called now"),
        (
            "--augment ae --augment.model_labels true",
            "--augment.model_labels: expected --augment.within_class, as it is",
        ),
    ],
)
def test_old_names_end_in_a_line_that_gives_the_new(cli, words, message):
    status, _, error = cli(*words.split(), "--steps", "1")
    assert status == 2 and re.search(message, error) and error.count("\n") == 1


def names_compared(path: Path) -> list[str]:
    """Where a file asks for a modality by its name: comparisons, and dicts with such keys that are looked up."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
            asked += [
                element for part in asked if isinstance(part, ast.Tuple | ast.List | ast.Set) for element in part.elts
            ]
        elif isinstance(node, ast.Dict):
            asked = [key for key in node.keys if key is not None]
        elif isinstance(node, ast.MatchValue):
            asked = [node.value]
        else:
            continue
        found += [f"{path}:{node.lineno}" for part in asked if isinstance(part, ast.Constant) and part.value in NAMES]
    return found


FILES = [ROOT / "run.py"]
FILES += [path for folder in ("lightning_genae", "callbacks", "datamodules") for path in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_else_compares_the_name_of_a_modality(path):
    if path.parent.name != "modalities":
        assert names_compared(path) == []


def test_the_check_sees_comparisons(tmp_path):
    for code in ("a == 'text'", "a in ('image', 1)", "{'series': 1}[a]", "match a:\n    case 'audio': pass"):
        (tmp_path / "code.py").write_text(code)
        assert len(names_compared(tmp_path / "code.py")) == 1


@pytest.fixture
def iris(tmp_path):
    """Three classes of flowers, by four measures."""
    generator = np.random.default_rng(0)
    with (tmp_path / "iris.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["length", "width", "petal", "kind of flower"])
        for i in range(150):
            size = i % 3
            row = generator.normal([5 + size, 3, 100 * size], [0.3, 0.2, 5])
            writer.writerow([*row.round(3).tolist(), "abc"[size]])
    return tmp_path / "iris.csv"


def test_a_table_is_scaled_by_what_it_trains_on(iris):
    data = TableDataModule(str(iris), label="kind of flower", batch_size=8)
    data.setup()
    dataset = data.dataset
    assert dataset.image_shape == (3, 1, 1) and dataset.num_classes == 3 and dataset.item_name == "rows"
    assert dataset.pool.images.amin(0).flatten().tolist() == pytest.approx([-0.8] * 3)
    assert dataset.pool.images.amax(0).flatten().tolist() == pytest.approx([0.8] * 3)
    petal = dataset.modality.inverse_transform(dataset.heldout.images)[:, 2]
    assert np.abs(petal - 100 * dataset.heldout.labels.numpy()).max() < 25  # in its own units, with its own class
    assert len(dataset.heldout.images) == 30 and dataset.heldout.labels.bincount().tolist() == [10] * 3


@pytest.mark.parametrize(
    "text, options, message",
    [
        ("a,b\n1,2\n" * 30, {}, "line 3: expected a number in column 'a', got 'a'"),
        ("a,b\n" + "1,2\n3,\n" * 30, {}, r"line 3: expected a finite number in column 'b', got nan \(30 such cells"),
        (
            "a,b\n" + "".join(f"{i},7\n" for i in range(30)),
            {},
            "expected columns that vary, got 7.0 in every row of column 'b'",
        ),
        ("a,b\n1,2\n2,3\n", {}, "--data.heldout: expected at least 2 rows to hold out"),
        ("a,b\n" + "1,2\n3,4\n" * 30, {"label": "c"}, "--data.label: expected one of a, b, or its number; got 'c'"),
        ("a,b\n" + "1,2\n3,4\n" * 30, {"columns": "a,x"}, "--data.columns: expected one of a, b"),
    ],
)
def test_wrong_tables_are_refused_by_their_place(tmp_path, text, options, message):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        TableDataModule(str(tmp_path / "table.csv"), batch_size=2, **options).setup()


def test_a_model_of_a_table_by_the_command(cli, iris):
    """Trained, augmented, measured, and its samples are rows in the table's own units."""
    words = ["--data", "table", "--data.root", str(iris), "--data.label", "3", "--data.batch_size", "16"]
    words += [
        "--model.network",
        "mlp",
        "--augment",
        "ae",
        "--augment.autoencoder.network",
        "mlp",
        "--augment.steps",
        "60",
    ]
    status, out, error = cli(*words, "--steps", "300", "--folder", "run")
    assert status == 0, error
    assert "held-out rows, in pixel features" in out and "of the rows are varied" in out
    assert cli("sample", "run", "--num", "40")[0] == 0
    with Path("run/samples-seed0.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    values = np.array(rows, float)
    assert header == ["length", "width", "petal"] and values.shape == (40, 3)
    assert 2 < values[:, 1].mean() < 4 and np.abs(values[:, 2]).max() > 20
    status, _, error = cli(*words[:6], "--model", "rnn_ae", "--steps", "2")
    assert status == 2 and "for data of modality table (--data); got rnn_ae, which is for series, text, audio" in error
