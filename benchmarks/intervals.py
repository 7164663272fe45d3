"""Whether intervals of Frechet distance and KID hold what they say, and the bias of `fd_infinity`.

python benchmarks/intervals.py          writes metrics/intervals.md; half an hour on one core
"""

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

SETTINGS = [(4, 200, 200), (4, 1000, 1000), (16, 200, 200), (16, 200, 4000), (16, 1000, 1000), (64, 500, 500)]
SETTINGS += [(64, 500, 10_000), (64, 2000, 2000), (64, 50, 500)]
KINDS = ("equal", "shifted", "scaled", "skewed")
RATIOS = (2, 3, 4, 6, 8)


def draw(kind: str, num: int, d: int, generator: torch.Generator) -> torch.Tensor:
    """Features (num, d) of unequal deviations: as the real ones, or moved, wider by 1.3, or skewed."""
    x = torch.randn(num, d, generator=generator) * torch.linspace(1.5, 0.3, d)
    return {
        "equal": x,
        "shifted": x + 0.3,
        "scaled": 1.3 * x,
        "skewed": torch.nn.functional.softplus(2 * x) / 1.2 - 0.6,
    }[kind]


def coverage(metric_class, name: str, d: int, num: int, num_real: int, kind: str, repeats: int) -> str:
    """Share of 95 % intervals that hold the mean value of such sets."""
    from lightning_genae.evaluation.metrics import Samples

    generator = torch.Generator().manual_seed(d * num)
    metric = metric_class(Samples(draw("equal", num_real, d, generator)))
    truth = np.mean([metric.measure(Samples(draw(kind, num, d, generator)))[name] for _ in range(2 * repeats)])
    bounds = [metric.interval(Samples(draw(kind, num, d, generator))) for _ in range(repeats)]
    return f"{100 * np.mean([one[f'{name}_low'] <= truth <= one[f'{name}_high'] for one in bounds]):.1f}"


def bias(d: int, ratio: int, kind: str, repeats: int) -> str:
    """Of `fd_infinity`, in per cent of the value, with its Monte Carlo error."""
    from lightning_genae.evaluation.metrics import Samples
    from lightning_genae.evaluation.metrics.frechet import FrechetMetric

    generator = torch.Generator().manual_seed(0)
    metric = FrechetMetric(Samples(draw("equal", 20 * d, d, generator)))
    wide = (torch.linspace(1.5, 0.3, d).double() * (1.3 if kind == "scaled" else 1)).square().diag()
    far = torch.full((d,), 0.3 if kind == "shifted" else 0.0).double()
    mixed = torch.linalg.eigvalsh(metric.root @ wide @ metric.root).clamp(min=0).sqrt().sum()
    truth = float((far - metric.mean).square().sum() + metric.variance + wide.trace() - 2 * mixed)
    num = ratio * d * metric.largest_over_smallest
    values = [metric._at_infinity(draw(kind, num, d, generator)) for _ in range(repeats)]
    error = np.std(values) / repeats**0.5
    return f"{100 * (np.mean(values) / truth - 1):+.1f} ± {100 * error / truth:.1f}"


def main() -> None:
    from lightning_genae.evaluation.metrics.frechet import FrechetMetric
    from lightning_genae.evaluation.metrics.kernel import KernelMetric

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1000)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    head = [f"| {' | '.join(['dimensions', 'samples', 'real', *KINDS])} |", f"|{'---|' * 7}"]
    error = 100 * (0.95 * 0.05 / given.repeats) ** 0.5
    lines = [
        "# Intervals and limits of metrics, by simulation",
        "",
        f"Of {given.repeats:,} sets of samples the per cent",
    ]
    lines[-1] += f" whose 95 % interval holds the mean over such sets, each ± {error:.1f}. Frechet distance:"
    for metric, name, settings, repeats in (
        (FrechetMetric, "fd", SETTINGS, given.repeats),
        (KernelMetric, "kid", SETTINGS[:3], max(100, given.repeats // 5)),
    ):
        if name == "kid":
            lines += ["", f"KID, of {repeats:,} sets, ± {100 * (0.95 * 0.05 / repeats) ** 0.5:.1f}:"]
        lines += ["", *head]
        for d, num, num_real in settings:
            cells = [coverage(metric, name, d, num, num_real, kind, repeats) for kind in KINDS]
            lines.append(f"| {d} | {num} | {num_real} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    lines += [
        "",
        "Bias of `fd_infinity` in per cent of the value, by how many times the dimensions its smallest set has:",
    ]
    lines += ["", f"| dimensions | times | {' | '.join(KINDS[:3])} |", "|---|---|---|---|---|"]
    for d in (16, 64):
        for ratio in RATIOS:
            cells = [bias(d, ratio, kind, max(30, given.repeats // 10)) for kind in KINDS[:3]]
            lines.append(f"| {d} | {ratio} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    HERE.joinpath("metrics", "intervals.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
