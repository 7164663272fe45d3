"""The folder of a run: its config, its state, its results."""

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from filelock import FileLock, Timeout

from lightning_genae.cache import digest, report_damage
from lightning_genae.config.nested import flatten
from lightning_genae.errors import Damaged
from lightning_genae.files import UNFINISHED, write_text

log = logging.getLogger("lightning_genae")

# what changes neither what is trained nor what is measured, so that it does not change the folder either
NOT_HASHED = ("seed", "folder", "overwrite", "debug", "logger", "cache", "checkpoint_seconds", "on_nonfinite")

# folders of the pictures that callbacks make, in the order in which they are reported
PICTURES = ("samples", "reconstructions", "interpolations", "traversals", "augmented", "metrics")

LAST, BEFORE = "last.ckpt", "before.ckpt"  # checkpoints: the newest one, and the one that it replaced


class RunFolder:
    """What a run leaves behind; see docs/running.md for the files.

    Args:
        path: of the folder; nothing is written before `start`.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.weights = self.path / "model.safetensors"

    @classmethod
    def of(cls, config: dict) -> "RunFolder":
        """The folder that a config asks for, or else the one that its values lead to, always the same."""
        if config["folder"]:
            return cls(config["folder"])
        arm = f"{config['model']['name']}-{config['augment']['name']}"
        return cls(Path("runs", config["data"]["name"], arm, config_hash(config), f"seed{config['seed']}"))

    @property
    def checkpoints(self) -> Path:
        """The folder of what an interrupted run goes on from."""
        return self.path / "checkpoints"

    @property
    def checkpoint(self) -> Path:
        """The last checkpoint; where a kill took it while it was replaced, the one before."""
        last, before = (self.checkpoints / name for name in (LAST, BEFORE))
        return before if before.is_file() and not last.is_file() else last

    @property
    def config(self) -> dict:
        """The resolved config of the run.

        Raises:
            FileNotFoundError: this is no run folder.
        """
        path = self.path / "config.yaml"
        if not path.is_file():
            raise FileNotFoundError(
                f"RUN: expected a run folder with a config.yaml, got '{self.path}', which has none; a run says at its "
                "end where its folder is"
            )
        return _mapping(path, yaml.safe_load, "the command that trained the run, with --overwrite, starts it anew")

    @property
    def results(self) -> dict:
        """The content of results.json; empty before a run."""
        path = self.path / "results.json"
        remedy = "the command that trained the run goes on and writes it anew"
        return _mapping(path, json.loads, remedy) if path.is_file() else {}

    def update(self, **changes) -> None:
        """Changes entries of results.json, which is whole at any moment."""
        write_text(self.path / "results.json", json.dumps(self.results | changes, indent=2) + "\n")

    def set_aside_damage(self, *names: str) -> None:
        """Renames damaged files, so that the run goes on from its checkpoint; nothing is deleted.

        Args:
            names: results.json and config.yaml, if none are given.
        """
        for name in names or ("results.json", "config.yaml"):
            try:
                _ = self.results if name == "results.json" else self.config
            except FileNotFoundError:
                pass  # the run has not begun
            except Damaged as error:
                log.info(f"WARNING: {error.damage}; it is kept as {name}.damaged")
                os.replace(self.path / name, self.path / f"{name}.damaged")

    def check(self, config: dict) -> None:
        """Raises ValueError if the folder holds something else than a run, or, without --overwrite, another run."""
        # a run that was killed while it began, or while it was cleared, may have one of the two alone
        is_run = any((self.path / name).is_file() for name in ("results.json", "config.yaml"))
        if self.weights.is_file() and not self.results and not self.checkpoint.is_file() and not config["overwrite"]:
            raise ValueError(
                f"--folder: expected a run with its checkpoints, or none; got '{self.path}', which holds a trained "
                "model alone (model.safetensors); another folder, or --overwrite, trains a new one"
            )
        own = {".lock", f"config.yaml{UNFINISHED}"}
        if not is_run and self.path.is_dir() and {path.name for path in self.path.iterdir()} - own:
            raise ValueError(f"--folder: expected a new or empty folder or that of a run, got '{self.path}'")
        if (self.path / "config.yaml").is_file() and not config["overwrite"]:
            check_same(self.path, flat_identity(self.config), flat_identity(config))

    @contextmanager
    def start(self, config: dict, quality: dict, settings: dict, job: str | None = None) -> Iterator[None]:
        """Makes the folder, or enters the one of an unfinished run; no second process can meanwhile.

        Args:
            config: resolved.
            quality: the gates of the augmentation.
            settings: of the augmentation.
            job: what `begun_by` will know it by.

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
                write_text(self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False))
                begun = {"augment": quality, "settings": settings, "job": job}
                self.update(status="running", metrics={}, protocol={}, **begun, timing={}, error=None)
                yield
        except Timeout as error:
            raise ValueError(f"--folder: another process is training in '{self.path}'") from error

    def begun_by(self, job: str | None) -> bool:
        """Whether the run in this folder was begun by this very job, which a cluster has since started again."""
        return job is not None and self.results.get("job") == job

    def _clear(self) -> None:
        """Removes what a run made, and nothing that somebody else put there; config.yaml last, so that after a kill the
        folder is a run's still."""
        pictures = ["codes.png", *(f"{name}/{'[0-9]' * 8}.png" for name in PICTURES)]
        pictures += ["augmented/gate-*.png", "augmented/strengths-*.png"]
        pictures += [f"metrics/{name}.png" for name in ("nearest", "distances", "precision-recall")]
        checkpoints = [f"checkpoints/{LAST}", f"checkpoints/{BEFORE}", "hpc_ckpt_*.ckpt", f"checkpoints/*{UNFINISHED}"]
        own = ["model.safetensors", *pictures, *checkpoints, "metrics.csv", f"*{UNFINISHED}"]
        for path in [path for pattern in own for path in self.path.glob(pattern)]:
            if not path.parent.is_symlink():  # a folder elsewhere that somebody put here
                path.unlink()
        if not (self.path / "wandb").is_symlink():
            for path in (self.path / "wandb").glob("*run-*"):
                path.unlink() if path.is_symlink() else shutil.rmtree(path)
        for name in ("results.json", "config.yaml"):
            (self.path / name).unlink(missing_ok=True)


def check_same(path: Path, old: dict, new: dict) -> None:
    """Raises ValueError if two runs' options, by their names, are not alike; the old one's lie in the path."""
    for key in new | old:
        if old.get(key) != new.get(key):
            raise ValueError(
                f"--folder: '{path}' holds a run with --{key} {old.get(key)}, not {new.get(key)}; "
                "expected another folder or --overwrite"
            )


def _mapping(path: Path, parse: Callable[[str], object], remedy: str) -> dict:
    with report_damage("--folder", path, remedy):
        content = parse(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("it is no mapping")
    return content


def checkpoint_of(option: str, path: str | Path) -> Path:
    """The checkpoint of an autoencoder that an option names, by itself or by its run folder.

    Raises:
        FileNotFoundError: there is none.
    """
    path = Path(path)
    if path.is_dir():
        folder = RunFolder(path)
        path = folder.checkpoint if folder.checkpoint.is_file() or not folder.weights.is_file() else folder.weights
    if not path.is_file():
        raise FileNotFoundError(
            f"{option}: expected a checkpoint or a run folder of an autoencoder, got '{path}', where there is none"
        )
    return path


def check_writable(option: str, path: str | Path) -> None:
    """Tries to write where a folder is or will be made, and leaves nothing there.

    Raises:
        NotADirectoryError: the folder, or one that it is in, is a file.
        OSError: the machine does not let it be written to.
    """
    path = Path(path).absolute()
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if not existing.is_dir():
        raise NotADirectoryError(
            f"{option}: expected a folder that can be written to, got '{path}'; '{existing}' is a file"
        )
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"0" * 4096)
    except OSError as error:
        raise OSError(
            f"{option}: expected a folder that can be written to, got '{path}'; '{existing}': {error.strerror}"
        ) from error


def flat_identity(config: dict) -> dict:
    """`identity` by option, as {"model.lr": ...}."""
    return flatten(identity(config))


def identity(config: dict) -> dict:
    """All values that make a run another run."""
    return {key: value for key, value in config.items() if key not in NOT_HASHED or key == "seed"}


def config_hash(config: dict) -> str:
    """A hash of the values that a run's results depend on, without the seed."""
    return digest({key: value for key, value in config.items() if key not in NOT_HASHED})[:8]
