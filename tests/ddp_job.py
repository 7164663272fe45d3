"""Run by test_ddp.py in two processes: trains a GAN and writes what the test compares.

python ddp_job.py OUT DEVICES BATCH_SIZE FIXED_NOISE
"""

import json
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from pytorch_lightning import Callback, Trainer

from callbacks.budget import Budget
from callbacks.ema import Ema
from datamodules.digits import Digits
from lightning_genae.models.gan import GAN


class FixedNoise(GAN):
    """A GAN whose noise depends on the batch alone, not on the process."""

    def _noise(self, num):
        if self.trainer is None:
            return super()._noise(num)
        row = torch.linspace(-1, 1, self.hparams.latent_dim, dtype=self.dtype)
        return (row * math.cos(self.trainer.fit_loop.total_batch_idx)).expand(num, -1)


class Watch(Callback):
    """Keeps a number of random numbers that each process drew."""

    def __init__(self):
        self.noise = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.noise.append(torch.randn(4, generator=None))


def main(out: str, devices: int, batch_size: int, fixed: bool) -> None:
    torch.manual_seed(0)
    datamodule = Digits(batch_size=batch_size, num_train=64)
    datamodule.setup()
    watch = Watch()
    model_class = FixedNoise if fixed else GAN
    model = model_class(
        datamodule.image_shape, network="mlp", hidden=[16], n_critic=2, gradient_clip=0.5, lr=1e-3, spectral_norm=False
    )
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
    trainer.fit(model, datamodule=datamodule)
    weights = torch.cat([value.flatten().double() for value in model.parameters()])
    everyone = trainer.strategy.all_gather(weights).reshape(devices, -1)
    noise = trainer.strategy.all_gather(torch.stack(watch.noise)).reshape(devices, -1)
    if trainer.is_global_zero:
        Path(out).write_text(json.dumps({"weights": everyone.tolist(), "noise": noise.tolist()}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "fixed")
