"""Snapshots, curves and figures of a training run show what it did, and do not change it."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from partlib_course import training
from partlib_course.training import LiveCurves, Snapshots, step_explorer, training_curves
from PIL import Image

from partlib import train
from partlib.config import TrainConfig
from partlib.evaluation import predict
from tests.course.test_widgets import change

CONFIG = TrainConfig(
    image_size=32,
    feature_size=32,
    **{"views": 0, "starts": 1, "batch_size": 4, "steps": 4, "eval_every": 0, "log_every": 1, "checkpoint_every": 2},
)
LOG = [
    {"step": s, "total": 12.0, "feature": 0.9, "visual": 0.2, "contrastive": 4.0, "equivariance": 0.5}
    for s in (10, 20, 30)
]


def fit(config, out, tiny_birds, **options):
    return train(config, out, progress=False, device="cpu", datasets=tiny_birds, **options)


def weights(result):
    return torch.cat([p.detach().flatten() for p in result.segmenter.parameters()])


def test_snapshots_are_those_asked_for_and_do_not_change_the_run(tiny_birds):
    kept = Snapshots(tiny_birds[1], [1, 3, 4, 99])
    result = fit(CONFIG, None, tiny_birds, on_step=lambda trainer, _: kept(trainer.step, trainer.segmenter))
    assert kept.steps == [1, 3, 4]
    assert torch.equal(kept.labels[-1], predict(result.segmenter, tiny_birds[1]))
    assert torch.equal(weights(result), weights(fit(CONFIG, None, tiny_birds)))
    rows = kept.shares(CONFIG.num_parts)
    assert [row["step"] for row in rows] == [1, 3, 4]
    assert sum(rows[-1][f"share_{k}"] for k in range(1, 5)) == pytest.approx(1)


def test_starts_figure_names_the_chosen_start():
    figure = training.starts_figure({0: [3.0] * 12, 1: [2.0] * 12}, 1, {0: 20.0, 1: 30.0})
    assert {"start 1, chosen", "start 0"} <= {t.get_text() for t in figure.axes[0].get_legend().get_texts()}
    assert [dots.get_offsets().tolist()[0] for dots in figure.axes[1].collections] == [[3.0, 20.0], [2.0, 30.0]]


def test_curves_show_what_was_logged():
    panels = {ax.get_title(loc="left"): ax for ax in training_curves(LOG).axes}
    assert list(panels) == ["total", "feature", "visual", "contrastive", "equivariance"]
    assert panels["total"].lines[0].get_ydata().tolist() == [row["total"] for row in LOG]
    long = training_curves([{"step": s, "total": float(s % 2)} for s in range(1, 101)]).axes[0]
    steps, mean = long.lines
    assert np.ptp(steps.get_ydata()) == 1
    assert np.ptp(mean.get_ydata()) < 0.1
    dying, other, _ = training.death_figure({"run": [{"step": 20, "share_1": 0.0, "share_2": 1.0}]}, 2).axes[0].lines
    assert dying.get_xdata().tolist() == [20]
    assert dying.get_ydata()[0] < 0.01 < other.get_ydata()[0]


def test_frames_share_one_numbering(tiny_birds):
    truth = torch.stack([tiny_birds[1][i].parts for i in range(3)])  # (N, H, W)
    found = (truth * 3) % 8  # the annotated parts, renamed
    frames = torch.stack([torch.full_like(found, 9) * (found > 0), found])
    painted = training.same_colors(frames, found, truth)
    assert torch.equal(painted[-1], truth.long())
    (lost,) = painted[0][truth > 0].unique().tolist()  # part 9 is gone in the last one
    assert lost not in truth.unique().tolist()


def test_the_film_has_a_frame_for_every_step(tiny_birds):
    samples = [tiny_birds[1][i] for i in range(2)]
    truth = torch.stack([s.parts for s in samples])
    shown = training.film(samples, [1, 5, 9], torch.stack([truth * 0, truth.clamp(max=2), truth]))
    picture = Image.open(io.BytesIO(shown.data))
    assert picture.n_frames == 3
    assert picture.info["loop"] == 0


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
    assert curve.lines[0].get_xdata().tolist() == [10, 20, 30]
    assert set(curve.lines[1].get_xdata()) == {20}


def test_live_curves_wait_for_a_log_and_draw_anew_in_one_place(monkeypatch):
    calls = []

    def display(bundle, raw, display_id):
        calls.append(bundle)
        return SimpleNamespace(update=lambda bundle, raw: calls.append(bundle))

    monkeypatch.setattr("IPython.display.display", display)
    live, log = LiveCurves(every=2), []
    for step in range(1, 6):
        log.append({"step": step, "total": 1 / step, "feature": 0.5})
        live(log)
    assert [c["text/plain"] for c in calls] == ["step 2", "step 4"]
    assert all("image/png" in c or "image/jpeg" in c for c in calls)
