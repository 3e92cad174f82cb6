"""The diagram of a training step and the map of the course."""

from pathlib import Path

import pytest
from partlib_course.flow import LOSSES, course_map, step_diagram

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


@pytest.mark.parametrize("lit", ["", *LOSSES])
def test_one_loss_is_lit_and_the_others_are_pale(lit):
    (axes,) = step_diagram(lit).axes
    colors = {text.get_text(): text.get_color() for text in axes.texts}
    pale = {name for name in LOSSES if colors[LOSSES[name]] == "#aaaaaa"}
    assert pale == (set(LOSSES) - {lit} if lit else set())


def test_the_map_shows_all_lessons_in_order():
    (axes,) = course_map().axes
    numbers = [text.get_text() for text in axes.texts if text.get_text().isdigit()]
    assert numbers == [f"{number:02}" for number in range(15)]
    assert {path.name[:2] for path in NOTEBOOKS.glob("[0-9]*.ipynb")} <= set(numbers)
