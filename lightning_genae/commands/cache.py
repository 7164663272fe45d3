"""`python run.py cache`: what runs share, and removal of unused files."""

import logging
from pathlib import Path

from jsonargparse.typing import PositiveInt

from lightning_genae.cache_contents import prune, table
from lightning_genae.config.parser import new_parser, parse_verb

log = logging.getLogger("lightning_genae")


def cache_options(cache: str = "runs/cache", prune: bool = False, older_than: PositiveInt = 30) -> None:
    """What is in the cache: how many files of each kind, their size, when they were last used.

    Args:
        cache: the folder.
        prune: remove what was not used for --older_than days, and what killed processes left.
        older_than: days.
    """


def cache(arguments: list[str]) -> None:
    """Shows the contents of the cache and removes unused files."""
    parser = new_parser("python run.py cache [--OPTION VALUE ...]")
    parser.add_function_arguments(cache_options, as_group=True)
    options = parse_verb(parser, arguments)
    if options is None:
        return
    folder = Path(options["cache"]).expanduser()
    if options["prune"]:
        log.info(f"Removed {prune(folder, options['older_than']) / 1e6:,.1f} MB")
    log.info("\n".join(table(folder)))
