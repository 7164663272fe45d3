"""What a new part that is not as its family asks is told, before anything is trained: a line with class and file."""

from pathlib import Path

import pytest

import run
from tests.test_plugins import install, site  # noqa: F401, a fixture

SHORT = ("--steps", "2", "--logger", "none", "--metrics.features", "pixels", "--folder", "new")
GROUPS = {"models": "--model", "augment": "--augment", "data": "--data", "metrics": ""}

MODEL = """
import torch
from pytorch_lightning import LightningModule
class Model(LightningModule):
    {modalities}
    def __init__(self, {arguments}):
        super().__init__()
        {save}
        self.weight = torch.nn.Parameter(torch.zeros(()))
    def sample(self, num, labels=None):
        return {samples}
    def training_step(self, batch, batch_idx):
        return (self.weight - batch[0].mean()) ** 2
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())
    {more}
"""
MODEL_GOOD = {
    "modalities": "",
    "arguments": "image_shape, num_classes=0, modality='image', has_mask=False",
    "save": "self.save_hyperparameters()",
    "samples": "torch.zeros(num, 1, 8, 8)",
    "more": "",
}
AUGMENT = """
import random
import torch
from lightning_genae.augment import Augmentation
class Augment({base}):
    {declared}
    {more}
    def {method}:
        {first}
        return {varied}
"""
AUGMENT_GOOD = {
    "base": "Augmentation",
    "declared": "",
    "more": "",
    "method": "vary(self, images, labels)",
    "first": "",
    "varied": "images * 0.5",
}
DATA = """
import torch
from pytorch_lightning import LightningDataModule
from datamodules import ImageDataModule, split_off
from lightning_genae.data.dataset import Images
class Data({base}):
    {more}
    def load(self):
        images = {images}
        labels = {labels}
        return {returned}
"""
DATA_GOOD = {
    "base": "ImageDataModule",
    "more": "",
    "images": "torch.rand(120, 1, 8, 8, generator=torch.Generator().manual_seed(0))",
    "labels": "torch.arange(120) % 3",
    "returned": "Images(images[30:], labels[30:]), Images(images[:30], labels[:30]), 3",
}
METRIC = """
from lightning_genae.evaluation.metrics import SampleMetric, Value
class Metric({base}):
    values = {values}
    {modalities}
    {more}
    def {method}:
        return {measured}
"""
METRIC_GOOD = {
    "base": "SampleMetric",
    "values": "{'gap': Value('gap', '.2f', False)}",
    "modalities": "",
    "more": "",
    "method": "measure(self, samples)",
    "measured": "{'gap': 1.0}",
}
PARTS = {
    "models": (MODEL, MODEL_GOOD),
    "augment": (AUGMENT, AUGMENT_GOOD),
    "data": (DATA, DATA_GOOD),
    "metrics": (METRIC, METRIC_GOOD),
}
WRONG = [
    ("models", {"arguments": "image_shape"}, "expected __init__(self, image_shape, num_classes=0, modality='image'"),
    ("models", {"arguments": MODEL_GOOD["arguments"] + ", *, lr: float"}, "--model.lr: expected a value"),
    ("models", {"save": ""}, "expected self.save_hyperparameters() in __init__"),
    ("models", {"samples": "torch.zeros(1, 1, 8, 8)"}, "to be of shape (2, 1, 8, 8); got (1, 1, 8, 8)"),
    ("models", {"samples": "torch.full((num, 1, 8, 8), 3.0)"}, "genae_new.py); got values from 3 to 3"),
    ("models", {"modalities": "modalities = ('images',)"}, "a tuple of some of audio, image, "),
    ("models", {"modalities": "modalities = 'image'"}, "expected modalities = a tuple"),
    (
        "models",
        {"more": "def encode(self, x): return x"},
        "expected all of encode, decode, reconstruct, or none; got",
    ),
    (
        "models",
        {"more": "encode = decode = lambda self, x: x\n    def reconstruct(self, x): return x[:1]"},
        "to be of shape (2, 1, 8, 8); got (1, 1, 8, 8)",
    ),
    (
        "augment",
        {"varied": "images[:, :, :4]"},
        "expected variations (8, 1, 8, 8) torch.float32 as the images; got",
    ),
    ("augment", {"varied": "images / 0"}, "expected finite variations of images"),
    ("augment", {"varied": "images.mul_(0.5)"}, "it changes those that it gets"),
    ("augment", {"declared": "apply_to = 'critic'", "varied": "images.mul_(0.5)"}, "it changes those that it gets"),
    ("augment", {"declared": "apply_to = 'critic'", "varied": "images.detach()"}, "expected variations that gradients"),
    ("augment", {"declared": "fractions = {'data': 2.0}"}, "expected fractions in [0, 1] of data, critic or generator"),
    (
        "augment",
        {"declared": "apply_to = 'both'"},
        "expected apply_to one of data or critic, its fractions; got",
    ),
    (
        "augment",
        {"declared": "preferred_sides = lambda self, modality: ('generator', 'data')"},
        "expected apply_to one of data or critic, its fractions; got 'generator'",
    ),
    ("augment", {"declared": "modalities = ['image']"}, "expected modalities = a tuple of some of audio, "),
    (
        "data",
        {"returned": "images, labels, 3"},
        "expected load() to return Images(images, labels) as the training",
    ),
    (
        "data",
        {"returned": "Images(images, labels), Images(images, labels)"},
        "(Images, Images, number of classes)",
    ),
    ("data", {"images": "torch.rand(90, 8, 8)"}, "images (N, C, H, W), uint8, or float32 in [-1, 1]; got (60, 8, 8)"),
    ("data", {"images": "torch.rand(90, 1, 8, 8) * 255"}, "with finite images in [-1, 1]; got values from 0"),
    ("data", {"images": "torch.rand(90, 1, 8, 8).double()"}, "uint8, or float32 in [-1, 1]; got (60, 1, 8, 8) torch.f"),
    ("data", {"labels": "torch.arange(120) % 4"}, "with labels from 0 to 2; got them from 0 to 3"),
    ("data", {"labels": "torch.arange(80)"}, "with labels (90,) torch.int64, one for each of its images; got (50,)"),
    (
        "data",
        {"returned": "Images(images, labels), Images(images[:30], labels[:30]), 0"},
        "all 0, because there are no classes",
    ),
    ("metrics", {"measured": "{'gop': 1.0}"}, "expected a label, a format and a direction of 'gop'"),
    ("metrics", {"measured": "[1.0]"}, "expected values by name, in a dict; got list"),
    ("metrics", {"measured": "{'gap': 'wide'}"}, "expected a number as 'gap'; got str"),
    ("metrics", {"values": "{'gap': 'the gap'}"}, "expected values = a Value(label, format, higher_is_better) by name"),
    ("metrics", {"values": "{'gap': Value('gap', '.2x', True)}"}, "a format such as '.3f'"),
    ("metrics", {"values": "{'gap': Value('gap', '.2f', 'up')}"}, "True, False or None"),
    ("metrics", {"modalities": "modalities = ('pictures',)"}, "expected modalities = a tuple"),
    ("metrics", {"base": "object"}, "expected a subclass of lightning_genae.evaluation.metrics.SampleMetric"),
    (
        "models",
        {"more": "def log_likelihood(self, x): return x.flatten(1).sum(1)"},
        "expected log_likelihood(self, x, num",
    ),
    ("models", {"more": "def log_likelihood(self, x, num_latents): return x.sum()"}, "to be of shape (2,); got ()"),
    ("models", {"arguments": MODEL_GOOD["arguments"] + ", name: str = 'x'"}, "of other names than name"),
    ("models", {"arguments": MODEL_GOOD["arguments"] + ", size=3"}, "its type, so that no config file"),
    ("augment", {"varied": "images + torch.tensor(random.random())"}, "got variations that do not repeat"),
    ("augment", {"method": "other(self, images, labels)"}, "expected a method vary(self, images, labels); got none"),
    ("augment", {"method": "vary(self, images)"}, "expected vary(self, images, labels); got one that cannot"),
    ("augment", {"more": "def __init__(self): self.x = 1"}, "expected super().__init__() at the beginning"),
    ("augment", {"more": "def fit(self, dataset): pass"}, "expected fit(self, dataset, **trainer_options); got one"),
    ("augment", {"base": "torch.nn.Module"}, "expected a subclass of lightning_genae.augment.Augmentation"),
    (
        "data",
        {"images": "split_off(Images(torch.rand(90, 1, 8, 8), -torch.ones(90).long()), 9, 0)"},
        "split_off: expected images with labels from 0; got -1",
    ),
    (
        "data",
        {"images": "split_off(Images(torch.rand(90, 1, 8, 8), torch.ones(80).long()), 9, 0)"},
        "split_off: expected images with labels (90,)",
    ),
    (
        "data",
        {"returned": "Images(images, labels), Images(images, labels), 3"},
        "held-out items that are not trained on",
    ),
    ("data", {"base": "LightningDataModule"}, "expected a subclass of datamodules.ImageDataModule"),
    ("data", {"more": "modality = 'image'"}, "expected a modality of lightning_genae.data.modalities"),
    ("metrics", {"more": "order = 'first'"}, "expected order = a whole number; got 'first'"),
    ("metrics", {"measured": "{'gap': float('nan')}"}, "expected a number as 'gap' of real images; got nan"),
    ("metrics", {"method": "gauge(self, samples)"}, "expected a method measure(self, samples); got none"),
    ("metrics", {"method": "measure(self)"}, "expected measure(self, samples); got one that cannot be called so"),
    ("metrics", {"more": "def __init__(self, real, dataset, radius): pass"}, "expected __init__(self, real, dataset)"),
    (
        "metrics",
        {"more": "def __init__(self, real, dataset=None, radius=1): pass"},
        "without options; got more of them",
    ),
    ("metrics", {"measured": "{'gap': float(samples.images.mul_(2).sum())}"}, "changes in place: change a copy"),
    ("metrics", {"measured": "{'gap': 1.0, 'gap_low': 2.0, 'gap_high': 1.0}"}, "expected 'gap_low' at most 'gap_high'"),
    (
        "metrics",
        {"values": "{'fd': Value('gap', '.2f', False)}", "measured": "{'fd': 1.0}"},
        "expected 'fd' from one metric; got it from FrechetMetric",
    ),
]


def give(folder: Path, family: str, changes: dict[str, str]) -> tuple[str, ...]:
    """Installs a part of a family; the words that choose it."""
    text, good = PARTS[family]
    run.COMMAND_LINE._parsers.clear()  # which know the part of the test before by the same name
    (folder / "genae_new.py").write_text(text.format(**good | changes))
    install(folder, "genae-new", {f"lightning_genae.{family}": {"new": "genae_new"}})
    return (GROUPS[family], "new") if GROUPS[family] else ()


@pytest.mark.parametrize("family, changes, message", WRONG, ids=lambda value: str(value)[:60])
def test_what_is_wrong_is_named_with_its_class_and_file(site, capsys, family, changes, message):  # noqa: F811
    words = give(site, family, changes)
    model = () if family == "models" else ("--model", "gan")
    assert run.main([*words, *model, *SHORT]) == 2
    *_, error = capsys.readouterr().err.strip().splitlines()
    assert message in error
    assert "genae_new" in error or message.startswith("split_off") or error.startswith("run.py: error: --model.")
    assert not Path("new").exists()


@pytest.mark.parametrize("family", PARTS)
def test_what_is_right_is_run(site, capsys, family):  # noqa: F811
    words = give(site, family, {})
    model = () if family == "models" else ("--model", "gan")
    assert run.main([*words, *model, *SHORT]) == 0, capsys.readouterr().err


def test_a_failure_in_a_new_part_names_its_file_and_line(site, capsys):  # noqa: F811
    words = give(site, "augment", {"first": "images.nothing()"})
    assert run.main([*words, "--model", "gan", *SHORT]) == 1
    error = capsys.readouterr().err
    assert "(AttributeError in " in error and "genae_new.py, line 9; --debug shows more)" in error


def test_a_data_set_without_a_loader(site, capsys):  # noqa: F811
    (site / "genae_new.py").write_text("from datamodules import ImageDataModule\nclass Data(ImageDataModule): pass\n")
    install(site, "genae-new", {"lightning_genae.data": {"new": "genae_new"}})
    assert run.main(["--data", "new", "--model", "gan", *SHORT]) == 1
    assert "expected a method load" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_named_with_its_line(site, capsys):  # noqa: F811
    words = give(site, "augment", {"first": "images ="})
    assert run.main([*words, "--model", "gan", *SHORT]) == 3  # of another package; in this one it is 1
    assert "SyntaxError: invalid syntax (genae_new.py, line 9)" in capsys.readouterr().err


def test_a_model_that_returns_no_loss(site, capsys):  # noqa: F811
    words = give(site, "models", {"more": "def training_step(self, batch, batch_idx): pass"})
    assert run.main([*words, *SHORT]) == 1
    assert "--model: expected training_step to return a loss; got none" in capsys.readouterr().err
