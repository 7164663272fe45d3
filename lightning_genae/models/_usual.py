"""What options of `gan` that are null mean: they go with the network, and the network with the images."""

from typing import NamedTuple

from lightning_genae.data import modalities
from lightning_genae.data.batches import BATCH_SIZE
from lightning_genae.data.modalities.image import Image
from lightning_genae.nn.networks import Network

SMALLEST = 64  # pixels a side, from which FastGAN's networks were compared with DCGAN's


class Usual(NamedTuple):
    """Values of options; see `GAN` and `ImageDataModule`."""

    loss: str
    lr: float
    reconstruct: float
    batch_size: int


DCGAN = Usual(loss="ns", lr=4e-4, reconstruct=0.0, batch_size=BATCH_SIZE)
# loss, lr and reconstruct are the paper's (arXiv 2101.04775); its average over longer, 0.999, leaves mush of a training
# of 3,000 batches; measured in benchmarks/photographs
FASTGAN = Usual(loss="hinge", lr=2e-4, reconstruct=1.0, batch_size=16)


def usual_network(image_shape: tuple[int, ...], modality: str) -> Network:
    """FastGAN's for colour images (C, H, W) of 64 pixels and more a side, DCGAN's for all others."""
    num_channels, *sides = image_shape
    is_picture = isinstance(modalities.new(modality), Image) and num_channels == 3
    return "fastgan" if is_picture and min(sides) >= SMALLEST else "conv"


def usual(network: Network, critic: str) -> Usual:
    """What goes with a network and a kind of critic, of which only the learned one can reconstruct."""
    values = FASTGAN if network == "fastgan" else DCGAN
    return values if critic == "learned" else values._replace(reconstruct=0.0)
