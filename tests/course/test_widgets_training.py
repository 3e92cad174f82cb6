"""The step slider and the curves that are drawn while a run goes on."""

from types import SimpleNamespace

import pytest
import torch
from partlib_course.widgets_training import LiveCurves, step_explorer

from partlib.errors import DataError
from tests.course.test_widgets import change

LOG = [{"step": s, "total": 10.0 - s, "feature": 1.0, "val_fg_nmi": 5.0 * s} for s in (1, 2, 3)]


@pytest.fixture(scope="module")
def frames(tiny_birds):
    samples = [tiny_birds[1][i] for i in range(3)]
    truth = torch.stack([s.parts for s in samples])
    return samples, torch.stack([(truth > 0).long(), truth.clamp(max=2), truth])


def test_the_slider_changes_the_picture(frames):
    explorer = step_explorer(frames[0], [1, 2, 3], frames[1], LOG)
    assert explorer.controls["frame"].value == 2
    assert change(explorer, frame=0) > 0.5


def test_a_frame_names_its_step_and_marks_it_on_the_curve(frames):
    figure = step_explorer(frames[0], [1, 2, 3], frames[1], LOG).draw(frame=1)
    assert figure.axes[-1].get_title() == "step 2"
    assert figure.axes[-1].lines[0].get_ydata().tolist() == [5.0, 10.0, 15.0]
    assert set(figure.axes[-1].lines[1].get_xdata()) == {2}


def test_static_figure_shows_the_steps(frames):
    titles = [ax.get_title() for ax in step_explorer(frames[0], [1, 2, 3], frames[1]).static.axes]
    assert {"step 1", "step 2", "step 3"} <= set(titles)


def test_frames_that_do_not_fit_are_refused(frames):
    with pytest.raises(DataError, match="3 steps and 3 images; expected 2 steps"):
        step_explorer(frames[0], [1, 2], frames[1])


def test_live_curves_draw_anew_in_one_place(monkeypatch):
    calls = []

    def display(bundle, raw, display_id):
        calls.append(bundle)
        return SimpleNamespace(update=lambda bundle, raw: calls.append(bundle))

    monkeypatch.setattr("IPython.display.display", display)
    live = LiveCurves(every=2)
    for step in range(1, 6):
        live(SimpleNamespace(step=step, log=LOG, config=SimpleNamespace(steps=5)), None)
    live.finish(LOG)
    assert len(calls) == 4
    assert {c["text/plain"] for c in calls} == {"step 3"}
    assert sum("image/png" in c or "image/jpeg" in c for c in calls) == len(calls)


def test_live_curves_wait_for_a_log():
    live = LiveCurves(every=1)
    live(SimpleNamespace(step=1, log=LOG[:1], config=SimpleNamespace(steps=5)), None)
    assert live._shown is None
