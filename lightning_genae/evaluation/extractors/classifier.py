"""A small convolutional classifier, trained on the data set's whole training split: knows what matters in it."""

import logging
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm

from lightning_genae.cache import cached, hash_weights, report_damage, source
from lightning_genae.data.dataset import Dataset, Images
from lightning_genae.data.storage import blocks, num_at_once, to_float
from lightning_genae.evaluation.extractors._extractor import Extractor
from lightning_genae.nn import networks

log = logging.getLogger("lightning_genae")
MAX_VALUES = 2**23  # of a batch: RGB images above 128x128 come in smaller batches


class ClassifierFeatures(Extractor):
    """The 64 activations before the last layer, divided by their mean standard deviation over the training split.

    Distances of different data sets then have the same scale. The classifier is trained once, with a fixed seed, on the
    whole training split, independent of a run's subset and validation images, and cached: it is the same for all runs,
    and does not depend on held-out images.

    Args:
        dataset: with labels.
        weights: not used.
        num_steps: training batches of 128 images, or fewer if they are large.

    Raises:
        ValueError: there are no labels.
    """

    modalities = ("image", "series", "text", "audio")

    def __init__(self, dataset: Dataset, weights: str | None = None, num_steps: int = 800):
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
        super().__init__(features, num_features, to_float, description, head)


def _trained(dataset: Dataset, num_features: int, num_steps: int) -> tuple[nn.Sequential, dict]:
    """The network and what was noted of it, from the cache if it is there."""
    train, heldout = dataset.pool, dataset.heldout
    key = {
        "data": train.fingerprint,
        "classes": dataset.num_classes,
        "num_steps": num_steps,
        "source": source(networks, sys.modules[__name__]),
    }

    def new_network() -> nn.Sequential:
        encoder = networks.encoder(dataset.image_shape, num_features, "conv", width=16)
        return nn.Sequential(encoder, nn.ReLU(), nn.Linear(num_features, dataset.num_classes))

    def build(path: Path) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = new_network().to("cuda" if torch.cuda.is_available() else "cpu")
            _train(network, train, num_steps)
        network = network.cpu()
        with torch.no_grad():
            seen, tested = _at_most(train), _at_most(heldout)
            scale = torch.cat([network[:2](to_float(part)) for part in blocks(seen.images, 500)]).std(0).mean()
            logits = torch.cat([network(to_float(part)) for part in blocks(tested.images, 500)])
        accuracy = (logits.argmax(1) == tested.labels).double().mean().item()
        torch.save({"network": network.state_dict(), "scale": scale, "accuracy": accuracy}, path)

    assert dataset.cache_dir is not None  # every data module has one
    path = cached(dataset.cache_dir, "classifier", key, build)
    network = new_network()
    with report_damage("--cache", path):
        state = torch.load(path, weights_only=True)
        network.load_state_dict(state["network"])
    return network, state


def _at_most(split: Images, num: int = 100_000) -> Images:
    """The split, or a random subset of `num` images, which is enough."""
    if len(split.labels) <= num:
        return split
    return split.subset(torch.randperm(len(split.labels), generator=torch.Generator().manual_seed(0))[:num])


def _train(network: nn.Module, train: Images, num_steps: int) -> None:
    log.info(f"Training the classifier whose features measure the samples, on {len(train.images):,} images")
    device = next(network.parameters()).device
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = OneCycleLR(optimizer, 2e-3, total_steps=num_steps)
    bar = tqdm(range(num_steps), desc="classifier", unit="batch", mininterval=0.5)
    batch_size = num_at_once(train.images.shape[1:], 128, MAX_VALUES)
    for _ in bar:
        chosen = torch.randint(len(train.images), (batch_size,))
        images, labels = train.images[chosen].to(device), train.labels[chosen].to(device)
        loss = F.cross_entropy(network(to_float(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


class _Scale(nn.Module):
    factor: Tensor

    def __init__(self, factor: Tensor):
        super().__init__()
        self.register_buffer("factor", factor)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor
