"""Snapshots, curves and figures of a training run show what it did, and do not change it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from partlib_course import training
from partlib_course.training import LiveCurves, Snapshots, read_log, step_explorer, training_curves

from partlib import load_or_train, train
from partlib.config import TrainConfig
from partlib.errors import ConfigError
from partlib.evaluation import predict
from tests.course.test_widgets import change

CONFIG = TrainConfig(
    image_size=32,
    feature_size=32,
    **{"views": 0, "starts": 1, "batch_size": 4, "steps": 4, "eval_every": 0, "log_every": 1, "checkpoint_every": 2},
)
LOG = [
    {"step": s, "lr": 1e-3, "total": 5 * 0.9 + 15 * 0.2 + 4.0 + 0.5, "feature": 0.9, "visual": 0.2}
    | {"contrastive": 4.0, "equivariance": 0.5}
    | ({"val_fg_nmi": s / 2, "val_fg_ari": s / 3, "share_1": 0.0, "share_2": 1.0} if s == 20 else {})
    for s in (10, 20, 30)
]


def fit(config, out, tiny_birds, **options):
    return train(config, out, progress=False, device="cpu", datasets=tiny_birds, **options)


def weights(result):
    return torch.cat([p.detach().flatten() for p in result.segmenter.parameters()])


def test_snapshots_are_those_asked_for_and_do_not_change_the_run(tiny_birds):
    kept = Snapshots(tiny_birds[1], [1, 3, 4, 99])
    result = fit(CONFIG, None, tiny_birds, on_step=kept)
    assert kept.steps == [1, 3, 4]
    assert torch.equal(kept.labels[-1], predict(result.segmenter, tiny_birds[1]))
    assert torch.equal(weights(result), weights(fit(CONFIG, None, tiny_birds)))
    rows = kept.shares(CONFIG.num_parts)
    assert [row["step"] for row in rows] == [1, 3, 4]
    assert sum(rows[-1][f"share_{k}"] for k in range(1, 5)) == pytest.approx(1)


def test_snapshots_and_log_survive_an_interruption_and_loading(tiny_birds, tmp_path):
    path = tmp_path / "snapshots.safetensors"

    def interrupted(trainer, terms):
        kept(trainer, terms)
        if trainer.step == 3:
            raise KeyboardInterrupt

    kept = Snapshots(tiny_birds[1], [1, 2, 4], path)
    with pytest.raises(KeyboardInterrupt):
        fit(CONFIG, tmp_path, tiny_birds, on_step=interrupted)
    resumed = Snapshots(tiny_birds[1], [1, 2, 4], path)
    assert resumed.steps == [1, 2]
    load_or_train(CONFIG, tmp_path, on_step=resumed, progress=False, device="cpu", datasets=tiny_birds)
    loaded, whole = Snapshots(tiny_birds[1], [], path), Snapshots(tiny_birds[1], [1, 2, 4])
    fit(CONFIG, None, tiny_birds, on_step=whole)
    assert loaded.steps == [1, 2, 4]
    assert torch.equal(loaded.labels, whole.labels)
    assert [row["step"] for row in read_log(tmp_path / "log.csv")] == [1, 2, 3, 4]
    with pytest.raises(ConfigError, match="other images"):
        Snapshots(tiny_birds[1].subset([0, 1]), [1], path)


def test_shares_are_weighted_losses_over_their_sum():
    config = CONFIG.replace(lambda_contrastive=1.0)
    shares = training.loss_shares(LOG, config)
    assert np.allclose(sum(shares.values()), 1)
    assert shares["visual"][0] == pytest.approx(3 / 12)
    assert "visual" not in training.loss_shares(LOG, config.replace(lambda_visual=0.0))
    drawn = {line.get_label(): line.get_ydata()[0] for line in training.share_figure(LOG, config).axes[0].lines}
    assert drawn["5 x feature"] == pytest.approx(4.5)
    assert drawn["total"] == pytest.approx(12)


def test_schedule_ends_at_zero_or_as_far_as_the_paper_goes():
    config = TrainConfig(steps=600)
    figure = training.schedule_figure({"own": config, "paper": TrainConfig.preset("paper")})
    own, paper = (ax.lines[0].get_ydata() for ax in figure.axes)
    assert (own[0], own[-1]) == (pytest.approx(config.lr), 0)
    assert paper[-1] == pytest.approx(1e-4 * 0.4**0.9)


def test_starts_figure_names_the_chosen_start():
    figure = training.starts_figure({0: [3.0] * 12, 1: [2.0] * 12}, 1, {0: 20.0, 1: 30.0})
    assert {"start 1, chosen", "start 0"} <= {t.get_text() for t in figure.axes[0].get_legend().get_texts()}
    assert [bar.get_width() for bar in figure.axes[1].patches] == [3.0, 2.0]


def test_curves_show_what_was_logged():
    panels = {ax.get_title(loc="left"): ax for ax in training_curves(LOG).axes}
    assert list(panels)[:2] == ["total", "feature"]
    assert list(panels)[-2:] == ["validation scores (%)", "share of the foreground"]
    assert panels["total"].lines[0].get_ydata().tolist() == [row["total"] for row in LOG]
    assert panels["validation scores (%)"].lines[0].get_xydata().tolist() == [[20, 10]]
    assert len(training_curves(LOG, only_losses=True).axes) == 5
    dying, other, _ = training.death_figure({"run": LOG}, 2).axes[0].lines
    assert dying.get_xdata().tolist() == [20]
    assert dying.get_ydata()[0] < 0.01 < other.get_ydata()[0]


def test_snapshots_share_one_numbering(tiny_birds):
    samples = [tiny_birds[1][i] for i in range(3)]
    truth = torch.stack([s.parts for s in samples])
    found = (truth * 3) % 8  # the annotated parts, renamed
    painted = training.same_colors(samples, torch.stack([torch.full_like(found, 9) * (found > 0), found]))
    assert torch.equal(painted[-1], truth.long())
    (lost,) = painted[0][truth > 0].unique().tolist()  # part 9 is gone in the last one
    assert lost not in truth.unique().tolist()


@pytest.fixture(scope="module")
def explorer(tiny_birds):
    samples = [tiny_birds[1][i] for i in range(3)]
    truth = torch.stack([s.parts for s in samples])
    return step_explorer(samples, [10, 20, 30], torch.stack([(truth > 0).long(), truth.clamp(max=2), truth]), LOG)


def test_the_slider_changes_the_picture(explorer):
    assert explorer.controls["frame"].value == 2
    assert change(explorer, frame=0) > 0.5
    assert {"image", "step 10", "step 20", "step 30"} <= {ax.get_title() for ax in explorer.static.axes}


def test_a_page_names_its_step_and_marks_it_on_the_curve(explorer):
    curve = explorer.draw(frame=1).axes[-1]
    assert curve.get_title() == "step 20"
    assert curve.lines[0].get_xydata().tolist() == [[20, 10]]
    assert set(curve.lines[1].get_xdata()) == {20}


def test_live_curves_wait_for_a_log_and_draw_anew_in_one_place(monkeypatch):
    calls = []

    def display(bundle, raw, display_id):
        calls.append(bundle)
        return SimpleNamespace(update=lambda bundle, raw: calls.append(bundle))

    monkeypatch.setattr("IPython.display.display", display)
    live = LiveCurves(every=2)
    for step in range(1, 6):
        live(SimpleNamespace(step=step), {"total": torch.tensor(1 / step), "feature": torch.tensor(0.5)})
    live.finish(LOG)
    assert [c["text/plain"] for c in calls] == ["step 2", "step 4", "step 30"]
    assert all("image/png" in c or "image/jpeg" in c for c in calls)
