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
from lightning_genae.config.words import written
from lightning_genae.errors import Damaged
from lightning_genae.files import UNFINISHED, write_text

log = logging.getLogger("lightning_genae")

# options that affect neither training nor metrics, so that they do not affect the folder
NOT_HASHED = (
    "seed",
    "folder",
    "overwrite",
    "debug",
    "profile",
    "threads",
    "logger",
    "cache",
    "checkpoint_seconds",
    "on_nonfinite",
)
ADDED = {"compile": False}  # options of later versions, and the value at which a run is as it was before them

# folders of the pictures that callbacks make, in the order in which they are reported
PICTURES = ("samples", "truncated", "film", "reconstructions", "interpolations", "traversals", "augmented", "metrics")

LAST, BEFORE = "last.ckpt", "before.ckpt"  # checkpoints: the newest one and the previous one


class RunFolder:
    """The files of a run; see docs/running.md.

    Args:
        path: of the folder. Nothing is written before `start`.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.weights = self.path / "model.safetensors"

    @classmethod
    def of(cls, config: dict) -> "RunFolder":
        """The folder that a config sets, or else a folder that depends only on its values."""
        if config["folder"]:
            return cls(config["folder"])
        arm = f"{config['model']['name']}-{config['augment']['name']}"
        return cls(Path("runs", config["data"]["name"], arm, config_hash(config), f"seed{config['seed']}"))

    @property
    def checkpoints(self) -> Path:
        """The folder with the checkpoints."""
        return self.path / "checkpoints"

    @property
    def checkpoint(self) -> Path:
        """The last checkpoint, or the previous one if a kill interrupted the replacement."""
        last, before = (self.checkpoints / name for name in (LAST, BEFORE))
        return before if before.is_file() and not last.is_file() else last

    @property
    def config(self) -> dict:
        """The resolved config of the run.

        Raises:
            FileNotFoundError: this is not a run folder.
            Damaged: the file is damaged.
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
        """The content of results.json; empty before a run. Raises Damaged if it is damaged."""
        path = self.path / "results.json"
        remedy = "the command that trained the run goes on and writes it anew"
        return _mapping(path, json.loads, remedy) if path.is_file() else {}

    @property
    def computed(self) -> dict[str, str]:
        """The precision that the run was computed in, as an entry of its config; empty before a run and for those of
        earlier versions."""
        return {key: self.results[key] for key in ("precision",) if key in self.results}

    def update(self, **changes: object) -> None:
        """Changes entries of results.json, atomically."""
        write_text(self.path / "results.json", json.dumps(self.results | changes, indent=2) + "\n")

    def set_aside_damage(self, *names: str) -> None:
        """Renames damaged files, so that the run can resume from its checkpoint; nothing is deleted.

        Args:
            names: of files. By default results.json and config.yaml.
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
        """Raises ValueError if the folder is not that of a run or, without --overwrite, is that of another run."""
        # after a kill at the start or during an overwrite, only one of the two may exist
        is_run = any((self.path / name).is_file() for name in ("results.json", "config.yaml"))
        if self.weights.is_file() and not self.results and not self.checkpoint.is_file() and not config["overwrite"]:
            raise ValueError(
                f"--folder: expected a run with its checkpoints, or none; got '{self.path}', which holds a trained "
                "model alone (model.safetensors); another folder, or --overwrite, trains a new one"
            )
        ignored = {".lock", f"config.yaml{UNFINISHED}"}
        if not is_run and self.path.is_dir() and {path.name for path in self.path.iterdir()} - ignored:
            raise ValueError(f"--folder: expected a new or empty folder or that of a run, got '{self.path}'")
        if (self.path / "config.yaml").is_file() and not config["overwrite"]:
            check_same(self.path, flat_identity(self.config | self.computed), flat_identity(config))

    @contextmanager
    def start(
        self, config: dict, computed: dict, quality: dict, settings: dict, job: str | None = None
    ) -> Iterator[None]:
        """Creates the folder, or opens that of an unfinished run, and locks it.

        Args:
            config: resolved.
            computed: what the run computes with, `precision` and `compiled`.
            quality: quality report of the augmentation.
            settings: of the augmentation.
            job: id for `begun_by`.
            threads: that the run takes.

        Raises:
            ValueError: another process has locked it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path / ".lock").acquire(timeout=0):
                if config["overwrite"]:
                    self._clear()
                # a run repeated from its config.yaml must neither delete itself nor print more
                config = config | {"overwrite": False, "debug": False}
                write_text(self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False))
                begun = {**computed, "augment": quality, "settings": settings, "job": job}
                self.update(status="running", metrics={}, protocol={}, **begun, timing={}, error=None)
                yield
        except Timeout as error:
            raise ValueError(f"--folder: another process is training in '{self.path}'") from error

    def begun_by(self, job: str | None) -> bool:
        """Whether the run in this folder was begun by this job, which a cluster has restarted."""
        return job is not None and self.results.get("job") == job

    def _clear(self) -> None:
        """Removes the files of a run and nothing else; config.yaml last, so that the folder remains that of a run
        if the process is killed."""
        pictures = ["latents.png", *(f"{name}/{'[0-9]' * 8}.*" for name in PICTURES)]
        pictures += ["augmented/quality-*.png", "augmented/strengths-*.png"]
        pictures += ["codes.png", "augmented/gate-*.png"]  # the names of once
        pictures += [f"metrics/{name}.png" for name in ("nearest", "distances", "precision-recall")]
        checkpoints = [f"checkpoints/{LAST}", f"checkpoints/{BEFORE}", "hpc_ckpt_*.ckpt", f"checkpoints/*{UNFINISHED}"]
        patterns = ["model.safetensors", *pictures, *checkpoints, "metrics.csv", f"*{UNFINISHED}"]
        for path in [path for pattern in patterns for path in self.path.glob(pattern)]:
            if not path.parent.is_symlink():  # a link to a folder elsewhere
                path.unlink()
        if not (self.path / "wandb").is_symlink():
            for path in (self.path / "wandb").glob("*run-*"):
                path.unlink() if path.is_symlink() else shutil.rmtree(path)
        for name in ("results.json", "config.yaml"):
            (self.path / name).unlink(missing_ok=True)


def check_same(path: Path, old: dict, new: dict) -> None:
    """Raises ValueError if the options of two runs, by name, differ; the path is that of the old run.

    --precision auto goes on with the old run's.
    """
    for key in new | old:
        if old.get(key) != new.get(key) and (key, new.get(key)) != ("precision", "auto"):
            raise ValueError(
                f"--folder: '{path}' holds a run with --{key} {written(old.get(key))}, not {written(new.get(key))}; "
                "expected another folder or --overwrite"
            )


def _mapping(path: Path, parse: Callable[[str], object], remedy: str) -> dict:
    with report_damage("--folder", path, remedy):
        content = parse(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("it is no mapping")
    return content


def checkpoint_of(option: str, path: str | Path) -> Path:
    """The checkpoint of an autoencoder, from the path of the file or of its run folder.

    Raises:
        FileNotFoundError: there is no checkpoint.
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
    """Checks that a folder, which need not exist, can be written to; leaves nothing there.

    Raises:
        NotADirectoryError: the path or one of its parents is a file.
        OSError: it cannot be written to.
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
    """`identity` by option: {"model.lr": ...}."""
    return flatten(identity(config))


def identity(config: dict) -> dict:
    """All values that distinguish runs."""
    return without_free(config) | {key: value for key, value in config.items() if key == "seed"}


def config_hash(config: dict) -> str:
    """A hash of the values that a run's results depend on, without the seed.

    It must be the same on every device, so it does not know what --precision auto will become; it is that of 32-true,
    which was the default of earlier versions, so that their runs are found. `RunFolder.check` tells them apart.
    """
    precision = {"precision": "32-true"} if config.get("precision") == "auto" else {}
    return digest(without_free(config | precision))[:8]


def without_free(config: dict) -> dict:
    """A config without the options that its results do not depend on, and without those of later versions that are
    off."""
    is_as_before = {key for key, value in ADDED.items() if config.get(key) == value}
    return {key: value for key, value in config.items() if key not in NOT_HASHED and key not in is_as_before}
