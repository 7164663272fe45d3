"""The folder of a run: its config, its state, its results."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from filelock import FileLock, Timeout

from lightning_genae.cache import digest
from lightning_genae.command_line import flatten

# what changes neither what is trained nor what is measured, so that it does not change the folder either
NOT_HASHED = ("seed", "folder", "overwrite", "debug", "logger", "cache", "checkpoint_seconds")

# folders of the pictures that callbacks make, in the order in which they are reported
PICTURES = ("samples", "reconstructions", "interpolations", "traversals", "augmented", "metrics")


class RunFolder:
    """What a run leaves behind; see README.md for the files.

    Args:
        path: of the folder; nothing is written before `start`.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.checkpoint = self.path / "checkpoints" / "last.ckpt"

    @classmethod
    def of(cls, config: dict) -> "RunFolder":
        """The folder that a config asks for, or else the one that its values lead to, always the same."""
        if config["folder"]:
            return cls(config["folder"])
        arm = f"{config['model']['name']}-{config['augment']['name']}"
        return cls(Path("runs", config["data"]["name"], arm, config_hash(config), f"seed{config['seed']}"))

    @property
    def config(self) -> dict:
        """The resolved config of the run.

        Raises:
            FileNotFoundError: this is no run folder.
        """
        path = self.path / "config.yaml"
        if not path.is_file():
            raise FileNotFoundError(f"expected a run folder with a config.yaml, got '{self.path}', which has none")
        return _mapping(path, yaml.safe_load)

    @property
    def results(self) -> dict:
        """The content of results.json; empty before a run."""
        path = self.path / "results.json"
        return _mapping(path, json.loads) if path.is_file() else {}

    def update(self, **changes) -> None:
        """Changes entries of results.json, which is whole at any moment."""
        unfinished = self.path / "results.json.unfinished"
        unfinished.write_text(json.dumps(self.results | changes, indent=2) + "\n")
        os.replace(unfinished, self.path / "results.json")

    def check(self, config: dict) -> None:
        """Raises ValueError if the folder holds something else than a run, or, without --overwrite, another run."""
        is_run = (self.path / "results.json").is_file() and (self.path / "config.yaml").is_file()
        if not is_run and self.path.is_dir() and {path.name for path in self.path.iterdir()} - {".lock"}:
            raise ValueError(f"--folder: expected a new or empty folder or that of a run, got '{self.path}'")
        if is_run and not config["overwrite"]:
            old, new = flatten(identity(self.config)), flatten(identity(config))
            for key in new | old:
                if old.get(key) != new.get(key):
                    raise ValueError(
                        f"--folder: '{self.path}' holds a run with --{key} {old.get(key)}, not {new.get(key)}; "
                        "expected another folder or --overwrite"
                    )

    @contextmanager
    def start(self, config: dict, quality: dict, settings: dict) -> Iterator[None]:
        """Makes the folder, or enters the one of an unfinished run; no second process can meanwhile.

        Raises:
            ValueError: another process trains in it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path / ".lock").acquire(timeout=0):
                if config["overwrite"]:
                    self._clear()
                # repeating a run must neither delete it nor differ in what it prints
                config = config | {"overwrite": False, "debug": False}
                (self.path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
                begun = {"augment": quality, "settings": settings}
                self.update(status="running", metrics={}, protocol={}, **begun, timing={}, error=None)
                yield
        except Timeout as error:
            raise ValueError(f"--folder: another process is training in '{self.path}'") from error

    def _clear(self) -> None:
        """Removes what a run made, and nothing that somebody else put there."""
        pictures = ["codes.png", *(f"{name}/{'[0-9]' * 8}.png" for name in PICTURES)]
        pictures += ["augmented/gate-*.png", "augmented/strengths-*.png"]
        pictures += [f"metrics/{name}.png" for name in ("nearest", "distances", "precision-recall")]
        for pattern in ("config.yaml", "metrics.csv", "results.json", "checkpoints/last.ckpt", *pictures):
            for path in self.path.glob(pattern):
                path.unlink()
        for path in (self.path / "wandb").glob("*run-*"):
            shutil.rmtree(path)


def _mapping(path: Path, parse: Callable[[str], object]) -> dict:
    try:
        content = parse(path.read_text())
    except (ValueError, yaml.YAMLError):
        content = None
    if not isinstance(content, dict):
        raise ValueError(
            f"--folder: '{path}' is damaged; expected it as a run wrote it; --overwrite starts the run anew"
        )
    return content


def checkpoint_of(option: str, path: str | Path) -> Path:
    """The checkpoint of an autoencoder that an option names, by itself or by its run folder.

    Raises:
        FileNotFoundError: there is none.
    """
    path = Path(path)
    path = RunFolder(path).checkpoint if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f"{option}: expected a checkpoint or a run folder of an autoencoder, got '{path}', where there is none"
        )
    return path


def check_writable(option: str, path: str | Path) -> None:
    """Raises ValueError if the folder cannot be made or written to."""
    path = Path(path)
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ValueError(f"{option}: expected a folder that can be written to, got '{path}'")


def identity(config: dict) -> dict:
    """All values that make a run another run."""
    return {key: value for key, value in config.items() if key not in NOT_HASHED or key == "seed"}


def config_hash(config: dict) -> str:
    """A hash of the values that a run's results depend on, without the seed."""
    return digest({key: value for key, value in config.items() if key not in NOT_HASHED})[:8]
