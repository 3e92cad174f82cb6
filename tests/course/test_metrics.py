"""Damage is what it says, scores from counts per image equal the library's, and figures show both."""

import numpy as np
import pandas as pd
import pytest
import torch
from partlib_course import metrics
from partlib_course.metrics import DAMAGES, SCORE_NAMES, PerImageCounts, degrade, per_image_counts

from partlib.metrics import PartScores, contingency_table, keypoint_regression_error
from tests.course.test_widgets import change


@pytest.fixture(scope="module")
def truth(tiny_birds):
    return torch.stack([sample.parts for sample in tiny_birds[1]])


@pytest.mark.parametrize("damage", DAMAGES)
def test_more_strength_is_farther_from_the_truth_and_the_foreground_stays(truth, damage):
    found = [degrade(truth.to(torch.uint8), damage, s) for s in (0, 0.34, 0.67, 1)]
    assert torch.equal(found[0], truth)
    assert all(torch.equal(f > 0, truth > 0) and f.dtype == torch.uint8 for f in found)
    nmi = [PartScores().update(f.long(), truth).compute()["fg_nmi"] for f in found]
    assert nmi[0] > nmi[1] + 3 > nmi[3] + 6
    assert nmi == sorted(nmi, reverse=True)
    assert torch.equal(found[1], degrade(truth.to(torch.uint8), damage, 0.34))


def test_merging_leaves_one_part_and_only_joins(truth):
    assert set(degrade(truth, "merge parts", 1.0).unique().tolist()) == {0, 1}
    table = contingency_table(degrade(truth, "merge parts", 0.5), truth)
    assert bool(((table > 0).sum(1) <= 1).all())  # every annotated part lies in one found part


def test_splitting_never_joins_and_cuts_every_part_in_four(truth):
    table = contingency_table(degrade(truth, "split parts", 1.0), truth)
    assert bool(((table > 0).sum(0) <= 1).all())  # every found part lies in one annotated part
    assert bool(((table[1:] > 0).sum(1) == 4).all())


def test_cores_stay_inside_their_part_and_shrink_to_a_fiftieth():
    labels = torch.ones(1, 40, 40, dtype=torch.long)
    labels[:, :, 20:] = 2
    found = degrade(labels, "cores only", 1.0)
    for k in (1, 2):
        inside = (found == k) & (labels == k)
        assert int((found == k).sum()) == int(inside.sum())
        assert 0.01 < float(inside.sum()) / float((labels == k).sum()) < 0.03
    assert abs(float(torch.nonzero(found[0] == 1)[:, 1].float().mean()) - 9.5) < 0.6


def test_blocks_are_constant_inside_the_object():
    labels = torch.randint(1, 4, (2, 16, 16), generator=torch.Generator().manual_seed(0))
    found = degrade(labels, "coarse blocks", 1.0)  # blocks of a quarter, 4 pixels
    blocks = found.view(2, 4, 4, 4, 4)  # (N, h, 4, w, 4)
    assert bool((blocks == blocks[:, :, :1, :, :1]).all())


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_image_without_an_object_is_left_alone(truth, damage):
    labels = torch.cat([truth[:1], torch.zeros_like(truth[:1])])
    assert not bool(degrade(labels, damage, 1.0)[1].any())


@pytest.fixture(scope="module")
def counted(tiny_birds):
    """Counts of the annotation and of halves, and the labels of the halves."""
    labels = [torch.stack([s.parts for s in dataset]) for dataset in tiny_birds]
    halves = [((torch.arange(32) < 16).long() + 1).expand_as(t) * (t > 0) for t in labels]
    train, test = tiny_birds
    return [per_image_counts(found[0], train, found[1], test) for found in (labels, halves)], halves


def test_scores_equal_those_of_all_images_at_once(counted, tiny_birds, truth):
    (_, ours), halves = counted
    for name, value in PartScores().update(halves[1], truth).compute().items():
        assert abs(ours.scores()[name] - value) < 1e-9
    of_train, of_test = (
        (metrics.centers_of(h, 2), metrics.keypoints_of(d)) for h, d in zip(halves, tiny_birds, strict=True)
    )
    wanted = keypoint_regression_error(*of_train, *of_test, tiny_birds[1].image_size)
    assert abs(ours.scores()["error"] - wanted) < 1e-6


def test_repeated_images_count_repeatedly(counted):
    one, pick = counted[0][1], np.array([0, 0, 3])
    table = 2 * one.tables[0] + one.tables[3]
    twice = PerImageCounts(table[None], one.distances[pick].sum()[None], one.counts[pick].sum()[None]).scores()
    assert all(abs(twice[k] - v) < 1e-9 for k, v in one.scores(pick).items())


def test_curves_are_the_scores_of_the_images_themselves(counted):
    drawn = []
    for damage in DAMAGES:
        for strength, one in enumerate(counted[0]):
            rows = [one.scores(), one.scores(np.array([0, 0]))]
            drawn += [{"damage": damage, "strength": strength, **row} for row in rows]
    figure = metrics.damage_curves(drawn)
    assert [ax.get_title() for ax in figure.axes] == list(DAMAGES)
    line = figure.axes[0].lines[0].get_ydata()
    assert line.tolist() == pytest.approx([one.scores()["fg_nmi"] for one in counted[0]])


def test_yardsticks_have_a_mark_for_every_result_and_its_k():
    frame = pd.DataFrame({"family": ["one", "two", "two"], "K": [4, 4, 8], "error": 5.0, "fg_nmi": 1.0, "fg_ari": 2.0})
    figure = metrics.yardsticks({"above": frame, "below": frame}, written=True)
    assert len(figure.axes) == 4
    assert [text.get_text() for text in figure.axes[0].texts] == ["4", "4", "8"]
    assert sum(len(marks.get_offsets()) for marks in figure.axes[0].collections) == 3
    legends = [part.legends[0] for part in figure.subfigs]
    assert [text.get_text() for text in legends[1].get_texts()] == ["one", "two"]
    assert not metrics.yardsticks({"above": frame}).axes[0].texts


def test_tables_are_written_below_toy_segmentations(truth):
    target = truth[0, 14:18, 14:18].clamp(min=1)
    written = [text.get_text() for ax in metrics.toy_figure(target, {"equal": target}).axes for text in ax.texts]
    assert str(int((target == target.max()).sum())) in written


@pytest.fixture(scope="module")
def explorer(tiny_birds):
    return metrics.damage_explorer(*tiny_birds)


@pytest.mark.parametrize("values", [{"strength": 1.0}, {"damage": "split parts"}], ids=["strength", "damage"])
def test_each_control_changes_the_picture(explorer, values):
    explorer.controls["damage"].value, explorer.controls["strength"].value = "random pixels", 0.5
    assert change(explorer, **values) > 0.5


def test_the_bars_show_every_score_and_the_static_figure_every_damage(explorer):
    bars = explorer.draw(damage="merge parts", strength=0.0).axes[-1]
    assert [tick.get_text().replace("\n", " ") for tick in bars.get_yticklabels()] == list(SCORE_NAMES.values())
    assert bars.patches[0].get_width() == pytest.approx(100)
    assert {ax.get_title() for ax in explorer.static.axes} >= {"annotated", *DAMAGES}
