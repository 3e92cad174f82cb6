"""Lesson 12, your own images: photographs and their parts, shares, single parts, and data sets written as files."""

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

from partlib.data import ccp, load_dataset, usual_root
from partlib.data.base import PartDataset, Sample
from partlib.errors import DataError
from partlib.metrics import part_share
from partlib.paths import data_dir, write_atomically
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


def photo_rows(rows: Mapping[str, Sequence[np.ndarray]]) -> Figure:
    """Photographs (H, W, 3) uint8 of any sizes in titled rows, at their own proportions."""
    tallest = max(picture.shape[0] / picture.shape[1] for row in rows.values() for picture in row)
    columns = max(len(row) for row in rows.values())
    figure = Figure(figsize=(9.6, len(rows) * (9.4 / columns * tallest + 0.25)))
    for axes, (title, row) in zip(figure.subplots(len(rows), columns, squeeze=False), rows.items(), strict=True):
        for ax in axes:
            ax.set_axis_off()
        for ax, picture in zip(axes, row, strict=False):
            ax.imshow(picture, interpolation="lanczos")
        axes[0].set_title(title, loc="left")
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
        lit(chosen, range(1, num_parts + 1), min(150, 924 // len(chosen) - 4)),
    )


def photographs(number: int) -> tuple[str, Path]:
    """A folder of photographs without masks, and whose they are: ``number`` of Clothing Co-Parsing ("ccp"), spread
    evenly, where it lies among the data, else as many drawn birds ("birds"). Its ``parts`` are for scoring alone.
    """
    root = usual_root("ccp")
    assert root is not None
    try:
        names, tags = ccp.check(root), ccp.read_tags(root)
    except DataError:
        folder = data_dir() / f"my-photographs-birds-{number}"
        if not folder.exists():
            export_folder(load_dataset("birds", image_size=256, num_images=number), folder, masks=False)
        return "birds", folder
    part_names, class_of_tag = ccp.group_tags(tags)
    names = [name for name in names if name != "0536"]  # its annotation is empty
    chosen = [names[i] for i in np.linspace(0, len(names) - 1, min(number, len(names))).round().astype(int)]

    def write(new: Path) -> None:
        for name in chosen:
            labels = ccp.read_annotation(root / "annotations" / "pixel-level" / f"{name}.mat", len(tags))
            _save(class_of_tag[labels], new / "parts" / f"{name}.png")
            (new / "images").mkdir(exist_ok=True)
            (new / "images" / f"{name}.jpg").write_bytes((root / "photos" / f"{name}.jpg").read_bytes())
        (new / "parts.txt").write_text("\n".join(part_names) + "\n", encoding="utf-8")

    folder = data_dir() / f"my-photographs-ccp-{number}"
    if not folder.exists():
        write_atomically(folder, write)
    return "ccp", folder


def export_folder(dataset: PartDataset, root: Path, parts: bool = True, masks: bool = True) -> None:
    """Write a data set so that ``load_dataset("folder", root=root)`` reads it, with its label maps and its masks."""

    def write(folder: Path) -> None:
        for sample in map(dataset.__getitem__, range(len(dataset))):
            _save_image(sample, folder / "images" / sample.name)
            if masks:
                _save_mask(sample, folder / "masks" / sample.name)
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
            _save_image(sample, folder / "images" / file)
            _save_mask(sample, folder / "segmentations" / file)
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


def _save_image(sample: Sample, path: Path) -> None:
    """A JPEG of high quality, without halving the resolution of its colors."""
    _save(to_rgb_array(sample.image), path.with_name(f"{path.name}.jpg"))


def _save_mask(sample: Sample, path: Path) -> None:
    """An exact PNG of 0 and 255."""
    _save((sample.foreground[0].numpy() >= 0.5).astype(np.uint8) * 255, path.with_name(f"{path.name}.png"))


def _save(values: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, quality=95, subsampling=0)  # which a PNG ignores
