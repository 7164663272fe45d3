"""The pixels' principal components: nothing to train, no labels needed; knows nothing of what images show."""

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import nn

from lightning_genae.cache import hash_weights
from lightning_genae.extractors._extractor import Extractor
from lightning_genae.images import to_float


class PixelFeatures(Extractor):
    """Principal components over the training split, divided by one number, their mean standard deviation.

    Args:
        datamodule: with `train_split`; at most its first 5,000 images are used.
        weights: not used.
        max_features: number of components at most.
    """

    def __init__(self, datamodule, weights: str | None = None, max_features: int = 64):
        flat = to_float(datamodule.train_split.images[:5000]).flatten(1).numpy()
        with np.errstate(invalid="ignore"):  # shares of a variance of 0: `reference` says that images are all the same
            pca = PCA(min(max_features, *flat.shape), svd_solver="full").fit(flat)
        scale = pca.explained_variance_.clip(0) ** 0.5
        components = pca.components_ / max(scale.mean(), 1e-12)
        linear = nn.Linear(flat.shape[1], len(components))
        weight, bias = torch.from_numpy(components).float(), -torch.from_numpy(components @ pca.mean_).float()
        linear.load_state_dict({"weight": weight, "bias": bias})
        network = nn.Sequential(nn.Flatten(), linear)
        description = {"extractor": "pixels", "weights": hash_weights(network), "resize": "none"}
        super().__init__(network, linear.out_features, to_float, description)
