"""Trains a generative model on few images, with an autoencoder's augmentation, and measures what it gained.

    python run.py --model gan --augment ae                  trains, evaluates, leaves a run folder
    python run.py sample RUN --num 64                       samples of a run
    python run.py evaluate RUN --metrics.features pixels    its metrics again, in other features
    python run.py prefetch --augment ae                     what a run needs, for nodes without internet
    python run.py ablate --augment none,ae --seed 0..4      a grid of runs, with statistics and a report
    python run.py compare FOLDER ...                        runs side by side
    python run.py cache --prune                             what runs share, and removal of what none uses

`python run.py --help` lists the choices, `python run.py --model gan --help` the options of the chosen parts.
"""

import copy
import errno
import itertools
import logging
import os
import sys
import traceback
import warnings
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Literal

from jsonargparse.typing import NonNegativeInt, PositiveInt, restricted_number_type

from lightning_genae import registry
from lightning_genae.command_line import CommandLine, new_parser, parse_verb, signature, take_flag

PACKAGES = {"model": "lightning_genae.models", "augment": "lightning_genae.augment", "data": "datamodules"}
DEFAULTS = {"model": "gan", "augment": "none", "data": "digits"}
DEFAULT_STEPS = 3000
Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)])  # what all libraries take
log = logging.getLogger("lightning_genae")


def options(
    steps: PositiveInt | None = None,
    epochs: PositiveInt | None = None,
    seed: Seed = 0,
    accelerator: str = "auto",
    devices: int | str = 1,
    strategy: str = "auto",
    precision: str = "32-true",
    logger: Literal["wandb", "csv", "none"] = "wandb",
    folder: str | None = None,
    cache: str = "runs/cache",
    checkpoint_seconds: NonNegativeInt = 30,
    on_nonfinite: Literal["stop", "rewind"] = "stop",
    overwrite: bool = False,
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
        precision: 32-true, bf16-mixed, 16-mixed or another of Lightning's.
        logger: Weights & Biases, online with an account and else offline; csv and none: nothing but
            metrics.csv, which is written in every case.
        folder: the run folder. null: runs/DATA/MODEL-AUGMENT/HASH/seedSEED.
        cache: folder of what runs share: trained autoencoders and classifiers, packed images.
        checkpoint_seconds: time between two checkpoints, from which an interrupted run goes on.
        on_nonfinite: what happens when a loss or a weight is no finite number: the run stops, or goes back to its last
            checkpoint and on with half the learning rate, up to five times.
        overwrite: start anew where the folder holds a run.
        debug: show the traceback of an error.
    """


def train(arguments: list[str]) -> None:
    """Trains and evaluates what the arguments say, or goes on with it, or shows that it is done."""
    config = parse_run(arguments)
    if config is None:
        return
    from lightning_genae.checkpoints import newest, restored
    from lightning_genae.received import check_links
    from lightning_genae.report import report
    from lightning_genae.run_folder import RunFolder, check_writable, flat_identity

    quieten(config["debug"])
    folder = RunFolder.of(config)
    job = slurm_job()
    if config["overwrite"] and os.environ.get("SLURM_RESTART_COUNT", "0") != "0" and folder.begun_by(job):
        config = config | {"overwrite": False}  # this very job began it, and was started again
    if is_first() and not config["overwrite"]:
        folder.set_aside_damage("results.json")
    folder.check(config)
    check_links("--folder", folder.path, skip=("wandb",) if config["overwrite"] else ())
    if not config["overwrite"] and folder.results.get("status") == "finished":
        log.info(f"This run is finished; --overwrite starts it anew. Its results:\n{report(folder)}")
        return
    check_writable("--folder", folder.path)
    check_writable("--cache", config["cache"])
    resume = None if config["overwrite"] else newest(folder.checkpoints)
    if resume:
        check_config(folder, resume[1], config)

    # all that can be wrong is found out before the run folder exists
    datamodule = build_datamodule(config)
    model = build_model(config, datamodule.dataset)
    steps = count_steps(config, datamodule)
    augment = build_augment(config, datamodule.dataset, model)
    callbacks = build_callbacks(config, folder, steps, augment)
    trainer = build_trainer(config, folder, datamodule, callbacks, steps, resume)
    check_trainer_options(config, model)
    if resume:
        restored("--folder", resume[0], type(model), resume[1])
    evaluate = callbacks["evaluate"]
    evaluate.prepare(datamodule.dataset, model)
    evaluate.plan(steps, evaluate.looks or choose_looks(config, datamodule, evaluate.evaluation, steps))
    quality = fit_augment(augment, config, datamodule, model, callbacks)
    depends_on = what_counts(trainer, datamodule.dataset, augment, evaluate)
    if resume:
        check_resume(resume, depends_on)
    callbacks["record"].depends_on |= {"config": flat_identity(config), **depends_on}
    with folder.start(config, quality, augment.settings(), job) if trainer.is_global_zero else nullcontext():
        log.info(f"Training {config['model']['name']} for {steps:,} batches in {folder.path}")
        fit(trainer, model, datamodule, folder, callbacks, resume[0] if resume else None)
    if trainer.is_global_zero:
        log.info(report(folder))
        finish_upload(trainer)


def finish_upload(trainer) -> None:
    """Waits for W&B, whose run ends after this one, but not for long."""
    for logger in trainer.loggers:
        if hasattr(logger, "wait"):
            logger.wait()


def parse_run(arguments: list[str]) -> dict | None:
    """The config of a run; None where help was asked for and printed."""
    config = command_line().parse(arguments)
    return None if config is None else with_length(config)


def with_length(config: dict) -> dict:
    """The config with the default length where none was asked for."""
    return config if config["steps"] or config["epochs"] else config | {"steps": DEFAULT_STEPS}


@cache
def command_line() -> CommandLine:
    """What can be typed; kept, because a parser of so many options takes a fifth of a second to make."""

    def evaluate() -> type:
        from callbacks.evaluate import Evaluate

        return Evaluate

    def augmentation() -> type:
        from lightning_genae.augmentation import Augmentation

        return Augmentation

    def trainer() -> type:
        from pytorch_lightning import Trainer

        return Trainer

    # what this file sets itself, under names of its own
    own = {"accelerator", "devices", "strategy", "precision", "logger", "callbacks", "default_root_dir"}
    own |= {"max_epochs", "max_steps", "min_epochs", "min_steps", "max_time", "limit_train_batches"}
    own |= {"overfit_batches", "fast_dev_run", "barebones"}
    # what takes the path of a class, and would import it, or gives the model to a server
    own |= {"plugins", "profiler", "model_registry"}
    return CommandLine(
        PACKAGES,
        DEFAULTS,
        {"augment": augmentation},
        options,
        sections={"metrics": evaluate, "trainer": trainer},
        skip={"model": {"image_shape", "num_classes", "modality", "has_mask"}, "augment": {"arms"}, "trainer": own},
        hidden={"trainer"},
        replaced={"--metrics.every": "--metrics.looks, how many evaluations there are in the course of the training"},
    )


def build_datamodule(config: dict):
    """The data set, loaded."""
    from lightning_genae.received import check_links

    check_links("--cache", config["cache"])
    data = dict(config["data"])
    datamodule = registry.load(PACKAGES["data"], data.pop("name"))(**data)
    datamodule.seed = config["seed"]
    datamodule.cache_dir = config["cache"]
    if config["data"].get("download"):
        check_links("--data.root", datamodule.root)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def build_model(config: dict, dataset):
    """The model, whose initialisation depends on the seed alone."""
    import torch

    from lightning_genae.data import modalities

    torch.manual_seed(config["seed"])
    options = dict(config["model"])
    model_class = registry.load(PACKAGES["model"], options.pop("name"))
    modalities.check("--model", PACKAGES["model"], model_class, dataset.modality)
    about = {"modality": dataset.modality.name, "has_mask": dataset.modality.has_mask}
    try:
        return model_class(dataset.image_shape, dataset.num_classes, **about, **options)
    except RuntimeError as error:
        if not lacks_memory(error):
            raise
        raise MemoryError(f"--model: expected a network that fits into memory; {error}") from error


def build_augment(config: dict, dataset, model):
    """The augmentation, checked but not yet trained."""
    from lightning_genae.augmentation import Augmentation

    def build(one: type, **given):
        wanted = signature(one).keys() - given
        return one(**given, **{key: value for key, value in config["augment"].items() if key in wanted})

    arms = {name: build(registry.load(PACKAGES["augment"], name)) for name in config["augment"]["name"].split("+")}
    augment = build(Augmentation, arms=arms)
    augment.check(dataset, model)
    return augment


def fit_augment(augment, config: dict, datamodule, model, callbacks: dict) -> dict:
    """Gives the augmentation, trained on what the model will see, to data and model; returns its quality gate."""
    from callbacks.progress import Progress
    from lightning_genae.report import gate

    progress = Progress("autoencoder", config["augment"].get("steps"))
    augment.fit(datamodule.dataset, accelerator=config["accelerator"], callbacks=[progress])
    quality = augment.quality(datamodule.dataset, callbacks["evaluate"].evaluation.extractor)
    callbacks["augmented"].quality = quality
    datamodule.augment = augment
    if augment.stand_on("critic"):
        model.view = augment.view
    for line in gate(quality):
        log.info(line)
    return quality


def count_steps(config: dict, datamodule) -> int:
    """Length of the training in batches."""
    if config["steps"] and config["epochs"]:
        raise ValueError(f"--epochs: expected steps or epochs, got both ({config['steps']} and {config['epochs']})")
    if config["epochs"]:
        # "auto", -1 and "0,1" are as many devices as Lightning makes of them
        images_per_batch = datamodule.batch_size * new_trainer(config, logger=False).world_size
        return config["epochs"] * max(1, len(datamodule.dataset.train.images) // images_per_batch)
    return config["steps"]


def choose_looks(config: dict, datamodule, evaluation, steps: int) -> int:
    """How often the model is evaluated, where the user does not say: by what a batch and an evaluation take."""
    from lightning_genae import schedule

    return schedule.chosen(config, steps, lambda num_batches: try_out(config, datamodule, num_batches, evaluation))


def try_out(config: dict, datamodule, num_batches: int, evaluation=None) -> tuple[float, float]:
    """Seconds of a batch without augmentation and of an evaluation, by a model that is thrown away; it leaves no trace
    in the random numbers, nor in the data module."""
    import torch
    from pytorch_lightning import Trainer
    from pytorch_lightning.plugins.environments import LightningEnvironment

    from callbacks.ema import Ema
    from callbacks.stopwatch import Stopwatch

    alone = copy.copy(datamodule)
    alone.augment, alone.batches, alone.trainer = None, 0, None
    stopwatch = Stopwatch(num_batches, evaluation)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {"enable_model_summary": False, "limit_val_batches": 0, "max_epochs": -1}
    hardware = {name: config[name] for name in ("accelerator", "precision")}
    # one process, whatever launched this one
    trainer = Trainer(**quiet, **hardware, devices=1, plugins=LightningEnvironment(), callbacks=[Ema(), stopwatch])
    with torch.random.fork_rng():
        trainer.fit(build_model(config, alone.dataset), datamodule=alone)
    return stopwatch.seconds_per_batch, stopwatch.seconds_per_look


def build_callbacks(config: dict, folder, steps: int, augment) -> dict:
    """What happens while the model trains, in this order: the average is updated before it is looked at."""
    from callbacks.adapt import Adapt
    from callbacks.augmented import Augmented
    from callbacks.budget import Budget
    from callbacks.ema import Ema
    from callbacks.evaluate import Evaluate
    from callbacks.finite import Finite
    from callbacks.health import Health
    from callbacks.interpolations import Interpolations
    from callbacks.measured import Measured
    from callbacks.progress import Progress
    from callbacks.reconstructions import Reconstructions
    from callbacks.record import Record
    from callbacks.samples import Samples
    from callbacks.traversals import Traversals

    every = max(1, steps // 5)
    evaluate = Evaluate(**config["metrics"])
    finite = Finite(folder, config["on_nonfinite"] == "rewind", evaluate)
    return {
        "finite": finite,
        "ema": Ema(),
        "adapt": Adapt(augment),
        "budget": Budget(steps),
        "progress": Progress(config["model"]["name"], steps),
        "health": Health(steps),
        "augmented": Augmented(folder.path),
        "reconstructions": Reconstructions(folder.path, every),
        "samples": Samples(folder.path, every),
        "interpolations": Interpolations(folder.path),
        "traversals": Traversals(folder.path),
        "evaluate": evaluate,
        "measured": Measured(folder.path, evaluate),
        "record": Record(folder, config["checkpoint_seconds"], finite, depends_on={}),
    }


def build_trainer(config: dict, folder, datamodule, callbacks: dict, steps: int, resume: tuple | None):
    """Lightning's Trainer.

    Raises:
        ValueError: this machine cannot do what was asked for.
    """
    from callbacks.metrics_csv import MetricsCsv
    from lightning_genae.checkpoints import WholeCheckpoints

    resumed_at = resume[1][type(datamodule).__qualname__]["batches"] if resume else 0
    loggers = [MetricsCsv(folder.path / "metrics.csv", lambda: datamodule.progress, resumed_at)]
    if config["logger"] == "wandb":
        from callbacks.wandb_run import WandbRun

        loggers.append(WandbRun(folder.path, config, lambda: datamodule.progress, bool(resume)))
    trainer = new_trainer(
        config,
        logger=loggers,
        callbacks=list(callbacks.values()),
        plugins=[WholeCheckpoints()],
        default_root_dir=os.devnull,  # where Lightning finds no checkpoint of Slurm's that it would load by itself
        log_every_n_steps=max(1, min(50, steps // 10)),
        num_sanity_val_steps=0,
    )
    check_precision(config["precision"], trainer)
    num_train, items = len(datamodule.dataset.train.images), datamodule.dataset.item_name
    if num_train < datamodule.batch_size * trainer.world_size:
        raise ValueError(
            f"--devices: expected at least one batch of {datamodule.batch_size} {items} (--data.batch_size) for each "
            f"of {trainer.world_size} processes; got {num_train}"
        )
    return trainer


def new_trainer(config: dict, **arguments):
    """A Trainer on the hardware that was asked for.

    Raises:
        ValueError: this machine does not have it.
    """
    from pytorch_lightning import Trainer

    hardware = {key: config[key] for key in ("accelerator", "devices", "strategy", "precision")}
    is_alone = hardware["devices"] in (1, "1") and config["trainer"].get("num_nodes", 1) == 1
    if hardware["strategy"] == "auto" and not is_alone:
        # the only one that was right for two players whose forward passes use one of them at a time
        hardware["strategy"] = "ddp_find_unused_parameters_true"
    defaults = {"max_epochs": -1, "limit_val_batches": 0, "enable_model_summary": False}
    try:
        return Trainer(**{**hardware, **defaults, **arguments, **config["trainer"]})
    except Exception as error:  # Lightning raises many kinds for what a machine does not have
        given = ", ".join(f"--{key} {config[key]}" for key in hardware)
        raise ValueError(f"expected a Trainer that this machine can do, got {given}: {error}") from error


def check_trainer_options(config: dict, model) -> None:
    """Raises ValueError for options that Lightning refuses, only later, for models with several optimizers."""
    for option in {"gradient_clip_val", "accumulate_grad_batches"} & set(config["trainer"]):
        if not model.automatic_optimization:
            instead = "--model.gradient_clip" if option == "gradient_clip_val" else "--data.batch_size"
            raise ValueError(
                f"--trainer.{option}: expected a model with one optimizer, got {config['model']['name']}; see {instead}"
            )


def check_precision(precision: str, trainer) -> None:
    """Raises ValueError where Lightning would compute in another precision than the one asked for."""
    import torch
    from pytorch_lightning.accelerators import CPUAccelerator, CUDAAccelerator

    on_cpu = isinstance(trainer.accelerator, CPUAccelerator)
    no_bf16 = isinstance(trainer.accelerator, CUDAAccelerator) and not torch.cuda.is_bf16_supported(False)
    if (on_cpu and precision.startswith("16")) or (no_bf16 and precision.startswith("bf16")):
        possible = "32-true, bf16-mixed" if on_cpu else "32-true, 16-mixed"
        raise ValueError(f"--precision: expected one that this device can do, such as {possible}; got {precision}")


def check_config(folder, state: dict, config: dict) -> None:
    """Raises ValueError if a checkpoint is of a run with other options: config.yaml, which says so too, may be lost."""
    from lightning_genae.run_folder import check_same, flat_identity

    depends_on = state.get("callbacks", {}).get("Record", {}).get("depends_on", {})
    if "config" in depends_on:
        check_same(folder.path, depends_on["config"], flat_identity(config))


def what_counts(trainer, dataset, augment, evaluate) -> dict[str, object]:
    """By option, what beside the config a run's results depend on: one that goes on must have it alike."""
    from lightning_genae.cache import digest, hash_weights

    return {
        "--devices": trainer.world_size,
        "--data": dataset.fingerprint,
        "--augment": hash_weights(augment),
        "--metrics.features": digest(evaluate.evaluation.extractor.description),
    }


CHANGED = {  # what it means that one of these differs
    "--devices": "as many processes (devices times nodes) as before",
    "--data": "the images that were trained on before",
    "--augment": "the augmenting autoencoder that was there before; --cache has lost it, or it was trained elsewhere",
    "--metrics.features": "the extractor that was there before; --cache has lost it, or it was trained elsewhere",
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


def fit(trainer, model, datamodule, folder, callbacks: dict, checkpoint: Path | None) -> None:
    """Trains; the run folder says how it ended."""
    from lightning_genae import weights

    try:
        trainer.fit(model, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
    except Exception as error:
        raise RuntimeError(f"the training failed: {error}; '{folder.path}' keeps what there is of it") from error
    if trainer.is_global_zero:
        weights.save(model, datamodule, folder.weights)
        evaluate, record = callbacks["evaluate"], callbacks["record"]
        timing = {
            "seconds": record.seconds_at_end,
            "evaluation_seconds": evaluate.seconds,
            "images_per_second": datamodule.progress["images"] / (record.seconds_at_end - evaluate.seconds),
            **datamodule.progress,
        }
        folder.update(
            status="finished",
            metrics=evaluate.values,
            best=evaluate.best,
            protocol=evaluate.protocol,
            timing=timing,
            rewinds=callbacks["finite"].rewinds,
            warnings=callbacks["health"].warnings,
        )


def sample(arguments: list[str]) -> None:
    """Samples of a run."""

    def sample_options(
        run: str,
        num: PositiveInt = 64,
        label: NonNegativeInt | None = None,
        seed: Seed = 0,
        out: str | None = None,
    ) -> None:
        """Samples of a run's model, as a picture and as numbers.

        Args:
            run: the run folder.
            num: number of samples.
            label: their class, of a model with --model.conditional. null: drawn as often as in training.
            seed: of the noise.
            out: folder to write samples[-labelLABEL]-seedSEED.png, .npz and others to. null: the run folder.
        """

    parser = new_parser("python run.py sample RUN [--OPTION VALUE ...]")
    parser.add_function_arguments(sample_options, as_group=True, as_positional=True)
    given = parse_verb(parser, arguments)
    if given is None:
        return
    folder, config = open_run(given["run"])  # before what takes seconds to import
    from lightning_genae.data.modalities import modality_of
    from lightning_genae.run_folder import check_writable
    from lightning_genae.sampling import draw

    model = load_model(folder, config)
    label, num_conditions = given["label"], getattr(model, "num_conditions", 0)
    if label is not None and label >= num_conditions:
        expected = f"a class below {num_conditions}" if num_conditions else "no label for a model without conditions"
        raise ValueError(f"--label: expected {expected}; got {label}")
    chosen = "" if label is None else f"-label{label}"
    stem = Path(given["out"] or folder.path, f"samples{chosen}-seed{given['seed']}")
    check_writable("--out", stem.parent)
    samples = draw(model, given["num"], given["seed"], label)
    modality = modality_of(model)
    if modality.has_units:  # which their data set alone knows
        with naming_config(folder):
            modality = build_datamodule(config).dataset.modality
    files = modality.write(stem, samples)
    log.info("\n".join([f"{given['num']} samples:", *(f"  {path}: {what}" for path, what in files.items())]))


def evaluate(arguments: list[str]) -> None:
    """The metrics of a run again, with another extractor or more samples, and what its codes are worth."""
    if arguments and not arguments[0].startswith("-"):
        open_run(arguments[0])  # before what takes seconds to import
    from callbacks.evaluate import Evaluate
    from lightning_genae.report import representation_table, table

    parser = new_parser("python run.py evaluate RUN [--metrics.OPTION VALUE ...]")
    parser.add_argument("run", help="the run folder")
    parser.add_class_arguments(Evaluate, "metrics", skip={"looks"})
    parser.add_argument("--cache", default="runs/cache", help="folder of what runs share")
    given = parse_verb(parser, arguments)
    if given is None:
        return

    from lightning_genae.run_folder import check_writable

    check_writable("--cache", given["cache"])
    folder, config = open_run(given["run"])
    state = read_model(folder)
    model = load_model(folder, config, state)
    with naming_config(folder):
        datamodule = build_datamodule({**config, "cache": given["cache"]})
    datamodule.load_state_dict(state.get("data") or state[type(datamodule).__qualname__])
    # what is not asked for is as in the run
    asked = {key: value for key, value in given["metrics"].items() if value is not None}
    own = {key: value for key, value in config["metrics"].items() if key != "every"}  # of older runs
    with naming_config(folder):
        callback = Evaluate(**(own | asked))
    callback.prepare(datamodule.dataset, model)
    result = {"metrics": callback.evaluation.measure(model), "protocol": callback.protocol}
    lines = table(**result)
    if hasattr(model, "encode"):
        result["representation"], picture = represent(model, datamodule.dataset, folder)
        lines += [
            *representation_table(result["representation"], datamodule.dataset.item_name),
            f"Codes of held-out {datamodule.dataset.item_name}: {picture}",
        ]
    folder.update(evaluations=[*folder.results.get("evaluations", []), result])
    log.info("\n".join(lines))


def prefetch(arguments: list[str]) -> None:
    """Puts into the cache what a run needs before it trains: data, weights, classifier, reference and autoencoder."""
    config = parse_run(arguments)
    if config is None:
        return
    from lightning_genae.run_folder import RunFolder, check_writable

    check_writable("--cache", config["cache"])
    datamodule = build_datamodule(config)
    model = build_model(config, datamodule.dataset)
    augment = build_augment(config, datamodule.dataset, model)
    callbacks = build_callbacks(config, RunFolder.of(config), 1, augment)
    callbacks["evaluate"].prepare(datamodule.dataset, model)
    fit_augment(augment, config, datamodule, model, callbacks)
    log.info(f"What this run needs is in {config['cache']}; it takes no internet any more")


def ablate(arguments: list[str]) -> int:
    """A grid of runs, brought to its end, and its report; returns the exit status."""
    from lightning_genae.ablation import command

    return command.ablate(arguments, command_line(), with_length, time_of, publish)


def time_of(config: dict) -> tuple[float, int]:
    """Seconds of a batch of a run, by some of them, and how many it has."""
    datamodule = build_datamodule(config)
    quieten(config["debug"])  # once more: Lightning, imported by now, has set its own levels
    seconds, _ = try_out(config, datamodule, 20)
    return seconds, count_steps(config, datamodule)


def publish(folder: Path, tables: dict, page: Path) -> None:
    """Gives the report of an ablation to W&B."""
    import wandb

    from callbacks.wandb_run import publish_report, without_passwords

    try:
        publish_report(folder, tables, page)
    except wandb.errors.Error as error:
        log.warning(f"W&B is out of reach ({without_passwords(error)}); the report is in {page.parent}")


def cache_contents(arguments: list[str]) -> None:
    """What is in the cache, and the removal of what nobody uses."""

    def cache_options(cache: str = "runs/cache", prune: bool = False, older_than: PositiveInt = 30) -> None:
        """What is in the cache: how many files of each kind, their size, when they were last used.

        Args:
            cache: the folder.
            prune: remove what was not used for --older_than days, and what killed processes left.
            older_than: days.
        """

    parser = new_parser("python run.py cache [--OPTION VALUE ...]")
    parser.add_function_arguments(cache_options, as_group=True)
    given = parse_verb(parser, arguments)
    if given is None:
        return
    from lightning_genae.cache_contents import prune, table

    folder = Path(given["cache"]).expanduser()
    if given["prune"]:
        log.info(f"Removed {prune(folder, given['older_than']) / 1e6:,.1f} MB")
    log.info("\n".join(table(folder)))


def compare(arguments: list[str]) -> None:
    """Finished runs side by side; of several seeds, with statistics and a report."""
    for folder in itertools.takewhile(lambda word: not word.startswith("-"), arguments):
        if not Path(folder).is_dir():  # before what takes seconds to import
            raise FileNotFoundError(
                f"RUN: expected run folders, or folders that hold some; got '{folder}', which is none"
            )
    from lightning_genae.ablation import command

    command.compare(arguments)


def represent(model, dataset, folder) -> tuple[dict, Path]:
    """What the model's codes are worth, and their picture in the plane."""
    from lightning_genae.data.drawing.grids import save_scatter
    from lightning_genae.representation import encode, plane, representation

    log.info("Comparing the codes with principal components and pixels")
    has_labels = dataset.num_classes > 0
    values = representation(model, dataset.train, dataset.heldout, has_labels)
    images, labels = (part[:2000] for part in dataset.heldout)
    panels = {name: (xy, labels if has_labels else None) for name, xy in plane(encode(model, images)).items()}
    return values, save_scatter(folder.path / "codes.png", panels)


def open_run(path: str):
    """A finished or interrupted run's folder and config; it may be somebody else's.

    Raises:
        ValueError: it is damaged, or would write outside.
        FileNotFoundError: there is no run.
    """
    from lightning_genae.received import check_links, is_within
    from lightning_genae.run_folder import RunFolder

    folder = RunFolder(path)
    config = folder.config
    check_links("RUN", folder.path)
    if missing := {"model", "data", "metrics", "cache"} - config.keys():
        raise ValueError(f"RUN: expected a run of this project; the config.yaml of '{path}' lacks {', '.join(missing)}")
    if not is_within(config["cache"], Path(), folder.path):
        config["cache"] = "runs/cache"
    config["data"].pop("download", None)  # what was fetched for the run is there, or is brought there
    if not (folder.checkpoint.is_file() or folder.weights.is_file()):
        raise FileNotFoundError(
            f"RUN: expected a run with a checkpoint, got '{path}', which has no {folder.checkpoint}; "
            "the command that trained it, with --overwrite, starts it anew"
        )
    for name, package in PACKAGES.items():
        section = config.get(name)
        if not isinstance(section, dict) or not isinstance(section.get("name"), str):
            raise ValueError(f"--folder: '{folder.path / 'config.yaml'}' is damaged; expected --{name} in it")
        for part in section["name"].split("+") if name == "augment" else [section["name"]]:
            registry.check(f"--{name}", package, part)
    if folder.results.get("status") != "finished" and folder.checkpoint.is_file():
        log.info(f"'{path}' is not finished; this is the model of its last checkpoint")
    return folder, config


@contextmanager
def naming_config(folder):
    """Turns what Python says of options that a class does not have, or of their types, into an error of the config."""
    try:
        yield
    except TypeError as error:
        path = folder.path / "config.yaml"
        raise ValueError(f"--folder: '{path}' is damaged, or of another version of this project: {error}") from error


def read_model(folder) -> dict:
    """The content of a run's checkpoint, or of its model.safetensors where that is all there is."""
    from lightning_genae.checkpoints import newest, read

    try:
        found = newest(folder.checkpoints)
    except ValueError as error:
        if not folder.weights.is_file():
            raise
        log.info(f"WARNING: {str(error).partition('; expected')[0]}; '{folder.weights}', of the end, is taken")
        found = None
    remedy = "the command that trained the run, with --overwrite, starts it anew"
    return found[1] if found else read("--folder", folder.weights, remedy)


def load_model(folder, config: dict, state: dict | None = None):
    """The run's model, on a GPU where there is one.

    Args:
        folder: of the run.
        config: of the run.
        state: what `read_model` gave, if that was called.
    """
    import torch

    from lightning_genae.checkpoints import restored

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model_class = registry.load(PACKAGES["model"], config["model"]["name"])
    return restored("--folder", folder.path, model_class, state or read_model(folder)).to(device)


def quieten(debug: bool) -> None:
    """Lets this project speak, on the first process, and keeps the libraries' notes for --debug."""
    log.handlers = [logging.StreamHandler(sys.stdout)]
    log.propagate = False
    log.setLevel(logging.INFO if is_first() else logging.ERROR)
    if not debug:
        if not sys.warnoptions:  # whoever asks Python for warnings gets them
            warnings.simplefilter("ignore")
        for name in ("pytorch_lightning", "lightning", "lightning_fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)


def is_first() -> bool:
    """Whether this is the first process of a run, as Lightning finds it, whose import takes seconds."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
    return next((os.environ[name] for name in names if name in os.environ), "0") == "0"


VERBS = {"sample": sample, "evaluate": evaluate, "prefetch": prefetch, "ablate": ablate, "compare": compare}
VERBS["cache"] = cache_contents


def main(argv: list[str]) -> int:
    """Runs a command line; returns the exit status: 2 for the user's mistakes, 3 for what the machine lacks or refuses,
    130 where it was interrupted, 1 for other failures."""
    verb, arguments = (argv[0], argv[1:]) if argv and not argv[0].startswith("-") else (None, argv)
    debug = False
    try:
        check_characters(argv)
        debug, rest = take_flag("--debug", arguments, others=verb in ("sample", "evaluate", "compare"))
        if verb is None:
            train(arguments)
        elif verb in VERBS:
            quieten(debug)
            return VERBS[verb](rest) or 0
        else:
            suggestion = registry.suggest(verb, list(VERBS))
            raise ValueError(f"expected one of the verbs {', '.join(VERBS)}, or none; got '{verb}'{suggestion}")
        return 0
    except (KeyboardInterrupt, SystemExit):  # Lightning makes the second of the first
        if not is_first():  # the first one says it; a failure of this one would have the others killed
            return 0
        message, status = "interrupted; the same command goes on from the last checkpoint, if there is one", 130
    except BrokenPipeError:  # `| head` has read what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        status = status_of(error)
        message = complain(error, "" if status in (2, 3) else " (--debug shows where)", debug)
    print(f"run.py: {message}", file=sys.stderr)
    return status


USERS_MISTAKES = (ValueError, FileNotFoundError, IsADirectoryError, NotADirectoryError)
TOO_LONG = (errno.ENAMETOOLONG, errno.ELOOP)  # of a path: the user's, too
LACKS = (OSError, ImportError, MemoryError)  # of the machine: disk, permission, packages, memory


def status_of(error: Exception) -> int:
    """The exit status that an error asks for, by itself or, where it says that a training failed, by its cause."""
    if isinstance(error, USERS_MISTAKES) or getattr(error, "errno", None) in TOO_LONG:
        return 2
    return 3 if any(isinstance(one, LACKS) or lacks_memory(one) for one in (error, error.__cause__)) else 1


def lacks_memory(error: Exception | None) -> bool:
    """Whether torch says that there is not as much memory as it asked for, of a GPU or of the machine."""
    is_torchs = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
    return isinstance(error, RuntimeError) and is_torchs


def complain(error: Exception, hint: str, debug: bool) -> str:
    """One line about an error, after its traceback if that was asked for."""
    if debug:
        traceback.print_exception(error)
    words = str(error)
    if isinstance(error, OSError) and error.filename is not None:  # the system's own, which begins with its number
        words = f"'{str(error.filename)[:200]}': {error.strerror}"
    elif lacks_memory(error) or isinstance(error, MemoryError):
        words = f"{words or 'out of memory'}; a smaller model, batch, data set or --num takes less memory"
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "; free some space, and the same command goes on from the last checkpoint"
    return f"error: {' '.join(words.split())}{hint}"


def check_characters(argv: list[str]) -> None:
    """Raises ValueError for an argument that is no UTF-8: what is written down of it could not be read again."""
    for word in argv:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            shown = word.encode(errors="backslashreplace").decode()
            raise ValueError(f"expected arguments in UTF-8; got '{shown}'; rename the file, or type it anew") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
