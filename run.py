"""Trains a generative model on few images, with an autoencoder's augmentation, and measures the gain.

    python run.py --model gan --augment ae                  trains, evaluates, leaves a run folder
    python run.py sample RUN --num 64                       samples of a run
    python run.py evaluate RUN --metrics.features pixels    its metrics again, in other features
    python run.py prefetch --augment ae                     what a run needs, for nodes without internet
    python run.py ablate --augment none,ae --seed 0..4      a grid of runs, with statistics and a report
    python run.py compare FOLDER ...                        runs side by side
    python run.py cache --prune                             what runs share, and removal of unused files

`python run.py --help` lists the choices, `python run.py --model gan --help` the options of the chosen parts.
"""

import logging
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Literal

from jsonargparse.typing import NonNegativeInt, PositiveInt

from lightning_genae import registry
from lightning_genae.commands.ablate import ablate
from lightning_genae.commands.build import build_augment, build_callbacks, build_datamodule, build_model
from lightning_genae.commands.cache import cache as cache_contents
from lightning_genae.commands.compare import compare
from lightning_genae.commands.compiling import is_compiled
from lightning_genae.commands.evaluate import evaluate
from lightning_genae.commands.fit import fit, fit_parts, take_weights
from lightning_genae.commands.length import choose_looks, count_steps
from lightning_genae.commands.memory import check_memory
from lightning_genae.commands.parse import Seed, new_command_line, parse_run
from lightning_genae.commands.precision import chosen_precision
from lightning_genae.commands.prefetch import prefetch
from lightning_genae.commands.resume import check_config, check_resume, slurm_job, was_restarted, what_counts
from lightning_genae.commands.sample import sample
from lightning_genae.commands.threads import choose_threads
from lightning_genae.commands.trainer import build_trainer, finish_upload
from lightning_genae.config.words import take_flag
from lightning_genae.deferred import defer
from lightning_genae.errors import UserError, check_characters, format_error, status_of
from lightning_genae.logs import configure_logging, is_first
from lightning_genae.received import check_links
from lightning_genae.report import report
from lightning_genae.run_folder import RunFolder, check_writable, flat_identity
from lightning_genae.threads import NumThreads, wait_passively

log = logging.getLogger("lightning_genae")


def options(
    steps: PositiveInt | None = None,
    epochs: PositiveInt | None = None,
    seed: Seed = 0,
    accelerator: str = "auto",
    devices: int | str = 1,
    strategy: str = "auto",
    precision: str = "auto",
    threads: NumThreads = "auto",
    logger: Literal["wandb", "csv", "none"] = "wandb",
    folder: str | None = None,
    cache: str = "runs/cache",
    checkpoint_seconds: NonNegativeInt = 30,
    on_nonfinite: Literal["stop", "rewind"] = "stop",
    overwrite: bool = False,
    compile: bool = False,
    profile: bool = False,
    debug: bool = False,
) -> None:
    """Run options; --trainer.KEY reaches Lightning's Trainer where there is none of them for it.

    Args:
        steps: length of the training in batches. null: 3000, unless epochs are given.
        epochs: length of the training in passes over the training images.
        seed: of the initialisation, the order of the images and all other random numbers.
        accelerator: cpu, gpu, mps or auto.
        devices: how many of them.
        strategy: Lightning's, for several devices. auto: the one that is right for two players.
        precision: 32-true, bf16-mixed, 16-mixed or another of Lightning's. auto: as an interrupted run began; else
            bf16-mixed for images of 8x8 pixels or more on a GPU from Ampere on or a CPU with AMX, 32-true elsewhere.
        threads: of the CPU. auto: as many of the free cores as make a batch clearly faster, tried out before the run;
            one if a batch is little work. Another number changes the last digits of results.
        logger: Weights & Biases, online with an account and else offline; csv and none: nothing but
            metrics.csv, which is written in every case.
        folder: the run folder. null: runs/DATA/MODEL-AUGMENT/HASH/seedSEED.
        cache: folder of what runs share: trained autoencoders and classifiers, packed images.
        checkpoint_seconds: time between two checkpoints, from which an interrupted run goes on.
        on_nonfinite: what happens when a loss or a weight is no finite number: the run stops, or goes back to its last
            checkpoint and on with half the learning rate, up to five times.
        overwrite: start anew where the folder holds a run.
        compile: compile the networks by torch.compile, where a measurement says that this training will be shorter.
        profile: record 20 batches, and say which operations take the time; the folder gets a trace.
        debug: show the traceback of an error.
    """


COMMAND_LINE = new_command_line(options)
VERBS: dict[str, Callable[[list[str]], int | None]] = {
    "sample": sample,
    "evaluate": evaluate,
    "prefetch": partial(prefetch, COMMAND_LINE),
    "ablate": partial(ablate, COMMAND_LINE),
    "compare": compare,
    "cache": cache_contents,
}


def train(arguments: list[str]) -> None:
    """Trains and evaluates the run that the arguments describe, resumes it, or reports that it is finished."""
    config = parse_run(COMMAND_LINE, arguments)
    if config is None:
        return
    configure_logging(config["debug"])
    folder = RunFolder.of(config)
    job = slurm_job()
    config = config | {"overwrite": config["overwrite"] and not (was_restarted() and folder.begun_by(job))}
    if is_first() and not config["overwrite"]:
        folder.set_aside_damage("results.json")
    folder.check(config)
    check_links("--folder", folder.path, skip=("wandb",) if config["overwrite"] else ())
    if not config["overwrite"] and folder.results.get("status") == "finished":
        log.info(f"This run is finished; --overwrite starts it anew. Its results:\n{report(folder)}")
        return
    check_writable("--folder", folder.path)
    check_writable("--cache", config["cache"])
    from lightning_genae.checkpoints import newest, restored  # slow, because it imports torch

    resume = None if config["overwrite"] else newest(folder.checkpoints)
    check_config(folder, resume, config)

    # everything is checked before the run folder exists
    datamodule = build_datamodule(config)
    model = build_model(config, datamodule.served)
    steps = count_steps(config, datamodule)
    precision = chosen_precision(config, datamodule.served, resume)
    augment = build_augment(config, datamodule.served, model)
    check_memory(config, datamodule)
    take_weights(config, model, resumes=bool(resume))
    computed: dict = {"precision": precision, "threads": choose_threads(config, datamodule, resume and resume[1])}
    computed["compiled"] = is_compiled(config, datamodule, steps, resume)
    callbacks = build_callbacks(config, folder, steps, augment, computed["compiled"])
    trainer = build_trainer(config, model, precision, folder, datamodule, callbacks, steps, resume)
    if resume:
        restored("--folder", resume[0], type(model), resume[1])
    evaluator = callbacks["evaluate"]
    evaluator.prepare(datamodule.served, model)
    evaluator.plan(steps, evaluator.looks or choose_looks(config, datamodule, evaluator.evaluation, steps))
    quality = fit_parts(augment, config, datamodule, model, callbacks, resumes=bool(resume))
    depends_on = what_counts(trainer, datamodule.served, augment, evaluator)
    check_resume(resume, depends_on)
    depends_on |= {"config": flat_identity(config | {"precision": precision}), **computed}
    callbacks["record"].depends_on |= depends_on
    with folder.start(config, computed, quality, augment.settings(), job) if trainer.is_global_zero else nullcontext():
        log.info(f"Training {config['model']['name']} for {steps:,} batches in {folder.path}, in {precision}")
        fit(trainer, config, model, datamodule, folder, callbacks, resume[0] if resume else None)
    if trainer.is_global_zero:
        log.info(report(folder))
        finish_upload(trainer)


def main(argv: list[str]) -> int:
    """Runs a command line; returns the exit status: 2 for the user's mistakes, 3 for what the machine lacks or refuses,
    130 for an interruption, 1 for other failures."""
    wait_passively()
    verb, arguments = (argv[0], argv[1:]) if argv and not argv[0].startswith("-") else (None, argv)
    debug = False
    defer()
    try:
        check_characters(argv)
        debug, rest = take_flag("--debug", arguments, positionals=verb in ("sample", "evaluate", "compare"))
        if verb is None:
            train(arguments)
        elif verb in VERBS:
            configure_logging(debug)
            return VERBS[verb](rest) or 0
        else:
            suggestion = registry.suggest(verb, list(VERBS))
            raise UserError(f"expected one of the verbs {', '.join(VERBS)}, or none; got '{verb}'{suggestion}")
        return 0
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
        if not is_first():  # only the first process reports it; a failure here would kill the others
            return 0
        message, status = "interrupted; the same command goes on from the last checkpoint, if there is one", 130
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            traceback.print_exception(error)
        message, status = format_error(error), status_of(error)
    print(f"run.py: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
