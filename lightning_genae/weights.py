"""A trained model's weights as safetensors (https://github.com/huggingface/safetensors): numbers and text only.

The metadata of the file hold the options of the model and which images it was trained on, so that one file is enough
for samples, an evaluation and an augmentation.
"""

import json
from pathlib import Path

from pytorch_lightning import LightningDataModule, LightningModule
from safetensors import safe_open
from safetensors.torch import save_file

from lightning_genae import registry
from lightning_genae.files import replacing


def save(model: LightningModule, datamodule: LightningDataModule, path: Path) -> None:
    """Writes the weights, including averages, and the options that are needed to restore the model."""
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    name = registry.name_of(type(model))
    text = {"model": name, "hyper_parameters": dict(model.hparams), "data": datamodule.state_dict()}
    with replacing(path) as unfinished:
        save_file(tensors, unfinished, {key: json.dumps(value) for key, value in text.items()})


def read(path: Path) -> dict:
    """The content of a file in the form of a checkpoint: `state_dict` and `hyper_parameters`, the name of the `model`,
    and the state of the `data` that it was trained on.

    Raises:
        SafetensorError: the file is damaged.
        KeyError, ValueError: the file was not written by `save`.
    """
    with safe_open(path, framework="pt") as file:
        text = file.metadata() or {}
        state = {key: json.loads(text[key]) for key in ("model", "hyper_parameters", "data")}
        state["state_dict"] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
    state["hyper_parameters"]["image_shape"] = tuple(state["hyper_parameters"]["image_shape"])
    return state
