"""NMI, ARI, streaming counts, part centers and keypoint protocols."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from sklearn.linear_model import LinearRegression

from partlib.metrics import (
    KeypointRegression,
    PartScores,
    ari,
    contingency_table,
    keypoint_labels,
    keypoint_regression_error,
    nmi,
    part_centers,
    part_share,
)
from partlib.paper.protocols import keypoint_labels_release, part_centers_evaluation
from tests import plain


def label_maps(seed, shape=(6, 20, 24), parts=4, classes=7, agreement=0.5):
    """Random predictions (0..parts) and targets (0..classes) that agree on a fraction of the pixels."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, classes + 1, shape, generator=generator)
    noise = torch.randint(0, parts + 1, shape, generator=generator)
    same = torch.rand(shape, generator=generator) < agreement
    return torch.where(same, target % (parts + 1), noise), target


def exact_ari(table):
    """ARI in rational arithmetic, from the pair-counting definition of Hubert and Arabie."""

    def pairs(values):
        return sum(Fraction(int(n) * (int(n) - 1), 2) for n in values)

    table = np.asarray(table, dtype=object)
    index, rows, columns = pairs(table.ravel()), pairs(table.sum(1)), pairs(table.sum(0))
    expected = rows * columns / pairs([table.sum()])
    return (index - expected) / ((rows + columns) / 2 - expected)


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_scikit_learn(seed):
    prediction, target = label_maps(seed, agreement=seed / 5)
    scores = PartScores().update(prediction, target).compute()
    p, t = prediction.numpy().ravel(), target.numpy().ravel()
    for prefix, keep in (("fg_", t > 0), ("", t >= 0)):
        expected = sklearn_metrics.normalized_mutual_info_score(t[keep], p[keep])
        assert scores[f"{prefix}nmi"] == pytest.approx(100 * expected, rel=1e-9, abs=1e-9)
        expected = sklearn_metrics.adjusted_rand_score(t[keep], p[keep])
        assert scores[f"{prefix}ari"] == pytest.approx(100 * expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("prediction", "target"),
    [
        ([1, 1, 1], [1, 1, 1]),
        ([1, 1, 1], [1, 2, 3]),
        ([1, 2, 3], [1, 1, 1]),
        ([1, 2, 3], [1, 2, 3]),
        ([], []),
        ([1], [1]),
    ],
)
def test_corner_cases_equal_scikit_learn(prediction, target):
    table = contingency_table(torch.tensor(prediction, dtype=torch.long), torch.tensor(target, dtype=torch.long))
    assert nmi(table) == pytest.approx(sklearn_metrics.normalized_mutual_info_score(target, prediction))
    assert ari(table) == pytest.approx(sklearn_metrics.adjusted_rand_score(target, prediction))


def test_independent_clusterings_score_zero():
    table = np.outer([3, 5, 7], [2, 11, 13])
    assert nmi(table) == 0.0
    assert abs(ari(table)) < 0.02


@pytest.mark.parametrize("seed", range(4))
def test_ari_of_tables_with_billions_of_pixels_equals_rational_arithmetic(seed):
    rng = np.random.default_rng(seed)
    table = rng.integers(10**8, 10**10, size=(11, 5))
    table[:5] += np.diag(rng.integers(10**9, 10**11, size=5))
    assert table.sum() > 10**9
    assert ari(table) == pytest.approx(float(exact_ari(table)), rel=1e-13)
    assert nmi(table) == pytest.approx(nmi(table * 1000), rel=1e-12)  # NMI depends on proportions only


def test_streaming_equals_all_at_once():
    prediction, target = label_maps(1)
    streamed, whole = PartScores(), PartScores().update(prediction, target)
    for p, t in zip(prediction, target, strict=True):
        streamed.update(p, t)
    assert torch.equal(streamed.table, whole.table)
    assert streamed.compute() == whole.compute()
    assert int(whole.table.sum()) == target.numel()


def test_counts_do_not_depend_on_the_chunk_or_the_dtype(monkeypatch):
    prediction, target = label_maps(2)
    whole = contingency_table(prediction, target)
    for dtype in (torch.uint8, torch.int16, torch.int32):
        assert torch.equal(contingency_table(prediction.to(dtype), target.to(dtype)), whole)
    monkeypatch.setattr("partlib.metrics.CPU_CHUNK", 97)
    assert torch.equal(contingency_table(prediction, target), whole)


@pytest.mark.parametrize("largest", [14, 15, 180, 181, 300])
def test_counts_are_right_where_the_narrow_type_is_full(largest):
    """(largest + 1)^2 cells around the limits of 8 and 16 bits."""
    corner = torch.tensor([0, largest, largest - 1])
    table = contingency_table(corner, corner)
    assert table.shape == (largest + 1, largest + 1)
    assert int(table[largest, largest]) == 1 == int(table[largest - 1, largest - 1])
    assert int(table.sum()) == 3


def test_table_grows_with_the_labels():
    scores = PartScores().update(torch.tensor([1]), torch.tensor([2])).update(torch.tensor([5]), torch.tensor([0]))
    assert scores.table.shape == (3, 6)
    assert int(scores.table[2, 1]) == 1 == int(scores.table[0, 5])


def test_added_tables_of_any_size_equal_the_whole():
    prediction, target = label_maps(3)
    halves = [PartScores().update(prediction[s], target[s]) for s in (slice(0, 2), slice(2, 6))]
    halves[0].update(torch.tensor([4]), torch.tensor([9]))
    whole = PartScores().update(prediction, target).update(torch.tensor([4]), torch.tensor([9]))
    for first, second in (halves, reversed(halves)):
        total = PartScores().add(first.table).add(second.table)
        assert torch.equal(total.table, whole.table)


def test_renaming_parts_changes_nothing():
    prediction, target = label_maps(4)
    renamed = torch.tensor([0, 3, 1, 4, 2])[prediction]
    before, after = (PartScores().update(p, target).compute() for p in (prediction, renamed))
    assert after == pytest.approx(before, rel=1e-12)


def test_perfect_parts_score_100_and_constant_parts_0():
    _, target = label_maps(5)
    assert PartScores().update(target, target).compute() == pytest.approx(
        dict.fromkeys(("fg_nmi", "fg_ari", "nmi", "ari"), 100)
    )
    constant = PartScores().update((target > 0).long(), target).compute()
    assert constant["fg_nmi"] == 0 == constant["fg_ari"]


def test_foreground_scores_ignore_predictions_off_the_target():
    prediction, target = label_maps(6)
    other = torch.where(target == 0, 1, prediction)
    before, after = (PartScores().update(p, target).compute() for p in (prediction, other))
    assert after["fg_nmi"] == before["fg_nmi"]
    assert after["nmi"] != before["nmi"]


def test_nothing_to_compare_is_not_a_perfect_score():
    scores = PartScores().update(torch.zeros(4, dtype=torch.long), torch.zeros(4, dtype=torch.long)).compute()
    assert np.isnan(scores["fg_nmi"])
    assert np.isnan(scores["fg_ari"])
    assert scores["nmi"] == 100


@pytest.mark.parametrize("wrong", [torch.zeros(3), torch.tensor([-1, 0, 0]), torch.tensor([0, 0, 70000])])
def test_what_is_no_label_is_not_counted(wrong):
    with pytest.raises(AssertionError, match="expected integers from 0 to 1023"):
        PartScores().update(wrong, torch.zeros(3).long())
    with pytest.raises(AssertionError, match="expected integers from 0 to 1023"):
        PartScores().update(torch.zeros(3).long(), wrong)


def test_part_share_is_the_division_of_the_predicted_foreground():
    labels = torch.tensor([[0, 0, 1, 1], [1, 3, 0, 0]])
    assert part_share(labels, 4).tolist() == [0.75, 0, 0.25, 0]
    assert part_share(torch.zeros(2, 2).long(), 3).tolist() == [0, 0, 0]
    with pytest.raises(AssertionError, match="expected integers from 0 to 2"):
        part_share(labels, 2)


def test_part_center_of_a_rectangle_is_its_middle():
    maps = torch.zeros(1, 2, 10, 16)
    maps[0, 0, 2:5, 6:11] = 0.5  # rows 2..4, columns 6..10
    centers = part_centers(maps)
    assert centers[0, 0].tolist() == [8, 3]
    assert centers[0, 1].tolist() == [7.5, 4.5]  # an empty part: the middle of the image
    torch.testing.assert_close(part_centers_evaluation(maps)[0, 0], torch.tensor([9.0, 4.0]))
    assert plain.part_centers_training(maps)[0, 1].tolist() == [0, 0]
    tiny = plain.part_centers_training(maps * 1e-3)[0, 0]  # mass under one pixel: pulled towards the corner
    assert tiny[0] < 1


def test_part_centers_move_with_the_part():
    generator = torch.Generator().manual_seed(0)
    maps = torch.zeros(2, 3, 24, 24)
    maps[:, :, 4:12, 4:12] = torch.rand(2, 3, 8, 8, generator=generator)
    moved = maps.roll((5, 3), dims=(2, 3))
    torch.testing.assert_close(part_centers(moved), part_centers(maps) + torch.tensor([3.0, 5.0]))


def planted_keypoints(images, seed, noise=0.0):
    """Centers, and keypoints that are a linear function of them; some keypoints are invisible and hold nonsense."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(20, 100, (images, 4, 2))
    mixing = np.random.default_rng(99).normal(size=(6, 8, 2)) / 4
    places = np.einsum("nd,mdc->nmc", centers.reshape(images, 8), mixing) + 30
    places += noise * rng.normal(size=places.shape)
    visible = rng.random((images, 6)) < 0.7
    places[~visible] = 1e6
    return centers, np.concatenate([places, visible[..., None]], axis=-1)


def test_linear_keypoints_are_found_exactly():
    train, test = planted_keypoints(80, 0), planted_keypoints(30, 1)
    model = KeypointRegression().fit(*train)
    visible = test[1][..., 2] > 0
    assert np.abs(model.predict(test[0]) - test[1][..., :2])[visible].max() < 0.5
    assert keypoint_regression_error(*train, *test, train_boxes=128) < 0.3


def test_regression_equals_scikit_learns_of_every_keypoint():
    centers, keypoints = planted_keypoints(50, 2, noise=10)
    model = KeypointRegression().fit(centers, keypoints)
    predicted = model.predict(centers)
    for k in range(6):
        seen = keypoints[:, k, 2] > 0
        x, y = centers[seen].reshape(-1, 8), keypoints[seen, k, :2]
        standard = (x - x.mean(0)) / x.std(0)
        plain = LinearRegression(fit_intercept=False).fit(standard, (y - y.mean(0)) / y.std(0))
        np.testing.assert_allclose(predicted[seen, k], plain.predict(standard) * y.std(0) + y.mean(0), rtol=1e-9)


def test_error_is_in_percent_of_the_box_side():
    train, test = planted_keypoints(60, 3, noise=8), planted_keypoints(40, 4, noise=8)
    error = keypoint_regression_error(*train, *test, train_boxes=128)
    assert keypoint_regression_error(*train, *test, train_boxes=64) == pytest.approx(2 * error)
    boxes = [np.tile([7.0, 7.0, 128.0, 128.0], (n, 1)) for n in (60, 40)]
    assert keypoint_regression_error(*train, *test, *boxes) == pytest.approx(error)


def test_keypoint_never_seen_in_training_is_left_out():
    train, test = planted_keypoints(60, 7), planted_keypoints(40, 8)
    train[1][:, 2, 2] = 0
    assert KeypointRegression().fit(*train).fitted.tolist() == [True, True, False, True, True, True]
    assert keypoint_regression_error(*train, *test, train_boxes=128) < 0.3


def test_a_dead_part_does_not_break_the_regression():
    train, test = planted_keypoints(60, 9), planted_keypoints(40, 10)
    train[0][:, 1], test[0][:, 1] = 64, 64  # its centre never moves
    error = keypoint_regression_error(*train, *test, train_boxes=128)
    assert np.isfinite(error)
    assert error < 50


def test_keypoint_labels_read_the_pixel_below():
    labels = torch.arange(12).view(1, 3, 4)  # label = 4 y + x
    keypoints = torch.tensor([[[2.0, 1.0, 1.0], [0.4, 1.6, 1.0], [1.0, 1.0, 0.0], [9.0, 0.0, 1.0], [-3.0, 2.0, 1.0]]])
    predicted, target = keypoint_labels(labels, keypoints)
    assert predicted.tolist() == [6, 8, 0, 0]  # outside the image: background
    assert target.tolist() == [1, 2, 4, 5]  # the invisible third is left out
    predicted, _ = keypoint_labels_release(labels, keypoints - torch.tensor([0.2, 0.2, 0]))
    assert predicted.tolist()[0] == 1  # (2, 1) - 0.7 -> (1, 0)
