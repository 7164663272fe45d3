"""The command line of a run: its parts, their defaults and the options that follow from them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from jsonargparse.typing import restricted_number_type

from lightning_genae.config.command_line import CommandLine

PACKAGES = {"model": "lightning_genae.models", "augment": "lightning_genae.augment", "data": "datamodules"}
DEFAULTS = {"model": "gan", "augment": "none", "data": "digits"}
DEFAULT_STEPS = 3000
if TYPE_CHECKING:
    Seed = int
else:
    Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)])  # the range that all libraries accept

# options of Lightning's Trainer that a run sets itself or offers under other names
SET_BY_RUNS = {"accelerator", "devices", "strategy", "precision", "logger", "callbacks", "default_root_dir"}
SET_BY_RUNS |= {"max_epochs", "max_steps", "min_epochs", "min_steps", "max_time", "limit_train_batches"}
SET_BY_RUNS |= {"overfit_batches", "fast_dev_run", "barebones"}
# would import a class from a path, or upload the model
NOT_OFFERED = {"plugins", "profiler", "model_registry"}


def new_command_line(run_options: Callable) -> CommandLine:
    """The command line of a run.

    Args:
        run_options: function whose signature and docstring define the options without a prefix.
    """

    def evaluate() -> type:
        from callbacks.evaluate import Evaluate

        return Evaluate

    def augmentation() -> type:
        from lightning_genae.augment import Composition

        return Composition

    def trainer() -> type:
        from pytorch_lightning import Trainer

        return Trainer

    return CommandLine(
        PACKAGES,
        DEFAULTS,
        {"augment": augmentation},
        run_options,
        sections={"metrics": evaluate, "trainer": trainer},
        skip={
            "model": {"image_shape", "num_classes", "modality", "has_mask"},
            "augment": {"parts"},
            "trainer": SET_BY_RUNS | NOT_OFFERED,
        },
        hidden={"trainer"},
        replaced={
            "--metrics.every": "--metrics.looks, how many evaluations there are in the course of the training",
            "--augment.model_labels": "--augment.within_class, as it is called now",
            "--augment.deviation": "--augment.std, as it is called now",
            "--augment.autoencoder": "--augment.network, as it is called now",
            "--augment.latent_dim": "--augment.autoencoder.latent_dim, an option of the autoencoder",
            "--augment.width": "--augment.autoencoder.width, an option of the autoencoder",
            "--augment.lr": "--augment.autoencoder.lr, an option of the autoencoder",
        },
    )


def parse_run(command_line: CommandLine, arguments: list[str]) -> dict | None:
    """The config of a run; None if help was asked for and printed."""
    config = command_line.parse(arguments)
    return None if config is None else with_length(config)


def with_length(config: dict) -> dict:
    """The config, with the default length if it sets none."""
    return config if config["steps"] or config["epochs"] else config | {"steps": DEFAULT_STEPS}
