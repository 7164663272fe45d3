"""Run by test_evaluation.py: one evaluation by 1, 2 and 3 processes; writes what the first one of each measured.

python evaluate_job.py FOLDER
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import distributed

from datamodules.digits import Digits
from lightning_genae.evaluation.evaluation import Evaluation
from lightning_genae.models.gan import GAN

NUMS = (597, 260)  # samples: of three processes one has less than the others, or nothing


def measure(rank: int, num_processes: int, folder: str) -> None:
    out = Path(folder) / f"{num_processes}.json"
    distributed.init_process_group("gloo", f"file://{out}.rendezvous", rank=rank, world_size=num_processes)
    digits = Digits(num_train=200)
    digits.cache_dir = f"{folder}/cache{num_processes}"  # which they fill together
    digits.setup()
    torch.manual_seed(0)
    model = GAN(digits.dataset.image_shape, 10)
    torch.manual_seed(rank)  # processes draw other random numbers in training
    values = {}
    for num in NUMS:
        evaluation = Evaluation(digits.dataset, "pixels", num_samples=num)
        values[num] = evaluation.measure(model, rank=rank, num_ranks=num_processes)
    if rank == 0:
        out.write_text(json.dumps(values))
    else:
        assert values == {num: {} for num in NUMS}
    distributed.destroy_process_group()


if __name__ == "__main__":
    for num_processes in (1, 2, 3):  # forked: importing torch six times would take most of the time
        arguments = (num_processes, sys.argv[1])
        torch.multiprocessing.start_processes(measure, arguments, nprocs=num_processes, start_method="fork")
