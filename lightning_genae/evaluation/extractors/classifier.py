"""A small convolutional classifier, trained on the data set's whole training split: knows what matters in it."""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from lightning_genae.cache import cached, hash_weights, report_damage, source
from lightning_genae.data.dataset import Dataset, Images
from lightning_genae.data.storage import num_at_once
from lightning_genae.evaluation import classification
from lightning_genae.evaluation.extractors._extractor import Extractor
from lightning_genae.nn.networks import conv, pyramid

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
            features.to(memory_format=classification.CHANNELS_LAST),
            num_features,
            classification.prepare,
            description,
            head,
            batch_size,
        )


def _trained(dataset: Dataset, num_features: int, num_steps: int) -> tuple[nn.Sequential, dict]:
    """The network and what was noted of it, from the cache if it is there."""
    key = {
        "data": dataset.pool.fingerprint,
        "classes": dataset.num_classes,
        "num_steps": num_steps,
        "source": source(conv, pyramid, classification, sys.modules[__name__]),
    }

    def new_network() -> nn.Sequential:
        return classification.new_classifier(dataset.image_shape, num_features, dataset.num_classes)

    def build(path: Path) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = new_network().to("cuda" if torch.cuda.is_available() else "cpu")
            images = f"{len(dataset.pool.images):,} {dataset.item_name}"
            what = f"Training the classifier whose features measure the samples, on {images}"
            network = classification.trained(network, dataset.pool, num_steps, what)
        seen, tested = _at_most(dataset.pool, MAX_MEASURED), _at_most(dataset.heldout, MAX_MEASURED)
        scale = classification.outputs(network[:2], seen.images).std(0).mean()
        accuracy = 1 - classification.error_of(network, tested)
        torch.save({"network": network.cpu().state_dict(), "scale": scale, "accuracy": accuracy}, path)

    assert dataset.cache_dir is not None  # every data module has one
    path = cached(dataset.cache_dir, "classifier", key, build)
    network = new_network()
    with report_damage("--cache", path):
        state = torch.load(path, weights_only=True)
        network.load_state_dict(state["network"])
    return network, state


def _at_most(split: Images, num: int) -> Images:
    """The split, or a random subset of `num` images, which is enough."""
    if len(split.labels) <= num:
        return split
    return split.subset(torch.randperm(len(split.labels), generator=torch.Generator().manual_seed(0))[:num])


class _Scale(nn.Module):
    factor: Tensor

    def __init__(self, factor: Tensor):
        super().__init__()
        self.register_buffer("factor", factor)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor
