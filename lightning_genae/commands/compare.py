"""`python run.py compare FOLDER ...`: runs side by side."""

import itertools
from pathlib import Path


def compare(arguments: list[str]) -> None:
    """Finished runs side by side; of several seeds, with statistics and a report.

    Raises:
        FileNotFoundError: a folder does not exist.
        ValueError: as in `ablation.command.compare`.
    """
    for folder in itertools.takewhile(lambda word: not word.startswith("-"), arguments):
        if not Path(folder).is_dir():  # before slow imports
            raise FileNotFoundError(
                f"RUN: expected run folders, or folders that hold some; got '{folder}', which is none"
            )
    from lightning_genae.ablation import command

    command.compare(arguments)
