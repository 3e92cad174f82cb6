"""Ablations: runs differ in one thing, intervals hold the mean as often as they say, seeds are compared in pairs."""

import json
import math

import numpy as np
import pytest
import torch
from partlib_course import ablations
from partlib_course.ablations import ALL, CHANGES, STORED, boundary_scores, interval, outcome

from partlib import TrainConfig
from partlib.evaluation import annotated_parts, score
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
    for changes in CHANGES.values():
        assert {name: value for name, (_, value) in SMALL.differences(SMALL.replace(**changes)).items()} == changes
    assert len({SMALL.replace(**changes).digest() for changes in CHANGES.values()}) == len(CHANGES)


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


@pytest.mark.slow
def test_outcomes_are_loaded_the_second_time_and_keep_the_labels_of_the_shown_images(tiny_birds, tmp_path, monkeypatch):
    monkeypatch.setenv("PARTLIB_RUNS", str(tmp_path))
    first, again = (outcome(SMALL, tiny_birds[1], SHOWN) for _ in range(2))
    for run in tmp_path.iterdir():  # the model and not the optimizer
        assert {"model.safetensors", "config.json", "log.csv"} == {path.name for path in run.iterdir()}
    assert torch.equal(first.labels, again.labels)
    assert first.scores == again.scores
    assert torch.equal(first.labels > 0, torch.stack([tiny_birds[1][i].foreground[0] >= 0.5 for i in SHOWN]))
    assert first.labels.dtype == torch.uint8
    assert outcome(SMALL.replace(num_parts=2), tiny_birds[1], SHOWN).scores != first.scores


def test_feature_clusters_are_those_of_the_baseline(tiny_birds, tmp_path, monkeypatch):
    from partlib.data.base import stacked
    from partlib.report.baselines import FeatureKMeans
    from partlib.runs.build import Recipe

    monkeypatch.setenv("PARTLIB_CACHE", str(tmp_path))
    config = SMALL.replace(feature_size=128)
    test_set = Recipe(config).dataset("test").subset(range(6))
    found = ablations.feature_clusters(config, test_set)
    levels, others = Recipe(config).features().maps, Recipe(config).features("test", dataset=test_set).maps
    model = FeatureKMeans(4, SMALL.seed).fit(*stacked(Recipe(config).dataset()), levels)
    assert torch.equal(found.long(), model.predict(*stacked(test_set), others))


@pytest.fixture
def explorer(tiny_birds):
    dataset = tiny_birds[1]
    truth = annotated_parts(dataset)
    runs = {(ALL, 0): truth, ("halves", 0): (truth > 0).byte(), (ALL, 1): truth, ("halves", 1): truth}
    scores = {run: {**score(found, dataset), "smallest": 5.0} for run, found in runs.items()}
    return ablations.runs_explorer(dataset, SHOWN, runs, scores)


@pytest.mark.parametrize("values", [{"run": "halves"}, {"run": "halves", "seed": 1}], ids=str)
def test_each_menu_of_the_explorer_shows_another_run(explorer, values):
    assert set(explorer.controls) == {"run", "seed"}
    assert change(explorer, **values) > 0.05
    assert explorer.draw(**{"run": ALL, "seed": 0, **values}).get_suptitle().startswith(values["run"])
    assert {ax.get_title() for ax in explorer.static.axes} >= {ALL, "halves"}


@pytest.mark.parametrize("zero", ["", ALL])
def test_interval_plot_has_a_dot_for_every_seed_and_a_mark_at_their_mean(scores, zero):
    titles = ["no visual"] if zero else [ALL, "no visual"]
    rows = {t: {"fg_nmi": ablations.over_seeds(scores, t, "fg_nmi", zero or None)} for t in titles}
    more = {"own": {"no visual": {"fg_nmi": 1.0}}} if zero else {"lines": {"baseline": {"fg_nmi": 20.0}}}
    figure = ablations.interval_plot(rows, zero=zero, **more)
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == titles
    dots = [collection.get_offsets()[:, 0].tolist() for collection in ax.collections]
    assert rows["no visual"]["fg_nmi"] in dots
    assert ([1.0] in dots) == bool(zero)
    marks = [float(x) for line in ax.lines if line.get_marker() == "s" for x in line.get_xdata()]
    assert np.mean(rows["no visual"]["fg_nmi"]) in marks
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["own" if zero else "baseline"]


def test_zooms_show_found_boundaries_over_annotated_ones(tiny_birds):
    split = (torch.arange(32) < 16).long().expand(32, 32) + 1
    figure = ablations.boundary_zoom(tiny_birds[1][0], {"halves": split}, (8, 8), side=16)
    found = figure.axes[1].collections[-2]
    assert len(found.get_segments()) == 16
    assert {x for segment in found.get_segments() for x in segment[:, 0]} == {7.5}
