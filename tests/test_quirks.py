"""docs/QUIRKS.md: one row per quirk, written by docs/quirks.py, and every switch of the release among them."""

import re

import pytest

from partlib.config import RELEASE
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "QUIRKS.md").read_text(encoding="utf-8")


@pytest.fixture
def quirks(monkeypatch):
    """The module that writes the page."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "docs"))
    import quirks

    return quirks


def rows():
    """Cells of the page's table, row by row."""
    lines = [line for line in PAGE.splitlines() if re.match(r"\| \d", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_has_every_quirk_in_order_and_none_unmeasured(quirks):
    expected = [*quirks.TRAINING, *quirks.DATA_AND_EVALUATION]
    assert [row[:4] for row in rows()] == [
        [str(number), q.release, q.here, q.option] for number, q in enumerate(expected, 1)
    ]
    assert all(any(c.isdigit() for c in row[4]) for row in rows())


def test_every_switch_of_the_release_is_explained(quirks):
    options = " ".join(row[3] for row in rows())
    for name, value in RELEASE.items():
        assert f"`{name}={value}`" in options


@pytest.mark.parametrize(
    "effect", ["learning_rate", "positive_draw", "soft_foreground", "colour_sums", "overflow", "painting", "centres"]
)
def test_what_can_be_measured_at_once_is_what_the_page_says(effect, quirks):
    measured = {q.measure.__name__: q.measure for q in (*quirks.TRAINING, *quirks.DATA_AND_EVALUATION)}[effect]()
    numbers = [float(n) for n in re.findall(r"\d+(?:\.\d+)?", measured.replace(",", ""))]
    row = next(row[4] for row in rows() if re.sub(r"[\d.,e+-]", "", row[4]) == re.sub(r"[\d.,e+-]", "", measured))
    assert numbers == pytest.approx([float(n) for n in re.findall(r"\d+(?:\.\d+)?", row.replace(",", ""))], rel=0.05)
