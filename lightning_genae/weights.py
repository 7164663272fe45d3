"""A trained model's weights as safetensors (https://github.com/huggingface/safetensors): numbers and text alone.

The options of the model and the images that it was trained on stand in the file's own text, so that one file is enough
for samples, for an evaluation and for an augmentation.
"""

import json
from pathlib import Path

from pytorch_lightning import LightningModule
from safetensors import safe_open
from safetensors.torch import save_file

from lightning_genae import registry
from lightning_genae.files import replacing


def save(model: LightningModule, datamodule, path: Path) -> None:
    """Writes the weights, averages included, and what they need to be a model again."""
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    name = registry.name_of(type(model))
    text = {"model": name, "hyper_parameters": dict(model.hparams), "data": datamodule.state_dict()}
    with replacing(path) as unfinished:
        save_file(tensors, unfinished, {key: json.dumps(value) for key, value in text.items()})


def read(path: Path) -> dict:
    """What a file holds, in the form of a checkpoint: `state_dict`, `hyper_parameters`; also the name of the `model`,
    and the state of the `data` that it was trained on.

    Raises:
        SafetensorError: it is damaged.
        KeyError, ValueError: it is another program's.
    """
    with safe_open(path, framework="pt") as file:
        text = file.metadata() or {}
        state = {key: json.loads(text[key]) for key in ("model", "hyper_parameters", "data")}
        state["state_dict"] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
    state["hyper_parameters"]["image_shape"] = tuple(state["hyper_parameters"]["image_shape"])
    return state
