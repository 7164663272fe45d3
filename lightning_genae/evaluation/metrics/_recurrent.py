"""What metrics that train a recurrent network share: the network, its training, and its sequences."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from lightning_genae.data.sequences import values_and_valid

MAX_SEQUENCES, MAX_LENGTH = 1000, 100  # of a set; of a sequence, of which a stretch is taken
NUM_STEPS, BATCH_SIZE, LR = 200, 128, 2e-2
Network = TypeVar("Network", bound=nn.Module)


class Recurrent(nn.Module):
    """A GRU of one layer and a linear layer on its states.

    In TimeGAN (Yoon et al. 2019) it has half as many units as there are channels, which is none for a single channel;
    here it has at least 8.

    Args:
        channels: of the sequences.
        outputs: at every position.
        std: standard deviation by which values are divided, so that training is fast at any scale.
    """

    def __init__(self, channels: int, outputs: int, std: Tensor):
        super().__init__()
        self.std = std.clamp(min=1e-3)
        self.gru = nn.GRU(channels, max(8, channels // 2), batch_first=True)
        self.head = nn.Linear(self.gru.hidden_size, outputs)

    def forward(self, values: Tensor) -> Tensor:
        """Outputs (N, L, outputs) from values (N, C, L); an output depends on the positions up to its own."""
        return self.head(self.gru(values.movedim(1, 2) / self.std)[0])


def stretches(images: Tensor, has_mask: bool, seed: int = 0, most: int = MAX_SEQUENCES) -> tuple[Tensor, Tensor]:
    """Random stretches of at most MAX_LENGTH steps from at most `most` stored sequences (N, C, 1, L).

    Returns:
        values (M, C, L) in [-1, 1], and where they are valid, bool (M, L).
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(images), generator=generator)[:most]
    values, valid = values_and_valid(images[drawn], has_mask)
    length = min(values.shape[2], MAX_LENGTH)
    latest = (valid.sum(1) - length).clamp(min=0)
    starts = (torch.rand(len(latest), generator=generator) * (latest + 1)).long()
    positions = starts[:, None] + torch.arange(length)
    return values.gather(2, positions[:, None].expand(-1, values.shape[1], -1)), valid.gather(1, positions)


def train(make: Callable[[], Network], loss: Callable[[Network, Tensor], Tensor], num: int) -> Network:
    """Trains a network deterministically, without changing other random numbers.

    Args:
        make: builds the network.
        loss: of the network on the sequences of indices (BATCH_SIZE,), below num.
        num: number of sequences.
    """
    # the caller may have switched gradients off
    with torch.random.fork_rng(), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(0)
        network = make()
        optimizer = torch.optim.Adam(network.parameters(), LR)
        schedule = OneCycleLR(optimizer, LR, total_steps=NUM_STEPS)
        for _ in range(NUM_STEPS):
            optimizer.zero_grad()
            loss(network, torch.randint(num, (BATCH_SIZE,))).backward()
            optimizer.step()
            schedule.step()
    return network.eval().requires_grad_(False)
