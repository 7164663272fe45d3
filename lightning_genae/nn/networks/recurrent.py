"""Recurrent networks that read and write a sequence step by step (Cho et al. 2014, arXiv 1406.1078)."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from lightning_genae.errors import UserError

Shape = tuple[int, int, int]


def encoder(image_shape: Shape, num_outputs: int, hidden: list[int] | None, width: int | None) -> list[nn.Module]:
    width = _units(image_shape, width)
    return [_Reader(image_shape[0], width), nn.Linear(2 * width, num_outputs)]


def decoder(
    image_shape: Shape, num_inputs: int, hidden: list[int] | None, width: int | None, batch_norm: bool
) -> list[nn.Module]:
    return [_Writer(num_inputs, image_shape, _units(image_shape, width))]


class _Reader(nn.Module):
    """The last states (B, 2 * width) of a GRU that reads sequences (B, C, 1, L) in both directions."""

    def __init__(self, num_channels: int, width: int):
        super().__init__()
        self.gru = nn.GRU(num_channels, width, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return run(self.gru, as_steps(x), twice=True)[1].transpose(0, 1).flatten(1)


class _Writer(nn.Module):
    """Sequences (B, C, 1, L) from a GRU that gets the latent code and a learned positional embedding at every step."""

    num_marks = 8

    def __init__(self, num_inputs: int, image_shape: tuple[int, int, int], width: int):
        super().__init__()
        self.marks = nn.Parameter(torch.randn(image_shape[2], self.num_marks))
        self.start = nn.Linear(num_inputs, width)
        self.gru = nn.GRU(num_inputs + self.num_marks, width, batch_first=True)
        self.output = nn.Linear(width, image_shape[0])

    def forward(self, z: Tensor) -> Tensor:
        length = len(self.marks)
        marks = self.marks.to(z.dtype).expand(len(z), -1, -1)
        steps = torch.cat([z[:, None].expand(-1, length, -1), marks], 2)
        return as_sequence(self.output(run(self.gru, steps, self.start(z).tanh()[None])[0]))


def run(
    network: nn.RNNBase,
    steps: Tensor | PackedSequence,
    states: Tensor | tuple[Tensor, ...] | None = None,
    twice: bool = False,
) -> tuple:
    """The outputs (B, L, width) of a recurrent network for steps (B, L, C), and its last states.

    On a GPU it runs without cuDNN where cuDNN has no derivative: in evaluation mode, and the second derivative.

    Args:
        network: the recurrent network.
        steps: (B, L, C), or packed.
        states: the initial states. None: 0.
        twice: whether a second derivative may be needed, by penalties on a critic's gradient.
    """
    values = steps.data if isinstance(steps, PackedSequence) else steps
    is_derived = torch.is_grad_enabled() and values.requires_grad
    with torch.backends.cudnn.flags(enabled=not (is_derived and (twice or not network.training))):
        return network(steps, states)


def as_steps(x: Tensor) -> Tensor:
    """Sequences (B, C, 1, L) as recurrent networks take them, (B, L, C)."""
    return x.squeeze(2).transpose(1, 2)


def as_sequence(steps: Tensor) -> Tensor:
    """Steps (B, L, C) as sequences (B, C, 1, L)."""
    return steps.transpose(1, 2).unsqueeze(2)


def _units(image_shape: tuple[int, int, int], width: int | None) -> int:
    if image_shape[1] > 1 or image_shape[2] == 1:
        raise UserError(
            f"--model.network: recurrent expected sequences, got data of shape {tuple(image_shape)}; the "
            "other networks are for images, those of --augment.autoencoder.network too"
        )
    return 64 if width is None else width
