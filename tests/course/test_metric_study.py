"""Scores from counts per image equal those of the library on all images at once; the bootstrap brackets them."""

import numpy as np
import pytest
import torch
from partlib_course.metric_study import (
    Judged,
    bootstrap,
    centers_of,
    judge,
    keypoints_of,
    ordered_fraction,
    rank_correlation,
)

from partlib.errors import DataError
from partlib.keypoints import keypoint_regression_error
from partlib.metrics import PartScores


@pytest.fixture(scope="module")
def sets(tiny_birds):
    truth = [torch.stack([s.parts for s in dataset]) for dataset in tiny_birds]
    halves = [((torch.arange(32) < 16).long() + 1).expand_as(t) * (t > 0) for t in truth]
    return tiny_birds, truth, halves


def judged(sets, which: int) -> Judged:
    (train, test), *labels = sets
    return judge(labels[which][0], train, labels[which][1], test)


def test_scores_equal_the_pooled_ones(sets):
    _, truth, halves = sets
    ours = judged(sets, 1).scores()
    pooled = PartScores().update(halves[1], truth[1]).compute()
    assert all(abs(ours[name] - value) < 1e-9 for name, value in pooled.items())


def test_error_equals_the_librarys(sets):
    (train, test), _, halves = sets
    wanted = keypoint_regression_error(
        centers_of(halves[0], 2), keypoints_of(train), centers_of(halves[1], 2), keypoints_of(test), test.image_size
    )
    assert abs(judged(sets, 1).scores()["error"] - wanted) < 1e-6


def test_repeated_images_count_repeatedly(sets):
    one = judged(sets, 1)
    pick = np.array([0, 0, 3])
    table = 2 * one.tables[0] + one.tables[3]
    twice = Judged(table[None], one.distances[pick].sum()[None], one.counts[pick].sum()[None]).scores()
    assert all(abs(twice[k] - v) < 1e-9 for k, v in one.scores(pick).items())


def test_bootstrap_brackets_the_value_and_a_constant_has_no_spread(sets):
    both = [judged(sets, 0), judged(sets, 1)]
    value, low, high = bootstrap(both, lambda s: s[1]["fg_nmi"], draws=60)
    assert low - 1 < value < high + 1
    assert high - low > 0.1
    assert bootstrap(both, lambda s: s[0]["fg_nmi"], draws=10) == pytest.approx((100, 100, 100))


def test_bootstrap_refuses_different_test_sets(sets):
    one = judged(sets, 1)
    fewer = Judged(one.tables[:2], one.distances[:2], one.counts[:2])
    with pytest.raises(DataError, match="different numbers of images"):
        bootstrap([one, fewer], lambda s: 0.0)


def test_rank_correlation_ignores_monotone_changes():
    values = [1.0, 5.0, 2.0, 9.0]
    assert rank_correlation(values, [v**3 for v in values]) == pytest.approx(1)
    assert rank_correlation(values, [-v for v in values]) == pytest.approx(-1)


@pytest.mark.parametrize(
    ("values", "higher", "expected"),
    [([3, 2, 1], True, 1.0), ([3, 2, 1], False, 0.0), ([2, 2], True, 0.5), ([3, 1, 2], True, 2 / 3)],
)
def test_ordered_fraction_counts_pairs(values, higher, expected):
    assert ordered_fraction(values, higher) == pytest.approx(expected)


def test_labels_of_another_size_are_refused(sets):
    (train, test), truth, _ = sets
    with pytest.raises(DataError, match="training labels"):
        judge(truth[0][:2], train, truth[1], test)
    with pytest.raises(DataError, match="at least two"):
        ordered_fraction([1.0])
