"""Widgets: the picture follows the controls, and a static figure stands in where there is no front end."""

import io
from base64 import b64decode
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from partlib_course import widgets
from partlib_course.notebook import figure_bundle
from partlib_course.widgets import WIDGET_MIME, Interactive, part_browser, warp_explorer
from PIL import Image

from partlib.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def browser(tiny_birds):
    _, birds = tiny_birds
    truth = torch.stack([sample.parts for sample in birds])
    halves = (torch.arange(32) < 16).long() + 1
    return part_browser(birds, {"halves": halves.expand_as(truth) * (truth > 0), "exact": truth}, range(4))


@pytest.fixture(scope="module")
def explorer(tiny_birds):
    return warp_explorer(tiny_birds[0][0].image)


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


@pytest.mark.parametrize(
    "values", [{"image": 3}, {"method": "halves"}, {"opacity": 0.1}], ids=["image", "method", "opacity"]
)
def test_each_control_of_the_part_browser_changes_the_picture(browser, values):
    browser.controls["method"].value = "exact"
    assert change(browser, **values) > 0.5


def test_part_browser_starts_with_the_last_method_and_reaches_every_image(browser):
    fresh = browser.controls
    assert fresh["image"].min == 0
    assert fresh["image"].max == 7
    assert fresh["method"].options == ("halves", "exact")


def test_part_browser_paints_the_annotation_and_the_exact_method_alike(browser):
    browser.controls["image"].value, browser.controls["method"].value = 2, "exact"
    picture = decoded(browser.picture.value)
    third = picture.shape[1] // 3
    top, bottom = 40, picture.shape[0] - 45  # without titles and legend
    same = np.abs(picture[top:bottom, third + 12 : 2 * third - 12] - picture[top:bottom, 2 * third + 12 : -12])
    assert same.mean() < 6


@pytest.mark.parametrize("values", [{"dx": -0.4}, {"dy": 0.4}, {"scale": 0.6}, {"angle": 60.0}, {"point": 0}], ids=str)
def test_each_control_of_the_warp_explorer_changes_the_picture(explorer, values):
    assert change(explorer, **values) > 0.5


def test_warp_explorer_without_change_shows_the_image_itself(explorer):
    values = {"point": 12, "dx": 0.0, "dy": 0.0, "scale": 1.0, "angle": 0.0}
    change(explorer, **values)
    identity = decoded(b64decode(next(iter(figure_bundle(explorer.draw(**values)).values()))))
    assert np.abs(decoded(explorer.picture.value) - identity).max() == 0


@pytest.mark.parametrize("name", ["browser", "explorer"])
def test_output_holds_a_widget_and_a_static_figure(name, request):
    bundle = request.getfixturevalue(name)._repr_mimebundle_()
    assert bundle[WIDGET_MIME]["model_id"]
    pictures = [decoded(b64decode(v)) for k, v in bundle.items() if k.startswith("image/")]
    assert len(pictures) == 1
    assert min(pictures[0].shape[:2]) > 200
    assert pictures[0].std() > 10


def test_without_ipywidgets_the_static_figure_is_all_there_is(tiny_birds, monkeypatch):
    monkeypatch.setattr(widgets, "find_spec", lambda name: None)
    static = warp_explorer(tiny_birds[0][0].image)
    assert static.controls == {}
    assert sorted(static._repr_mimebundle_()) in (["image/jpeg", "text/plain"], ["image/png", "text/plain"])


def test_static_figure_of_the_browser_has_a_row_per_method(browser):
    assert isinstance(browser.static, Figure)
    rows = {text.get_text() for text in browser.static.texts}
    assert {"halves", "exact"} <= rows


def test_labels_of_another_number_of_images_are_refused_by_name(tiny_birds):
    with pytest.raises(DataError, match=r"mine has labels of 3 images; expected 8"):
        part_browser(tiny_birds[1], {"mine": torch.zeros(3, 32, 32, dtype=torch.long)})


def test_a_data_set_without_parts_is_refused():
    samples = [SimpleNamespace(parts=None)]
    dataset = type("Unannotated", (list,), {"name": "photos"})(samples)
    with pytest.raises(DataError, match="photos"):
        part_browser(dataset, {})


def test_a_batch_in_place_of_an_image_is_refused():
    with pytest.raises(ConfigError, match="expected \\(3, H, W\\)"):
        warp_explorer(torch.zeros(2, 3, 32, 32))
