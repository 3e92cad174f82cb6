"""Lesson 13: stored networks come back under their names, and every seed is a dot."""

import numpy as np
from partlib_course import after


def test_networks_come_weakest_first_and_only_with_all_their_rows(monkeypatch):
    rows = {"feature k-means": {"0": {}}, "all four": {"0": {}}}
    other = {**rows, "all four": {}}
    stored = {"efficientnet_lite0": rows, "timm/resnet50": rows, "efficientnet_lite0:random": rows, "vgg19": other}
    monkeypatch.setattr(after, "stored_result", lambda name: {"scores": stored})
    assert list(after.stored_networks()) == ["Lite0, untrained", "Lite0", "timm/resnet50"]


def test_a_figure_has_a_dot_for_every_seed_and_a_mark_at_their_mean():
    values = {
        "ours": {"a": [1.0, 2.0, 6.0], "b": [4.0, 4.0, 4.0]},
        "others": {"a": [0.0, 1.0, 2.0], "b": [2.0, 3.0, 4.0]},
    }
    ax = after.seed_plot(values, "score", zero=True).axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b"]
    dots = np.concatenate([collection.get_offsets()[:, 1] for collection in ax.collections])
    assert sorted(dots) == sorted(v for series in values.values() for seeds in series.values() for v in seeds)
    marks = [float(y) for line in ax.lines if line.get_marker() == "s" for y in line.get_ydata()]
    assert sorted(marks) == [1.0, 3.0, 3.0, 4.0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["ours", "others"]
