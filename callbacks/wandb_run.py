"""Weights & Biases: online if there is an account, else offline; it never blocks a run.

Its import and its start take more than a second. They are in a thread, which starts with the first batch: before it,
the thread would take the time from what the run has to import itself.
"""

import logging
import netrc
import os
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from pytorch_lightning import Callback
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from callbacks._background import Background
from lightning_genae.cache import digest
from lightning_genae.config.nested import flatten
from lightning_genae.run_folder import config_hash

if TYPE_CHECKING:
    import wandb

log = logging.getLogger("lightning_genae")
INIT_SECONDS = 30  # for the server to accept a run; after that it is recorded offline
UPLOAD_SECONDS = 120  # at the end; after that `wandb sync` must be used
QUIET_SECONDS = 2  # for an upload without a message
SAFE = {"WANDB_MODE": ("online", "offline", "disabled")}  # variables that cannot be wrong with these values
_creating = threading.RLock()


class WandbRun(WandbLogger):
    """One W&B run per training run; its id comes from the config, so that a resumed run continues it.

    Runs are grouped by all options except the seed; the keys of the config are those of the command line.

    Args:
        folder: the run folder; W&B writes to its wandb/.
        config: the resolved config.
        progress: returns the batches, images and epochs so far.
        resume: whether an interrupted run is resumed; if not, a new run replaces it.
    """

    def __init__(self, folder: Path, config: dict, progress: Callable[[], dict[str, int]], resume: bool):
        self.progress = progress
        model, augment, data = (config[key]["name"] for key in ("model", "augment", "data"))
        group = f"{data}/{model}-{augment}/{config_hash(config)}"
        online = _mode() == "online"
        self.folder = Path(folder)
        self.background: Background | None = None
        self.waiting: list[Callable[[], object]] = []  # calls of W&B until `begin`
        self.begins_at_once, self.is_started = _may_be_wrong(), False
        settings: dict[str, Any] = {"settings": _settings()} if self.begins_at_once else {}
        super().__init__(
            save_dir=self.folder.absolute(),  # its service keeps the current folder of the first run of a process
            project=os.environ.get("WANDB_PROJECT", "lightning_genae"),
            id=_id_of_sweep() or f"{config_hash(config)}-seed{config['seed']}",
            name=f"{model}-{augment}-seed{config['seed']}",
            group=group,
            job_type="train",
            tags=[model, augment, data],
            config=flatten(config),
            mode=_mode(),
            resume="allow" if resume and online else None,
            **settings,
        )
        self._wandb_init.pop("anonymous", None)  # Lightning passes it on and W&B warns that it is obsolete

    @property
    def experiment(self) -> Any:
        """W&B's run; it is created at the first use of one of its attributes, because Lightning asks every logger for
        this property before a training."""
        is_in_background = self.background is not None and threading.current_thread() is self.background.thread
        return self.create() if self.begins_at_once or is_in_background else _AtFirstUse(self)

    def begin(self) -> None:
        """Starts W&B, if there is something to record and it is not started."""
        if self.waiting:
            if self.background is None:
                _import_pandas()
                self.background = Background("W&B")
            while self.waiting:
                self.background.do(self.waiting.pop(0))

    def create(self) -> Any:
        """W&B's run, which is started if it is not."""
        import wandb

        with _creating:
            self._wandb_init.setdefault("settings", _settings())
            run = self._create_or_offline(wandb)
            self.is_started = True
            return run

    def _create_or_offline(self, wandb):
        try:
            return super().experiment
        except (wandb.errors.CommError, wandb.errors.AuthenticationError, wandb.errors.UsageError) as error:
            reason = without_passwords(error)
            log.warning(f"W&B is out of reach ({reason}); this run is recorded offline, wandb sync uploads it later")
            wandb.teardown()  # else its service keeps the run's id
            self._wandb_init |= {"mode": "offline", "resume": None}
            return super().experiment

    @rank_zero_only
    def log_hyperparams(self, params, *args) -> None:
        self._do(lambda: super(WandbRun, self).log_hyperparams(params))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._log(lambda: dict(metrics))

    @rank_zero_only
    def log_image(self, key: str, images: list[str], *args, **kwargs) -> None:
        self._log(lambda: {key: [_wandb().Image(image) for image in images]})

    @rank_zero_only
    def log_video(self, key: str, videos: list[str], *args, **kwargs) -> None:
        self._log(lambda: {key: [_wandb().Video(video, format="gif") for video in videos]})

    @rank_zero_only
    def log_audio(self, key: str, audios: list[str], *args, **kwargs) -> None:
        pairs = list(zip(audios, kwargs["caption"]))
        self._log(lambda: {key: [_wandb().Audio(audio, caption=text) for audio, text in pairs]})

    @rank_zero_only
    def log_table(self, key: str, columns: list | None = None, data: list | None = None, *args, **kwargs) -> None:
        self._log(lambda: {key: _wandb().Table(columns=columns, data=data)})

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Starts to end the run, so that a later run in the same process is not merged into it; see `wait`."""
        self.begin()  # if it ended before its first batch
        if self.background is not None:
            self._do(lambda: self.experiment.finish(exit_code=0 if status == "success" else 1))
            self.background.end()
            if status != "success":  # the error is reported first; W&B's exit hook ends the upload
                self.background.is_done(QUIET_SECONDS if self.is_started else INIT_SECONDS)
                self.background = None

    def wait(self) -> None:
        """Waits for the upload, at most UPLOAD_SECONDS; the rest remains for `wandb sync`."""
        background, self.background = self.background, None
        if background is None or background.is_done(QUIET_SECONDS):
            return
        folder = self.folder / "wandb"
        log.info(f"The run is finished; W&B is still uploading it, for {UPLOAD_SECONDS} s at most")
        if not background.is_done(UPLOAD_SECONDS + INIT_SECONDS):
            log.warning(f"W&B did not end in time; `wandb sync {folder}/run-*` uploads what is missing")

    def _log(self, values: Callable[[], dict]) -> None:
        # on every point, so that each can be an axis; W&B's step counts calls
        progress = self.progress()
        self._do(lambda: self.experiment.log(values() | progress))

    def _do(self, call: Callable[[], object]) -> None:
        """Calls W&B in a thread, so that a slow or unreachable server does not delay the training."""
        self.waiting.append(call)
        if self.begins_at_once or self.background is not None:
            self.begin()


class Begin(Callback):
    """Starts W&B after the first batch.

    Args:
        run: to be started.
    """

    def __init__(self, run: WandbRun):
        self.run = run

    def on_train_batch_end(self, *args: Any) -> None:
        self.run.begin()


class _AtFirstUse:
    """Stands for W&B's run until something of it is used."""

    def __init__(self, run: WandbRun):
        self._run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run.create(), name)


def _import_pandas() -> None:
    """W&B imports it with the first picture. In its thread that could end a training: scikit-learn looks into
    sys.modules for pandas' classes, which are not there yet while another thread is importing it."""
    with suppress(ImportError):
        import_module("pandas")


def _wandb():
    """W&B; its import takes half a second."""
    import wandb

    return wandb


def _may_be_wrong() -> bool:
    """Whether the environment or the user's settings could hold something that W&B refuses; this must be found out
    before the training."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    return _path_of_settings().is_file() or any(value not in SAFE.get(name, ()) for name, value in variables.items())


def _id_of_sweep() -> str | None:
    """The run's id from a sweep agent, if there is one."""
    return os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None


def _mode() -> str:
    """WANDB_MODE if it is set, else online; offline without a key, because W&B would ask for one."""
    mode = os.environ.get("WANDB_MODE") or "online"
    has_key = bool(os.environ.get("WANDB_API_KEY")) or _key_in_netrc()
    return mode if has_key or mode != "online" else "offline"


def _settings() -> "wandb.Settings":
    """W&B's settings, without metadata on the user: command line, user name, machine, repository."""
    return _wandb().Settings(
        silent=_mode() != "online",
        console="off",
        base_url=_server(),
        init_timeout=INIT_SECONDS,
        finish_timeout=UPLOAD_SECONDS,
        x_disable_meta=True,
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
    )


def _server() -> str:
    """The server's address from the environment or the user's settings.

    The file wandb/settings in the current folder, which W&B would use, is ignored: the folder may come from somebody
    else, whose server would get the key.
    """
    settings = _wandb().Settings(root_dir=os.devnull, settings_system=str(_path_of_settings()), silent=True)
    settings.update_from_system_settings()
    return os.environ.get("WANDB_BASE_URL") or settings.base_url


def _path_of_settings() -> Path:
    """The file of the user's settings."""
    return Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb", "settings").expanduser()


def without_passwords(text: object) -> str:
    """A text without the names and passwords in addresses such as https://NAME:PASSWORD@HOST."""
    return re.sub(r"//[^/\s]*@", "//", str(text))


def _key_in_netrc() -> bool:
    try:
        known = netrc.netrc(os.environ.get("NETRC")).hosts.keys()
    except (OSError, netrc.NetrcParseError):
        return False
    if "WANDB_BASE_URL" not in os.environ and "api.wandb.ai" in known:  # the name of the public server there
        return True
    return bool(known) and urlparse(_server()).hostname in known


def publish_report(folder: Path, tables: dict[str, tuple[list[str], list[list[str]]]], page: Path) -> None:
    """Uploads the report of an ablation to W&B as a separate run: tables by title, (columns, rows), and the page."""
    import wandb

    online = _mode() == "online"
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "lightning_genae"),
        id=f"ablation-{digest({'folder': str(folder.resolve())})}",
        name=f"ablation-{folder.name}",
        job_type="report",
        dir=folder,
        mode=_mode(),  # type: ignore[arg-type]  # from the environment, W&B checks it
        resume="allow" if online else None,
        settings=_settings(),
    )
    run.log({title: wandb.Table([*columns], rows) for title, (columns, rows) in tables.items()})
    run.log({"report": wandb.Html(str(page), inject=False)})
    run.finish()
