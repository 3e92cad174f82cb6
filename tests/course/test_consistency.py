"""The figures of the lesson."""

from partlib_course.consistency import descent_curves, loss_against_score


def test_figures_show_every_division_and_every_start():
    points = loss_against_score({"a": 0.5, "b": 0.7}, {"a": 10, "b": 30}).axes[0]
    assert [text.get_text() for text in points.texts] == ["a", "b"]
    assert [c.get_offsets().tolist() for c in points.collections] == [[[0.5, 10]], [[0.7, 30]]]
    curves = descent_curves({"x": [1, 0.5], "y": [1, 0.9]}, 0.4, "limit").axes[0]
    assert [text.get_text() for text in curves.get_legend().get_texts()] == ["x", "y", "limit"]
