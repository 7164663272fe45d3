"""What metrics that train a recurrent network share: the network, its training, and which sequences it sees."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from lightning_genae.data.sequences import values_and_valid

MAX_SEQUENCES, MAX_LENGTH = 1000, 100  # of a set; of a sequence, of which a stretch is taken
NUM_STEPS, BATCH_SIZE, LR = 200, 128, 2e-2


class Recurrent(nn.Module):
    """A GRU of one layer and a linear one on its states.

    TimeGAN (Yoon et al. 2019) gives it half as many units as there are channels, which for a single channel are none;
    here it has at least 8.

    Args:
        channels: of the sequences.
        outputs: at every place.
        deviation: by which values are divided, to learn in few steps however small they are.
    """

    def __init__(self, channels: int, outputs: int, deviation: Tensor):
        super().__init__()
        self.deviation = deviation.clamp(min=1e-3)
        self.gru = nn.GRU(channels, max(8, channels // 2), batch_first=True)
        self.head = nn.Linear(self.gru.hidden_size, outputs)

    def forward(self, values: Tensor) -> Tensor:
        """Outputs (N, L, outputs) from values (N, C, L); those at a place know the places up to it."""
        return self.head(self.gru(values.movedim(1, 2) / self.deviation)[0])


def stretches(images: Tensor, has_mask: bool, seed: int = 0, most: int = MAX_SEQUENCES) -> tuple[Tensor, Tensor]:
    """At most so many stored sequences (N, C, 1, L), drawn at random, of each a stretch of at most MAX_LENGTH places
    that starts anywhere; as values (N, C, L) and where they are valid (N, L)."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(images), generator=generator)[:most]
    values, valid = values_and_valid(images[drawn], has_mask)
    length = min(values.shape[2], MAX_LENGTH)
    latest = (valid.sum(1) - length).clamp(min=0)
    starts = (torch.rand(len(latest), generator=generator) * (latest + 1)).long()
    places = starts[:, None] + torch.arange(length)
    return values.gather(2, places[:, None].expand(-1, values.shape[1], -1)), valid.gather(1, places)


def train(make: Callable[[], nn.Module], loss: Callable[[nn.Module, Tensor], Tensor], num: int) -> nn.Module:
    """A network, trained; always the same, and other random numbers stay as they are.

    Args:
        make: builds it.
        loss: of the network on the sequences with these indices (BATCH_SIZE,), out of num.
    """
    # whoever evaluates may have switched gradients off
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
