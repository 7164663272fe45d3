"""Cheap gates before long runs: what codes know of what is measured, and whether they can choose among samples.

    python benchmarks/autoencoder_wins/gates.py RUN...      finished runs of the base, whose seeds differ

`knows`: the share of the variance of the measuring features, of held-out images, that a ridge regression on codes
explains. A use that matches codes can only change what they know.

`resampled`: the Frechet distance of 10,000 samples that were accepted out of 30,000 by the ratio of densities of real
and generated codes, over that of 10,000 samples as they come. The ratio is a logistic regression's, in the codes and
their products, fitted on the training images and other samples, its penalty by cross-validation. Controls: the codes of
PCA and of an untrained encoder, and the critic's own score.

`source`: the share of variations of training images whose nearest training image, by pixels, is the one that they are
variations of: 1 where they stay by their source.

`nearer`: the Frechet distance of the training images and a variation of each to held-out images, over that of the
training images alone: below 1 where the variations show something of what the training images lack.

`told`: how well the run's critic tells training from held-out images when it sees variations of both, as the area
under the ROC curve of its scores: 0.5 where it cannot. Variations before the critic are to bring it there.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import geometric_mean

import numpy as np
import torch
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from genae_candidates.codes import Codes, fitted
from genae_candidates.discrete import Discrete

from lightning_genae.commands.build import build_datamodule
from lightning_genae.commands.runs import load_model, open_run
from lightning_genae.data.dataset import Dataset
from lightning_genae.data.storage import blocks, to_float
from lightning_genae.evaluation.extractors import Extractor, build
from lightning_genae.evaluation.metrics.frechet import frechet_distance
from lightning_genae.evaluation.sampling import draw

KINDS = [
    (encoder, layer, num) for encoder in ("ae", "pca", "untrained") for layer, num in (("code", 16), ("hidden", 64))
]
NUM, FACTOR, NUM_FIT = 10_000, 3, 2_000
Vary = Callable[[Tensor], Tensor]
# augmentations and their options, by what the table calls them
VARIATIONS: dict[str, tuple[str, dict]] = {
    "nothing": ("none", {}),
    "diffaug": ("diffaug", {}),
    "ae": ("ae", {}),
    "ae, decode": ("ae", {"detail": "decode"}),
    "ae, adversarial": ("ae", {"autoencoder": "vaegan"}),
    "ae, masked": ("ae", {"autoencoder": {"name": "ae", "network": "conv", "noise": "masking", "noise_level": 0.5}}),
    "pca": ("pca", {}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "gates.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, float]] = []
    for path in given.runs:
        rows.append(measured(path))
        print(path, {name: round(value, 3) for name, value in rows[-1].items()}, flush=True)
    table = {
        name: {"mean": geometric_mean(row[name] for row in rows), "runs": [row[name] for row in rows]}
        for name in rows[0]
    }
    given.out.write_text(json.dumps(table, indent=1) + "\n")


def measured(path: str) -> dict[str, float]:
    """The values of both gates for a run, by name."""
    folder, config = open_run(path)
    dataset = build_datamodule(config).dataset
    assert dataset is not None
    extractor = build(None, None, dataset)
    model = load_model(folder, config)
    samples = draw(model, NUM * FACTOR + NUM_FIT, seed=1)
    features = embedded(extractor, samples)
    real = embedded(extractor, dataset.heldout.images)
    first, candidates = samples[:NUM_FIT], features[NUM_FIT:]
    plain = frechet_distance(real, candidates[:NUM])
    values = {"distance as they come": plain}
    for encoder, layer, num in KINDS:
        codes = Codes(encoder, layer, num, dataset)
        name = f"{encoder} {layer} {num}"
        values[f"knows, {name}"] = knows(codes, dataset, extractor)
        if layer == "code":
            ratio = log_ratio(codes.bank, codes.of(first), codes.of(samples[NUM_FIT:]))
            values[f"resampled, {name}"] = frechet_distance(real, candidates[accepted(ratio)]) / plain
    with torch.no_grad():
        scores = torch.cat([model.critic(to_float(part)) for part in blocks(samples[NUM_FIT:], 500)])
    values["resampled, critic's score"] = frechet_distance(real, candidates[accepted(scores)]) / plain
    for name, vary in variations(dataset).items():
        values[f"source, {name}"] = nearest_is_source(vary, dataset.train.images)
        values[f"nearer, {name}"] = nearer(vary, dataset, extractor, real)
        values[f"told, {name}"] = told(vary, model.critic, dataset)
    return values


def variations(dataset: Dataset) -> dict[str, Vary]:
    """Functions from images (B, C, H, W) in [-1, 1] to a variation of each, by name."""
    found: dict[str, Vary] = {}
    for name, (kind, options) in VARIATIONS.items():
        augmentation = fitted(kind, options, dataset)
        found[name] = lambda images, augmentation=augmentation: augmentation.vary(images, None)
    discrete = Discrete(dataset.image_shape, 1, 1, False)
    discrete.fraction = 1.0
    discrete.fit(None, dataset)
    return found | {"discrete": discrete.transform}


@torch.no_grad()
def varied(vary: Vary, images: Tensor) -> Tensor:
    """Variations (N, C, H, W) in [-1, 1] of stored images (N, C, H, W); the same at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.cat([vary(to_float(part)) for part in blocks(images, 500)])


def nearest_is_source(vary: Vary, images: Tensor) -> float:
    """The share of stored images (N, C, H, W) to whose variations no other of them is nearer, by pixels."""
    distances = torch.cdist(varied(vary, images).flatten(1), to_float(images).flatten(1))
    return float((distances.argmin(1) == torch.arange(len(images))).float().mean())


@torch.no_grad()
def nearer(vary: Vary, dataset: Dataset, extractor: Extractor, real: Tensor) -> float:
    """The ratio of the distances of training images with and without variations to the features (N, d) of real ones."""
    images = dataset.train.images
    features = embedded(extractor, images)
    copies = embedded(extractor, dataset.modality.as_stored(varied(vary, images)))
    return frechet_distance(real, torch.cat([features, copies])) / frechet_distance(real, features)


@torch.no_grad()
def told(vary: Vary, critic: Callable[[Tensor], Tensor], dataset: Dataset) -> float:
    """The area under the ROC curve of a critic's scores of variations of training against held-out images."""
    scores = [
        torch.cat([critic(part) for part in varied(vary, images).split(500)])
        for images in (dataset.train.images, dataset.heldout.images)
    ]
    known = np.repeat([1, 0], [len(part) for part in scores])
    return float(roc_auc_score(known, torch.cat(scores).numpy()))


@torch.no_grad()
def embedded(extractor: Extractor, images: Tensor) -> Tensor:
    """Features (N, num_features) of stored images (N, C, H, W)."""
    return torch.cat([extractor(part) for part in blocks(images, 500)])


def knows(codes: Codes, dataset: Dataset, extractor: Extractor) -> float:
    """R^2 of the features of held-out images, predicted from their codes; fitted on 5,000 images of the pool."""
    pool, heldout = dataset.pool.images[:5000], dataset.heldout.images[:5000]
    x, x_test = (codes.of(images).numpy() for images in (pool, heldout))
    y, y_test = (embedded(extractor, images).numpy() for images in (pool, heldout))
    fitted = RidgeCV(alphas=np.logspace(-2, 4, 7)).fit(x, y)
    return float(r2_score(y_test, fitted.predict(x_test), multioutput="variance_weighted"))


def log_ratio(real: Tensor, fake: Tensor, new: Tensor) -> Tensor:
    """The logarithm of the ratio of densities of real and generated codes (N, d), at new ones."""
    steps = (PolynomialFeatures(2, include_bias=False), StandardScaler())
    regression = LogisticRegressionCV(
        Cs=np.logspace(-4, 0, 5),
        cv=5,
        scoring="neg_log_loss",
        class_weight="balanced",
        max_iter=300,
    )
    pipeline: Pipeline = make_pipeline(*steps, regression)
    pipeline.fit(torch.cat([real, fake]).numpy(), np.r_[np.ones(len(real)), np.zeros(len(fake))])
    return torch.from_numpy(pipeline.decision_function(new.numpy())).float()


def accepted(log_ratio: Tensor) -> Tensor:
    """Indices of NUM candidates, each accepted with a probability in proportion to its ratio, at most 1."""
    weights = (log_ratio - log_ratio.max()).exp().double()
    low, high = 0.0, float(weights.max())
    for _ in range(60):  # the cap at which NUM are accepted on average
        cap = (low + high) / 2
        low, high = (cap, high) if float((weights / cap).clamp(max=1).sum()) > NUM else (low, cap)
    probabilities = (weights / high).clamp(max=1)
    return torch.multinomial(probabilities, NUM, generator=torch.Generator().manual_seed(0))


if __name__ == "__main__":
    main()
