"""Curves of a training run: what was logged is drawn, from memory as from a file."""

import csv
import io

import numpy as np
import pytest
from partlib_course.curves import loss_curves, training_curves
from PIL import Image

from partlib.errors import DataError


def training_log():
    entries = []
    for step in range(10, 101, 10):
        entry = {"step": step, "lr": 1e-3, "total": 5 / step, "feature": 1 / step}
        if step % 50 == 0:
            entry |= {"val_fg_nmi": step / 2, "val_fg_ari": step / 3, "share_1": 0.4, "share_2": 0.6}
        entries.append(entry)
    return entries


def test_curves_show_what_was_logged(tmp_path):
    log = training_log()
    figure = training_curves(log, tmp_path / "curves.png")
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == [
        "total",
        "feature",
        "validation scores (%)",
        "share of the foreground",
    ]
    np.testing.assert_allclose(panels[0].lines[0].get_ydata(), [entry["total"] for entry in log])
    np.testing.assert_allclose(panels[2].lines[0].get_xdata(), [50, 100])
    assert Image.open(tmp_path / "curves.png").width > 300
    assert len([axes for axes in loss_curves(log).axes if axes.get_title(loc="left")]) == 2


def test_curves_read_the_rows_of_a_csv_file():
    log, stream = training_log(), io.StringIO()
    writer = csv.DictWriter(stream, list(log[-1]))
    writer.writeheader()
    writer.writerows(log)
    stream.seek(0)
    figures = [training_curves(rows) for rows in (log, list(csv.DictReader(stream)))]
    for ours, theirs in zip(*(figure.axes for figure in figures), strict=True):
        for a, b in zip(ours.lines, theirs.lines, strict=True):
            np.testing.assert_allclose(a.get_xydata(), b.get_xydata())


def test_an_empty_log_is_refused():
    for log in ([], [{"step": 1}], [{"total": 1.0}]):
        with pytest.raises(DataError, match="no losses"):
            training_curves(log)
