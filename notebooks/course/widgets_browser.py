"""A part browser for any data set, annotated or not: page through it, part by part."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from partlib_course.figures_own import fade
from partlib_course.widgets import Controls, Interactive
from torch import Tensor

from partlib.data.base import PartDataset
from partlib.errors import ConfigError, DataError
from partlib.report.plots import parts_grid


def one_part_browser(
    dataset: PartDataset, labels: Tensor, num_parts: int, *, per_page: int = 7, first: Sequence[int] | None = None
) -> Interactive:
    """Look at one part in many images at once: does it mean the same thing in each? No annotation is needed.

    Parameters
    ----------
    dataset : N samples.
    labels : found parts (N, H, W), 0 is background, 1..K are parts.
    num_parts : K.
    per_page : images shown at once.
    first : samples of the static figure, which has a row per part; the first page where None.

    Raises
    ------
    DataError : labels of another number of images.
    ConfigError : ``per_page`` or ``num_parts`` below 1.
    """
    if len(labels) != len(dataset):
        raise DataError(f"labels are of {len(labels)} images; expected {len(dataset)}, one per sample")
    if per_page < 1 or num_parts < 1:
        raise ConfigError(f"per_page is {per_page} and num_parts {num_parts}; expected at least 1")
    pages = -(-len(dataset) // per_page)

    def draw(part: int, page: int) -> Figure:
        chosen = list(range(page * per_page, min((page + 1) * per_page, len(dataset))))
        rows = {"image": [dataset[i].image for i in chosen], f"part {part}": _lit(dataset, labels, chosen, part)}
        return parts_grid(rows, cell=128)

    def controls() -> Controls:
        from ipywidgets import IntSlider

        def slider(name: str, low: int, high: int) -> Any:
            return IntSlider(low, low, high, description=name, continuous_update=False)

        return {"part": slider("part", 1, num_parts), "page": slider("page", 0, pages - 1)}

    chosen = list(range(min(per_page, len(dataset)))) if first is None else list(first)
    parts = {f"part {k}": _lit(dataset, labels, chosen, k) for k in range(1, num_parts + 1)}
    static = parts_grid({"image": [dataset[i].image for i in chosen], **parts}, cell=112)
    return Interactive(draw, controls, static)


def _lit(dataset: PartDataset, labels: Tensor, chosen: Sequence[int], part: int) -> list[Tensor]:
    """Images faded but for one part, each (3, H, W)."""
    return [fade(dataset[i].image, (labels[i] == part).float()) for i in chosen]
