"""`python run.py` with a fault in one of its processes: python fault_job.py KIND RANK BATCH WORDS ..."""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

import run
from callbacks.budget import Budget
from lightning_genae.models.gan import GAN

KIND, RANK, BATCH = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def is_here(trainer) -> bool:
    return trainer.global_rank == RANK and trainer.datamodule.batches == BATCH


def act(trainer) -> None:
    if KIND == "error":
        raise RuntimeError("this process has failed")
    if KIND == "signal":
        os.kill(os.getpid(), signal.SIGTERM)


check, loss = Budget._check, GAN.loss_generator


def checked(self, trainer) -> None:
    check(self, trainer)
    if is_here(trainer):
        act(trainer)


def spoilt(self, x, labels):
    bad = KIND == "nan" and is_here(self.trainer)
    return loss(self, x, labels) * (torch.nan if bad else 1)


if __name__ == "__main__":
    Budget._check, GAN.loss_generator = checked, spoilt
    sys.exit(run.main(sys.argv[4:]))
