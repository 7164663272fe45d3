"""Lightning's Trainer on the requested hardware."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_genae.commands.precision import check_precision
from lightning_genae.errors import UserError
from lightning_genae.run_folder import RunFolder

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule, Trainer

    from datamodules import ImageDataModule


def build_trainer(
    config: dict,
    model: "LightningModule",
    precision: str,
    folder: RunFolder,
    datamodule: "ImageDataModule",
    callbacks: dict,
    steps: int,
    resume: tuple[Path, dict] | None,
) -> "Trainer":
    """Lightning's Trainer.

    Raises:
        ValueError: this machine does not support the options.
    """
    from pytorch_lightning import Callback
    from pytorch_lightning.loggers import Logger

    from callbacks.metrics_csv import MetricsCsv
    from lightning_genae.checkpoints import WholeCheckpoints

    resumed_at = resume[1][type(datamodule).__qualname__]["batches"] if resume else 0
    loggers: list[Logger] = [MetricsCsv(folder.path / "metrics.csv", lambda: datamodule.progress, resumed_at)]
    beginning: list[Callback] = []
    if config["logger"] == "wandb":
        from callbacks.wandb_run import Begin, WandbRun, without_passwords

        try:
            run = WandbRun(folder.path, config, lambda: datamodule.progress, bool(resume))
            loggers, beginning = [*loggers, run], [Begin(run)]
        except ValueError as error:  # pydantic's, about the environment; --debug must not show its passwords either
            reason = f"expected settings of W&B (WANDB_BASE_URL, ...) that it takes; {without_passwords(error)}"
            raise UserError(f"--logger: {reason}") from None
    trainer = new_trainer(
        config,
        precision,
        logger=loggers,
        callbacks=[*callbacks.values(), *beginning],
        plugins=[WholeCheckpoints()],
        default_root_dir=os.devnull,  # else Lightning would load a Slurm checkpoint from there by itself
        log_every_n_steps=max(1, min(50, steps // 10)),
        num_sanity_val_steps=0,
    )
    check_precision(precision, trainer)
    check_options(config, model)
    num_train, items = len(datamodule.served.train.images), datamodule.served.item_name
    if num_train < datamodule.batch_size * trainer.world_size:
        raise ValueError(
            f"--devices: expected at least one batch of {datamodule.batch_size} {items} (--data.batch_size) for each "
            f"of {trainer.world_size} processes; got {num_train}"
        )
    return trainer


def new_trainer(config: dict, precision: str, **arguments: Any) -> "Trainer":
    """A Trainer on the requested hardware.

    Args:
        config: of the run.
        precision: that it computes in, see `chosen_precision`.
        arguments: of Lightning's Trainer.

    Raises:
        UserError: this machine does not have that hardware.
    """
    from pytorch_lightning import Trainer

    from lightning_genae.profiling import NoProfiler

    _look_no_more_for_drivers()
    hardware = {key: config[key] for key in ("accelerator", "devices", "strategy")} | {"precision": precision}
    is_alone = hardware["devices"] in (1, "1") and config["trainer"].get("num_nodes", 1) == 1
    if hardware["strategy"] == "auto" and not is_alone:
        # a model may leave weights unused in a batch; two players sum up their gradients by themselves
        hardware["strategy"] = "ddp_find_unused_parameters_true"
    defaults = {"profiler": NoProfiler(), "max_epochs": -1, "limit_val_batches": 0, "enable_model_summary": False}
    try:
        return Trainer(**{**hardware, **defaults, **arguments, **config["trainer"]})
    except Exception as error:  # Lightning raises many types for missing hardware
        if f"'{precision}' is invalid" in str(error):
            known = "auto, 32-true, bf16-mixed, 16-mixed or another of Lightning's"
            raise UserError(f"--precision: expected {known}; got '{precision}'") from None
        requested = ", ".join(f"--{key} {config[key]}" for key in hardware)
        raise UserError(f"expected a Trainer that this machine can do, got {requested}: {error}") from error


def _look_no_more_for_drivers() -> None:
    """On a machine without a GPU, lets torch ask CUDA whether there is one, as it does by default.

    Lightning has it ask the driver's library instead, which can be forked. Every step of an optimizer asks, and where
    the library is missing, to look for it takes a third of a millisecond each time.
    """
    import torch

    if not torch.cuda.is_available():
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)


def check_options(config: dict, model: "LightningModule") -> None:
    """Raises ValueError for options that Lightning would refuse later, for models with several optimizers."""
    for option in {"gradient_clip_val", "accumulate_grad_batches"} & set(config["trainer"]):
        if not model.automatic_optimization:
            instead = "--model.gradient_clip" if option == "gradient_clip_val" else "--data.batch_size"
            raise ValueError(
                f"--trainer.{option}: expected a model with one optimizer, got {config['model']['name']}; see {instead}"
            )


def finish_upload(trainer: "Trainer") -> None:
    """Waits for the end of the upload to W&B, for a limited time."""
    for logger in trainer.loggers:
        if hasattr(logger, "wait"):
            logger.wait()
