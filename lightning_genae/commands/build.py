"""The parts of a run, built from its config: data module, model, augmentation, callbacks."""

from functools import partial
from typing import TYPE_CHECKING, Any

from lightning_genae import registry
from lightning_genae.commands.parse import PACKAGES
from lightning_genae.config.nested import collect, is_open
from lightning_genae.config.parser import signature
from lightning_genae.errors import UserError, lacks_memory
from lightning_genae.received import check_links
from lightning_genae.run_folder import RunFolder
from lightning_genae.threads import using

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule

    from datamodules import ImageDataModule
    from lightning_genae.augment import Composition
    from lightning_genae.data.dataset import Dataset


def build_datamodule(config: dict) -> "ImageDataModule":
    """The data set, loaded."""
    check_links("--cache", config["cache"])
    from datamodules import ImageDataModule

    data = dict(config["data"])
    module_class = registry.load(PACKAGES["data"], data.pop("name"))
    if not issubclass(module_class, ImageDataModule):
        raise UserError(f"{registry.described(module_class)}: expected a subclass of datamodules.ImageDataModule")
    datamodule = module_class(**data)
    datamodule.seed = config["seed"]
    datamodule.cache_dir = config["cache"]
    usual = getattr(registry.load(PACKAGES["model"], config["model"]["name"]), "usual_batch_size", None)
    if usual and is_open(config["data"], "batch_size"):
        datamodule.usual_batch_size = partial(usual, config["model"])
    if config["data"].get("download"):
        check_links("--data.root", data["root"] or "data")
    with using(1):  # what the data are must not depend on the number of threads
        datamodule.prepare_data()
        datamodule.setup()
    return datamodule


def build_model(config: dict, dataset: "Dataset") -> "LightningModule":
    """The model; its initialisation depends only on the seed.

    Raises:
        ValueError: an option is wrong, or the model is not for this data.
        MemoryError: it does not fit into memory.
    """
    import torch

    from lightning_genae.data import modalities
    from lightning_genae.models import check_class, check_hparams

    torch.manual_seed(config["seed"])
    options = dict(config["model"])
    model_class = registry.load(PACKAGES["model"], options.pop("name"))
    check_class(model_class)
    modalities.check("--model", PACKAGES["model"], model_class, dataset.modality)
    about = {"modality": dataset.modality.name, "has_mask": dataset.modality.has_mask}
    try:
        model = model_class(dataset.image_shape, dataset.num_classes, **about, **options)
    except RuntimeError as error:
        if not lacks_memory(error):
            raise
        raise MemoryError(f"--model: expected a network that fits into memory; {error}") from error
    check_hparams(model)
    return model


def build_augment(config: dict, dataset: "Dataset", model: "LightningModule") -> "Composition":
    """The augmentation, checked but not yet trained."""
    from lightning_genae.augment import Composition

    classes = {name: registry.load(PACKAGES["augment"], name) for name in config["augment"]["name"].split("+")}
    options = config["augment"]
    for choice in {choice for part in classes.values() for choice in getattr(part, "choices", {})}:
        options = collect(options, choice)

    def build(part: type, **fixed: Any) -> Any:
        names = signature(part).keys() - fixed
        return part(**fixed, **{key: value for key, value in options.items() if key in names})

    parts = {name: build(part) for name, part in classes.items()}
    augment = build(Composition, parts=parts)
    augment.check(dataset, model)
    return augment


def build_callbacks(
    config: dict, folder: RunFolder, steps: int, augment: "Composition", is_compiled: bool = False
) -> dict:
    """The callbacks of a training, in this order: the average is updated before it is evaluated."""
    from callbacks.adapt import Adapt
    from callbacks.augmented import Augmented
    from callbacks.budget import Budget
    from callbacks.compiled import Compiled
    from callbacks.ema import Ema
    from callbacks.evaluate import Evaluate
    from callbacks.film import Film
    from callbacks.finite import Finite
    from callbacks.health import Health
    from callbacks.interpolations import Interpolations
    from callbacks.measured import Measured
    from callbacks.profile import Profile
    from callbacks.progress import Progress
    from callbacks.reconstructions import Reconstructions
    from callbacks.record import Record
    from callbacks.samples import Samples
    from callbacks.traversals import Traversals

    every = max(1, steps // 5)
    evaluate = Evaluate(**config["metrics"])
    finite = Finite(folder, config["on_nonfinite"] == "rewind", evaluate)
    profile = {"profile": Profile(folder.path, steps)} if config["profile"] else {}
    compiled = {"compiled": Compiled()} if is_compiled else {}
    return {
        **compiled,
        **profile,
        "finite": finite,
        "ema": Ema(),
        "adapt": Adapt(augment),
        "budget": Budget(steps),
        "progress": Progress(config["model"]["name"], steps),
        "health": Health(steps),
        "augmented": Augmented(folder.path),
        "reconstructions": Reconstructions(folder.path, every),
        "samples": Samples(folder.path, every),
        "film": Film(folder.path),
        "interpolations": Interpolations(folder.path),
        "traversals": Traversals(folder.path),
        "evaluate": evaluate,
        "measured": Measured(folder.path, evaluate),
        "record": Record(folder, config["checkpoint_seconds"], finite, depends_on={}),
    }
