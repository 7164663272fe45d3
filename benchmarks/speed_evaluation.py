"""What an evaluation of 10,000 samples takes beside torchmetrics and torch-fidelity, in the same features.

    python benchmarks/speed_evaluation.py     three minutes on two cores

By the functions of benchmarks/metrics.py: Frechet distance and KID in EfficientNet's features, of 10,000 images against
10,000 real ones. The others get the network as timm builds it, in the memory format that suits a CPU. Ours has the real
features in its cache, as in every run after the first; what it takes without them, as the others do, is in the note.
"""

import tempfile

import metrics
from speed_table import Row
from speed_turns import Turn, by_turns

NUM = 10_000


def rows(rounds: int = 1, share: float = 1.0) -> list[Row]:
    """The row of an evaluation, with one round by default, because one takes minutes.

    Args:
        rounds: how many.
        share: of the samples.
    """
    with tempfile.TemporaryDirectory() as cache:
        options = {"num": max(metrics.SUBSETS["kid_subset_size"], int(NUM * share)), "cache": cache}
        names = {library: library for library in metrics.LIBRARIES} | {"ours, nothing cached": "nothing cached"}
        contenders = {name: {"function": evaluate, "library": library, **options} for name, library in names.items()}
        times = by_turns(contenders, rounds)
    seconds = {name: time.seconds for name, time in times.items()}
    fastest = min(seconds[library] for library in metrics.LIBRARIES[1:])
    note = f"{seconds['ours, nothing cached'] / fastest:.2f} without cached features of real images"
    cpu = {name: time.cpu[0] for name, time in times.items()}
    of_cpu = cpu["ours"] / min(cpu[library] for library in metrics.LIBRARIES[1:])
    return [Row("evaluation", seconds["ours"] / fastest, seconds, note, rounds, of_cpu)]


def evaluate(turn: Turn, library: str, num: int, cache: str) -> None:
    """A contender: a library, or ours without what it keeps of real images."""
    from lightning_genae.evaluation.extractors.efficientnet import EfficientNetFeatures

    data = metrics.fashion(cache)
    others = library in metrics.LIBRARIES[1:]
    extractor = metrics.as_published(data.dataset) if others else EfficientNetFeatures(data.dataset)
    real, fake = data.dataset.heldout.images[:num], data.dataset.train.images[:num]
    contenders = {
        "ours": metrics.ours,
        "torchmetrics": metrics.by_torchmetrics,
        "torch-fidelity": metrics.by_torch_fidelity,
        "nothing cached": nothing_cached,
    }
    warming = slice(metrics.SUBSETS["kid_subset_size"])
    contenders[library](extractor, real[warming], fake[warming], cache)
    if library == "ours":
        contenders[library](extractor, real, fake, cache)  # the features of real images go into the cache
    while True:
        turn()
        contenders[library](extractor, real, fake, cache)


def nothing_cached(extractor, real, fake, cache: str) -> tuple[float, float, float]:
    """As `metrics.ours`, with an empty cache."""
    with tempfile.TemporaryDirectory() as empty:
        return metrics.ours(extractor, real, fake, empty)


if __name__ == "__main__":
    for row in rows():
        print(row)
