"""The training of small classifiers: of real images, whose features measure samples, and of samples themselves."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lightning_genae.data.dataset import Images
from lightning_genae.data.storage import blocks, num_at_once, to_float
from lightning_genae.estimates import estimated
from lightning_genae.nn import networks

MAX_VALUES = 2**22  # of a batch: RGB images above 128x128 come in smaller batches
CHANNELS_LAST = torch.channels_last  # a third faster on a CPU
WARM_UP = 30  # batches until the learning rate is reached
DECAY = 0.98  # of the average of the weights, per batch
EVERY, PATIENCE = 25, 5  # batches between looks at the images set aside, and looks without improvement at most
MAX_ASIDE = 1000  # images set aside


def new_classifier(image_shape: tuple[int, int, int], num_features: int, num_classes: int) -> nn.Sequential:
    """A convolutional network, a rectifier and a linear layer: from images (B, C, H, W) to logits (B, num_classes)."""
    encoder = networks.encoder(image_shape, num_features, "conv", width=12)
    return nn.Sequential(encoder, nn.ReLU(), nn.Linear(num_features, num_classes))


def trained(network: nn.Sequential, split: Images, num_steps: int, what: str) -> nn.Sequential:
    """The average of a network's weights over its training, at the look with the least error on images set aside.

    Args:
        network: from images (B, C, H, W) in [-1, 1] to the logits (B, num_classes) of their classes.
        split: labelled images, of which a tenth says when to stop.
        num_steps: at most, training batches of 64 images, or fewer if they are large.
        what: is trained, to say beforehand how long it takes.

    An average is as good as weights at the end of a falling learning rate (Izmailov et al. 2018, arXiv 1803.05407), and
    needs not know when that will be.
    """
    train, aside = _split(split)
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
    best, least, looks_since = copy.deepcopy(network), math.inf, 0
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2, fused=True)
    schedule = LambdaLR(optimizer, lambda step: min(1, (step + 1) / WARM_UP))
    device = next(network.parameters()).device
    batch_size = num_at_once(tuple(split.images.shape[1:]), 64, MAX_VALUES)
    batches = (_batch(train, batch_size, device) for _ in range(num_steps))
    what = f"{what} in at most {num_steps:,} batches"
    for step, (x, labels) in enumerate(estimated(batches, what, num_steps, at_most=True, always=True), 1):
        loss = F.cross_entropy(network(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        averaged.update_parameters(network)
        if step % EVERY == 0 or step == num_steps:
            error = error_of(averaged.module, aside)
            looks_since += 1
            if error < least:
                best.load_state_dict(averaged.module.state_dict())
                least, looks_since = error, 0
        if looks_since == PATIENCE:
            break
    return best


def _batch(train: Images, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Random images in [-1, 1] and their labels."""
    chosen = torch.randint(len(train.images), (size,))
    return prepare(train.images[chosen].to(device)), train.labels[chosen].to(device)


def _split(pool: Images) -> tuple[Images, Images]:
    """What is learnt from, and a random tenth, at most MAX_ASIDE, which says when to stop."""
    order = torch.randperm(len(pool.labels), generator=torch.Generator().manual_seed(0))
    num = max(1, min(len(order) // 10, MAX_ASIDE))
    return pool.subset(order[num:]), pool.subset(order[:num])


@torch.no_grad()
def outputs(network: nn.Module, images: Tensor) -> Tensor:
    """Of a network for stored images (N, C, H, W), on the CPU."""
    device = next(network.parameters()).device
    return torch.cat([network(prepare(part.to(device))).cpu() for part in blocks(images, 500)])


def error_of(network: nn.Module, split: Images) -> float:
    """The fraction of a split that is put into a wrong class."""
    return (outputs(network, split.images).argmax(1) != split.labels).double().mean().item()


def prepare(images: Tensor) -> Tensor:
    """Stored images (B, C, H, W) as the network takes them."""
    return to_float(images).contiguous(memory_format=CHANNELS_LAST)
