"""A small convolutional classifier, trained on the data set's whole training split: knows what matters in it."""

import copy
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lightning_genae.cache import cached, hash_weights, report_damage, source
from lightning_genae.data.dataset import Dataset, Images
from lightning_genae.data.storage import blocks, num_at_once, to_float
from lightning_genae.estimates import estimated
from lightning_genae.evaluation.extractors._extractor import Extractor
from lightning_genae.nn import networks

MAX_VALUES = 2**22  # of a batch: RGB images above 128x128 come in smaller batches
CHANNELS_LAST = torch.channels_last  # a third faster on a CPU
WARM_UP = 30  # batches until the learning rate is reached
DECAY = 0.98  # of the average of the weights, per batch
EVERY, PATIENCE = 25, 5  # batches between looks at the images set aside, and looks without improvement at most
MAX_ASIDE = 1000  # images set aside
MAX_MEASURED = 10_000  # images by which the scale and the accuracy are measured


class ClassifierFeatures(Extractor):
    """The 64 activations before the last layer, divided by their mean standard deviation over the training split.

    Distances of different data sets then have the same scale. The classifier is trained once, with a fixed seed, on the
    training split, independent of a run's subset and validation images, and cached: it is the same for all runs, and
    does not depend on held-out images. A tenth of the split says when to stop.

    Args:
        dataset: with labels.
        weights: not used.
        num_steps: at most, training batches of 64 images, or fewer if they are large.

    Raises:
        ValueError: there are no labels.
    """

    modalities = ("image", "series", "text", "audio")

    def __init__(self, dataset: Dataset, weights: str | None = None, num_steps: int = 1000):
        if not dataset.num_classes:
            raise ValueError(
                "--metrics.features: classifier needs labels, but the data has none; expected pixels, or efficientnet "
                "for images"
            )
        num_features = 64
        network, state = _trained(dataset, num_features, num_steps)
        features = nn.Sequential(*network[:2], _Scale(1 / state["scale"]))
        description = {
            "extractor": "classifier",
            "weights": hash_weights(features),
            "accuracy_heldout": state["accuracy"],
            "resize": "none",
        }
        head = nn.Sequential(_Scale(state["scale"]), network[2])
        batch_size = num_at_once(dataset.image_shape, 250, 2**20)  # so that layers' outputs stay in a CPU's cache
        super().__init__(
            features.to(memory_format=CHANNELS_LAST), num_features, _prepare, description, head, batch_size
        )


def _trained(dataset: Dataset, num_features: int, num_steps: int) -> tuple[nn.Sequential, dict]:
    """The network and what was noted of it, from the cache if it is there."""
    key = {
        "data": dataset.pool.fingerprint,
        "classes": dataset.num_classes,
        "num_steps": num_steps,
        "source": source(networks, sys.modules[__name__]),
    }

    def new_network() -> nn.Sequential:
        encoder = networks.encoder(dataset.image_shape, num_features, "conv", width=12)
        return nn.Sequential(encoder, nn.ReLU(), nn.Linear(num_features, dataset.num_classes))

    def build(path: Path) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = new_network().to("cuda" if torch.cuda.is_available() else "cpu")
            network = _train(network, dataset, num_steps)
        seen, tested = _at_most(dataset.pool, MAX_MEASURED), _at_most(dataset.heldout, MAX_MEASURED)
        scale = _outputs(network[:2], seen.images).std(0).mean()
        accuracy = 1 - _error(network, tested)
        torch.save({"network": network.cpu().state_dict(), "scale": scale, "accuracy": accuracy}, path)

    assert dataset.cache_dir is not None  # every data module has one
    path = cached(dataset.cache_dir, "classifier", key, build)
    network = new_network()
    with report_damage("--cache", path):
        state = torch.load(path, weights_only=True)
        network.load_state_dict(state["network"])
    return network, state


def _train(network: nn.Sequential, dataset: Dataset, num_steps: int) -> nn.Sequential:
    """The average of a network's weights over its training, at the look with the least error on images set aside.

    An average is as good as weights at the end of a falling learning rate (Izmailov et al. 2018, arXiv 1803.05407), and
    needs not know when that will be.
    """
    train, aside = _split(dataset.pool)
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
    best, least, looks_since = copy.deepcopy(network), math.inf, 0
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2, fused=True)
    schedule = LambdaLR(optimizer, lambda step: min(1, (step + 1) / WARM_UP))
    device = next(network.parameters()).device
    batch_size = num_at_once(dataset.image_shape, 64, MAX_VALUES)
    batches = (_batch(train, batch_size, device) for _ in range(num_steps))
    what = f"Training the classifier whose features measure the samples, on {len(train.images):,} {dataset.item_name}"
    what = f"{what} in at most {num_steps:,} batches"
    for step, (x, labels) in enumerate(estimated(batches, what, num_steps, at_most=True, always=True), 1):
        loss = F.cross_entropy(network(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        averaged.update_parameters(network)
        if step % EVERY == 0 or step == num_steps:
            error = _error(averaged.module, aside)
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
    return _prepare(train.images[chosen].to(device)), train.labels[chosen].to(device)


def _split(pool: Images) -> tuple[Images, Images]:
    """What is learnt from, and a random tenth, at most MAX_ASIDE, which says when to stop."""
    order = torch.randperm(len(pool.labels), generator=torch.Generator().manual_seed(0))
    num = max(1, min(len(order) // 10, MAX_ASIDE))
    return pool.subset(order[num:]), pool.subset(order[:num])


def _at_most(split: Images, num: int) -> Images:
    """The split, or a random subset of `num` images, which is enough."""
    if len(split.labels) <= num:
        return split
    return split.subset(torch.randperm(len(split.labels), generator=torch.Generator().manual_seed(0))[:num])


@torch.no_grad()
def _outputs(network: nn.Module, images: Tensor) -> Tensor:
    """Of a network for stored images (N, C, H, W), on the CPU."""
    device = next(network.parameters()).device
    return torch.cat([network(_prepare(part.to(device))).cpu() for part in blocks(images, 500)])


def _error(network: nn.Module, split: Images) -> float:
    """The fraction of a split that is put into a wrong class."""
    return (_outputs(network, split.images).argmax(1) != split.labels).double().mean().item()


def _prepare(images: Tensor) -> Tensor:
    return to_float(images).contiguous(memory_format=CHANNELS_LAST)


class _Scale(nn.Module):
    factor: Tensor

    def __init__(self, factor: Tensor):
        super().__init__()
        self.register_buffer("factor", factor)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor
