"""`python run.py sample RUN`: samples of a run."""

import logging
from pathlib import Path

from jsonargparse.typing import NonNegativeInt, PositiveInt

from lightning_genae.commands.build import build_datamodule
from lightning_genae.commands.parse import Seed
from lightning_genae.commands.runs import load_model, open_run, report_config_damage
from lightning_genae.commands.threads import choose_threads_again
from lightning_genae.config.parser import new_parser, parse_verb
from lightning_genae.run_folder import check_writable
from lightning_genae.threads import NumThreads

log = logging.getLogger("lightning_genae")


def sample_options(
    run: str,
    num: PositiveInt = 64,
    label: NonNegativeInt | None = None,
    seed: Seed = 0,
    out: str | None = None,
    threads: NumThreads = "auto",
) -> None:
    """Samples of a run's model, as a picture and as numbers.

    Args:
        run: the run folder.
        num: number of samples.
        label: their class, of a model with --model.conditional. null: drawn as often as in training.
        seed: of the noise.
        out: folder to write samples[-labelLABEL]-seedSEED.png, .npz and others to. null: the run folder.
        threads: of the CPU. auto: as many as the run had.
    """


def sample(arguments: list[str]) -> None:
    """Samples of a run. Raises ValueError for a label that its model does not have, and what `open_run` raises."""
    parser = new_parser("python run.py sample RUN [--OPTION VALUE ...]")
    parser.add_function_arguments(sample_options, as_group=True, as_positional=True)
    options = parse_verb(parser, arguments)
    if options is None:
        return
    folder, config = open_run(options["run"])  # before slow imports
    from lightning_genae.data.modalities import modality_of
    from lightning_genae.evaluation.sampling import draw

    choose_threads_again(options["threads"], folder)
    model = load_model(folder, config)
    label, num_conditions = options["label"], getattr(model, "num_conditions", 0)
    if label is not None and label >= num_conditions:
        expected = f"a class below {num_conditions}" if num_conditions else "no label for a model without conditions"
        raise ValueError(f"--label: expected {expected}; got {label}")
    chosen = "" if label is None else f"-label{label}"
    stem = Path(options["out"] or folder.path, f"samples{chosen}-seed{options['seed']}")
    check_writable("--out", stem.parent)
    samples = draw(model, options["num"], options["seed"], label)
    modality = modality_of(model)
    if modality.has_units:  # known only to the data set
        with report_config_damage(folder):
            modality = build_datamodule(config).served.modality
    files = modality.write(stem, samples)
    log.info("\n".join([f"{options['num']} samples:", *(f"  {path}: {what}" for path, what in files.items())]))
