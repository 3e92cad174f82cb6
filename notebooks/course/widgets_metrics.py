"""Interactive: damage a segmentation and watch every score at once."""

from typing import Any

from matplotlib.figure import Figure
from partlib_course.degrade import DAMAGES, degrade
from partlib_course.figures_metrics import damage_strip, score_panel
from partlib_course.metric_study import judge
from partlib_course.widgets import Controls, Interactive
from torch import Tensor

from partlib.data.base import PartDataset
from partlib.errors import DataError
from partlib.evaluation import annotated_parts

TRAIN_SEED, TEST_SEED = 1, 2  # the two sets are damaged independently


def damage_explorer(train_set: PartDataset, test_set: PartDataset, first: int = 0) -> Interactive:
    """Choose a damage and its strength; see the damaged parts and the live scores of the whole test set.

    Parameters
    ----------
    train_set : samples that the keypoint regression is fitted to; a few hundred keep it quick.
    test_set : samples that are scored, at least three.
    first : the first of the three test samples that are drawn.

    Raises
    ------
    DataError : a set without parts or keypoints, or too few test samples.
    """
    if len(test_set) < first + 3:
        raise DataError(f"the test set has {len(test_set)} samples; expected at least {first + 3} to draw three")
    truth = [annotated_parts(dataset) for dataset in (train_set, test_set)]
    shown = [first, first + 1, first + 2]

    def damaged(damage: str, strength: float) -> tuple[Tensor, dict[str, float]]:
        train, test = (
            degrade(t, damage, strength, seed) for t, seed in zip(truth, (TRAIN_SEED, TEST_SEED), strict=True)
        )
        return test, judge(train, train_set, test, test_set).scores()

    def draw(damage: str, strength: float) -> Figure:
        labels, scores = damaged(damage, strength)
        return score_panel([test_set[i] for i in shown], labels[shown], truth[1][shown], scores)

    def controls() -> Controls:
        from ipywidgets import Dropdown, FloatSlider

        strength: Any = FloatSlider(0.5, min=0, max=1, step=0.1, description="strength", continuous_update=False)
        return {
            "damage": Dropdown(options=list(DAMAGES), value="cores only", description="damage"),
            "strength": strength,
        }

    pictures, scores = {}, {}
    for title, strength in {"annotated": 0.0, **dict.fromkeys(DAMAGES, 0.6)}.items():
        labels, scores[title] = damaged(title if strength else "merge parts", strength)
        pictures[title] = labels[first]
    return Interactive(draw, controls, damage_strip(test_set[first], pictures, scores))
