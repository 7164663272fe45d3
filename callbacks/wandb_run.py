"""Weights & Biases: online where there is an account, else offline, never in the way."""

import logging
import netrc
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlparse

import wandb
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lightning_genae.cache import digest
from lightning_genae.command_line import flatten
from lightning_genae.run_folder import config_hash

log = logging.getLogger("lightning_genae")


class WandbRun(WandbLogger):
    """One W&B run a training run; its id comes from the config, so that a resumed run goes on in it.

    Runs are grouped by all but their seed; the keys of the config are those of the command line.

    Args:
        folder: the run folder; W&B writes to its wandb/.
        config: the resolved config.
        progress: tells the batches, images and epochs so far.
        resume: whether an interrupted run goes on, rather than a new one that replaces it.
    """

    def __init__(self, folder: Path, config: dict, progress: Callable[[], dict[str, int]], resume: bool):
        self.progress = progress
        model, augment, data = (config[key]["name"] for key in ("model", "augment", "data"))
        group = f"{data}/{model}-{augment}/{config_hash(config)}"
        online = _mode() == "online"
        settings = wandb.Settings(silent=not online, console="off", init_timeout=30)
        super().__init__(
            save_dir=folder,
            project=os.environ.get("WANDB_PROJECT", "lightning_genae"),
            id=_id_of_sweep() or f"{config_hash(config)}-seed{config['seed']}",
            name=f"{model}-{augment}-seed{config['seed']}",
            group=group,
            job_type="train",
            tags=[model, augment, data],
            config=flatten(config),
            mode=_mode(),
            resume="allow" if resume and online else None,
            settings=settings,
        )
        self._wandb_init.pop("anonymous", None)  # Lightning passes it on and W&B warns that it is obsolete

    @property
    def experiment(self):
        try:
            return super().experiment
        except (wandb.errors.CommError, wandb.errors.AuthenticationError, wandb.errors.UsageError) as error:
            log.warning(f"W&B is out of reach ({error}); this run is recorded offline, wandb sync uploads it later")
            wandb.teardown()  # else its service holds on to the run's id
            self._wandb_init |= {"mode": "offline", "resume": None}
            return super().experiment

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        # on every point, so that each can be an axis; W&B's own step counts calls
        self.experiment.log({**metrics, **self.progress()})

    @rank_zero_only
    def finalize(self, status: str) -> None:
        # ended here, because a later run in the same process would be merged into one that is still open
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)


def _id_of_sweep() -> str | None:
    """The run's id that an agent of a sweep has chosen."""
    return os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None


def _mode() -> str:
    """WANDB_MODE if it is set, else online; but offline without a key, because W&B would ask for one."""
    mode = os.environ.get("WANDB_MODE") or "online"
    has_key = bool(os.environ.get("WANDB_API_KEY")) or _key_in_netrc()
    return mode if has_key or mode != "online" else "offline"


def _key_in_netrc() -> bool:
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return host in netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False


def publish_report(folder: Path, tables: dict[str, tuple[list[str], list[list[str]]]], page: Path) -> None:
    """Gives the report of an ablation to W&B, as a run of its own: tables by title, (columns, rows), and the page."""
    online = _mode() == "online"
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "lightning_genae"),
        id=f"ablation-{digest({'folder': str(folder.resolve())})}",
        name=f"ablation-{folder.name}",
        job_type="report",
        dir=folder,
        mode=_mode(),
        resume="allow" if online else None,
        settings=wandb.Settings(silent=not online, console="off", init_timeout=30),
    )
    run.log({title: wandb.Table(columns, rows) for title, (columns, rows) in tables.items()})
    run.log({"report": wandb.Html(str(page), inject=False)})
    run.finish()
