"""Communication between the processes of a training: gathering to the first process, and waiting for it."""

import itertools
import math
import time

import torch
from torch import Tensor, distributed
from torch.distributed.distributed_c10d import _get_default_store

PIECE = 2**24  # values per message
_waits = itertools.count()


def to_first(part: Tensor, device: torch.device) -> Tensor:
    """Concatenates tensors of all processes, (N, ...), in the order of ranks, on the CPU of the first process; the
    others get an empty tensor.

    The values are sent in pieces. The number of rows can differ between processes.

    Args:
        part: of this process, (N_rank, ...), on the CPU.
        device: for the communication.
    """
    sizes = [torch.zeros(1, dtype=torch.long, device=device) for _ in range(distributed.get_world_size())]
    distributed.all_gather(sizes, torch.tensor([len(part)], device=device))
    rows = max(1, PIECE // math.prod(part.shape[1:]))
    if distributed.get_rank() > 0:
        for piece in part.split(rows) if len(part) else ():
            distributed.send(piece.contiguous().to(device), 0)
        return part[:0]
    whole = torch.cat([part, part.new_empty(int(sum(sizes[1:])), *part.shape[1:])])
    start = len(part)
    for rank, size in enumerate(map(int, sizes[1:]), start=1):
        for piece in whole[start : start + size].split(rows) if size else ():
            received = torch.empty_like(piece, device=device)
            distributed.recv(received, rank)
            piece.copy_(received)
        start += size
    return whole


def wait_for_first(poll_seconds: float = 0.2) -> None:
    """Makes all processes wait until the first one calls this function, without a time limit.

    A barrier would fail after the time limit of collectives (30 minutes). Instead, the processes poll the store of the
    process group. If the first process has ended, and the store with it, this raises an error.
    """
    if not distributed.is_initialized():
        return
    store, name = _get_default_store(), f"lightning_genae/first/{next(_waits)}"
    if distributed.get_rank() == 0:
        store.set(name, "here")
    while not store.check([name]):
        time.sleep(poll_seconds)
