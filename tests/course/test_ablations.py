"""Ablations: runs differ in one thing, intervals hold the mean as often as they say, seeds are compared in pairs."""

import json
import math

import numpy as np
import pytest
import torch
from partlib_course import ablations
from partlib_course.ablations import ALL, CHANGES, STORED, boundary_scores, grid, interval, nearest_run, outcome

from partlib import TrainConfig
from tests.course.test_widgets import change

SMALL = TrainConfig(
    **{"views": 0, "lambda_visual_end": 0.0, "starts": 1, "steps": 2, "batch_size": 2, "eval_every": 0},
    **{"image_size": 32, "feature_size": 32, "num_images": 8},
)
SHOWN = [0, 1, 2]


def halves(column: int, size: int = 20) -> torch.Tensor:
    """One image: part 1 left of ``column``, part 2 right of it, background in the upper four rows."""
    labels = (torch.arange(size) >= column).long().repeat(1, size, 1) + 1  # (1, size, size)
    labels[:, :4] = 0
    return labels


def test_boundaries_lie_between_parts_and_distance_counts_pixels_from_them():
    found = ablations.boundary_pixels(halves(10))[0]
    assert found[4:, 9:11].all()
    assert found.sum() == 2 * 16
    away = ablations.boundary_distance(halves(10))[0]
    assert away[10].tolist() == [9 - x if x < 10 else x - 10 for x in range(20)]
    assert ablations.boundary_distance((halves(10) > 0).long()).isinf().all()  # the outline of the object is none


def test_the_annotation_agrees_with_itself_whatever_its_numbers():
    truth = halves(8)
    scores = boundary_scores(truth.where(truth == 0, 3 - truth), truth)
    assert scores["near_nmi"] == scores["far_nmi"] == pytest.approx(100)
    assert (scores["precision"], scores["recall"], scores["distance"]) == (100, 100, 0)


@pytest.mark.parametrize("shift", [1, 3, 5])
def test_a_moved_boundary_is_that_far_away_and_costs_near_it_only(shift):
    scores = boundary_scores(halves(8 + shift), halves(8), reach=shift, tolerance=2)
    assert scores["distance"] == pytest.approx((2 * shift - 1) / 2)  # its two columns are shift - 1 and shift away
    assert scores["near_nmi"] < 90
    assert scores["far_nmi"] == pytest.approx(100)
    assert (scores["precision"] == 100) == (shift < 3)


def test_boundaries_at_every_pixel_reach_chance_and_none_claim_nothing():
    truth = halves(8)
    noise = torch.randint(1, 50, truth.shape, generator=torch.Generator().manual_seed(0)) * (truth > 0)
    scores = boundary_scores(noise, truth)
    assert scores["precision"] == pytest.approx(scores["chance"], abs=1)
    assert scores["recall"] == 100
    scores = boundary_scores((truth > 0).long(), truth)
    assert math.isnan(scores["precision"])
    assert math.isnan(scores["distance"])
    assert scores["recall"] == 0


def test_images_are_pooled():
    assert boundary_scores(torch.cat([halves(8), halves(14)]), halves(8).repeat(2, 1, 1))["precision"] == 50


def test_every_title_changes_the_base_only_where_it_says():
    runs = grid(SMALL, [0, 5])
    for (title, seed), config in runs.items():
        changed = {name: value for name, (_, value) in SMALL.differences(config).items() if name != "seed"}
        assert changed == CHANGES[title]
        assert config.seed == seed
    assert len({config.digest() for config in runs.values()}) == len(runs) == 2 * len(CHANGES)
    assert [seed for _, seed in grid(SMALL, [3, 1], [ALL, "K = 2"])] == [3, 3, 1, 1]


def test_intervals_are_students_and_hold_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = [found.low < 7 < found.high for found in map(interval, rng.normal(7, 2, size=(2000, 3)))]
    assert 0.93 < np.mean(held) < 0.97
    found = interval([1.0, 2.0, 3.0])
    assert found.mean == 2
    assert found.half == pytest.approx(4.3027 / math.sqrt(3), abs=1e-3)
    assert f"{found:.1f}" == "2.0 ± 2.5"
    assert math.isnan(interval([4.0]).half)


@pytest.fixture
def scores():
    shared = [0.0, 10.0, 20.0]  # what a seed does to every configuration
    shift = {ALL: 0, "no visual": -3}
    other = {ALL: [5, 5, 5], "no visual": [9, 1, 6]}
    return {(t, s): {"fg_nmi": 30 + shift[t] + shared[s], "fg_ari": other[t][s]} for t in shift for s in range(3)}


def test_differences_are_taken_seed_by_seed(scores):
    assert ablations.over_seeds(scores, ALL, "fg_nmi") == [30, 40, 50]
    assert ablations.over_seeds(scores, "no visual", "fg_nmi", minus=ALL) == [-3, -3, -3]
    found = ablations.table(scores, {"fg_nmi": "FG-NMI"})
    assert found.loc[ALL, "FG-NMI"] == "40.0 ± 24.8"
    assert list(found.index) == [ALL, "no visual"]


def test_a_comparison_claims_a_difference_only_where_the_interval_leaves_zero_out(scores):
    columns = {"fg_nmi": "FG-NMI", "fg_ari": "FG-ARI"}
    assert list(ablations.comparison(scores, ["no visual"], ALL, columns)["verdict"]) == ["less", "cannot tell"]
    assert list(ablations.comparison(scores, [ALL], "no visual", columns)["verdict"]) == ["more", "cannot tell"]


def test_scores_come_back_from_the_file_as_they_were(scores, tmp_path, monkeypatch):
    seeds = {title: {str(seed): scores[title, seed] for seed in range(3)} for title in (ALL, "no visual")}
    (tmp_path / STORED.format("birds")).parent.mkdir(parents=True)
    (tmp_path / STORED.format("birds")).write_text(json.dumps({"scores": seeds}), encoding="utf-8")
    monkeypatch.setattr("partlib_course.ablations.repository_root", lambda: tmp_path)
    assert ablations.stored_scores("birds") == scores
    assert ablations.stored_scores("ccp") == {}
    monkeypatch.setattr("partlib_course.ablations.repository_root", lambda: None)
    assert ablations.stored_scores("birds") == {}


def test_the_annotation_measures_as_perfect_and_a_dead_part_is_seen(tiny_birds):
    truth, images = (torch.stack([getattr(s, name) for s in tiny_birds[1]]) for name in ("parts", "image"))
    scores = ablations.measure(truth, truth, images, 8)  # one part more than there are
    perfect = [scores[name] for name in ("fg_nmi", "fg_ari", "near_nmi", "precision", "recall")]
    assert perfect == pytest.approx([100] * 5)
    assert scores["smallest"] == 0
    assert scores["edges"] > ablations.measure(truth.roll(6, 2) * (truth > 0), truth, images, 7)["edges"]


@pytest.fixture(scope="module")
def outcomes(tiny_birds, tmp_path_factory):
    runs = grid(SMALL, [0, 1], [ALL, "no visual", "K = 2"])
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("runs")
        patch.setenv("PARTLIB_RUNS", str(folder))
        first = {run: outcome(config, tiny_birds[1], SHOWN) for run, config in runs.items()}
        again = {run: outcome(config, tiny_birds[1], SHOWN) for run, config in runs.items()}  # loaded
    for run in folder.iterdir():  # the model and not the optimizer
        assert {"model.safetensors", "config.json", "log.csv"} == {path.name for path in run.iterdir()}
    assert all(torch.equal(first[run].labels, again[run].labels) for run in runs)
    return again


@pytest.fixture
def samples(tiny_birds):
    return [tiny_birds[1][i] for i in SHOWN]


@pytest.mark.slow
def test_outcomes_keep_the_labels_of_the_shown_images(outcomes, samples):
    inside = torch.stack([s.foreground[0] >= 0.5 for s in samples])
    for one in outcomes.values():
        assert torch.equal(one.labels > 0, inside)
        assert one.labels.dtype == torch.uint8
    assert outcomes["K = 2", 0].scores != outcomes["K = 2", 1].scores


@pytest.mark.slow
def test_the_nearest_run_is_found_and_what_differs_is_named(outcomes):
    wanted = {"lambda_visual": 0.0, "num_parts": 4, "seed": 1}
    assert nearest_run(outcomes, wanted) == (("no visual", 1), [])
    run, others = nearest_run(outcomes, {**wanted, "num_parts": 2})
    assert run[1] == 1
    assert len(others) == 1


@pytest.mark.slow
@pytest.mark.parametrize("values", [{"lambda_visual": 0.0}, {"num_parts": 2}, {"seed": 1}], ids=str)
def test_each_control_of_the_explorer_shows_another_run(outcomes, samples, values):
    explorer = ablations.weights_explorer(samples, outcomes)
    assert set(explorer.controls) == {"lambda_visual", "num_parts", "seed"}  # what has one value needs no control
    assert change(explorer, **values) > 0.2


@pytest.mark.slow
def test_the_page_says_when_a_combination_was_not_trained(outcomes, samples):
    explorer = ablations.weights_explorer(samples, outcomes)
    assert "not trained" not in explorer.draw(lambda_visual=0.0, num_parts=4, seed=0).get_suptitle()
    assert "not trained" in explorer.draw(lambda_visual=0.0, num_parts=2, seed=0).get_suptitle()
    assert {ax.get_title() for ax in explorer.static.axes} >= {ALL, "no visual", "K = 2"}


@pytest.mark.parametrize("minus", [None, ALL])
def test_interval_plot_has_a_dot_for_every_seed_and_a_mark_at_their_mean(scores, minus):
    titles = ["no visual"] if minus else [ALL, "no visual"]
    figure = ablations.interval_plot(scores, titles, lines=None if minus else {"baseline": scores[ALL, 0]}, minus=minus)
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == titles
    wanted = ablations.over_seeds(scores, "no visual", "fg_nmi", minus)
    assert ax.collections[-1].get_offsets()[:, 0].tolist() == wanted
    marks = [float(x) for line in ax.lines if line.get_marker() == "s" for x in line.get_xdata()]
    assert np.mean(wanted) in marks
    assert bool(figure.legends) == (minus is None)


@pytest.mark.slow
def test_rows_and_zooms_show_the_labels(outcomes, samples):
    figure = ablations.found_rows(samples, {ALL: outcomes[ALL, 0].labels})
    assert sum(bool(ax.images) for ax in figure.axes) == 6
    split = (torch.arange(32) < 16).long().expand(32, 32) + 1
    black = ablations.boundary_zoom(samples[0], {"halves": split}, (8, 8), side=16).axes[1].collections[2]
    assert len(black.get_segments()) == 16
    assert {x for segment in black.get_segments() for x in segment[:, 0]} == {7.5}
