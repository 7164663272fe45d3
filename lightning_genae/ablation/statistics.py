"""Paired differences between arms over training seeds: intervals, exact p values, corrections, what could be seen.

Arms that share data, initialisation and order of batches for a seed differ in their factor alone, so the difference of
two runs of one seed is what is looked at; see Bouthillier et al. 2021 (arXiv 2103.03098) on variance between seeds.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

CONFIDENCE, POWER = 0.95, 0.8
MAX_EXACT = 12  # seeds: up to so many all 2^n signs are tried, for more 10,000 of them
NUM_RESAMPLES = 2000


class Summary(NamedTuple):
    """Of an arm's values over seeds.

    Attributes:
        mean: NaN without values.
        deviation: standard deviation (n - 1), NaN for fewer than two.
        low, high: of the mean's 95 % t interval.
        num: of seeds.
    """

    mean: float
    deviation: float
    low: float
    high: float
    num: int


class Difference(NamedTuple):
    """Of an arm to the baseline, seed by seed; NaN where there are too few seeds.

    Attributes:
        mean: arm minus baseline.
        low, high: 95 % interval by Student's t.
        bootstrap_low, bootstrap_high: 95 % interval by bootstrap over seeds; too narrow for few of them.
        p: two-sided, by all flips of the differences' signs; at least 2 / 2^num.
        p_holm: the same, corrected for the number of arms (Holm 1979).
        effect: mean over standard deviation of the differences (Cohen's d for pairs).
        smallest: difference that so many seeds would have seen in 80 of 100 studies, at a level of 5 %.
        num: of seeds that both have.
    """

    mean: float
    low: float
    high: float
    bootstrap_low: float
    bootstrap_high: float
    p: float
    p_holm: float
    effect: float
    smallest: float
    num: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the t interval does; nothing is called better or worse otherwise."""
        return self.low > 0 or self.high < 0


def summary(values: ArrayLike) -> Summary:
    """Mean, standard deviation and t interval of an arm's values (n,)."""
    values = np.asarray(values, float)
    num = len(values)
    if num < 2:
        return Summary(float(values[0]) if num else np.nan, np.nan, np.nan, np.nan, num)
    mean, deviation = values.mean(), values.std(ddof=1)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, num - 1) * deviation / num**0.5
    return Summary(float(mean), float(deviation), float(mean - half), float(mean + half), num)


def compare(arms: dict[str, dict[int, float]], baseline: dict[int, float]) -> dict[str, Difference]:
    """Differences of arms to a baseline over the seeds that both have.

    Args:
        arms: name to the values by seed.
        baseline: its values by seed.
    """
    differences = {
        name: np.array([values[seed] - baseline[seed] for seed in sorted(values.keys() & baseline.keys())])
        for name, values in arms.items()
    }
    p_values = {name: permutation_p(values) for name, values in differences.items()}
    corrected = dict(zip(p_values, holm(np.array(list(p_values.values())))))
    return {name: _difference(values, p_values[name], float(corrected[name])) for name, values in differences.items()}


def _difference(differences: NDArray, p: float, p_holm: float) -> Difference:
    mean, deviation, low, high, num = summary(differences)
    if num < 2:
        return Difference(mean, *[np.nan] * 4, p, p_holm, np.nan, np.nan, num)
    effect = mean / deviation if deviation > 0 else np.copysign(np.inf, mean) if mean else 0.0
    smallest = deviation * smallest_effect(num)
    return Difference(mean, low, high, *_bootstrap(differences), p, p_holm, float(effect), float(smallest), num)


def _bootstrap(differences: NDArray) -> tuple[float, float]:
    if np.ptp(differences) == 0:  # SciPy warns of it and gives NaN
        return float(differences[0]), float(differences[0])
    interval = stats.bootstrap(
        (differences,), np.mean, n_resamples=NUM_RESAMPLES, method="percentile", random_state=0
    ).confidence_interval
    return float(interval.low), float(interval.high)


def permutation_p(differences: NDArray) -> float:
    """Two-sided p of paired differences (n,) under all flips of their signs; of many seeds, under 10,000 of them."""
    if len(differences) < 2:
        return np.nan
    exact = len(differences) <= MAX_EXACT
    return float(
        stats.permutation_test(
            (differences,),
            lambda values, axis: values.mean(axis),
            permutation_type="samples",
            n_resamples=np.inf if exact else 10_000,
            vectorized=True,
            random_state=0,
        ).pvalue
    )


def holm(p_values: NDArray) -> NDArray:
    """p values (n,) that allow for their number (Holm 1979); NaN stays and does not count."""
    corrected = np.full(len(p_values), np.nan)
    order = [i for i in np.argsort(p_values) if not np.isnan(p_values[i])]
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


@cache
def smallest_effect(num: int) -> float:
    """Mean difference, in standard deviations of the differences, that a paired t test at 5 % sees with a power of 80 %
    with so many pairs (at least two)."""
    limit = stats.f.ppf(CONFIDENCE, 1, num - 1)  # t squared is F, and so two-sided
    return float(
        optimize.brentq(lambda effect: stats.ncf.sf(limit, 1, num - 1, num * effect**2) - POWER, 0.01, 30, xtol=1e-6)
    )
