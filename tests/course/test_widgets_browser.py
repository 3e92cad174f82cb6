"""The browser of single parts follows its sliders and needs no annotation."""

import pytest
import torch
from partlib_course.notebook import figure_bundle
from partlib_course.widgets_browser import one_part_browser

from partlib.data import birds
from partlib.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def drawn(own_cache):
    return birds.load("test", None, 32, 10)


@pytest.fixture(scope="module")
def labels(drawn):
    return torch.stack([drawn[i].parts for i in range(len(drawn))])


def test_the_picture_follows_part_and_page(drawn, labels):
    pytest.importorskip("ipywidgets")
    browser = one_part_browser(drawn, labels, 4, per_page=4)
    seen = {browser.picture.value}
    for control, value in (("part", 3), ("page", 1), ("page", 2)):
        browser.controls[control].value = value
        seen.add(browser.picture.value)
    assert len(seen) == 4
    assert browser.controls["page"].max == 2  # ten images, four to a page


def test_the_static_figure_has_a_row_for_each_part(drawn, labels):
    browser = one_part_browser(drawn, labels, 3, first=[0, 5])
    assert len(browser.static.axes) == (1 + 3) * 2


def test_parts_without_a_pixel_are_drawn_faded_and_not_refused(drawn, labels):
    pictures = [figure_bundle(one_part_browser(drawn, labels, k, first=[0]).static) for k in (7, 9)]
    assert pictures[0] != pictures[1]


def test_labels_of_other_images_are_refused(drawn, labels):
    with pytest.raises(DataError, match="labels are of 3 images; expected 10"):
        one_part_browser(drawn, labels[:3], 4)


def test_an_empty_page_is_refused(drawn, labels):
    with pytest.raises(ConfigError, match="per_page is 0"):
        one_part_browser(drawn, labels, 4, per_page=0)
