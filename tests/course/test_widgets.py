"""Widgets: the picture follows the controls, and a static figure stands in where there is no front end."""

import io
from base64 import b64decode

import numpy as np
import pytest
from matplotlib.figure import Figure
from partlib_course import widgets
from partlib_course.widgets import WIDGET_MIME, Interactive, choice, slider
from PIL import Image


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def change(widget: Interactive, **values) -> float:
    """Mean change of the picture, in levels of 0 to 255, when controls are set."""
    before = decoded(widget.picture.value)
    for name, value in values.items():
        widget.controls[name].value = value
    after = decoded(widget.picture.value)
    assert before.shape == after.shape
    return float(np.abs(after - before).mean())


def levels(height: float = 1, title: str = "a") -> Figure:
    figure = Figure(figsize=(3, 2), dpi=100)
    figure.subplots().bar([0], [height])
    figure.axes[0].set(ylim=(0, 5), title=title)
    return figure


def example() -> Interactive:
    return Interactive(
        levels,
        lambda: {"height": slider("height", 2, 1, 4), "title": choice("title", ["a", "bbb"], "a")},
        levels(4),
    )


@pytest.mark.parametrize("values", [{"height": 4}, {"title": "bbb"}], ids=str)
def test_the_picture_follows_each_control(values):
    assert change(example(), **values) > 0.1


def test_output_holds_a_widget_and_a_static_figure():
    bundle = example()._repr_mimebundle_()
    assert bundle[WIDGET_MIME]["model_id"]
    assert decoded(b64decode(bundle["image/png"])).shape == (200, 300, 3)


def test_without_ipywidgets_the_static_figure_is_all_there_is(monkeypatch):
    monkeypatch.setattr(widgets, "find_spec", lambda name: None)
    static = example()
    assert static.controls == {}
    assert sorted(static._repr_mimebundle_()) == ["image/png", "text/plain"]


def test_kinds_of_controls():
    kinds = [slider("k", 4, 2, 8), slider("x", 0.2, 0, 1, 0.1), slider("t", 0.19, -2, 1, 0.05, log=True)]
    kinds += [choice("m", ["a"], "a"), choice("s", [1, 2], 2, slide=True)]
    names = ["IntSlider", "FloatSlider", "FloatLogSlider", "Dropdown", "SelectionSlider"]
    assert [type(kind).__name__ for kind in kinds] == names
    assert [kind.value for kind in kinds] == [4, 0.2, 0.19, "a", 2]
