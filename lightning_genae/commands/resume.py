"""Checks that an interrupted run may continue: everything that its results depend on must be unchanged."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_genae.cache import digest, hash_weights
from lightning_genae.run_folder import RunFolder, check_same, flat_identity

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

    from callbacks.evaluate import Evaluate
    from lightning_genae.augment import Composition
    from lightning_genae.data.dataset import Dataset

CHANGED = {  # what a resumed run needs, by option
    "--devices": "as many processes (devices times nodes) as before",
    "--data": "the images that were trained on before",
    "--augment": "the augmenting autoencoder that was there before; --cache has lost it, or it was trained elsewhere",
    "--metrics.features": "the extractor that was there before; --cache has lost it, or it was trained elsewhere",
}


def check_config(folder: RunFolder, resume: tuple[Path, dict] | None, config: dict) -> None:
    """Raises ValueError if a checkpoint is of a run with other options. This works without config.yaml, too."""
    depends_on = (resume[1] if resume else {}).get("callbacks", {}).get("Record", {}).get("depends_on", {})
    if "config" in depends_on:
        check_same(folder.path, depends_on["config"], flat_identity(config))


def what_counts(
    trainer: "Trainer", dataset: "Dataset", augment: "Composition", evaluate: "Evaluate"
) -> dict[str, object]:
    """What a run's results depend on in addition to the config, by option. It must not change when a run resumes."""
    return {
        "--devices": trainer.world_size,
        "--data": dataset.fingerprint,
        "--augment": hash_weights(augment),
        "--metrics.features": digest(evaluate.evaluation.extractor.description),
    }


def check_resume(resume: tuple[Path, dict] | None, now: dict[str, object]) -> None:
    """Raises ValueError if a resumed run would differ from the run that was begun."""
    if resume is None:
        return
    path, state = resume
    then = state["callbacks"]["Record"].get("depends_on", {})
    for option, value in now.items():
        if then.get(option, value) != value:
            raise ValueError(
                f"{option}: '{path}' goes on with {CHANGED[option]}; expected {then[option]}, got {value}; bring it "
                "back, or --overwrite starts the run anew"
            )


def slurm_job() -> str | None:
    """The id of the Slurm job that this process belongs to, if any."""
    return os.environ.get("SLURM_JOB_ID")


def was_restarted() -> bool:
    """Whether Slurm has started the job again, after a preemption for example."""
    return os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
