"""Paired differences between arms over training seeds: intervals, p values, corrections, detectable differences.

Arms that share data, initialisation and order of batches for a seed differ only in their factor, so the differences
between runs of the same seed are tested; see Bouthillier et al. 2021 (arXiv 2103.03098) on variance between seeds.

A verdict follows from t tests corrected for the number of arms (Holm 1979), each made twice: with the arm's variance
and with the median of the variances of all arms (the typical spread). A few seeds whose values are close together by
chance have a large t, and among many arms this happens to some. Skewed differences make it more frequent than t
predicts, because most of them lie close together on one side of 0. The median is robust against this and, unlike the
mean of the variances, against a single unstable arm. Simulated with 20,000 tables each and 3, 5 and 8 seeds, the
fraction of tables with any false verdict at a level of 5 %:

    arms                                  1              2              5              13 to 15
    exchangeable with the baseline        0.049 to 0.052 0.018 to 0.030 0.018 to 0.025 0.011 to 0.018
    independent differences, skewness 1   0.064 to 0.065 0.021 to 0.038 0.019 to 0.031 0.008 to 0.018
    the same, Holm's t tests alone        0.062 to 0.068 0.066 to 0.075 0.067 to 0.090 0.067 to 0.116
    independent differences, skewness 2   0.104 to 0.117 0.051 to 0.058 0.051 to 0.065 0.016 to 0.033
    the same, Holm's t tests alone        0.106 to 0.118 0.134 to 0.154 0.172 to 0.228 0.200 to 0.358

The first row is of normal values, whose exact rate for a single arm is 0.05; skewed values have lower rates. The level
is exceeded for a single arm that changes the shape of the distribution and not its mean. No test can avoid that with so
few seeds: eight of eight exponential differences lie below their mean in one case of forty. An arm without effect, or
any other arm that is exchangeable with the baseline, has symmetric differences whatever the distribution of the values.
The second test costs almost no power: with 13 arms, 5 seeds and a difference of three standard deviations, 0.72 of the
tables show it with both tests, as with one.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

CONFIDENCE, LEVEL, POWER = 0.95, 0.05, 0.8
MAX_EXACT = 12  # seeds up to which all 2^n signs are tried; with more seeds 10,000 of them
NUM_RESAMPLES = 2000
ROUNDING = 1e-9  # relative: a smaller spread is rounding error


class Summary(NamedTuple):
    """Summary of an arm's values over seeds.

    Attributes:
        mean: NaN without values.
        std: standard std (n - 1), NaN for fewer than two.
        low, high: of the mean's 95 % t interval.
        num: of seeds.
    """

    mean: float
    std: float
    low: float
    high: float
    num: int


class Difference(NamedTuple):
    """Difference of an arm to the baseline, seed by seed; NaN where there are too few seeds or no spread.

    Attributes:
        mean: arm minus baseline; for ratios, the mean natural logarithm of arm over baseline.
        low, high: its 95 % interval by Student's t, not corrected for the number of arms.
        bootstrap_low, bootstrap_high: 95 % interval by bootstrap over seeds; too narrow for few of them.
        p: two-sided, of the paired t test of this arm alone.
        p_holm: the same, corrected for the number of arms (Holm 1979).
        p_typical: as p_holm, of t tests with the median of the variances of all arms.
        p_exact: two-sided, by all flips of the differences' signs; NaN if there are too few seeds to reach 5 %.
        effect: mean over standard std of the differences (Cohen's d for pairs).
        smallest: difference that this many seeds would show in 80 of 100 studies, at Holm's first step.
        num: of common seeds.
    """

    mean: float
    low: float
    high: float
    bootstrap_low: float
    bootstrap_high: float
    p: float
    p_holm: float
    p_typical: float
    p_exact: float
    effect: float
    smallest: float
    num: int

    @property
    def is_seen(self) -> bool:
        """Whether both corrected p values are at most 5 %; otherwise no difference is reported."""
        return self.p_holm <= LEVEL and self.p_typical <= LEVEL


class PValues(NamedTuple):
    """p values of arms (..., n), as in `Difference`; NaN where nothing can be tested."""

    p: NDArray
    p_holm: NDArray
    p_typical: NDArray


def summary(values: ArrayLike) -> Summary:
    """Mean, standard std and t interval of an arm's values (n,)."""
    values = np.asarray(values, float)
    num = len(values)
    if num < 2 or not np.isfinite(values).all():
        return Summary(float(np.sum(values) / num) if num else np.nan, np.nan, np.nan, np.nan, num)
    mean, std = values.mean(), values.std(ddof=1)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, num - 1) * std / num**0.5
    return Summary(float(mean), float(std), float(mean - half), float(mean + half), num)


def compare(
    arms: dict[str, dict[int, float]], baseline: dict[int, float], ratios: bool = False
) -> dict[str, Difference]:
    """Differences of arms to a baseline over their common seeds.

    Args:
        arms: name to the values by seed.
        baseline: its values by seed.
        ratios: compare the natural logarithms of the values, which must be positive.
    """
    differences = {name: paired(values, baseline, ratios) for name, values in arms.items()}
    found = p_values(list(differences.values()))
    num_tested = int(np.isfinite(found.p).sum())
    return {
        name: _difference(values, num_tested, *map(float, of_arm))
        for (name, values), of_arm in zip(differences.items(), zip(*found))
    }


def paired(values: dict[int, float], baseline: dict[int, float], ratios: bool = False) -> NDArray:
    """Differences (n,) over common seeds; set equal if they differ only by rounding. See `compare`."""
    seeds = sorted(values.keys() & baseline.keys())
    both = np.array([[of[seed] for seed in seeds] for of in (values, baseline)], float).reshape(2, -1)
    with np.errstate(invalid="ignore"):  # of values that are not finite
        differences = np.subtract(*(np.log(both) if ratios else both))
        largest = 1.0 if ratios else np.abs(both).max(initial=0)
        is_rounding = len(seeds) > 0 and np.ptp(differences) <= ROUNDING * largest
    return np.full(len(seeds), differences[0]) if is_rounding else differences


def has_spread(differences: NDArray) -> bool:
    """Whether paired differences (n,) can be tested: at least two, finite and not all equal."""
    return len(differences) > 1 and bool(np.isfinite(differences).all() and np.ptp(differences) > 0)


def p_values(differences: list[NDArray]) -> PValues:
    """Tests of arms' paired differences, (n,) each, against 0; arms without spread are not counted."""
    tested = np.array([has_spread(values) for values in differences], bool)
    found = PValues(*np.full((3, len(differences)), np.nan))
    some = [values for values, has in zip(differences, tested) if has]
    if some:
        moments = [(values.mean(), values.var(ddof=1), len(values)) for values in some]
        for all_arms, of_tested in zip(found, t_tests(*np.array(moments).T)):
            all_arms[tested] = of_tested
    return found


def t_tests(means: NDArray, variances: NDArray, nums: ArrayLike) -> PValues:
    """Tests of the arms of a table, or of many tables, (..., arms), against 0.

    Args:
        means: of each arm's paired differences.
        variances: of the differences (n - 1).
        nums: of seeds.
    """
    freedom = np.broadcast_to(np.subtract(nums, 1), means.shape)
    typical = np.median(variances, -1, keepdims=True)
    p = _t_test(means, variances / nums, freedom)
    return PValues(p, holm(p), holm(_t_test(means, typical / nums, freedom.sum(-1, keepdims=True))))


def _t_test(means: NDArray, squared_errors: NDArray, freedom: NDArray) -> NDArray:
    return 2 * stats.t.sf(np.abs(means) / np.sqrt(squared_errors), freedom)


def holm(uncorrected: NDArray) -> NDArray:
    """p values (..., n), corrected for their number n (Holm 1979).

    The same as `multipletests` of statsmodels, which takes one table per call and collects Python's garbage in each:
    0.18 s for 13 arms with the imports of a report, 0.8 s with torch, against 18 us. Simulations have thousands of
    tables.
    """
    order = np.argsort(uncorrected, -1)
    steps = np.take_along_axis(uncorrected, order, -1) * np.arange(uncorrected.shape[-1], 0, -1)
    corrected = np.empty_like(steps)
    np.put_along_axis(corrected, order, np.minimum(1, np.maximum.accumulate(steps, -1)), -1)
    return corrected


def _difference(differences: NDArray, num_tested: int, p: float, p_holm: float, p_typical: float) -> Difference:
    mean, std, low, high, num = summary(differences)
    if not has_spread(differences):
        return Difference(mean, *(np.nan,) * 10, num)
    p_exact = permutation_p(differences) if 2 / 2**num <= LEVEL else np.nan
    smallest = std * smallest_effect(num, LEVEL / num_tested)
    interval = _bootstrap(differences)
    return Difference(mean, low, high, *interval, p, p_holm, p_typical, p_exact, mean / std, smallest, num)


def _bootstrap(differences: NDArray) -> tuple[float, float]:
    interval = stats.bootstrap(
        (differences,), np.mean, n_resamples=NUM_RESAMPLES, method="percentile", random_state=0
    ).confidence_interval
    return float(interval.low), float(interval.high)


def permutation_p(differences: NDArray) -> float:
    """Two-sided p of paired differences (n,), at least two, under all flips of their signs, or 10,000 of them for many
    seeds. It is at least 2 / 2^n."""
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


@cache
def smallest_effect(num: int, level: float = LEVEL) -> float:
    """Mean difference, in standard deviations of the differences, that a paired t test with this many pairs (at
    least two) detects at a level with a power of 80 %.

    Computed with SciPy, because the solver of statsmodels' TTestPower returns wrong values for levels as small as
    Holm's for many arms. For 3 pairs and 4 arms it returns 5.00, where its power is 0.61; 6.55 is right.
    """
    limit = stats.f.ppf(1 - level, 1, num - 1)  # t squared is F, and so two-sided
    return float(
        optimize.brentq(lambda effect: stats.ncf.sf(limit, 1, num - 1, num * effect**2) - POWER, 0.01, 1e5, xtol=1e-6)
    )
