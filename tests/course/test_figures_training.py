"""Figures of a training run show what they say they do."""

import numpy as np
import pytest
import torch
from partlib_course import figures_training

from partlib.config import TrainConfig
from partlib.errors import DataError
from partlib.report.plots import match_parts

CONFIG = TrainConfig(contrastive=1.0, steps=600)
LOG = [
    {"step": s, "lr": 1e-3, "total": 5 * 0.9 + 15 * 0.2 + 4.0 + 0.5, "feature": 0.9, "visual": 0.2}
    | {"contrastive": 4.0, "equivariance": 0.5}
    for s in (10, 20, 30)
]


def test_shares_are_weighted_losses_over_their_sum():
    shares = figures_training.loss_shares(LOG, CONFIG)
    assert np.allclose(sum(shares.values()), 1)
    assert shares["visual"][0] == pytest.approx(3 / 12)


def test_losses_that_are_off_have_no_share():
    rows = [{k: v for k, v in row.items() if k != "visual"} for row in LOG]
    assert "visual" not in figures_training.loss_shares(rows, CONFIG.replace(visual=0.0))


def test_share_figure_draws_each_weighted_loss():
    axes = figures_training.share_figure(LOG, CONFIG).axes[0]
    drawn = {line.get_label(): line.get_ydata()[0] for line in axes.lines}
    assert drawn["5 x feature"] == pytest.approx(4.5)
    assert drawn["total"] == pytest.approx(12)


def test_schedule_ends_at_zero_or_where_its_horizon_says():
    figure = figures_training.schedule_figure({"own": CONFIG, "far": CONFIG.replace(lr_horizon=1200)})
    own, far = (ax.lines[0].get_ydata() for ax in figure.axes)
    assert own[0] == pytest.approx(CONFIG.lr)
    assert own[-1] == 0
    assert far[-1] == pytest.approx(CONFIG.lr * 0.5**CONFIG.poly_power)
    assert (np.diff(own) < 0).all()


def test_starts_figure_names_the_chosen_start():
    figure = figures_training.starts_figure({0: [3.0] * 12, 1: [2.0] * 12}, 1, {0: 20.0, 1: 30.0})
    texts = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    assert "start 1, chosen" in texts
    assert "start 0" in texts
    assert [bar.get_width() for bar in figure.axes[1].patches] == [3.0, 2.0]


def test_frames_share_one_numbering(tiny_birds):
    samples = [tiny_birds[1][i] for i in range(3)]
    truth = torch.stack([s.parts for s in samples])
    found = (truth * 3) % 8  # the annotated parts, renamed
    frames = torch.stack([torch.full_like(found, 9) * (found > 0), found])  # part 9 is gone in the last frame
    painted = figures_training.same_colors(samples, frames)
    assert torch.equal(painted[-1], truth.long())
    assert torch.equal(painted[-1], match_parts(found, truth))
    first = painted[0][truth > 0].unique()
    assert len(first) == 1
    assert int(first) not in truth.unique().tolist()


def test_film_strip_shows_the_first_and_the_last_step(tiny_birds):
    samples = [tiny_birds[1][i] for i in range(2)]
    frames = torch.stack([s.parts for s in samples])[None].expand(9, -1, -1, -1)
    figure = figures_training.film_strip(samples, list(range(10, 100, 10)), frames, columns=4)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles[0] == "image"
    assert titles[1] == "step 10"
    assert titles[-1] == "step 90"
    assert len(titles) == 5


def test_death_figure_draws_what_was_evaluated():
    log = [{"step": 1}, {"step": 2, "share_1": 0.0, "share_2": 1.0}]
    lines = figures_training.death_figure({"run": log}, 2).axes[0].lines
    assert lines[0].get_xdata().tolist() == [2.0]
    assert lines[0].get_ydata()[0] < 0.01 < lines[1].get_ydata()[0]


def test_a_log_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"log\.csv does not exist"):
        figures_training.read_log(tmp_path / "log.csv")
