"""Weights & Biases: online if there is an account, else offline; it never blocks a run."""

import logging
import netrc
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlparse

import wandb
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from callbacks._background import Background
from lightning_genae.cache import digest
from lightning_genae.config.nested import flatten
from lightning_genae.run_folder import config_hash

log = logging.getLogger("lightning_genae")
INIT_SECONDS = 30  # for the server to accept a run; after that it is recorded offline
UPLOAD_SECONDS = 120  # at the end; after that `wandb sync` must be used
QUIET_SECONDS = 2  # for an upload without a message


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
            settings=_settings(),
        )
        self._wandb_init.pop("anonymous", None)  # Lightning passes it on and W&B warns that it is obsolete

    @property
    def experiment(self):
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
        self._log(lambda: {key: [wandb.Image(image) for image in images]})

    @rank_zero_only
    def log_audio(self, key: str, audios: list[str], *args, **kwargs) -> None:
        pairs = list(zip(audios, kwargs["caption"]))
        self._log(lambda: {key: [wandb.Audio(audio, caption=text) for audio, text in pairs]})

    @rank_zero_only
    def log_table(self, key: str, columns: list | None = None, data: list | None = None, *args, **kwargs) -> None:
        self._log(lambda: {key: wandb.Table(columns=columns, data=data)})

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Starts to end the run, so that a later run in the same process is not merged into it; see `wait`."""
        if self.background is not None:
            self._do(lambda: self.experiment.finish(exit_code=0 if status == "success" else 1))
            self.background.end()
            if status != "success":  # the error is reported first; W&B's exit hook ends the upload
                self.background.is_done(QUIET_SECONDS)
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
        if self.background is None:
            self.background = Background("W&B")
        self.background.do(call)


def _id_of_sweep() -> str | None:
    """The run's id from a sweep agent, if there is one."""
    return os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None


def _mode() -> str:
    """WANDB_MODE if it is set, else online; offline without a key, because W&B would ask for one."""
    mode = os.environ.get("WANDB_MODE") or "online"
    has_key = bool(os.environ.get("WANDB_API_KEY")) or _key_in_netrc()
    return mode if has_key or mode != "online" else "offline"


def _settings() -> wandb.Settings:
    """W&B's settings, without metadata on the user: command line, user name, machine, repository."""
    return wandb.Settings(
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
    path = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb", "settings").expanduser()
    settings = wandb.Settings(root_dir=os.devnull, settings_system=str(path), silent=True)
    settings.update_from_system_settings()
    return os.environ.get("WANDB_BASE_URL") or settings.base_url


def without_passwords(text: object) -> str:
    """A text without the names and passwords in addresses such as https://NAME:PASSWORD@HOST."""
    return re.sub(r"//[^/\s]*@", "//", str(text))


def _key_in_netrc() -> bool:
    hosts = {urlparse(_server()).hostname}
    hosts |= (
        set() if "WANDB_BASE_URL" in os.environ else {"api.wandb.ai"}
    )  # netrc entries for the public server use this name
    try:
        return bool(hosts & netrc.netrc(os.environ.get("NETRC")).hosts.keys())
    except (OSError, netrc.NetrcParseError):
        return False


def publish_report(folder: Path, tables: dict[str, tuple[list[str], list[list[str]]]], page: Path) -> None:
    """Uploads the report of an ablation to W&B as a separate run: tables by title, (columns, rows), and the page."""
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
