"""`--precision auto`: what a run computes in. The rule looks at the device and the data, never at a clock."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

    from lightning_genae.data.dataset import Dataset

AUTO, FLOAT32, BFLOAT16 = "auto", "32-true", "bf16-mixed"
MIN_SIDE = 8  # of an image, in pixels, for which it was measured; smaller ones win little


def chosen_precision(config: dict, dataset: "Dataset", resume: tuple[Path, dict] | None = None) -> str:
    """The precision of a run, in Lightning's words; `auto` is resolved, to what the run began with if it has begun.

    Args:
        config: of the run.
        dataset: its data.
        resume: the checkpoint that the run goes on from, and its content.
    """
    if config["precision"] != AUTO:
        return config["precision"]
    if resume and (begun := resume[1]["callbacks"]["Record"].get("depends_on", {}).get("config")):
        return begun["precision"]
    # sequences, points and tables are one pixel high: their networks win nothing
    is_large = min(dataset.image_shape[1:]) >= MIN_SIDE
    return BFLOAT16 if is_large and multiplies_bfloat16(config["accelerator"]) else FLOAT32


def multiplies_bfloat16(accelerator: str) -> bool:
    """Whether the device has units for products of bfloat16 matrices: a GPU from Ampere on, a CPU with AMX.

    Args:
        accelerator: Lightning's name of it, or auto.
    """
    import torch

    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())
    if not on_cpu or not hasattr(torch.cpu, "get_capabilities"):  # older than torch 2.10
        return False
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def check_precision(precision: str, trainer: "Trainer") -> None:
    """Raises ValueError if Lightning would compute in another precision than the requested one."""
    import torch
    from pytorch_lightning.accelerators import CPUAccelerator, CUDAAccelerator

    on_cpu = isinstance(trainer.accelerator, CPUAccelerator)
    no_bf16 = isinstance(trainer.accelerator, CUDAAccelerator) and not torch.cuda.is_bf16_supported(False)
    if (on_cpu and precision.startswith("16")) or (no_bf16 and precision.startswith("bf16")):
        possible = "32-true, bf16-mixed" if on_cpu else "32-true, 16-mixed"
        raise ValueError(f"--precision: expected one that this device can do, such as {possible}; got {precision}")
