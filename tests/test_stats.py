"""The tests and intervals that the report rests on, against scipy and against counting."""

import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats

from karma.evals import stats


def two_models(n=60, seed=0, gain=0.2):
    rng = np.random.default_rng(seed)
    base = rng.normal(size=n)
    return base + gain + 0.3 * rng.normal(size=n), base, [str(i) for i in range(n)]


def test_the_bootstrap_equals_scipys_percentile_interval_within_its_noise():
    first, second, groups = two_models(n=200)
    ours = stats.bootstrap(first, second, groups, resamples=20_000, seed=1)
    theirs = scipy_stats.bootstrap(
        (first - second,), np.mean, method="percentile", n_resamples=20_000, rng=2
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.05 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.05 * width)
    assert ours == stats.bootstrap(first, second, groups, resamples=20_000, seed=1)


def test_items_of_one_source_are_resampled_together_so_copies_add_no_certainty():
    first, second, groups = two_models()
    once = stats.bootstrap(first, second, groups, resamples=2000, seed=1)
    copied = stats.bootstrap(
        np.repeat(first, 5), np.repeat(second, 5), np.repeat(groups, 5), resamples=2000, seed=1
    )
    assert copied == pytest.approx(once)


def test_the_bootstrap_is_the_same_however_its_resamples_are_split(monkeypatch):
    first, second, groups = two_models()
    whole = stats.bootstrap(first, second, groups, resamples=500, seed=3)
    monkeypatch.setattr(stats, "_BLOCK", 1000)
    assert stats.bootstrap(first, second, groups, resamples=500, seed=3) == whole


def test_one_source_gives_no_interval():
    with pytest.raises(ValueError, match="two groups"):
        stats.bootstrap(np.ones(3), np.zeros(3), ["a"] * 3, resamples=100, seed=0)
    with pytest.raises(ValueError, match="two groups"):
        stats.proportion(np.ones(3), ["a"] * 3)


@pytest.mark.parametrize(("right", "n"), [(0, 25), (1, 25), (12, 40), (40, 40)])
def test_the_interval_of_a_share_is_wilsons(right, n):
    values = np.array([1.0] * right + [0.0] * (n - right))
    theirs = scipy_stats.binomtest(right, n).proportion_ci(method="wilson")
    ours = stats.proportion(values, [str(i) for i in range(n)])
    assert ours == pytest.approx((theirs.low, theirs.high))
    assert 0 <= ours.low < ours.high <= 1


def test_copies_of_an_item_make_a_share_no_surer():
    values = np.array([1.0] * 12 + [0.0] * 28)
    groups = [str(i) for i in range(40)]
    once = stats.proportion(values, groups)
    copied = stats.proportion(np.repeat(values, 5), np.repeat(groups, 5))
    assert copied == pytest.approx(once, abs=0.01)
    wrong = stats.proportion(np.zeros(200), np.repeat(groups, 5))
    assert wrong == pytest.approx(stats.proportion(np.zeros(40), groups))


def test_a_share_is_of_answers_that_are_right_or_wrong():
    with pytest.raises(ValueError, match="right"):
        stats.proportion(np.array([0.5, 1.0]), ["a", "b"])


def test_a_few_groups_of_one_size_get_students_interval():
    first, second, groups = two_models(n=8)
    theirs = scipy_stats.ttest_1samp(first - second, 0.0).confidence_interval()
    assert stats.bootstrap(first, second, groups, resamples=100, seed=0) == pytest.approx(theirs)


def test_a_step_across_the_ideal_is_no_step_towards_it():
    first, second, groups = two_models(n=80, gain=0.0)
    above, below = (v - v.mean() for v in (first, second))
    raw = stats.bootstrap(above + 0.3, below - 0.3, groups, resamples=500, seed=0)
    assert raw.low > 0.4
    for shift, other, nearer in ((0.3, -0.3, 0.0), (0.1, -0.9, 0.8), (0.9, 0.1, -0.8)):
        low, high = stats.bootstrap_nearer(
            above + shift, below + other, groups, 0.0, resamples=500, seed=0
        )
        assert low < nearer < high
        assert (low > 0, high < 0) == (nearer > 0, nearer < 0)


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says():
    hits = 0
    for seed in range(300):
        first, second, groups = two_models(n=80, seed=seed, gain=0.1)
        low, high = stats.bootstrap(first, second, groups, resamples=500, seed=seed)
        hits += low <= 0.1 <= high
    assert 0.90 <= hits / 300 <= 0.98


def test_the_exact_permutation_test_equals_scipys():
    first, second, groups = two_models(n=9)
    theirs = scipy_stats.permutation_test(
        (first, second),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    ).pvalue
    assert stats.permutation(first, second, groups, resamples=512, seed=0) == pytest.approx(theirs)


def test_the_drawn_permutation_test_is_near_the_exact_one_and_never_zero():
    first, second, groups = two_models(n=14)
    exact = stats.permutation(first, second, groups, resamples=2**14, seed=0)
    drawn = stats.permutation(first, second, groups, resamples=2**14 - 1, seed=0)
    assert drawn == pytest.approx(exact, abs=0.01)
    p = stats.permutation(np.ones(5000), np.zeros(5000), range(5000), resamples=99, seed=0)
    assert p == pytest.approx(0.01)


def test_signs_are_flipped_by_source():
    values = np.array([1.0, 1.0, 1.0, 1.0, -1.0, -1.0])
    groups = ["a", "a", "b", "b", "c", "c"]
    sums = [2.0, 2.0, -2.0]
    flips = [abs(np.dot(s, sums)) for s in itertools.product([-1, 1], repeat=3)]
    expected = np.mean(np.array(flips) >= 2.0)
    assert stats.permutation(values, 0 * values, groups, resamples=100, seed=0) == expected


def test_two_equal_models_do_not_differ():
    same = np.array([1.0, 0.0, 1.0])
    groups = ["a", "b", "c"]
    assert stats.permutation(same, same, groups, resamples=100, seed=0) == 1.0
    assert stats.mcnemar_midp(same, same) == 1.0
    assert stats.bootstrap(same, same, groups, resamples=100, seed=0) == (0.0, 0.0)


@pytest.mark.parametrize(("wins", "losses"), [(8, 2), (0, 6), (3, 4), (5, 5), (1, 0)])
def test_mcnemars_mid_p_is_the_exact_one_less_half_of_what_was_observed(wins, losses):
    first = np.array([1.0] * wins + [0.0] * losses + [1.0, 0.0])
    second = np.array([0.0] * wins + [1.0] * losses + [1.0, 0.0])
    exact = scipy_stats.binomtest(wins, wins + losses).pvalue
    outcomes = 1 if wins == losses else 2  # as extreme as this one: its mirror image too
    point = outcomes * scipy_stats.binom.pmf(wins, wins + losses, 0.5)
    assert stats.mcnemar_midp(first, second) == pytest.approx(exact - point / 2)


def test_mcnemars_test_refuses_what_is_neither_right_nor_wrong():
    with pytest.raises(ValueError, match="right"):
        stats.mcnemar_midp(np.array([0.5]), np.array([1.0]))


def test_the_t_interval_equals_scipys():
    values = np.array([0.11, 0.02, 0.07, 0.13, -0.01])
    theirs = scipy_stats.ttest_1samp(values, 0.0)
    ours = stats.t_interval(values)
    expected = (values.mean(), *theirs.confidence_interval(), theirs.pvalue)
    assert ours == pytest.approx(expected)


def test_a_t_interval_needs_two_seeds_and_bears_seeds_that_agree():
    with pytest.raises(ValueError, match="two seeds"):
        stats.t_interval(np.array([1.0]))
    # Five seeds that agree to the digit are no proof of anything: flips of their signs give 1/16.
    assert stats.t_interval(np.full(5, 0.1)) == (pytest.approx(0.1), None, None, 0.0625)
    assert stats.t_interval(np.zeros(3)) == (0.0, None, None, 1.0)


def test_the_detectable_difference_is_found_as_often_as_was_asked():
    rng = np.random.default_rng(0)
    values = rng.normal(size=6)
    values = (values - values.mean()) / values.std(ddof=1)
    least = stats.detectable_over_seeds(values)
    drawn = rng.normal(least, 1.0, size=(4000, 6))
    found = scipy_stats.ttest_1samp(drawn, 0.0, axis=1)
    assert np.mean((found.pvalue < 0.05) & (found.statistic > 0)) == pytest.approx(0.8, abs=0.02)
    zero = np.zeros(400)
    first = rng.normal(size=400)
    error = scipy_stats.sem(first)
    groups = [str(i) for i in range(400)]
    # Of very many groups that of the normal distribution.
    assert stats.detectable(first, zero, groups) == pytest.approx(2.8016 * error, rel=5e-3)
    few = stats.detectable(first[:8], zero[:8], groups[:8])
    assert few == pytest.approx(stats.detectable_over_seeds(first[:8]))


def test_the_effect_size_is_the_mean_in_deviations_of_the_differences():
    first, second, groups = two_models()
    d = first - second
    assert stats.effect_size(first, second, groups) == pytest.approx(d.mean() / d.std(ddof=1))
    assert stats.effect_size(first, first, groups) is None
    assert stats.effect_over_seeds(d) == pytest.approx(d.mean() / d.std(ddof=1))
    assert stats.effect_over_seeds(np.ones(5)) is None


def test_what_has_no_spread_says_nothing_of_what_could_have_been_found():
    same = np.array([1.0, 0.0, 1.0])
    assert stats.detectable(same, same, ["a", "b", "c"]) is None
    assert stats.detectable_over_seeds(np.full(5, 0.1)) is None


def test_holms_p_values_are_those_of_the_paper():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.9, 0.8]) == [1.0, 1.0]
    assert stats.holm([]) == []


@pytest.mark.slow
@pytest.mark.long
def test_the_tests_keep_their_size_when_nothing_differs():
    rng = np.random.default_rng(0)
    trials, permuted, midp = 1000, 0, 0
    groups = [str(i) for i in range(40)]
    for seed in range(trials):
        a, b = rng.normal(size=(2, 40))
        permuted += stats.permutation(a, b, groups, resamples=199, seed=seed) <= 0.05
        a, b = (rng.random((2, 40)) < 0.6).astype(float)
        midp += stats.mcnemar_midp(a, b) <= 0.05
    highest = scipy_stats.binom.ppf(0.999, trials, 0.05)
    assert permuted <= highest
    assert midp <= highest


@pytest.mark.slow
@pytest.mark.long
def test_holm_keeps_the_familys_error_and_not_only_each_tests():
    rng = np.random.default_rng(2)
    trials, family, wrong = 1000, 8, 0
    for _ in range(trials):
        values = rng.normal(size=(family, 6))
        found = stats.holm([stats.t_interval(row).p for row in values])
        wrong += min(found) <= 0.05
    assert wrong <= scipy_stats.binom.ppf(0.999, trials, 0.05)


@pytest.mark.slow
@pytest.mark.long
def test_the_bootstrap_by_group_covers_the_truth_and_the_one_by_item_does_not():
    rng = np.random.default_rng(3)
    trials, hits, naive = 400, 0, 0
    groups = np.repeat([str(i) for i in range(60)], 3)
    alone = [str(i) for i in range(180)]
    for seed in range(trials):
        d = 0.2 + np.repeat(rng.normal(size=60), 3) + 0.3 * rng.normal(size=180)
        for names, count in ((groups, "hits"), (alone, "naive")):
            found = stats.bootstrap(d, np.zeros(180), names, resamples=500, seed=seed)
            inside = found.low <= 0.2 <= found.high
            hits, naive = hits + (inside and count == "hits"), naive + (inside and count == "naive")
    assert hits >= scipy_stats.binom.ppf(0.001, trials, 0.945)
    assert naive < 0.85 * trials


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("count", [stats.MIN_GROUPS, 10, 20, stats.FEW, 60])
def test_intervals_of_few_groups_cover_the_truth_as_often_as_those_of_many(count):
    rng = np.random.default_rng(4)
    trials, hits = 1000, 0
    for seed in range(trials):
        sizes = rng.integers(2, 5, size=count)
        groups = np.repeat([str(i) for i in range(count)], sizes)
        d = 0.2 + np.repeat(rng.normal(size=count), sizes) + rng.normal(size=len(groups))
        found = stats.bootstrap(d, np.zeros(len(d)), groups, resamples=500, seed=seed)
        hits += found.low <= 0.2 <= found.high
    # A mean of unequal groups is no mean of normal values: a little is lost with the fewest.
    low, high = scipy_stats.binom.ppf([0.001, 0.999], trials, [0.935, 0.955])
    assert low <= hits <= high


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("count", [stats.MIN_GROUPS, 20, 60])
@pytest.mark.parametrize("truth", [0.05, 0.3])
def test_intervals_of_a_share_cover_the_truth_by_group(count, truth):
    rng = np.random.default_rng(5)
    trials, hits = 2000, 0
    for _ in range(trials):
        sizes = rng.integers(2, 5, size=count)
        # Beta-binomial: items of one group agree more often than those of two.
        chance = np.repeat(rng.beta(3 * truth, 3 * (1 - truth), size=count), sizes)
        groups = np.repeat([str(i) for i in range(count)], sizes)
        right = (rng.random(len(groups)) < chance).astype(float)
        found = stats.proportion(right, groups)
        hits += found.low <= truth <= found.high
    assert hits >= scipy_stats.binom.ppf(0.001, trials, 0.94)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("seeds", [5, 10])
def test_t_intervals_over_seeds_cover_the_truth(seeds):
    rng = np.random.default_rng(1)
    intervals = [stats.t_interval(rng.normal(0.3, 1.0, size=seeds)) for _ in range(2000)]
    hits = sum(i.low <= 0.3 <= i.high for i in intervals)
    low, high = scipy_stats.binom.ppf([0.001, 0.999], 2000, 0.95)
    assert low <= hits <= high
