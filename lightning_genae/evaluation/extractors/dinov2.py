"""DINOv2's vision transformer (arXiv 2304.07193), close to human judgement (Stein et al. 2023, arXiv 2306.04675)."""

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_genae.data.dataset import Dataset
from lightning_genae.data.storage import to_float
from lightning_genae.evaluation.extractors._extractor import (
    Extractor,
    fetched,
    given_file,
    hash_file,
    load_state,
    to_rgb,
)

URL = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth"
SHA256 = "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428"
SIZES = {384: "small", 768: "base", 1024: "large"}  # by the number of features
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DinoFeatures(Extractor):
    """The class token, the network from timm.

    Args:
        dataset: not used.
        weights: path of the published dinov2_vits14_pretrain.pth, or that of vitb14 or vitl14. None: those of the
            large one, as in the paper of Stein et al., in torch's hub folder, fetched if they are not there.

    Raises:
        ImportError: timm is missing.
        ValueError: the weights cannot be fetched, or are damaged or of another network.
        FileNotFoundError: there is no such file.
    """

    takes_weights = True
    is_large = True
    modalities = ("image",)

    def __init__(self, dataset: Dataset, weights: str | None = None):
        try:
            import timm
        except ImportError as error:
            raise ImportError('--metrics.features: dinov2 needs timm; pip install -e ".[pretrained]"') from error
        path = given_file(weights) if weights else fetched(URL, SHA256, "DINOv2")
        network = _from_file(timm, path)
        description = {
            "extractor": f"dinov2 {SIZES[network.num_features]}",
            "weights": hash_file(path),
            "resize": "224x224, bicubic, antialiased",
        }
        super().__init__(network, network.num_features, _prepare, description, batch_size=50)


def _from_file(timm: ModuleType, path: Path) -> Any:  # its VisionTransformer, of a package that may be missing
    state = load_state(path, "DINOv2")
    try:
        size = SIZES[state["cls_token"].shape[-1]]
        network = timm.create_model(f"vit_{size}_patch14_dinov2", pretrained=False, img_size=224, num_classes=0)
        network.load_state_dict(timm.models.vision_transformer.checkpoint_filter_fn(state, network))
    except (KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise ValueError(f"--metrics.weights: '{path}' does not hold DINOv2's weights, or is damaged") from error
    return network


def _prepare(images: Tensor) -> Tensor:
    x = to_rgb((to_float(images) + 1) / 2)
    x = F.interpolate(x, (224, 224), mode="bicubic", antialias=True).clamp(0, 1)
    mean, std = (torch.tensor(values, device=x.device)[:, None, None] for values in (MEAN, DEVIATION))
    return (x - mean) / std
