"""Pictures of CUB's birds without their photographs: part maps as silhouettes, and keypoints.

python figures/reproduction.py cub    # measures what is missing, and draws these at the end
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from figures import cub_table
from figures.cub import FILE, Birds, one_run, stored
from partlib.metrics import KeypointRegression
from partlib.paper.protocols import read_keypoints
from partlib.report import plots
from partlib.segmenter import PartSegmenter, likeliest_part, resize

COLUMNS = 10  # test birds side by side, spread evenly over all species


def draw(birds: Birds) -> None:
    """``parts.png``: best, median and worst seed; ``keypoints.png``: the median one; ``scatter.png``: all results."""
    scores = {int(seed): one["fg_nmi"] for seed, one in stored()["ours"].items()}
    order = sorted(scores, key=scores.__getitem__, reverse=True)
    chosen = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    networks = {name: network(birds, seed) for name, seed in chosen.items()}
    titles = {f"{name} of {len(order)} seeds, FG-NMI {scores[chosen[name]]:.1f}": s for name, s in networks.items()}
    pick = spread_over(len(birds.sets["test"]), COLUMNS)
    silhouettes(birds, titles, pick, FILE.with_name("parts.png"))
    many = spread_over(len(birds.sets["test"]), 2 * COLUMNS)
    keypoints(birds, networks["median"], many, FILE.with_name("keypoints.png"))
    cub_table.scatter(stored(), FILE.with_name("scatter.png"))


def network(birds: Birds, seed: int) -> PartSegmenter:
    return one_run(birds.config.replace(seed=seed), "ours").segmenter


def spread_over(total: int, number: int) -> list[int]:
    return torch.linspace(0, total - 1, number).round().int().tolist()


def labels_of(birds: Birds, segmenter: PartSegmenter, pick: list[int]) -> Tensor:
    """Labels (N, H, W) of test images, 0 off the mask."""
    foreground = torch.stack([birds.sets["test"][i].foreground for i in pick])  # (N, 1, H, W)
    with torch.no_grad():
        low = segmenter.decoder(birds.maps(birds.sets["test"]).batch(pick))
    return likeliest_part(resize(low, foreground.shape[-2:])) * (foreground[:, 0] > 0.5)


def silhouettes(birds: Birds, segmenters: dict[str, PartSegmenter], pick: list[int], path: Path) -> None:
    """One row of test birds per segmenter, colored by part, with the annotated keypoints as dots."""
    samples = [birds.sets["test"][i] for i in pick]
    figure, axes = plt.subplots(len(segmenters), len(pick), figsize=(1.25 * len(pick), 1.3 * len(segmenters)))
    reference: Tensor | None = None
    for row, (title, segmenter) in zip(np.atleast_2d(axes), segmenters.items(), strict=True):
        labels = labels_of(birds, segmenter, pick)
        reference = labels if reference is None else reference
        labels = plots.match_parts(labels, reference)  # the same part, the same color
        for ax, found, sample in zip(row, labels, samples, strict=True):
            ax.imshow(colored(found))
            x, y, _ = sample.keypoints[sample.keypoints[:, 2] > 0].T
            ax.scatter(x, y, s=4, c="black", linewidths=0)
            ax.set_axis_off()
        row[0].set_title(title, loc="left", fontsize=9, color=plots.INK)
    save(figure, path)


def colored(labels: Tensor) -> np.ndarray:
    """Parts (H, W) in their colors on white, (H, W, 3)."""
    palette = np.array([(1.0, 1.0, 1.0), *(plots.part_color(k) for k in range(1, int(labels.max()) + 1))])
    return palette[labels.numpy()]


def keypoints(birds: Birds, segmenter: PartSegmenter, pick: list[int], path: Path) -> None:
    """Annotated keypoints and those that a linear map predicts from the parts' centers, on pale silhouettes."""

    def read(split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Centers (N, K, 2) and keypoints (N, M, 3) in units of the boxes, and those boxes (N, 1, 4)."""
        found = read_keypoints(birds.decoded(segmenter), [birds.sets[split]])
        boxes, points = found.boxes.numpy()[:, None], found.keypoints.numpy()  # (N, 1, 4), (N, M, 3)
        points[..., :2] = (points[..., :2] - boxes[..., :2]) / boxes[..., 2:]
        return (found.centers.numpy() - boxes[..., :2]) / boxes[..., 2:], points, boxes

    model = KeypointRegression().fit(*read("train")[:2])
    centers, points, boxes = (each[pick] for each in read("test"))
    predicted = model.predict(centers) * boxes[..., 2:] + boxes[..., :2]  # (N, M, 2)
    labels = labels_of(birds, segmenter, pick)
    rows = -(-len(pick) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(1.25 * COLUMNS, 1.3 * rows))
    for ax, found, guess, point, box in zip(axes.flat, labels, predicted, points, boxes, strict=True):
        ax.imshow(0.6 + 0.4 * colored(found))
        true, seen = point[:, :2] * box[:, 2:] + box[:, :2], point[:, 2] > 0
        for a, b in zip(true[seen], guess[seen], strict=True):
            ax.plot(*zip(a, b, strict=True), color=plots.INK, linewidth=0.6)
        ax.scatter(*true[seen].T, s=5, c="black", linewidths=0, label="annotated")
        ax.scatter(*guess[seen].T, s=7, facecolors="none", edgecolors="#D55E00", linewidths=0.7, label="predicted")
        ax.set_axis_off()
    handles, names = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", ncols=2, frameon=False, fontsize=8)
    save(figure, path, bottom=0.08)


def save(figure: Figure, path: Path, bottom: float = 0.0) -> None:
    """Write a figure; a legend has the share ``bottom`` of its height."""
    figure.set_dpi(110)
    figure.tight_layout(pad=0.4, rect=(0, bottom, 1, 1))
    plots.save_png(figure, path, max_bytes=400_000)
    plt.close(figure)
