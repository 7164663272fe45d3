"""Encoders and decoders sized from `image_shape`, one kind a file, and a critic of images and their classes."""

from lightning_genae.nn.networks.build import Network, Size, decoder, encoder
from lightning_genae.nn.networks.critic import Conditional, Critic
from lightning_genae.nn.networks.frozen import FrozenMaps, frozen
from lightning_genae.nn.networks.projected import ProjectedCritic
from lightning_genae.nn.networks.reconstruction import Reconstruction
from lightning_genae.nn.networks.recurrent import as_sequence, as_steps, run
from lightning_genae.nn.networks.weights import initialise, normalise, tie_weights

__all__ = [
    "Conditional",
    "Critic",
    "FrozenMaps",
    "Network",
    "ProjectedCritic",
    "Reconstruction",
    "Size",
    "as_sequence",
    "as_steps",
    "decoder",
    "encoder",
    "frozen",
    "initialise",
    "normalise",
    "run",
    "tie_weights",
]
