"""Run by test_ddp.py in two processes: trains every two-player model and writes what the test compares.

python ddp_job.py OUT BATCH_SIZE
"""

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from pytorch_lightning import Callback, Trainer

from callbacks.budget import Budget
from callbacks.ema import Ema
from datamodules.digits import Digits
from lightning_genae import registry
from lightning_genae.models._two_players import TwoPlayers

PACKAGE = "lightning_genae.models"
ALL = {name: registry.load(PACKAGE, name) for name in registry.names(PACKAGE)}
MODELS = {name: model for name, model in ALL.items() if issubclass(model, TwoPlayers)}
OPTIONS = {
    "gan": {"r1": 1.0, "gradient_penalty": 1.0, "conditional": "projection"},
    "ebgan": {"pulling_away": 0.0, "noise": 0.1},  # that term compares the images within a batch
}


@contextmanager
def fixed_noise():
    """Random numbers that depend on which draw it is alone, not on the process, the image or the batch size."""
    num_draws = 0

    def rows(*shape, dtype=None, device=None):
        nonlocal num_draws
        num_draws += 1
        num, *rest = shape[0] if isinstance(shape[0], tuple | torch.Size) else shape
        row = torch.linspace(0.1, 1, torch.Size(rest).numel(), dtype=dtype or torch.float64)
        return (row * num_draws).sin().reshape(1, *rest).expand(num, *rest)

    def like(x):
        return rows(x.shape, dtype=x.dtype)

    def share(*shape, **options):
        return rows(*shape, **options).abs()

    with patch.multiple(torch, randn=rows, randn_like=like, rand=share, rand_like=like):
        yield


class Watch(Callback):
    """Keeps a number of random numbers that each process drew."""

    def __init__(self):
        self.noise = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.noise.append(torch.empty(4).normal_())


def train(name: str, devices: int, batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and random numbers of each process, (devices, -1), after six batches."""
    torch.manual_seed(0)
    datamodule = Digits(batch_size=batch_size, num_train=64)
    datamodule.setup()
    watch = Watch()
    model = untrained(name)
    trainer = Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp_find_unused_parameters_true" if devices > 1 else "auto",
        precision="64-true",
        max_epochs=-1,
        callbacks=[Ema(), Budget(6), watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_val_batches=0,
    )
    with fixed_noise():
        trainer.fit(model, datamodule=datamodule)
    everyone = trainer.strategy.all_gather(weights(model)).reshape(devices, -1)
    noise = trainer.strategy.all_gather(torch.stack(watch.noise)).reshape(devices, -1)
    return everyone, noise


def untrained(name: str) -> TwoPlayers:
    """The model, always with the same weights."""
    torch.manual_seed(0)
    options = {"network": "mlp", "hidden": [16], "n_critic": 2, "gradient_clip": 0.5, "lr": 1e-3}
    return MODELS[name]((1, 8, 8), 10, **options, **OPTIONS.get(name, {}))


def weights(model: TwoPlayers) -> torch.Tensor:
    return torch.cat([value.detach().flatten().double() for value in model.parameters()])


def main(rank: int, out: str, batch_size: int) -> None:
    """One of the two processes."""
    os.environ["LOCAL_RANK"] = str(rank)  # by which Lightning knows that there are processes already
    results = {}
    for name in MODELS:
        everyone, noise = train(name, 2, batch_size)
        results[name] = {"weights": everyone.tolist(), "noise": noise.tolist()}
    if rank == 0:
        Path(out).write_text(json.dumps(results))


if __name__ == "__main__":
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_network_port()), "WORLD_SIZE": "2"}
    arguments = (sys.argv[1], int(sys.argv[2]))
    # forked: another import of torch takes longer than the trainings
    torch.multiprocessing.start_processes(main, arguments, nprocs=2, start_method="fork")
