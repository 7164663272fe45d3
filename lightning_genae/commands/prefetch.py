"""`python run.py prefetch`: what a run needs, for nodes without internet."""

import logging

from lightning_genae.commands.build import build_augment, build_callbacks, build_datamodule, build_model
from lightning_genae.commands.fit import fit_parts, take_weights
from lightning_genae.commands.parse import parse_run
from lightning_genae.commands.threads import choose_threads
from lightning_genae.config.command_line import CommandLine
from lightning_genae.run_folder import RunFolder, check_writable

log = logging.getLogger("lightning_genae")


def prefetch(command_line: CommandLine, arguments: list[str]) -> None:
    """Puts into the cache what a run needs before it trains: data, weights, classifier, reference and autoencoder."""
    config = parse_run(command_line, arguments)
    if config is None:
        return
    check_writable("--cache", config["cache"])
    datamodule = build_datamodule(config)
    model = build_model(config, datamodule.served)
    augment = build_augment(config, datamodule.served, model)
    callbacks = build_callbacks(config, RunFolder.of(config), 1, augment)
    take_weights(config, model)
    choose_threads(config, datamodule)
    callbacks["evaluate"].prepare(datamodule.served, model)
    fit_parts(augment, config, datamodule, model, callbacks)
    log.info(f"What this run needs is in {config['cache']}; it takes no internet any more")
