"""Checkpoints: written atomically, read as tensors and plain values only, with the previous one kept as a backup."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from lightning_genae import registry, weights
from lightning_genae.cache import report_damage
from lightning_genae.errors import Damaged
from lightning_genae.files import replacing
from lightning_genae.run_folder import BEFORE, LAST

Model = TypeVar("Model", bound=LightningModule)
log = logging.getLogger("lightning_genae")
OLD_WEIGHTS = {  # former to current prefix of the names of weights
    "codes.codes": "latents.latents",
    "codes.": "latents.",
    "reader.": "encoder.",
    "writer.": "decoder.",
    "class_shares": "class_fractions",
}


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file in its folder, keeps the previous one as before.ckpt, and moves the new
    one into place. Refuses checkpoints with values that are not finite.

    Lightning's TorchCheckpointIO writes to $TMPDIR, which on clusters is another file system, so that a kill or a full
    disk leaves half a file. It also ignores a PermissionError.
    """

    def save_checkpoint(self, checkpoint: dict, path: str | Path, storage_options: object = None) -> None:
        """Raises FloatingPointError for values that are not finite, and OSError if the disk is full."""
        if bad := not_finite(checkpoint):
            raise FloatingPointError(f"{bad} is not finite, and is not saved; '{path}' is what it was")
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            torch.save(checkpoint, unfinished)
            if path.exists():
                os.replace(path, path.with_name(BEFORE))

    def load_checkpoint(
        self, path: str | Path, map_location: Callable | None = None, weights_only: bool | None = True
    ) -> dict:
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)


def read(option: str, path: Path, remedy: str) -> dict:
    """The content of a checkpoint or of a model.safetensors, on the CPU.

    Args:
        option: that names the file, for errors.
        path: of the file.
        remedy: what to do if it is damaged, for errors.

    Raises:
        Damaged: the content is not as it was written.
        OSError: the file cannot be read.
    """
    with report_damage(option, path, remedy):
        is_safe = path.suffix == ".safetensors"
        state = weights.read(path) if is_safe else torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or "state_dict" not in state:
            raise ValueError("it holds no weights of a model")
    return state


def newest(folder: Path) -> tuple[Path, dict] | None:
    """The last checkpoint in a folder that can be read, and its content; None if there is no checkpoint.

    Raises:
        Damaged: there are checkpoints, but none can be read.
    """
    remedy = "there is none before it; the command that trained the run, with --overwrite, starts it anew"
    paths = [path for path in (folder / LAST, folder / BEFORE) if path.is_file()]
    for i, path in enumerate(paths):
        try:
            state = read("--folder", path, remedy)
        except Damaged as error:
            if i == len(paths) - 1:
                raise
            taken = f"the checkpoint before it, '{paths[1]}', is taken"
            log.info(f"WARNING: {error.damage}; expected it as it was made; {taken}")
        else:
            return path, state
    return None


def restored(option: str, path: str | Path, model_class: type[Model], state: dict) -> Model:
    """The model of a checkpoint's content, in evaluation mode.

    Raises:
        ValueError: it is of another model, or of another version of its code.
    """
    name = registry.name_of(model_class)
    try:
        if registry.RENAMED.get(state.get("model", name), state.get("model", name)) != name:
            raise ValueError(f"it is of {state['model']}")
        state = {**state, "state_dict": {_renamed_weight(key): value for key, value in state["state_dict"].items()}}
        model = model_class(**_renamed(state["hyper_parameters"]))
        model.on_load_checkpoint(state)
        model.load_state_dict(state["state_dict"])
    except (KeyError, TypeError, RuntimeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{option}: expected a checkpoint of {model_class.__name__} as its code is now, got '{path}', which is of "
            f"another model or of other code ({reason})"
        ) from error
    return model.eval()


def _renamed(options: dict) -> dict:
    """The options of a model by their current names; older checkpoints have `kind` instead of the modality."""
    if "kind" not in options:
        return options
    options = dict(options)
    kind, is_masked = options.pop("kind"), {"has_mask": True, "modality": "series"}
    are_points = tuple(options["image_shape"][1:]) == (1, 1)
    return options | (is_masked if kind.startswith("mask") else {"modality": "points" if are_points else kind})


def _renamed_weight(key: str) -> str:
    """The current name of a weight; older checkpoints have codes, a reader, a writer and class_shares."""
    for old, new in OLD_WEIGHTS.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key


def not_finite(state: object, name: str = "") -> str | None:
    """Name of the first tensor in nested dicts and lists with infinite values or NaN; None if all are finite."""
    if isinstance(state, Tensor):
        return None if not state.is_floating_point() or bool(state.isfinite().all()) else name
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list | tuple) else ()
    return next((bad for key, value in items if (bad := not_finite(value, f"{name}.{key}".lstrip(".")))), None)
