"""The damage explorer follows its controls and shows every damage where there is no front end."""

import pytest
from partlib_course import figures_metrics
from partlib_course.degrade import DAMAGES
from partlib_course.figures_metrics import SCORE_NAMES
from partlib_course.widgets_metrics import annotated_parts, damage_explorer

from partlib.errors import DataError
from tests.course.test_widgets import change


@pytest.fixture(scope="module")
def explorer(tiny_birds):
    return damage_explorer(*tiny_birds)


@pytest.mark.parametrize("values", [{"strength": 1.0}, {"damage": "split parts"}], ids=["strength", "damage"])
def test_each_control_changes_the_picture(explorer, values):
    explorer.controls["damage"].value, explorer.controls["strength"].value = "random pixels", 0.5
    assert change(explorer, **values) > 0.5


def test_the_bars_show_every_score(explorer):
    figure = explorer.draw(damage="merge parts", strength=0.0)
    ticks = [tick.get_text().replace("\n", " ") for ax in figure.axes for tick in ax.get_yticklabels()]
    assert set(SCORE_NAMES.values()) <= set(ticks)
    lengths = [bar.get_width() for ax in figure.axes for bar in ax.patches]
    assert lengths[0] == pytest.approx(100)


def test_static_figure_shows_the_annotation_and_every_damage(explorer):
    assert {ax.get_title() for ax in explorer.static.axes} >= {"annotated", *DAMAGES}


def test_too_few_samples_are_refused(tiny_birds):
    with pytest.raises(DataError, match="expected at least 8"):
        damage_explorer(tiny_birds[0], tiny_birds[1].subset([0, 1, 2]), first=5)


def test_curves_and_ranks_show_every_family(tiny_birds):
    scores = dict.fromkeys(SCORE_NAMES, 50.0)
    curves = figures_metrics.damage_curves([0, 1], {damage: [scores, scores] for damage in DAMAGES})
    assert {ax.get_title() for ax in curves.axes} >= set(DAMAGES)
    ranks = figures_metrics.rank_scatter({("one", "a"): scores, ("two", "b"): scores})
    assert [text.get_text() for text in ranks.legends[0].get_texts()] == ["one", "two"]


def test_toy_figure_writes_the_counts(tiny_birds):
    target = annotated_parts(tiny_birds[0])[0, 14:18, 14:18].clamp(min=1)
    figure = figures_metrics.toy_figure(target, {"equal": target})
    written = [text.get_text() for text in figure.axes[3].texts]
    assert str(int((target == target.max()).sum())) in written
