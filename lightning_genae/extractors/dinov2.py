"""DINOv2's vision transformer (arXiv 2304.07193), which judges as people do (Stein et al. 2023, arXiv 2306.04675)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_genae.cache import hash_weights
from lightning_genae.extractors._extractor import Extractor, given_file, hash_file, load_state, to_rgb
from lightning_genae.images import to_float

SIZES = {384: "small", 768: "base", 1024: "large"}  # by the number of features
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DinoFeatures(Extractor):
    """The class token, the network from timm.

    Args:
        datamodule: not used.
        weights: path of the published dinov2_vits14_pretrain.pth, or that of vitb14 or vitl14. None: those of the
            large one, as in the paper of Stein et al., are fetched by timm.

    Raises:
        ValueError: timm is missing, or the weights are missing, damaged or of another network.
        FileNotFoundError: there is no such file.
    """

    takes_weights = True
    sees_images_alone = True

    def __init__(self, datamodule, weights: str | None = None):
        try:
            import timm
        except ImportError as error:
            raise ValueError('--metrics.features: dinov2 needs timm; pip install -e ".[pretrained]"') from error
        options = {"img_size": 224, "num_classes": 0}
        if weights:
            network, content = _from_file(timm, weights, options), hash_file(given_file(weights))
        else:
            try:
                network = timm.create_model("vit_large_patch14_dinov2.lvd142m", pretrained=True, **options)
            except Exception as error:  # the hub's client raises many kinds
                raise ValueError(
                    "--metrics.weights: DINOv2's weights could not be fetched; fetch dinov2_vitl14_pretrain.pth on a "
                    "machine with internet and give its path"
                ) from error
            content = hash_weights(network)
        description = {
            "extractor": f"dinov2 {SIZES[network.num_features]}",
            "weights": content,
            "resize": "224x224, bicubic, antialiased",
        }
        super().__init__(network, network.num_features, _prepare, description, batch_size=50)


def _from_file(timm, weights: str, options: dict):
    path = given_file(weights)
    state = load_state(path, "DINOv2")
    try:
        size = SIZES[state["cls_token"].shape[-1]]
        network = timm.create_model(f"vit_{size}_patch14_dinov2", pretrained=False, **options)
        network.load_state_dict(timm.models.vision_transformer.checkpoint_filter_fn(state, network))
    except (KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise ValueError(f"--metrics.weights: '{path}' does not hold DINOv2's weights, or is damaged") from error
    return network


def _prepare(images: Tensor) -> Tensor:
    x = to_rgb((to_float(images) + 1) / 2)
    x = F.interpolate(x, (224, 224), mode="bicubic", antialias=True).clamp(0, 1)
    mean, deviation = (torch.tensor(values, device=x.device)[:, None, None] for values in (MEAN, DEVIATION))
    return (x - mean) / deviation
