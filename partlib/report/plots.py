"""Pictures: parts on images, and grids of them. Only reads; never computes a score.

One palette everywhere: part (or class) k has the same colour in every figure, and neighbours in the list can be told
apart with the common kinds of colour blindness. Functions return arrays or closed matplotlib figures, which a notebook
shows when they are the last expression of a cell.
"""

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from partlib.data.base import Sample
from partlib.errors import ConfigError, DataError
from partlib.metrics import contingency_table

# The seven colours of Okabe and Ito (2008), then five of Tol's "muted" scheme. Strongest contrasts first: most
# figures have four parts.
PART_COLORS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#332288",
    "#882255",
    "#44AA99",
    "#DDCC77",
    "#999933",
)
BACKGROUND_COLOR = "#D9D9D9"
INK = "#333333"

Picture = Tensor | np.ndarray


def part_color(label: int) -> tuple[float, float, float]:
    """RGB in [0, 1] of a label: 0 is grey, parts beyond the palette start it again."""
    return to_rgb(BACKGROUND_COLOR if label == 0 else PART_COLORS[(label - 1) % len(PART_COLORS)])


def to_rgb_array(image: Picture) -> np.ndarray:
    """Any image as (H, W, 3) uint8.

    Parameters
    ----------
    image : (3, H, W) tensor or (H, W, 3) array; floats in [0, 1] or uint8.
    """
    array = image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if array.ndim == 3 and array.shape[0] == 3 and array.shape[2] != 3:
        array = array.transpose(1, 2, 0)  # (3, H, W) -> (H, W, 3)
    if array.ndim != 3 or array.shape[2] != 3:
        raise DataError(f"image has shape {tuple(array.shape)}; expected (3, H, W) or (H, W, 3)")
    if array.dtype == np.uint8:
        return array
    return (array.clip(0, 1) * 255).round().astype(np.uint8)


def overlay(image: Picture, labels: Picture, alpha: float = 0.6, outline: bool = True, scale: int = 1) -> np.ndarray:
    """Parts drawn on an image: each in its colour, thin white lines between them, the background faded.

    Parameters
    ----------
    image : (3, H, W) or (H, W, 3), see :func:`to_rgb_array`.
    labels : (H, W) integers; 0 is background, 1..K are parts.
    alpha : opacity of the part colours, 0 to 1.
    outline : draw the borders of the parts.
    scale : enlarge the picture by this factor first, with smooth borders.

    Returns
    -------
    (scale * H, scale * W, 3) uint8.
    """
    picture, found = to_rgb_array(image), _label_array(labels)
    if picture.shape[:2] != found.shape:
        raise DataError(f"image is {picture.shape[:2]} pixels but labels are {found.shape}; resize one of them")
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha is {alpha}; expected an opacity from 0 to 1")
    if scale > 1:
        picture, found = _enlarge(picture, found, scale)
    pixels = picture.astype(np.float64) / 255
    palette = np.array([part_color(k) for k in range(int(found.max(initial=0)) + 1)])  # (K + 1, 3)
    grey = pixels.mean(2, keepdims=True)
    faded = 0.25 * pixels + 0.25 * grey + 0.5  # half of the colour, and halfway to white
    # Grey under the parts: the object's own colours would mix with theirs into colours of other parts.
    tinted = (1 - alpha) * (0.15 + 0.85 * grey) + alpha * palette[found]
    result = np.where(found[..., None] > 0, tinted, faded)
    if outline:
        result[_borders(found)] = 1.0
    return (result * 255).round().astype(np.uint8)


def _label_array(labels: Picture) -> np.ndarray:
    array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"labels are {array.dtype} of shape {array.shape}; expected (H, W) integers")
    return array.astype(np.int64)


def _borders(labels: np.ndarray) -> np.ndarray:
    """Pixels (H, W) bool that differ from their right or lower neighbour; one pixel wide."""
    border = np.zeros(labels.shape, dtype=bool)
    border[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    border[:-1] |= labels[:-1] != labels[1:]
    return border


def _enlarge(picture: np.ndarray, labels: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Both ``scale`` times as large; a pixel takes the label whose interpolated indicator is largest."""
    size = (labels.shape[1] * scale, labels.shape[0] * scale)  # Pillow counts (width, height)
    enlarged = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    values = np.unique(labels)
    indicators = [
        np.asarray(Image.fromarray((labels == v).astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
        for v in values
    ]
    return enlarged, values[np.argmax(indicators, axis=0)]


def palette_image(labels: Picture) -> Image.Image:
    """Label map (H, W) as a Pillow palette image: pixel values are the labels, shown in the part colours."""
    array = _label_array(labels)
    if array.min(initial=0) < 0 or array.max(initial=0) > 255:
        raise DataError(f"labels from {array.min()} to {array.max()}; a palette image holds 0 to 255")
    picture = Image.frombytes("P", (array.shape[1], array.shape[0]), array.astype(np.uint8).tobytes())
    picture.putpalette([round(255 * channel) for k in range(256) for channel in part_color(k)])
    return picture


def match_parts(labels: Picture, reference: Picture) -> Tensor:
    """Renumber parts so that each takes the number, and with it the colour, of the class it overlaps most.

    Found parts come in any order. Parts and classes are paired one to one so that the total overlap is largest
    (Hungarian method); parts without a class get the numbers after the last class. For pictures only: the scores
    ignore numbering.

    Parameters
    ----------
    labels, reference : integer tensors or arrays of one shape, (N, H, W) or (H, W); 0 is background.

    Returns
    -------
    Tensor of that shape, int64.
    """
    from scipy.optimize import linear_sum_assignment  # imported on use: it takes tens of megabytes

    found, classes = torch.as_tensor(labels).long(), torch.as_tensor(reference).long()
    overlap = contingency_table(found, classes)[1:, 1:].cpu().numpy()  # (classes, parts)
    wanted, parts = linear_sum_assignment(overlap, maximize=True)
    number = {int(p) + 1: int(c) + 1 for c, p in zip(wanted, parts, strict=True)}
    unmatched = (p for p in range(1, overlap.shape[1] + 1) if p not in number)
    number |= {p: overlap.shape[0] + i for i, p in enumerate(unmatched, start=1)}
    lookup = torch.tensor([0] + [number[p] for p in sorted(number)], device=found.device)
    return lookup[found]


def parts_grid(
    rows: Mapping[str, Sequence[Picture]],
    path: str | Path | None = None,
    *,
    column_titles: Sequence[str] = (),
    legend: Sequence[str] = (),
    cell: int = 150,
    max_bytes: int | None = 600_000,
) -> Figure:
    """Pictures in rows with a title each: images, ground truth, baselines, ours.

    Parameters
    ----------
    rows : title -> images of that row (:func:`to_rgb_array`), all of one size.
    path : PNG to write, or None.
    column_titles : above the columns.
    legend : names of the classes 1, 2, ...; drawn below in their colours.
    cell : width of one picture in pixels of the PNG.
    max_bytes : limit of the PNG; see :func:`save_png`.
    """
    columns = max((len(images) for images in rows.values()), default=0)
    if columns == 0:
        raise ConfigError("rows has no picture; expected a title and at least one image per row")
    first = to_rgb_array(next(images[0] for images in rows.values() if len(images)))
    gap, left, dpi = 4, 34, 100
    top = 22 if column_titles else gap
    height = round(cell * first.shape[0] / first.shape[1])
    width_px = left + columns * (cell + gap)
    across = max(1, min(8, width_px // 90))  # names beside each other in the legend
    bottom = 8 + 20 * math.ceil(len(legend) / across) if legend else gap
    height_px = top + len(rows) * (height + gap) + bottom
    figure = plt.figure(figsize=(width_px / dpi, height_px / dpi), dpi=dpi, facecolor="white")
    for r, (title, images) in enumerate(rows.items()):
        y = 1 - (top + (r + 1) * (height + gap) - gap) / height_px
        middle = y + height / height_px / 2
        text = textwrap.fill(title, 20)
        figure.text(left / 2 / width_px, middle, text, rotation=90, ha="center", va="center", fontsize=9, color=INK)
        for c, image in enumerate(images):
            axes = figure.add_axes(((left + c * (cell + gap)) / width_px, y, cell / width_px, height / height_px))
            axes.imshow(to_rgb_array(image), interpolation="lanczos", aspect="auto")
            axes.set_axis_off()
            if r == 0 and c < len(column_titles):
                axes.set_title(column_titles[c], fontsize=9, color=INK, pad=4)
    if legend:
        handles = [plt.Rectangle((0, 0), 1, 1, color=part_color(k)) for k in range(1, len(legend) + 1)]
        style = {"frameon": False, "fontsize": 9, "handlelength": 1.2, "borderpad": 0}
        figure.legend(handles, legend, loc="lower center", ncols=min(across, len(legend)), **style)
    plt.close(figure)
    if path is not None:
        save_png(figure, path, max_bytes)
    return figure


def results_grid(
    samples: Sequence[Sample],
    predictions: Mapping[str, Tensor],
    path: str | Path | None = None,
    *,
    part_names: Sequence[str] = (),
    cell: int = 150,
) -> Figure:
    """The picture of a result: images, ground truth where there is one, and every prediction, a row each.

    Predicted parts take the colours of the annotated parts that they overlap most in these samples.

    Parameters
    ----------
    samples : N samples.
    predictions : name -> labels (N, H, W).
    path : PNG to write, or None.
    part_names : names of the annotated parts, for a legend.
    cell : width of one picture in pixels.
    """
    scale = max(1, math.ceil(cell / samples[0].image.shape[-1])) if samples else 1
    rows: dict[str, list[Picture]] = {"image": [sample.image for sample in samples]}
    annotated = [sample.parts for sample in samples if sample.parts is not None]
    truth = torch.stack(annotated) if annotated and len(annotated) == len(samples) else None  # (N, H, W)
    shown = {"ground truth": truth} if truth is not None else {}
    for name, labels in predictions.items():
        if len(labels) != len(samples):
            raise DataError(f"{name} has labels of {len(labels)} images; expected {len(samples)}, one per sample")
        shown[name] = labels if truth is None else match_parts(labels, truth)
    for name, labels in shown.items():
        rows[name] = [overlay(s.image, found, scale=scale) for s, found in zip(samples, labels, strict=True)]
    return parts_grid(rows, path, legend=part_names if truth is not None else (), cell=cell)


def save_png(figure: Figure, path: str | Path, max_bytes: int | None = None) -> None:
    """Write a figure as PNG; folders are made.

    Parameters
    ----------
    figure : drawn at its own resolution.
    path : file to write.
    max_bytes : where the file would be larger, its colours are reduced to 256 (hardly visible, and about a third of
        the size), and then its pixels until it fits.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=figure.dpi)
    picture = Image.open(buffer).convert("RGB")
    content, scale = buffer.getvalue(), 1.0
    while max_bytes is not None and len(content) > max_bytes and scale > 0.1:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        smaller = picture.resize(size, Image.Resampling.LANCZOS)
        # Maximum coverage keeps rare colours (a small part, the legend), which the median cut would merge.
        colors = smaller.quantize(256, method=Image.Quantize.MAXCOVERAGE)
        reduced = smaller.quantize(palette=colors, dither=Image.Dither.FLOYDSTEINBERG)
        buffer = io.BytesIO()
        reduced.save(buffer, format="png", optimize=True)
        content, scale = buffer.getvalue(), scale * 0.9
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
