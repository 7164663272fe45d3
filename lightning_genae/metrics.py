"""Frechet distance and KID of generated images, in the features of an injected extractor.

An extractor maps uint8 images (N, C, H, W) to features (N, num_features) in float32; its `description` is
what a number must be stored with to mean something.
"""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance
from tqdm import tqdm

from lightning_genae import networks
from lightning_genae.cache import cached, hash_weights, naming_damage, source

log = logging.getLogger("lightning_genae")
MAX_IMAGES = 2000  # for what compares every image with every other


class Extractor(nn.Module):
    """A frozen network with what describes it.

    Args:
        network: from images, prepared by `prepare`, to features (N, num_features).
        num_features: length of a feature vector.
        prepare: from uint8 images (N, C, H, W) to the network's input.
        description: name, hash of the weights, preprocessing; plain values.
    """

    def __init__(self, network: nn.Module, num_features: int, prepare: Callable[[Tensor], Tensor], description: dict):
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.num_features = num_features
        self.prepare = prepare
        self.description = description

    @torch.no_grad()
    def forward(self, images: Tensor, batch_size: int = 256) -> Tensor:
        device = next(iter(self.network.state_dict().values())).device
        parts = [self.network(self.prepare(part.to(device))).float().cpu() for part in images.split(batch_size)]
        return torch.cat(parts)


class Comparison:
    """Frechet distance (Heusel et al. 2017, arXiv 1706.08500) and KID (Binkowski et al. 2018, arXiv
    1801.01401, cubic kernel) between generated images and fixed sets of real ones, by torchmetrics.

    Args:
        extractor: of the features.
        references: real images, uint8 (N, C, H, W), by the suffix of their metrics' names: "" gives "fd" and
            "kid", "_train" gives "fd_train" and "kid_train". Their features are computed once, here.
    """

    def __init__(self, extractor: Extractor, references: dict[str, Tensor]):
        self.extractor = extractor
        self.real = {suffix: extractor(images) for suffix, images in references.items()}

    def __call__(self, fake: Tensor) -> dict[str, float]:
        """The metrics of generated images, uint8 (N, C, H, W)."""
        features = self.extractor(fake)
        values = {}
        for suffix, real in self.real.items():
            values[f"fd{suffix}"] = frechet_distance(real, features)
            values[f"kid{suffix}"] = kernel_distance(real, features)
        return values | dict(zip(("precision", "recall", "density", "coverage"), prdc(self.real[""], features)))


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Squared 2-Wasserstein distance of the gaussians with the moments of two sets of features (N, d)."""
    metric = FrechetInceptionDistance(feature=_Given(real.shape[1]), sync_on_compute=False)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return float(metric.compute())


def kernel_distance(real: Tensor, fake: Tensor, subset_size: int = 500, num_subsets: int = 20) -> float:
    """Unbiased squared MMD with the kernel (x.y / d + 1)^3, the mean over subsets drawn with a fixed seed."""
    subset_size = min(subset_size, len(real), len(fake))
    metric = KernelInceptionDistance(
        feature=_Given(real.shape[1]), subsets=num_subsets, subset_size=subset_size, sync_on_compute=False
    )
    metric.update(real, real=True)
    metric.update(fake, real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return float(metric.compute()[0])


def prdc(real: Tensor, fake: Tensor, num_neighbours: int = 5) -> tuple[float, float, float, float]:
    """Precision, recall (Kynkaanniemi et al. 2019, arXiv 1904.06991), density and coverage (Naeem et al. 2020,
    arXiv 2002.09797) of features (M, d) against real ones (N, d), of at most MAX_IMAGES each.

    Precision and density reward noise: read them beside recall and coverage.
    """
    real, fake = real[:MAX_IMAGES], fake[:MAX_IMAGES]

    def radius(x: Tensor) -> Tensor:
        # the first neighbour is the point itself
        return torch.cdist(x, x).kthvalue(min(num_neighbours + 1, len(x)), dim=1).values

    distances = torch.cdist(real, fake)
    in_real = distances < radius(real)[:, None]
    in_fake = distances < radius(fake)
    shares = in_real.any(0), in_fake.any(1), in_real.sum(0) / num_neighbours, in_real.any(1)
    return tuple(float(share.double().mean()) for share in shares)


def distance_to_nearest(images: Tensor, others: Tensor) -> float:
    """Root mean squared difference per pixel of stored images (N, C, H, W), in [-1, 1], to the nearest of others, on
    average; of at most MAX_IMAGES."""
    others = to_float(others).flatten(1)
    parts = images[:MAX_IMAGES].split(500)
    nearest = torch.cat([torch.cdist(to_float(part).flatten(1), others).min(1).values for part in parts])
    return float(nearest.mean() / others.shape[1] ** 0.5)


def to_uint8(images: Tensor) -> Tensor:
    """Images in [-1, 1], clamped, to uint8, as they would be stored."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def as_stored(images: Tensor) -> Tensor:
    """Images in [-1, 1] as a data set holds them: uint8, or float32 if they are points (H = W = 1)."""
    return images.float() if images.shape[2:] == (1, 1) else to_uint8(images)


def to_float(images: Tensor) -> Tensor:
    """Stored images to float32 in [-1, 1]; the inverse of `as_stored`."""
    return images if images.is_floating_point() else images.float() / 127.5 - 1


def as_input(model, images: Tensor) -> Tensor:
    """Stored images on a model's device and in its precision, in [-1, 1]."""
    return to_float(images.to(model.device)).to(model.dtype)


def draw(model, num: int, seed: int, label: int | None = None, batch_size: int = 500) -> Tensor:
    """Samples of a model as they are stored, uint8 (num, C, H, W) on the CPU, always the same for a seed.

    A label makes them all of that class.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sizes = [min(batch_size, num - start) for start in range(0, num, batch_size)]
        labels = [None if label is None else torch.full((size,), label, device=model.device) for size in sizes]
        return torch.cat([as_stored(model.sample(size, given)).cpu() for size, given in zip(sizes, labels)])


def extractor(name: str | None, weights: str | None, datamodule) -> Extractor:
    """The extractor of a name.

    Args:
        name: "classifier", "inception" or "pixels". None: classifier for images with labels, else pixels.
        weights: path of Inception's weights; None fetches them.
        datamodule: of the images, after its setup.
    """
    are_points = datamodule.image_shape[1:] == (1, 1)
    name = name or ("classifier" if datamodule.num_classes and not are_points else "pixels")
    if are_points and name != "pixels":
        raise ValueError(f"--metrics.features: expected pixels for points; got {name}")
    if weights and name != "inception":
        raise ValueError(f"--metrics.weights: goes with --metrics.features inception, not with {name}")
    if name == "classifier":
        return classifier(datamodule)
    if name == "pixels":
        return pixels(datamodule.train_split.images)
    if name == "inception":
        return inception(weights)
    raise ValueError(f"--metrics.features: expected classifier, inception or pixels; got '{name}'")


def classifier(datamodule, num_steps: int = 800) -> Extractor:
    """A small convolutional classifier, trained once on the whole training split with a fixed seed.

    Its features are the 64 activations before the last layer, divided by one number, their mean standard
    deviation over the training split, so that distances of different data sets have one scale.

    Args:
        datamodule: with `train_split`, `heldout`, `num_classes`, `image_shape` and `cache_dir`.
        num_steps: batches of 128 images that it learns from.
    """
    if not datamodule.num_classes:
        raise ValueError(
            "--metrics.features: classifier needs labels, but the data has none; expected pixels or inception"
        )
    num_features, train, heldout = 64, datamodule.train_split, datamodule.heldout
    key = {"data": train.fingerprint, "num_steps": num_steps, "source": source(networks, sys.modules[__name__])}

    def new_network() -> nn.Sequential:
        encoder = networks.encoder(datamodule.image_shape, num_features, "conv", width=16)
        return nn.Sequential(encoder, nn.ReLU(), nn.Linear(num_features, datamodule.num_classes))

    def build(path: Path) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = new_network().to("cuda" if torch.cuda.is_available() else "cpu")
            _train_classifier(network, train, num_steps)
        network = network.cpu()
        with torch.no_grad():
            scale = torch.cat([network[:2](to_float(part)) for part in train.images.split(500)]).std(0).mean()
            logits = torch.cat([network(to_float(part)) for part in heldout.images.split(500)])
        accuracy = (logits.argmax(1) == heldout.labels).double().mean().item()
        torch.save({"network": network.state_dict(), "scale": scale, "accuracy": accuracy}, path)

    path = cached(datamodule.cache_dir, "classifier", key, build)
    network = new_network()
    with naming_damage("--cache", path):
        state = torch.load(path, weights_only=True)
        network.load_state_dict(state["network"])
    features = nn.Sequential(*network[:2], _Divide(state["scale"]))
    description = {
        "extractor": "classifier",
        "weights": hash_weights(features),
        "accuracy_heldout": state["accuracy"],
        "resize": "none",
    }
    return Extractor(features, num_features, to_float, description)


def pixels(train: Tensor, max_features: int = 64) -> Extractor:
    """The pixels' principal components over the training images; nothing to train, and no labels needed.

    Args:
        train: uint8 images (N, C, H, W); at most the first 5,000 are used.
        max_features: number of components at most.
    """
    flat = to_float(train[:5000]).flatten(1).numpy()
    pca = PCA(min(max_features, *flat.shape), svd_solver="full").fit(flat)
    linear = nn.Linear(flat.shape[1], len(pca.components_))
    weight, bias = torch.from_numpy(pca.components_), -torch.from_numpy(pca.components_ @ pca.mean_)
    linear.load_state_dict({"weight": weight, "bias": bias})
    network = nn.Sequential(nn.Flatten(), linear)
    description = {"extractor": "pixels", "weights": hash_weights(network), "resize": "none"}
    return Extractor(network, linear.out_features, to_float, description)


def inception(weights: str | None = None) -> Extractor:
    """The Inception network of FID (arXiv 1706.08500) as torch-fidelity has it, 2048 features.

    Args:
        weights: path of torch-fidelity's weights-inception-2015-12-05-6726825d.pth. None: the file in
            torch's hub folder, which is fetched if it is not there.

    Raises:
        ValueError: torch-fidelity is missing, or the weights are missing, damaged or of another network.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
    except ImportError as error:
        raise ValueError('--metrics.features: inception needs torch-fidelity; pip install -e ".[inception]"') from error
    path = Path(weights) if weights else Path(torch.hub.get_dir(), "checkpoints", Path(URL_INCEPTION_V3).name)
    if weights and not path.is_file():
        raise FileNotFoundError(f"--metrics.weights: expected a file of weights, got '{path}', which is none")
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(URL_INCEPTION_V3, str(path), hash_prefix="6726825d", progress=False)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"--metrics.weights: Inception's weights could not be fetched ({error}); fetch {URL_INCEPTION_V3} on a "
            "machine with internet and give its path"
        ) from error
    try:
        # torch-fidelity unpickles the file without restriction: only what loads as plain tensors may reach it
        torch.load(path, weights_only=True)
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ValueError(f"--metrics.weights: '{path}' does not hold Inception's weights, or is damaged") from error
    description = {
        "extractor": "inception",
        "weights": hash_weights(network),
        "resize": "299x299, bilinear as in TensorFlow 1, no antialiasing",
    }
    return Extractor(_First(network), 2048, _to_rgb, description)


class _Given(nn.Module):
    """torchmetrics' extractor for features that are computed already."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


class _Divide(nn.Module):
    def __init__(self, scale: Tensor):
        super().__init__()
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        return x / self.scale


class _First(nn.Module):
    """The first output of a network that returns a tuple."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)[0]


def _train_classifier(network: nn.Module, train, num_steps: int) -> None:
    log.info(f"Training the classifier whose features measure the samples, on {len(train.images):,} images")
    device = next(network.parameters()).device
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = OneCycleLR(optimizer, 2e-3, total_steps=num_steps)
    bar = tqdm(range(num_steps), desc="classifier", unit="batch", mininterval=0.5)
    for _ in bar:
        chosen = torch.randint(len(train.images), (128,))
        images, labels = train.images[chosen].to(device), train.labels[chosen].to(device)
        loss = F.cross_entropy(network(to_float(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _to_rgb(images: Tensor) -> Tensor:
    return images.expand(-1, 3, -1, -1)
