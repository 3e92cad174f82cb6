"""Interactive: redraw an image from K flat colours."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from partlib_course.color_study import SPACES, color_clusters
from partlib_course.figures_color import cluster_page, flat_image
from partlib_course.widgets import Controls, Interactive

from partlib.data.base import PartDataset, Sample
from partlib.errors import DataError
from partlib.report.plots import Picture, parts_grid

STATIC_PARTS = (2, 4, 8, 16)
MOST_PARTS = 16


def redraw_explorer(dataset: PartDataset, columns: Sequence[int] = range(6)) -> Interactive:
    """Choose an image, K and the colour space; see the clusters of its colours and the image redrawn from their means.

    Parameters
    ----------
    dataset : samples with a foreground.
    columns : samples that the static figure shows.
    """
    if len(dataset) == 0:
        raise DataError(f"data set {dataset.name!r} is empty; expected at least one sample")

    def draw(image: int, parts: int, space: str) -> Figure:
        return cluster_page(dataset[image], parts, space)

    def controls() -> Controls:
        from ipywidgets import Dropdown, IntSlider

        return {
            "image": IntSlider(columns[0], 0, len(dataset) - 1, description="image", continuous_update=False),
            "parts": IntSlider(4, 1, MOST_PARTS, description="K", continuous_update=False),
            "space": Dropdown(options=[("Lab", "lab"), ("RGB", "rgb")], value=SPACES[0], description="space"),
        }

    samples: list[Sample] = [dataset[i] for i in columns]
    rows: dict[str, Sequence[Picture]] = {"image": [s.image for s in samples]}
    for parts in STATIC_PARTS:
        labels = [color_clusters(s.image, s.foreground, parts) for s in samples]
        rows[f"K = {parts}"] = [flat_image(s, found) for s, found in zip(samples, labels, strict=True)]
    return Interactive(draw, controls, parts_grid(rows, cell=128))
