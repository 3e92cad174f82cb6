"""docs/QUIRKS.md: one row per quirk, each measured by docs/quirks.py, and every switch of the release among them."""

import re

import pytest

from docs.quirks import EFFECTS, PAGE
from partlib.config import TrainConfig
from partlib.paper.release import release_config

ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if re.match(r"\| \d", line)
]


def test_every_row_has_a_measurement_and_a_number():
    assert [int(row[0]) for row in ROWS] == sorted(EFFECTS) == list(range(1, 25))
    assert all(len(row) == 5 and any(c.isdigit() for c in row[4]) for row in ROWS)


def test_every_switch_of_the_release_is_explained():
    switches, config = " ".join(row[3] for row in ROWS), release_config(TrainConfig.preset("paper"))
    for name in (config.arch, *config.quirks):
        assert f"`{name}`" in switches


@pytest.mark.parametrize("number", [2, 3, 5, 15, 18, 20, 22, 23])
def test_what_can_be_measured_at_once_is_what_the_page_says(number):
    measured, stated = (
        [float(n) for n in re.findall(r"\d+(?:\.\d+)?", text.replace(",", ""))]
        for text in (EFFECTS[number](), ROWS[number - 1][4])
    )
    assert measured == pytest.approx(stated, rel=0.05)
