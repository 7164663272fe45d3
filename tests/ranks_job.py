"""Run by test_ranks.py: three processes whose collectives end after 2 s, of which the first takes 4 s for its own work.

python ranks_job.py FOLDER
"""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import distributed

from lightning_genae import ranks

SIZES = (3, 0, 70)  # images of each process
CPU = torch.device("cpu")


def work(rank: int, folder: str) -> None:
    limit = timedelta(seconds=2)
    distributed.init_process_group("gloo", f"file://{folder}/rendezvous", limit, rank=rank, world_size=len(SIZES))
    ranks.PIECE = 100  # values: several pieces
    part = torch.full((SIZES[rank], 1, 4, 4), rank, dtype=torch.uint8)
    part += torch.arange(SIZES[rank], dtype=torch.uint8)[:, None, None, None] * 3
    together = ranks.to_first(part, CPU)
    start = time.perf_counter()
    for _ in range(2):
        if rank == 0:
            time.sleep(2.5)
        ranks.wait_for_first(0.05)
    waited = time.perf_counter() - start
    distributed.barrier()  # what comes next finds all of them here
    try:
        if rank == 0:
            time.sleep(2.5)
        distributed.barrier()
        outcome = "waited"
    except RuntimeError:
        outcome = "timed out"
    content = {"together": together[:, 0, 0, 0].tolist(), "waited": waited, "barrier": outcome}
    Path(folder, f"{rank}.json").write_text(json.dumps(content))


if __name__ == "__main__":
    torch.multiprocessing.start_processes(work, (sys.argv[1],), nprocs=len(SIZES), start_method="fork")
