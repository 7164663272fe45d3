"""Weights as safetensors: the same model again, from a file that holds nothing but numbers and text."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lightning_genae import checkpoints, registry, weights

MODELS = [name for name in registry.names("lightning_genae.models") if name != "rnn_ae"]
SMALL = ("--steps", "4", "--metrics.features", "pixels", "--metrics.num_samples", "100")


class Data:
    """What a data module tells of itself."""

    def state_dict(self) -> dict:
        return {"batches": 3, "fingerprint": "abc"}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_the_same_again(name, tmp_path):
    model = registry.load("lightning_genae.models", name)((1, 8, 8), 10, modality="image")
    with torch.no_grad():
        for value in model.parameters():
            value.uniform_(-0.1, 0.1)
    weights.save(model, Data(), tmp_path / "model.safetensors")
    state = checkpoints.read("--folder", tmp_path / "model.safetensors", "")
    again = checkpoints.restored("--folder", tmp_path / "model.safetensors", type(model), state)
    assert dict(again.hparams) == dict(model.hparams)
    state = again.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert weights.read(tmp_path / "model.safetensors")["data"]["fingerprint"] == "abc"


def without_checkpoint(folder: str) -> Path:
    """A run's folder as it is given away: its pickled checkpoint is left out."""
    assert Path(folder, "checkpoints/last.ckpt").is_file()
    shutil.copytree(folder, "given", ignore=shutil.ignore_patterns("checkpoints"))
    return Path("given")


def test_a_run_is_used_by_its_safetensors_alone(cli):
    """By sample, evaluate, an augmentation and vaegan's start, with the numbers that the checkpoint gives."""
    assert cli("--model", "ae", *SMALL, "--folder", "run", "--model.loss", "bce")[0] == 0
    given = without_checkpoint("run")
    for folder in ("run", given):
        status, _, error = cli("sample", str(folder), "--num", "4")
        assert status == 0, error
        status, _, error = cli("evaluate", str(folder))
        assert status == 0, error
    assert Path("run/samples-seed0.png").read_bytes() == Path("given/samples-seed0.png").read_bytes()
    first, second = (json.loads(Path(name, "results.json").read_text())["evaluations"][0] for name in ("run", "given"))
    assert first["metrics"] == second["metrics"]
    for option in (given, given / "model.safetensors"):
        words = ("--model", "ae", "--augment", "ae", "--augment.checkpoint", str(option), *SMALL)
        status, _, error = cli(*words, "--folder", f"augmented-{Path(option).suffix}")
        assert status == 0, error
    status, _, error = cli("--model", "ae", "--augment", "vae", "--augment.checkpoint", str(given), *SMALL)
    assert status == 2 and "--augment.checkpoint: expected a checkpoint of --model vae" in error
    words = ("--model", "vaegan", "--model.variational", "false", "--model.start", str(given), *SMALL)
    status, _, error = cli(*words, "--folder", "started")
    assert status == 0, error


def test_other_images_are_told_by_the_file(cli):
    assert cli("--model", "ae", *SMALL, "--folder", "run")[0] == 0
    given = without_checkpoint("run")
    words = ("--model", "ae", "--augment", "ae", "--augment.checkpoint", str(given), "--data.num_train", "100", *SMALL)
    status, _, error = cli(*words)
    assert status == 2 and "trained on exactly this run's training images" in error


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other", "options"])
def test_damage_is_named(damage, tmp_path):
    model = registry.load("lightning_genae.models", "ae")((1, 8, 8), 10, modality="image")
    path = tmp_path / "model.safetensors"
    weights.save(model, Data(), path)
    with safe_open(path, framework="pt") as file:
        text = file.metadata()
        tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        save_file(tensors, path)
    elif damage == "other":
        save_file(tensors, path, text | {"model": '"../evil"'})
    else:
        save_file(tensors, path, text | {"hyper_parameters": '{"latent_dim": 3, "image_shape": [1, 8, 8]}'})
    of_other_code = damage in ("other", "options")
    with pytest.raises(ValueError, match="expected a checkpoint of Autoencoder" if of_other_code else "is damaged"):
        state = checkpoints.read("--folder", path, "")
        checkpoints.restored("--folder", path, type(model), state)
