"""Statistics of arms against SciPy and statsmodels on the same numbers, and by simulation."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from lightning_genae.ablation.statistics import compare, holm, permutation_p, smallest_effect, summary

RANDOM = np.random.default_rng(0)


def by_seed(values) -> dict[int, float]:
    return dict(enumerate(values))


def test_summary_against_scipy():
    values = RANDOM.normal(size=7)
    got = summary(values)
    interval = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    assert (got.low, got.high) == pytest.approx(interval)
    assert (got.mean, got.deviation, got.num) == (pytest.approx(values.mean()), pytest.approx(values.std(ddof=1)), 7)


def test_a_difference_against_scipy():
    baseline, arm = RANDOM.normal(size=8), RANDOM.normal(size=8) + 1
    got = compare({"arm": by_seed(arm)}, by_seed(baseline))["arm"]
    other = stats.ttest_rel(arm, baseline)
    assert got.mean == pytest.approx((arm - baseline).mean())
    assert (got.low, got.high) == pytest.approx(tuple(other.confidence_interval(0.95)))
    assert got.effect == pytest.approx(other.statistic / 8**0.5)
    half = RANDOM.choice(arm - baseline, (4000, 8)).mean(1)
    assert (got.bootstrap_low, got.bootstrap_high) == pytest.approx(np.quantile(half, [0.025, 0.975]), abs=0.1)
    assert got.excludes_zero == (got.p < 0.5 and got.low * got.high > 0)


def test_the_permutation_p_counts_flips_of_signs():
    assert permutation_p(np.array([1.0, 2.0, 3.0, 4.0, 5.0])) == pytest.approx(2 / 32)
    assert permutation_p(np.array([1.0, 2.0, -0.5])) == pytest.approx(4 / 8)  # flips of the smallest one are beyond
    differences = RANDOM.normal(0.3, 1, 11)
    signs = np.array(np.meshgrid(*[[-1, 1]] * 11)).reshape(11, -1)
    means = np.abs((differences[:, None] * signs).mean(0))
    assert permutation_p(differences) == pytest.approx((means >= abs(differences.mean()) - 1e-12).mean())


def test_holm_against_statsmodels():
    p_values = RANDOM.uniform(0, 0.2, 9)
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
    with_unknown = holm(np.array([0.01, np.nan, 0.04]))
    assert with_unknown == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)


@pytest.mark.parametrize("num", [3, 5, 20])
def test_the_smallest_effect_against_statsmodels(num):
    assert TTestPower().power(smallest_effect(num), num, 0.05) == pytest.approx(0.8, abs=1e-3)


def test_only_common_seeds_are_paired():
    got = compare({"arm": {0: 1.0, 2: 4.0, 3: 9.0}}, {0: 0.0, 1: 5.0, 2: 1.0})["arm"]
    assert (got.num, got.mean) == (2, 2.0)


@pytest.mark.parametrize("num", [0, 1])
def test_too_few_seeds_say_nothing(num):
    values = by_seed([1.0] * num)
    got = compare({"arm": values}, values)["arm"]
    assert got.num == num
    assert np.isnan([got.low, got.high, got.p, got.p_holm, got.smallest]).all()
    assert not got.excludes_zero


def test_equal_values_are_no_difference():
    got = compare({"arm": by_seed([1.0, 2.0, 3.0])}, by_seed([1.0, 2.0, 3.0]))["arm"]
    assert (got.mean, got.low, got.high, got.effect) == (0, 0, 0, 0)
    assert got.p == 1 and not got.excludes_zero


def test_under_no_difference_one_in_twenty_is_a_false_alarm():
    pairs = np.random.default_rng(1).normal(size=(4000, 2, 5))
    alarms = [compare({"arm": by_seed(arm)}, by_seed(baseline))["arm"].excludes_zero for arm, baseline in pairs[:1000]]
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.02)


def test_under_no_difference_one_study_in_twenty_is_a_false_alarm_after_holm():
    """Of five arms against one baseline any below 5 % counts; twelve seeds are enough for p values of that size."""
    random = np.random.default_rng(2)
    alarms = 0
    for _ in range(150):
        baseline, *arms = random.normal(size=(6, 9))
        p_values = np.array([permutation_p(arm - baseline) for arm in arms])
        alarms += holm(p_values).min() <= 0.05
    assert alarms / 150 < 0.05 + 2 * (0.05 * 0.95 / 150) ** 0.5
