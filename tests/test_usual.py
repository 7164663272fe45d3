"""What options of `gan` that are null mean: FastGAN's networks and what goes with them for larger colour images."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_genae.commands.build import build_datamodule
from lightning_genae.models.gan import GAN

NAMES = ("network", "loss", "lr", "reconstruct")
DCGAN = ("conv", "ns", 4e-4, 0.0)
FASTGAN = ("fastgan", "hinge", 2e-4, 1.0)


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((3, 64, 64), {}, FASTGAN),
        ((3, 65, 80), {}, FASTGAN),
        ((3, 64, 63), {}, DCGAN),
        ((1, 64, 64), {}, DCGAN),
        ((3, 64, 64), {"modality": "audio"}, DCGAN),
        ((3, 64, 64), {"network": "conv"}, DCGAN),
        ((3, 32, 32), {"network": "fastgan"}, FASTGAN),
        ((3, 32, 32), {"network": "stylegan2"}, ("stylegan2", *DCGAN[1:])),
        ((3, 64, 64), {"critic": "projected", "features": "untrained"}, (*FASTGAN[:3], 0.0)),
        ((3, 64, 64), {"loss": "ns", "lr": 1e-3, "reconstruct": 0.0}, ("fastgan", "ns", 1e-3, 0.0)),
        ((1, 8, 8), {"loss": "hinge", "reconstruct": 2.0}, ("conv", "hinge", 4e-4, 2.0)),
    ],
)
def test_what_is_not_given_goes_with_the_images_and_the_network(shape, options, expected):
    """Of what is built as well as of what its checkpoints say: these must not change with later defaults."""
    model = GAN(shape, width=2, **options)
    assert tuple(model.hparams[name] for name in NAMES) == expected
    assert hasattr(model.critic, "reconstruction") == (expected[3] > 0)
    assert model.game == expected[1]
    assert {group["lr"] for one in model.configure_optimizers() for group in one.param_groups} == {expected[2]}
    gated = any(isinstance(layer, torch.nn.GLU) for layer in model.generator.modules())
    assert gated == (expected[0] == "fastgan")


class OwnGAN(GAN):
    """A family of another package that hands on what it was given, nulls too."""

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int = 0, strength: float = 1.0, **kwargs):
        super().__init__(image_shape, num_classes, **kwargs)


def test_a_subclass_that_is_given_null_is_trained_with_the_values_that_null_means():
    model = OwnGAN((1, 8, 8), width=2, network=None, loss=None, lr=None, reconstruct=None)
    assert tuple(model.hparams[name] for name in (*NAMES, "strength")) == (*DCGAN, 1.0)
    x, labels = torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64)
    assert model.loss_critic(x, labels).isfinite()
    assert {group["lr"] for one in model.configure_optimizers() for group in one.param_groups} == {DCGAN[2]}


@pytest.mark.parametrize(
    ("given", "side", "network", "expected"),
    [(None, 64, None, 16), (None, 64, "conv", 64), (None, 32, None, 64), (None, 32, "fastgan", 16), (5, 64, None, 5)],
)
def test_the_batch_that_goes_with_them(given, side, network, expected, tmp_path):
    draw(tmp_path, 100, side)
    model = {"name": "gan", "network": network, "critic": "learned"}
    options = {"name": "folder", "root": str(tmp_path), "batch_size": given}
    data = build_datamodule({"seed": 0, "cache": str(tmp_path / "cache"), "data": options, "model": model})
    assert data.batch_size == data.train_dataloader().batch_size == expected


def draw(folder, num, side):
    generator = np.random.default_rng(0)
    for i in range(num):
        Image.fromarray(generator.integers(0, 255, (side, side, 3), np.uint8)).save(folder / f"{i}.png")


def test_a_folder_of_pictures(tmp_path, cli):
    """35 training images are fewer than a batch of 64; what was chosen is said, kept and named in the options."""
    (tmp_path / "pictures").mkdir()
    draw(tmp_path / "pictures", 60, 64)
    words = ["--model", "gan", "--data", "folder", "--data.root", str(tmp_path / "pictures"), "--steps", "2"]
    words += ["--metrics.features", "pixels", "--metrics.num_samples", "20", "--logger", "none", "--threads", "1"]
    run = tmp_path / "run"
    status, output, error = cli(*words, "--model.width", "4", "--folder", str(run))
    assert status == 0, error
    chosen = "--model.network fastgan --model.loss hinge --model.lr 0.0002 --model.reconstruct 1"
    said = [line for line in output.splitlines() if "chosen by the images" in line]
    assert len(said) == 2 and said[0] == said[1]  # before the training and beside its results
    kept = json.loads((run / "results.json").read_text())["chosen"]
    assert said[0].endswith("images: " + " ".join(kept))
    assert set(f" {said[0]}".split(" --")[1:]) == set(f" {chosen} --data.batch_size 16".split(" --")[1:])
    assert json.loads((run / "results.json").read_text())["timing"]["images"] == 32
    saved = torch.load(next(run.glob("checkpoints/*.ckpt")), weights_only=False)["hyper_parameters"]
    assert tuple(saved[name] for name in NAMES) == FASTGAN
    status, output, error = cli("sample", str(run), "--num", "4")
    assert status == 0, error


def test_another_network_says_what_goes_with_it(tmp_path, cli):
    words = ["--model", "gan", "--steps", "2", "--model.network", "mlp", "--data.num_train", "64", "--model.lr", "1e-3"]
    words += ["--metrics.features", "pixels", "--metrics.num_samples", "20", "--logger", "none", "--threads", "1"]
    status, output, error = cli(*words, "--data.batch_size", "32", "--folder", str(tmp_path / "run"))
    assert status == 0, error
    said, again = [line for line in output.splitlines() if "chosen by the images" in line]
    assert said == again
    status, output, error = cli(*words, "--data.batch_size", "32", "--folder", str(tmp_path / "run"))  # it is finished
    assert status == 0 and said in output, error
    assert said.endswith("images: --model.loss ns --model.reconstruct 0")
