"""Checks of a model that is new: what its class says, before and after it is built."""

from pytorch_lightning import LightningModule

from lightning_genae import registry
from lightning_genae.errors import UserError

NEEDED = ("sample", "training_step", "configure_optimizers")
OF_AUTOENCODERS = ("encode", "decode", "reconstruct")


def check_class(model_class: type) -> None:
    """Checks that a class can be built as a model, trained and sampled.

    Raises:
        UserError: it is no LightningModule, a method is missing, or `__init__` does not take what describes the data.
    """
    about = registry.described(model_class)
    if not issubclass(model_class, LightningModule):
        raise UserError(f"{about}: expected a subclass of pytorch_lightning.LightningModule; got another class")
    lacking = [name for name in NEEDED if getattr(model_class, name, None) is getattr(LightningModule, name, None)]
    if lacking:
        raise UserError(f"{about}: expected the methods {', '.join(NEEDED)}; got no {' and no '.join(lacking)}")
    there = [name for name in OF_AUTOENCODERS if hasattr(model_class, name)]
    if there and len(there) < len(OF_AUTOENCODERS):
        raise UserError(f"{about}: expected all of {', '.join(OF_AUTOENCODERS)}, or none; got {' and '.join(there)}")
    expected = "__init__(self, image_shape, num_classes=0, modality='image', has_mask=False, ...), with defaults of all"
    registry.check_call(model_class, "", f"{expected} options", None, None, modality=None, has_mask=None)
    registry.check_call(model_class, "sample", "sample(self, num, labels=None)", None, None, None)
    if hasattr(model_class, "log_likelihood"):
        registry.check_call(model_class, "log_likelihood", "log_likelihood(self, x, num_latents)", None, None, None)


def check_hparams(model: LightningModule) -> None:
    """Checks that a model can be built again from its checkpoint.

    Raises:
        UserError: `__init__` did not save its arguments.
    """
    if not {"image_shape", "modality"} <= set(model.hparams):
        raise UserError(
            f"{registry.described(type(model))}: expected self.save_hyperparameters() in __init__, so that its "
            "checkpoints can be read again; got none of its arguments saved"
        )
