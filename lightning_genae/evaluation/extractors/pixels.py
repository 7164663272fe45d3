"""The pixels' principal components: nothing to train, no labels needed; knows nothing of what images show."""

import math

import torch
from torch import Tensor, nn

from lightning_genae.cache import hash_weights, of_many
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.storage import to_float
from lightning_genae.evaluation.components import components, first
from lightning_genae.evaluation.extractors._extractor import Extractor


class PixelFeatures(Extractor):
    """Principal components over the training split, divided by their mean standard deviation.

    Args:
        dataset: of its `pool` at most the first 5,000 images are used, 2,000 of more than 1,024 values.
        weights: not used.
        max_features: number of components at most.
    """

    def __init__(self, dataset: Dataset, weights: str | None = None, max_features: int = 64):
        images = dataset.pool.images
        num = 5000 if math.prod(dataset.image_shape) <= 1024 else 2000  # so that it takes seconds

        def work() -> dict[str, Tensor]:
            found = components(first(images, num), max_features)
            scale = found.variances.clip(0) ** 0.5
            rows = found.rows / max(scale.mean(), 1e-12)
            return {"weight": torch.from_numpy(rows).float(), "bias": -torch.from_numpy(rows @ found.mean).float()}

        state = of_many(images, dataset.cache_dir, "components", lambda: {"num": max_features, "of": num}, work)
        num_features, num_values = state["weight"].shape
        linear = nn.Linear(num_values, num_features)
        linear.load_state_dict(state)
        network = nn.Sequential(nn.Flatten(), linear)
        description = {"extractor": "pixels", "weights": hash_weights(network), "resize": "none"}
        super().__init__(network, num_features, to_float, description)
