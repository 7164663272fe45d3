"""`python run.py sample RUN`: samples of a run."""

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse.typing import NonNegativeInt, PositiveFloat, restricted_number_type

from lightning_genae.commands.build import build_datamodule
from lightning_genae.commands.parse import Seed
from lightning_genae.commands.runs import load_model, open_run, report_config_damage
from lightning_genae.commands.threads import choose_threads_again
from lightning_genae.config.parser import new_parser, parse_verb
from lightning_genae.errors import UserError
from lightning_genae.estimates import estimated
from lightning_genae.options import MAX_SAMPLES
from lightning_genae.run_folder import check_writable
from lightning_genae.threads import NumThreads

log = logging.getLogger("lightning_genae")
FILM_KEYS, FILM_BETWEEN = 8, 16  # samples that are met, and frames from one to the next
MOST_IN_FILM = 1000
if TYPE_CHECKING:
    from lightning_genae.evaluation.models import Generative

    NumSamples = int
else:
    NumSamples = restricted_number_type("NumSamples", int, [(">=", 1), ("<=", MAX_SAMPLES)])


def sample_options(
    run: str,
    num: NumSamples = 64,
    label: NonNegativeInt | None = None,
    seed: Seed = 0,
    truncation: PositiveFloat | None = None,
    film: bool = False,
    out: str | None = None,
    threads: NumThreads = "auto",
) -> None:
    """Samples of a run's model, as a picture and as numbers.

    Args:
        run: the run folder.
        num: number of samples, up to 100,000, or 1,000 in a film.
        label: their class, of a model with --model.conditional. null: drawn as often as in training.
        seed: of the noise.
        truncation: noise beyond this, of normal numbers, is drawn again: fewer odd samples, and less different ones
            (arXiv 1809.11096). null: the noise that the model was trained with.
        film: a GIF in which samples turn into others, instead of a picture and numbers.
        out: folder to write samples-seedSEED.png, .npz and others to, with -labelLABEL and -truncatedLIMIT before the
            seed where they are given, or a film-*.gif. null: the run folder.
        threads: of the CPU. auto: as many as the run had.
    """


def sample(arguments: list[str]) -> None:
    """Samples of a run, or a film of them.

    Raises what `open_run` raises, and ValueError for a label that the model does not have.
    """
    parser = new_parser("python run.py sample RUN [--OPTION VALUE ...]")
    parser.add_function_arguments(sample_options, as_group=True, as_positional=True)
    options = parse_verb(parser, arguments)
    if options is None:
        return
    folder, config = open_run(options["run"])  # before slow imports
    from lightning_genae.data.modalities import modality_of
    from lightning_genae.evaluation.sampling import draw, made_of, truncated

    choose_threads_again(options["threads"], folder)
    model = load_model(folder, config)
    label, num_conditions = options["label"], getattr(model, "num_conditions", 0)
    if label is not None and label >= num_conditions:
        expected = f"a class below {num_conditions}" if num_conditions else "no label for a model without conditions"
        raise ValueError(f"--label: expected {expected}; got {label}")
    limit, modality = options["truncation"], modality_of(model)
    chosen = "" if label is None else f"-label{label}"
    chosen += "" if limit is None else f"-truncated{limit:g}".replace(".", "_")
    stem = Path(options["out"] or folder.path, f"samples{chosen}-seed{options['seed']}")
    check_writable("--out", stem.parent)
    if options["film"]:
        return log.info(_film(model, options, stem.with_name(stem.name.replace("samples", "film", 1) + ".gif")))
    noise = nullcontext() if limit is None else made_of(model, truncated(model, limit))
    with noise:
        samples = draw(model, options["num"], options["seed"], label)
    if modality.has_units:  # known only to the data set
        with report_config_damage(folder):
            modality = build_datamodule(config).served.modality
    files = modality.write(stem, samples)
    log.info("\n".join([f"{options['num']} samples:", *(f"  {path}: {what}" for path, what in files.items())]))


def _film(model: "Generative", options: dict, path: Path) -> str:
    """Writes a film of samples; a line that says so."""
    from lightning_genae.data.drawing.grids import save_film
    from lightning_genae.data.modalities import modality_of
    from lightning_genae.data.modalities.image import Image
    from lightning_genae.data.storage import to_float
    from lightning_genae.evaluation.sampling import film

    if not isinstance(modality_of(model), Image):
        raise UserError(f"--film: expected a model of images; got one of {modality_of(model).item_name}")
    if options["truncation"] is not None:
        raise UserError(f"--truncation: expected no --film beside it; got {options['truncation']}")
    num = options["num"]
    if num > MOST_IN_FILM:
        raise UserError(f"--num: expected at most {MOST_IN_FILM} samples in a film; got {num}")
    frames = film(model, num, options["seed"], options["label"], FILM_KEYS, FILM_BETWEEN)
    what = f"A film of {num} samples, {FILM_KEYS * FILM_BETWEEN} frames"
    shown = estimated((to_float(frame) for frame in frames), what, FILM_KEYS * FILM_BETWEEN, "frame")
    save_film(path, shown, max(1, round(num**0.5)))
    return f"{path}: {num} samples that turn into others, {FILM_KEYS} times, and back"
