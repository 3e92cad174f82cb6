"""Ablations: runs differ in one thing, intervals hold the mean as often as they say, seeds are compared in pairs."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from partlib_course import figures_ablation
from partlib_course.ablation import (
    ALL,
    CHANGES,
    STORED,
    comparison,
    difference,
    grid,
    interval,
    measure,
    outcome,
    over_seeds,
    stored_scores,
    table,
)
from partlib_course.widgets_ablation import nearest_run, weights_explorer

from partlib import TrainConfig, load_dataset
from partlib.errors import ConfigError, DataError
from tests.course.test_widgets import change

SMALL = TrainConfig(image_size=32, feature_size=32, num_images=8, batch_size=2, steps=2, starts=1, eval_every=0)
WEIGHTS = ("feature", "visual", "contrastive", "equivariance")
SHOWN = [0, 1, 2]


def test_every_title_changes_the_base_only_where_it_says():
    runs = grid(SMALL, [0, 5])
    for (title, seed), config in runs.items():
        assert {name: value for name, (_, value) in SMALL.differences(config).items() if name != "seed"} == CHANGES[
            title
        ]
        assert config.seed == seed
    assert len({config.digest() for config in runs.values()}) == len(runs) == 2 * len(CHANGES)


def test_losses_are_removed_one_at_a_time():
    assert CHANGES[ALL] == {}
    removed = [CHANGES[f"no {name}"] for name in ("feature", "visual", "contrast", "equivariance")]
    assert removed == [{weight: 0.0} for weight in WEIGHTS]


def test_a_grid_comes_seed_by_seed_and_refuses_what_it_does_not_know():
    assert [seed for _, seed in grid(SMALL, [3, 1], [ALL, "K = 2"])] == [3, 3, 1, 1]
    with pytest.raises(ConfigError, match="'no data' is unknown"):
        grid(SMALL, [0], ["no data"])
    with pytest.raises(ConfigError, match="each of them once"):
        grid(SMALL, [0, 0])


def test_intervals_hold_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = [found.low < 7 < found.high for found in map(interval, rng.normal(7, 2, size=(2000, 3)))]
    assert 0.93 < np.mean(held) < 0.97


def test_an_interval_is_students():
    found = interval([1.0, 2.0, 3.0])
    assert found.mean == 2
    assert found.half == pytest.approx(4.3027 / math.sqrt(3), abs=1e-3)
    assert str(found) == "2.0 ± 2.5"
    assert math.isnan(interval([4.0]).half)
    with pytest.raises(ConfigError, match="at least one value"):
        interval([])


@pytest.fixture
def scores():
    shared = [0.0, 10.0, 20.0]  # what a seed does to every configuration
    runs = {
        (title, seed): 30 + shift + shared[seed] for title, shift in ((ALL, 0), ("no visual", -3)) for seed in range(3)
    }
    return {run: {"fg_nmi": value} for run, value in runs.items()}


def test_differences_are_taken_seed_by_seed(scores):
    assert over_seeds(scores, ALL, "fg_nmi") == [30, 40, 50]
    assert interval(over_seeds(scores, ALL, "fg_nmi")).half > 20
    found = difference(scores, "no visual", ALL, "fg_nmi")
    assert (found.mean, found.half) == pytest.approx((-3, 0))


def test_unknown_titles_and_unequal_seeds_are_refused(scores):
    with pytest.raises(ConfigError, match="no run is called"):
        over_seeds(scores, "K = 2", "fg_nmi")
    del scores["no visual", 1]
    with pytest.raises(ConfigError, match="expected the same"):
        difference(scores, ALL, "no visual", "fg_nmi")


def test_the_table_has_a_row_per_configuration(scores):
    lines = table(scores, {"fg_nmi": "FG-NMI"}).splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == [ALL, "no visual"]
    assert "40.0 ± 24.8" in lines[1]


def test_the_annotation_measures_as_perfect_and_a_dead_part_is_seen(tiny_birds):
    truth = torch.stack([s.parts for s in tiny_birds[1]])
    images = torch.stack([s.image for s in tiny_birds[1]])
    scores = measure(truth, truth, images, 8)  # one part more than there are
    assert [scores[name] for name in ("fg_nmi", "fg_ari", "near_nmi", "precision", "recall")] == pytest.approx(
        [100] * 5
    )
    assert scores["smallest"] == 0
    assert scores["edges"] > measure(truth.roll(6, 2) * (truth > 0), truth, images, 7)["edges"]


@pytest.fixture(scope="module")
def outcomes(tiny_birds, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARTLIB_RUNS", str(tmp_path_factory.mktemp("runs")))
        runs = grid(SMALL, [0, 1], [ALL, "no visual", "K = 2"])
        first = {run: outcome(config, tiny_birds[1], SHOWN) for run, config in runs.items()}
        patch.setattr("partlib.training.train", None)  # from now on runs are loaded
        again = {run: outcome(config, tiny_birds[1], SHOWN) for run, config in runs.items()}
    assert all(torch.equal(first[run].labels, again[run].labels) for run in runs)
    return again


def test_outcomes_keep_the_labels_of_the_shown_images(outcomes, tiny_birds):
    inside = torch.stack([tiny_birds[1][i].foreground[0] >= 0.5 for i in SHOWN])
    for one in outcomes.values():
        assert torch.equal(one.labels > 0, inside)
        assert one.labels.dtype == torch.uint8
    assert outcomes["K = 2", 0].scores != outcomes["K = 2", 1].scores


def test_finished_runs_keep_the_model_and_not_the_optimiser(tiny_birds, tmp_path, monkeypatch):
    monkeypatch.setenv("PARTLIB_RUNS", str(tmp_path))
    outcome(SMALL, tiny_birds[1], SHOWN)
    (folder,) = tmp_path.iterdir()
    assert {"model.safetensors", "config.json", "log.csv"} == {path.name for path in folder.iterdir()}


def test_outcomes_need_annotated_parts(bird_folder, tmp_path):
    for kind in ("images", "masks"):
        shutil.copytree(bird_folder / kind, tmp_path / kind)
    with pytest.raises(DataError, match="no annotated parts"):
        outcome(SMALL, load_dataset("folder", "val", str(tmp_path), image_size=32), SHOWN)


def test_the_nearest_run_is_found_and_what_differs_is_named(outcomes):
    wanted = {"visual": 0.0, "num_parts": 4, "seed": 1}
    assert nearest_run(outcomes, wanted) == (("no visual", 1), [])
    run, others = nearest_run(outcomes, {**wanted, "num_parts": 2})
    assert run[1] == 1
    assert len(others) == 1


@pytest.mark.parametrize("values", [{"visual": 0.0}, {"num_parts": 2}, {"seed": 1}], ids=str)
def test_each_control_of_the_explorer_shows_another_run(outcomes, tiny_birds, values):
    explorer = weights_explorer([tiny_birds[1][i] for i in SHOWN], outcomes)
    assert set(explorer.controls) == {"visual", "num_parts", "seed"}  # what has one value needs no control
    assert change(explorer, **values) > 0.2


def test_the_page_says_when_a_combination_was_not_trained(outcomes, tiny_birds):
    explorer = weights_explorer([tiny_birds[1][i] for i in SHOWN], outcomes)
    assert "not trained" not in explorer.draw(visual=0.0, num_parts=4, seed=0).texts[0].get_text()
    assert "not trained" in explorer.draw(visual=0.0, num_parts=2, seed=0).texts[0].get_text()


def test_static_figure_shows_every_configuration(outcomes, tiny_birds):
    explorer = weights_explorer([tiny_birds[1][i] for i in SHOWN], outcomes)
    assert {ax.get_title() for ax in explorer.static.axes} >= {ALL, "no visual", "K = 2"}


def test_the_explorer_needs_the_base_run_and_matching_samples(outcomes, tiny_birds):
    samples = [tiny_birds[1][i] for i in SHOWN]
    with pytest.raises(ConfigError, match="to compare with"):
        weights_explorer(samples, {run: one for run, one in outcomes.items() if run[0] != ALL})
    with pytest.raises(ConfigError, match="2 samples"):
        weights_explorer(samples[:2], outcomes)


def test_interval_plot_has_a_dot_for_every_seed(outcomes):
    scores = {run: one.scores for run, one in outcomes.items()}
    lines = {"baseline": scores[ALL, 0]}
    figure = figures_ablation.interval_plot(scores, [ALL, "no visual"], ["fg_nmi", "precision"], lines)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [ALL, "no visual"]
    dots = [c.get_offsets() for c in figure.axes[0].collections if len(c.get_offsets()) == 2]
    assert dots[1][:, 0].tolist() == pytest.approx(over_seeds(scores, "no visual", "fg_nmi"))
    assert figure.legends


def test_rows_and_zooms_show_the_labels(outcomes, tiny_birds):
    samples = [tiny_birds[1][i] for i in SHOWN]
    figure = figures_ablation.found_rows(samples, {ALL: outcomes[ALL, 0].labels})
    assert sum(bool(ax.images) for ax in figure.axes) == 6
    halves = (torch.arange(32) < 16).long().expand(32, 32) + 1
    zoomed = figures_ablation.border_zoom(samples[0], {"halves": halves}, (8, 8), side=16)
    black = [line for ax in zoomed.axes for line in ax.lines if line.get_color() == "black"]
    assert len(black) == 16
    assert {float(x) for line in black for x in line.get_xdata()} == {7.5}


def test_a_comparison_claims_a_difference_only_where_the_interval_leaves_zero_out(scores):
    for (title, seed), values in scores.items():
        values["fg_ari"] = 5.0 if title == ALL else (9.0, 1.0, 6.0)[seed]
    lines = comparison(scores, "no visual", ALL, {"fg_nmi": "FG-NMI", "fg_ari": "FG-ARI"}).splitlines()
    assert lines[1].endswith("less")
    assert lines[2].endswith("cannot tell")
    assert comparison(scores, ALL, "no visual", {"fg_nmi": "FG-NMI"}).endswith("more")


def test_scores_come_back_from_the_file_as_they_were(scores, tmp_path, monkeypatch):
    seeds = {title: {str(seed): scores[title, seed] for seed in range(3)} for title in (ALL, "no visual")}
    (tmp_path / "figures").mkdir()
    (tmp_path / STORED.format("birds")).write_text(json.dumps({"scores": seeds}), encoding="utf-8")
    monkeypatch.setattr("partlib_course.ablation.repository_root", lambda: tmp_path)
    assert stored_scores("birds") == scores
    assert stored_scores("ccp") == {}


def test_nothing_is_stored_where_there_is_no_repository_or_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("partlib_course.ablation.repository_root", lambda: tmp_path)
    assert stored_scores("birds") == {}
    monkeypatch.setattr("partlib_course.ablation.repository_root", lambda: None)
    assert stored_scores("birds") == {}
