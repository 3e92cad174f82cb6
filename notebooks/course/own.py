"""Lesson 12, your own images: masks, shares and single parts of any data set, and data sets written as files."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from partlib_course.notebook import repository_root
from partlib_course.visual import panels
from partlib_course.widgets import Interactive, slider
from PIL import Image
from torch import Tensor

from partlib.data.base import PartDataset, Sample
from partlib.metrics import part_share
from partlib.paths import write_atomically
from partlib.report.plots import overlay, parts_grid, to_rgb_array

CUB = "figures/results/cub/scores.json"  # written by figures/reproduction.py cub
COLUMNS = {"kp_all": "keypoint error", "fg_nmi": "FG-NMI", "fg_ari": "FG-ARI", "nmi": "NMI", "ari": "ARI"}
ALIVE, DEAD = "#0072b2", "#d55e00"


def cub_table() -> pd.DataFrame:
    """Real CUB: mean test scores of every method over its seeds; empty outside of a copy of the repository."""
    root = repository_root()
    if root is None or not (root / CUB).is_file():
        return pd.DataFrame(columns=[*COLUMNS.values(), "seeds"])
    stored = json.loads((root / CUB).read_text(encoding="utf-8"))["scores"]
    rows = {title: pd.DataFrame(list(found.values())) for title, found in stored.items()}
    table = pd.DataFrame({title: found[list(COLUMNS)].mean() for title, found in rows.items()}).T.rename(
        columns=COLUMNS
    )
    return table.round(1).assign(seeds=[len(found) for found in rows.values()])


def fade(image: Tensor, inside: Tensor) -> Tensor:
    """An image (3, H, W) that turns nearly white where ``inside`` (1, H, W) or (H, W) is 0."""
    return image * inside + (0.15 * image + 0.85) * (1 - inside)


def mask_grid(samples: Sequence[Sample]) -> Figure:
    """Images above, below what counts as the object: the rest is faded."""
    rows = {"image": [s.image for s in samples], "object": [fade(s.image, s.foreground) for s in samples]}
    return parts_grid(rows, cell=128)


def share_bars(runs: Mapping[str, Tensor], num_parts: int, dead: float) -> Figure:
    """Share of the foreground that each of K parts holds, a panel per run (labels (N, H, W)); marked where ``dead``."""
    figure = Figure(figsize=(3.0 * len(runs), 2.4))
    axes = figure.subplots(1, len(runs), sharey=True, squeeze=False)[0]
    for ax, (title, labels) in zip(axes, runs.items(), strict=True):
        shares = np.sort(part_share(labels, num_parts).numpy())[::-1]  # the number of a part means nothing
        bars = ax.bar(range(1, num_parts + 1), shares, color=[ALIVE if s >= dead else DEAD for s in shares])
        for text, s in zip(ax.bar_label(bars, [f"{s:.0%}" for s in shares], padding=2), shares, strict=True):
            if s < dead:
                text.set(text=f"{s:.1%}\ndead", color=DEAD)
        ax.set_title(title, loc="left")
        ax.set(xlabel="parts, largest first", xticks=range(1, num_parts + 1), ylim=(0, 1.15))
    axes[0].set_ylabel("share of the object")
    return figure


def photo_panels(photo: np.ndarray, labels: Mapping[str, np.ndarray]) -> Figure:
    """A photograph (H, W, 3) uint8 and divisions of it (H, W), side by side, at the photograph's own proportions."""
    pictures = {"photograph": photo} | {title: overlay(photo, found) for title, found in labels.items()}
    return panels(pictures, columns=len(pictures))


def one_part_browser(
    dataset: PartDataset, labels: Tensor, num_parts: int, *, per_page: int = 7, first: Sequence[int] | None = None
) -> Interactive:
    """Look at one part in many images at once: does it mean the same thing in each? No annotation is needed.

    ``labels`` are (N, H, W); the static figure has a row per part for the samples ``first``, or the first page.
    """

    def lit(chosen: Sequence[int], parts: Sequence[int], cell: int) -> Figure:
        rows = {f"part {k}": [fade(dataset[i].image, (labels[i] == k).float()) for i in chosen] for k in parts}
        return parts_grid({"image": [dataset[i].image for i in chosen], **rows}, cell=cell)

    def draw(part: int, page: int) -> Figure:
        return lit(range(len(dataset))[page * per_page :][:per_page], [part], 128)

    chosen = range(min(per_page, len(dataset))) if first is None else first
    return Interactive(
        draw,
        lambda: {"part": slider("part", 1, 1, num_parts), "page": slider("page", 0, 0, (len(dataset) - 1) // per_page)},
        lit(chosen, range(1, num_parts + 1), 112),
    )


def export_folder(dataset: PartDataset, root: Path, parts: bool = True) -> None:
    """Write a data set so that ``load_dataset("folder", root=root)`` reads it; ``parts`` writes label maps too."""

    def write(folder: Path) -> None:
        for sample in map(dataset.__getitem__, range(len(dataset))):
            _save_image_and_mask(sample, folder / "images" / sample.name, folder / "masks" / sample.name)
            if parts and sample.parts is not None:
                _save(sample.parts.numpy().astype(np.uint8), folder / "parts" / f"{sample.name}.png")
        if parts and dataset.part_names:
            (folder / "parts.txt").write_text("\n".join(dataset.part_names) + "\n", encoding="utf-8")

    write_atomically(root, write)


def export_cub(datasets: Sequence[PartDataset], root: Path) -> None:
    """Write birds in the layout of CUB-200-2011: samples of a "test" split as test images, all others for training."""
    lists: dict[str, list[str]] = defaultdict(list)  # file -> its lines

    def write(folder: Path) -> None:
        classes = [f"{i:03d}.{name.replace(' ', '_')}" for i, name in enumerate(datasets[0].label_names, 1)]
        lists["classes"] = [f"{i} {name}" for i, name in enumerate(classes, 1)]
        lists["parts/parts"] = [f"{i} {name}" for i, name in enumerate(datasets[0].keypoint_names, 1)]
        samples = [(dataset[i], dataset.split) for dataset in datasets for i in range(len(dataset))]
        for number, (sample, split) in enumerate(samples, 1):
            file = f"{classes[sample.label]}/{sample.name}"
            _save_image_and_mask(sample, folder / "images" / file, folder / "segmentations" / file)
            ys, xs = np.nonzero(sample.foreground[0].numpy() >= 0.5)
            lists["images"].append(f"{number} {file}.jpg")
            lists["image_class_labels"].append(f"{number} {sample.label + 1}")
            lists["train_test_split"].append(f"{number} {int(split != 'test')}")
            box = (xs.min() + 1, ys.min() + 1, np.ptp(xs) + 1, np.ptp(ys) + 1)  # counted from 1
            lists["bounding_boxes"].append(f"{number} " + " ".join(f"{value:.1f}" for value in box))
            assert sample.keypoints is not None
            for k, (x, y, visible) in enumerate(sample.keypoints.tolist(), 1):
                place = f"{x + 1:.3f} {y + 1:.3f} 1" if visible else "0.0 0.0 0"
                lists["parts/part_locs"].append(f"{number} {k} {place}")
        (folder / "parts").mkdir()
        for name, lines in lists.items():
            (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

    write_atomically(root, write)


def _save_image_and_mask(sample: Sample, image: Path, mask: Path) -> None:
    """A JPEG of high quality, without halving the resolution of its colors, and an exact PNG of 0 and 255."""
    _save(to_rgb_array(sample.image), image.with_name(f"{image.name}.jpg"))
    _save((sample.foreground[0].numpy() >= 0.5).astype(np.uint8) * 255, mask.with_name(f"{mask.name}.png"))


def _save(values: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, quality=95, subsampling=0)  # which a PNG ignores
