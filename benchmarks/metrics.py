"""Metrics: what they say of real images that are spoilt, and what an evaluation costs beside other libraries.

    python benchmarks/metrics.py            writes metrics/README.md
    python benchmarks/metrics.py --only cost

Images are Fashion-MNIST's. The costs are of Frechet distance and KID of 10,000 samples against 10,000 real images in
EfficientNet's features, each library in a process of its own, one after the other.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

NUM_SPOILT, NUM_COST = 2000, 10_000
SUBSETS = {"kid_subsets": 20, "kid_subset_size": 500}
LIBRARIES = ("ours", "torchmetrics", "torch-fidelity")
LIMIT = 0.35  # of the faster of the others


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["sanity", "cost"])
    parser.add_argument("--num", type=int, default=NUM_COST, help="images of the costs")
    parser.add_argument("--cache", default="runs/cache")
    parser.add_argument("--library", choices=LIBRARIES, help="measures one, for a process of its own")
    given = parser.parse_args()
    if given.library:
        print(*cost(given.library, given.num, given.cache))
        return
    # the costs first: processes that are measured would begin with this one's peak memory
    cost_table = [] if given.only == "sanity" else [*costs(given.num, given.cache), ""]
    sanity_table = [] if given.only == "cost" else [*sanity(given.cache), ""]
    text = "\n".join(["# What metrics say and what they cost", "", *sanity_table, *cost_table])
    print(text)
    if given.only is None:
        path = HERE / "metrics" / "README.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def sanity(cache: str) -> list[str]:
    """The table of real images, spoilt in more and more harmful ways."""
    from lightning_genae.evaluation.extractors import build
    from lightning_genae.evaluation.metrics import Samples
    from lightning_genae.evaluation.metrics.frechet import FrechetMetric
    from lightning_genae.evaluation.metrics.neighbours import prdc

    data = fashion(cache)
    sets = spoilt(data)
    names = ("classifier", "pixels", "efficientnet")
    lines = [
        f"Frechet distance of {NUM_SPOILT:,} real training images of Fashion-MNIST, as they are and spoilt, to the "
        "10,000 held-out ones, and their coverage. In each group of four every distance should lie above the one "
        "before. Pixel components do not see faint noise; a network that was trained on other images (EfficientNet) "
        "minds noise, which it does not know, more than a class that is missing.",
        "",
        f"| images | {' | '.join(f'{name}, FD | coverage' for name in names)} |",
        f"|---|{'---|---|' * len(names)}",
    ]
    cells: dict[str, list[str]] = {name: [] for name in sets}
    for name in names:
        extractor = build(name, None, data.dataset)
        real = extractor(data.dataset.heldout.images)
        metric = FrechetMetric(Samples(real))
        for key, images in sets.items():
            features = extractor(images)
            cells[key] += [f"{metric.measure(Samples(features))['fd']:.3g}", f"{prdc(real, features)['coverage']:.2f}"]
    return lines + [f"| {key} | {' | '.join(row)} |" for key, row in cells.items()]


def spoilt(data) -> dict:
    """Sets of images by what was done to them."""
    import torch
    from torchvision.transforms.functional import gaussian_blur

    images = data.dataset.train.images[:NUM_SPOILT]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))

    def noisy(deviation: float) -> torch.Tensor:
        return (images.float() + 255 * deviation * noise).round().clamp(0, 255).to(torch.uint8)

    def of_classes(num: int) -> torch.Tensor:
        return data.dataset.train.images[data.dataset.train.labels < num][:NUM_SPOILT]

    return {
        "as they are": images,
        "noise of 0.02 (images span 1)": noisy(0.02),
        "noise of 0.1": noisy(0.1),
        "noise of 0.3": noisy(0.3),
        "as they are ": images,
        "blurred by half a pixel": gaussian_blur(images, 7, 0.5),
        "blurred by a pixel": gaussian_blur(images, 7, 1.0),
        "blurred by two pixels": gaussian_blur(images, 13, 2.0),
        "as they are  ": images,
        "nine of ten classes": of_classes(9),
        "five of ten classes": of_classes(5),
        "one class": of_classes(1),
    }


def costs(num: int, cache: str) -> list[str]:
    """The table of what each library takes."""
    measured = {}
    for library in LIBRARIES:
        words = [sys.executable, __file__, "--library", library, "--num", str(num), "--cache", cache]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
        measured[library] = [float(word) for word in done.stdout.split()[-4:]]
    fastest = min(measured[library][0] for library in LIBRARIES[1:])
    lines = [
        f"Frechet distance and KID of {num:,} samples against {num:,} real images, EfficientNet's features, "
        f"{os.cpu_count()} cores, torch {version('torch')}. Ours has the real features in the cache, as in every run "
        f"after the first; at most {LIMIT} of the faster one of the others is wanted, under 2 GB.",
        "",
        "| library | seconds | of the faster other | peak memory, GB | FD | KID |",
        "|---|---|---|---|---|---|",
    ]
    for library, (seconds, memory, fd, kid) in measured.items():
        lines.append(f"| {library} | {seconds:.1f} | {seconds / fastest:.2f} | {memory:.2f} | {fd:.3f} | {kid:.5f} |")
    return lines


def cost(library: str, num: int, cache: str) -> tuple[float, float, float, float]:
    """Seconds, peak memory in GB, Frechet distance and KID."""
    from lightning_genae.evaluation.extractors.efficientnet import EfficientNetFeatures

    data = fashion(cache)
    extractor = EfficientNetFeatures(data.dataset) if library == "ours" else as_published(data.dataset)
    real, fake = data.dataset.heldout.images[:num], data.dataset.train.images[:num]
    measure = {"ours": ours, "torchmetrics": by_torchmetrics, "torch-fidelity": by_torch_fidelity}[library]
    seconds, fd, kid = measure(extractor, real, fake, cache)
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, fd, kid


def ours(extractor, real, fake, cache: str) -> tuple[float, float, float]:
    from lightning_genae.evaluation.evaluation import reference
    from lightning_genae.evaluation.metrics import Samples
    from lightning_genae.evaluation.metrics.frechet import FrechetMetric
    from lightning_genae.evaluation.metrics.kernel import KernelMetric

    reference(extractor, real, cache)
    start = time.perf_counter()
    known = reference(extractor, real, cache)
    samples = Samples(extractor(fake))
    values = FrechetMetric(known).measure(samples) | KernelMetric(known).measure(samples)
    return time.perf_counter() - start, values["fd"], values["kid"]


def by_torchmetrics(extractor, real, fake, cache: str) -> tuple[float, float, float]:
    """Its default way: each metric passes all images through the network by itself."""
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    extractor.forward = forward_of_batch(extractor)
    metrics = (
        FrechetInceptionDistance(extractor),
        KernelInceptionDistance(extractor, subsets=SUBSETS["kid_subsets"], subset_size=SUBSETS["kid_subset_size"]),
    )
    start = time.perf_counter()
    for images, is_real in ((real, True), (fake, False)):
        for part in images.split(extractor.batch_size):
            for metric in metrics:
                metric.update(part, real=is_real)
    fd, (kid, _) = (metric.compute() for metric in metrics)
    return time.perf_counter() - start, float(fd), float(kid)


def by_torch_fidelity(extractor, real, fake, cache: str) -> tuple[float, float, float]:
    import torch
    import torch_fidelity
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    class Features(FeatureExtractorBase):
        def __init__(self, name, features_list, **options):
            super().__init__(name, features_list)
            self.inner = extractor

        @staticmethod
        def get_provided_features_list():
            return ("features",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric):
            return "features"

        @staticmethod
        def can_be_compiled():
            return False

        @staticmethod
        def get_dummy_input_for_compile():
            return torch.zeros(1, 1, 28, 28, dtype=torch.uint8)

        def forward(self, images):
            return (self.inner(images),)

    class Bytes(torch.utils.data.Dataset):
        def __init__(self, images):
            self.images = images

        def __len__(self):
            return len(self.images)

        def __getitem__(self, i):
            return self.images[i]

    name = f"ours-{time.monotonic_ns()}"  # a second one of the same name is refused
    torch_fidelity.register_feature_extractor(name, Features)
    start = time.perf_counter()
    values = torch_fidelity.calculate_metrics(
        input1=Bytes(fake),
        input2=Bytes(real),
        feature_extractor=name,
        batch_size=extractor.batch_size,
        cuda=False,
        fid=True,
        kid=True,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
        **SUBSETS,
    )
    seconds = time.perf_counter() - start
    return seconds, values["frechet_inception_distance"], values["kernel_inception_distance_mean"]


def forward_of_batch(extractor):
    """The extractor's network on one batch, without collecting."""
    return lambda images: extractor.network(extractor.prepare(images))


def as_published(dataset):
    """EfficientNet as one gets it from timm, with ours's preparation; in the memory format that suits a CPU."""
    import torch

    from lightning_genae.evaluation.extractors.efficientnet import EfficientNetFeatures, published

    extractor = EfficientNetFeatures(dataset)
    network, _ = published()
    network.classifier = torch.nn.Identity()
    extractor.network = network.to(memory_format=torch.channels_last).requires_grad_(False)
    extractor.batch_size = 250
    return extractor


def fashion(cache: str):
    """Fashion-MNIST, set up."""
    from datamodules.fashion_mnist import FashionMNISTDataModule

    data = FashionMNISTDataModule()
    data.cache_dir = cache
    data.prepare_data()
    data.setup()
    return data


if __name__ == "__main__":
    main()
