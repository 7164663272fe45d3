"""Whether a run that was interrupted may go on: all that its results depend on has to be what it was."""

import os
from pathlib import Path

from lightning_genae.cache import digest, hash_weights
from lightning_genae.run_folder import check_same, flat_identity

CHANGED = {  # what it means that one of these differs
    "--devices": "as many processes (devices times nodes) as before",
    "--data": "the images that were trained on before",
    "--augment": "the augmenting autoencoder that was there before; --cache has lost it, or it was trained elsewhere",
    "--metrics.features": "the extractor that was there before; --cache has lost it, or it was trained elsewhere",
}


def check_config(folder, state: dict, config: dict) -> None:
    """Raises ValueError if a checkpoint is of a run with other options: config.yaml, which says so too, may be lost."""
    depends_on = state.get("callbacks", {}).get("Record", {}).get("depends_on", {})
    if "config" in depends_on:
        check_same(folder.path, depends_on["config"], flat_identity(config))


def what_counts(trainer, dataset, augment, evaluate) -> dict[str, object]:
    """By option, what beside the config a run's results depend on: one that goes on must have it alike."""
    return {
        "--devices": trainer.world_size,
        "--data": dataset.fingerprint,
        "--augment": hash_weights(augment),
        "--metrics.features": digest(evaluate.evaluation.extractor.description),
    }


def check_resume(resume: tuple[Path, dict], now: dict[str, object]) -> None:
    """Raises ValueError where a run that goes on would not be the one that was begun."""
    path, state = resume
    then = state["callbacks"]["Record"].get("depends_on", {})
    for option, value in now.items():
        if then.get(option, value) != value:
            raise ValueError(
                f"{option}: '{path}' goes on with {CHANGED[option]}; expected {then[option]}, got {value}; bring it "
                "back, or --overwrite starts the run anew"
            )


def slurm_job() -> str | None:
    """The Slurm job that this process belongs to."""
    return os.environ.get("SLURM_JOB_ID")
