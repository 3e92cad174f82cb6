"""Lessons 02 and 11: segmentations damaged on purpose, every score from counts per image, and figures of both."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from partlib_course.visual import panels
from partlib_course.widgets import Interactive, choice, slider
from scipy.ndimage import distance_transform_edt, shift
from torch import Tensor
from torch.nn import functional as F

from partlib.data.base import PartDataset, Sample
from partlib.evaluation import annotated_parts
from partlib.metrics import KeypointRegression, ari, contingency_table, nmi, part_centers
from partlib.report.plots import INK, PART_COLORS, overlay, part_color

MAX_SHIFT = 0.2  # of the image side
MAX_BLOCK = 0.25  # of the image side
MAX_PIECES = 4
SCORE_NAMES = {"fg_nmi": "FG-NMI", "fg_ari": "FG-ARI", "nmi": "NMI", "ari": "ARI", "error": "keypoint error"}

# Damages take labels (N, H, W), integers with 0 for background, a strength from 0 (no change) to 1, and a seed. The
# foreground never changes, only how it is divided.


def merge_parts(labels: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Under-segmentation: the last parts become one; at strength 1 one part is left."""
    highest = int(labels.max())
    return labels.clamp(max=highest - round(strength * (highest - 1)))


def split_parts(labels: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Over-segmentation: every part is cut from left to right into up to four pieces of equal width."""
    pieces = 1 + round(strength * (MAX_PIECES - 1))
    result, x = torch.zeros_like(labels), torch.arange(labels.shape[-1], device=labels.device)
    for k in range(1, int(labels.max()) + 1):
        inside = labels == k  # (N, H, W)
        used = inside.any(dim=1).long()  # (N, W)
        first, last = used.argmax(dim=1), len(x) - 1 - used.flip(1).argmax(dim=1)  # (N,) columns with a pixel of k
        width = (last - first + 1).clamp(min=1)[:, None]  # (N, 1)
        piece = ((x - first[:, None]) * pieces // width).clamp(0, pieces - 1)  # (N, W)
        result = torch.where(inside, ((k - 1) * pieces + 1 + piece[:, None]).to(labels.dtype), result)
    return result


def shift_boundaries(labels: Tensor, strength: float, seed: int = 0) -> Tensor:
    """All boundaries between parts move, in every image in a direction of its own, by up to a fifth of its side."""
    angles = 2 * math.pi * torch.rand(len(labels), generator=torch.Generator().manual_seed(seed))
    distance = strength * MAX_SHIFT * labels.shape[-1]
    moved = labels.clone()
    for i, (found, angle) in enumerate(zip(labels.numpy(), angles.tolist(), strict=True)):
        if not found.any():
            continue
        # pixels that would be read from the background take the nearest part instead
        nearest = distance_transform_edt(found == 0, return_distances=False, return_indices=True)  # (2, H, W)
        by = (-round(distance * math.sin(angle)), -round(distance * math.cos(angle)))
        moved[i] = torch.from_numpy(shift(found[tuple(nearest)], by, order=0, mode="nearest") * (found > 0))
    return moved


def coarse_blocks(labels: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Low resolution: every block of pixels takes its most frequent part; blocks grow to a quarter of the image."""
    side = max(1, round(strength * MAX_BLOCK * labels.shape[-1]))
    # one part at a time: all maps together would not fit where memory is scarce
    parts = range(1, int(labels.max()) + 1)
    counts = [F.avg_pool2d((labels == k).float()[:, None], side, ceil_mode=True) for k in parts]
    winner = (torch.cat(counts, dim=1).argmax(dim=1) + 1).to(labels.dtype)  # (N, K, h, w) -> (N, h, w)
    enlarged = winner.repeat_interleave(side, 1).repeat_interleave(side, 2)  # (N, >= H, >= W)
    return enlarged[:, : labels.shape[1], : labels.shape[2]] * (labels > 0)


def random_pixels(labels: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Noise: a fraction ``strength`` of the pixels takes a random part."""
    generator = torch.Generator().manual_seed(seed)
    hit = torch.rand(labels.shape, generator=generator) < strength
    drawn = torch.randint(1, int(labels.max()) + 1, labels.shape, generator=generator, dtype=torch.int16)
    return torch.where(hit & (labels > 0), drawn.to(labels), labels)


def cores_only(labels: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Every part keeps the pixels nearest to its center; the rest of the object becomes one more part.

    At strength 1 a part keeps a fiftieth of its pixels: it has shrunk to a dot, as a keypoint detector would give.
    """
    result, rest = labels.clone(), int(labels.max()) + 1
    y, x = torch.meshgrid(*(torch.arange(s, dtype=torch.float32) for s in labels.shape[1:]), indexing="ij")  # (H, W)
    for found, changed in zip(labels, result, strict=True):
        for k in set(found.unique().tolist()) - {0}:
            inside = found == k  # (H, W)
            distance = (x - x[inside].mean()) ** 2 + (y - y[inside].mean()) ** 2  # (H, W)
            changed[inside & (distance > torch.quantile(distance[inside], 1 - 0.98 * strength))] = rest
    return result


def mix_up_images(labels: Tensor, strength: float, seed: int = 0) -> Tensor:
    """In a fraction ``strength`` of the images the parts trade their numbers: good boundaries, no consistency."""
    generator = torch.Generator().manual_seed(seed)
    result = labels.clone()
    chosen = torch.randperm(len(labels), generator=generator)[: round(strength * len(labels))]
    for i in chosen.tolist():
        order = torch.randperm(int(labels.max()), generator=generator) + 1
        result[i] = torch.cat([torch.zeros(1, dtype=torch.long), order])[labels[i].long()].to(labels.dtype)
    return result


_FUNCTIONS = (merge_parts, split_parts, shift_boundaries, coarse_blocks, random_pixels, cores_only, mix_up_images)
DAMAGES = {function.__name__.replace("_", " "): function for function in _FUNCTIONS}


def degrade(labels: Tensor, damage: str, strength: float, seed: int = 0) -> Tensor:
    """One of the :data:`DAMAGES` done to labels (N, H, W); the result is of the same type, and 0 where they are."""
    assert 0 <= strength <= 1, f"strength is {strength}; expected 0 to 1"
    return labels.clone() if strength == 0 else DAMAGES[damage](labels, strength, seed)


@dataclass(frozen=True)
class PerImageCounts:
    """What the scores of one segmentation need, kept per test image, so that images can be drawn anew (bootstrap)."""

    tables: np.ndarray  # (N, R, C) int64, annotated parts by found parts, background first
    distances: np.ndarray  # (N,) sum over visible keypoints of the distance to the regressed ones, in % of the side
    counts: np.ndarray  # (N,) number of visible keypoints

    def scores(self, pick: np.ndarray | slice = slice(None)) -> dict[str, float]:
        """The :data:`SCORE_NAMES` in percent over the images ``pick`` (indices; repeated ones count repeatedly)."""
        table = self.tables[pick].sum(0)
        return {
            "fg_nmi": 100 * nmi(table[1:]),
            "fg_ari": 100 * ari(table[1:]),
            "nmi": 100 * nmi(table),
            "ari": 100 * ari(table),
            "error": float(self.distances[pick].sum()) / max(int(self.counts[pick].sum()), 1),
        }


def centers_of(labels: Tensor, num_parts: int) -> Tensor:
    """Centers (N, K, 2) in pixels of the parts 1..K of labels (N, H, W); a missing part is in the middle."""
    numbers = torch.arange(1, num_parts + 1).view(1, -1, 1, 1)  # (1, K, 1, 1)
    return torch.cat([part_centers((batch[:, None] == numbers).float()) for batch in labels.split(25)])


def keypoints_of(dataset: PartDataset) -> Tensor:
    """Keypoints (N, M, 3) of a data set that has them."""
    return torch.stack([points for i in range(len(dataset)) if (points := dataset[i].keypoints) is not None])


def per_image_counts(
    train_labels: Tensor, train_set: PartDataset, test_labels: Tensor, test_set: PartDataset
) -> PerImageCounts:
    """Counts of the labels (N, H, W) of one method on the test images, which have keypoints and annotated parts.

    The regression from part centers to keypoints is fitted to the training images.
    """
    num_parts = int(max(train_labels.max(), test_labels.max()))
    keypoints = keypoints_of(test_set).numpy()  # (N, M, 3)
    model = KeypointRegression().fit(centers_of(train_labels, num_parts), keypoints_of(train_set))
    predicted = model.predict(centers_of(test_labels, num_parts))  # (N, M, 2)
    counted = (keypoints[..., 2] > 0) & model.fitted  # (N, M)
    distance = 100 / test_set.image_size * np.linalg.norm(predicted - keypoints[..., :2], axis=-1)  # (N, M)
    pairs = zip(test_labels.long(), annotated_parts(test_set).long(), strict=True)
    tables = [contingency_table(found, parts, num_parts, len(test_set.part_names)).numpy() for found, parts in pairs]
    return PerImageCounts(np.stack(tables), (distance * counted).sum(1), counted.sum(1))


def parts_picture(sample: Sample, labels: Tensor, alpha: float = 0.6, scale: int = 2) -> np.ndarray:
    """Parts (H, W) on their image; without outlines where these would cover the parts, as with noise."""
    outlined = int((labels[:, 1:] != labels[:, :-1]).sum()) < 0.25 * int((labels > 0).sum())
    return overlay(sample.image, labels, alpha=alpha, outline=outlined, scale=scale)


def toy_figure(target: Tensor, predictions: Mapping[str, Tensor]) -> Figure:
    """Small label maps (h, w) with labels from 1 and, below each prediction, its contingency table with the target."""
    figure = Figure(figsize=(1.9 * (1 + len(predictions)), 3.6))
    axes = figure.subplots(2, 1 + len(predictions))
    plain: dict[str, Any] = {"annot": True, "fmt": "d", "cbar": False, "square": True}
    for (above, below), (title, labels) in zip(axes.T, {"target": target, **predictions}.items(), strict=True):
        colors, bold = list(PART_COLORS[: int(labels.max())]), {"color": "white", "weight": "bold"}
        sns.heatmap(labels, cmap=colors, annot_kws=bold, xticklabels=False, yticklabels=False, ax=above, **plain)
        above.set_title(title)
        table = pd.DataFrame(contingency_table(labels, target).numpy()).iloc[1:, 1:]  # target by found, from 1
        sns.heatmap(table, cmap="Greys", vmin=0, vmax=2.5 * table.max(axis=None), ax=below, **plain)
        below.tick_params(length=0, rotation=0)
        for tick in (*below.get_xticklabels(), *below.get_yticklabels()):
            tick.set_color(part_color(int(tick.get_text())))
    axes[1, 0].clear()
    axes[1, 0].set_axis_off()
    axes[1, 0].text(0.5, 0.5, "rows: target\ncolumns: found", ha="center", va="center")
    return figure


def damage_curves(drawn: Sequence[Mapping[str, Any]]) -> Figure:
    """How scores follow damage, a panel per kind of it, from rows of "damage", "strength" and scores.

    Of the rows of one damage and strength the first is the line, and the band holds 95 % of all. The error is drawn
    from 15 % (below) to 0 (above), so that up is better for every curve.
    """
    names = {"fg_nmi": "FG-NMI (%)", "fg_ari": "FG-ARI (%)", "error": "keypoint error (top 0, bottom 15 %)"}
    style: dict[str, Any] = {"hue": "score", "style": "score", "markers": ["o", "s", "^"], "dashes": ["", "", (3, 2)]}
    style |= {"palette": [PART_COLORS[k] for k in (0, 1, 5)], "errorbar": ("pi", 95)}
    style |= {"estimator": lambda values: values.iloc[0], "sort": False}
    frame = pd.DataFrame(drawn).assign(error=lambda f: 100 - 100 * f["error"] / 15).rename(columns=names)
    damages = list(frame["damage"].unique())
    rows = -(-len(damages) // 4)
    figure = Figure(figsize=(9.6, 2.6 * rows))
    axes = figure.subplots(rows, 4, sharex=True, sharey=True, squeeze=False).flat
    for ax, damage in zip(axes, damages, strict=False):
        one = frame[frame["damage"] == damage].melt("strength", list(names.values()), var_name="score")
        sns.lineplot(one, x="strength", y="value", ax=ax, **style)
        ax.set(title=damage, ylim=(-5, 106), ylabel="", xlabel="strength of the damage")
        ax.grid()
        handles = ax.get_legend_handles_labels()
        ax.get_legend().remove()
    for ax in figure.axes[len(damages) :]:
        ax.remove()
    figure.legend(*handles, loc="outside lower center", ncols=3)
    return figure


def yardsticks(frames: Mapping[str, pd.DataFrame], written: bool = False) -> Figure:
    """Keypoint error against FG-NMI and FG-ARI, a row of panels per frame, a mark per row of it.

    Frames have the columns "family", "error", "fg_nmi" and "fg_ari"; a family has a color and a mark. The column "K" is
    ``written`` beside the marks.
    """
    figure = Figure(figsize=(9.6, 4.6 * len(frames)))
    for (title, frame), part in zip(frames.items(), _column(figure, len(frames)), strict=True):
        families = list(dict.fromkeys(frame["family"]))
        marks: dict[str, Any] = {"hue_order": families, "style_order": families}
        marks |= {"palette": list(PART_COLORS[: len(families)]), "markers": list("osD^vP*Xh<>p"[: len(families)])}
        axes = part.subplots(1, 2, sharey=True)
        for ax, name in zip(axes, ("fg_nmi", "fg_ari"), strict=True):
            sns.scatterplot(frame, x=name, y="error", hue="family", style="family", ax=ax, s=80, **marks)
            for x, y, k in zip(frame[name], frame["error"], frame["K"] if written else [], strict=written):
                ax.annotate(f"{k}", (x, y), (5, 4), textcoords="offset points", fontsize=8, color=INK)
            ax.set_xlabel(f"{SCORE_NAMES[name]} (%): right is better")
            ax.grid()
            handles = ax.get_legend_handles_labels()
            ax.get_legend().remove()
        axes[0].set_title(title, loc="left")
        axes[0].set_ylabel("keypoint error (%): up is better")
        axes[0].invert_yaxis()
        part.legend(*handles, loc="outside lower center", ncols=3)
    return figure


def _column(figure: Figure, number: int) -> list[Any]:
    """So many parts of a figure, one above the other."""
    return list(np.atleast_1d(np.asarray(figure.subfigures(number, 1))))


def keypoint_figure(
    samples: Sequence[Sample], labels: Mapping[str, Tensor], centers: Mapping[str, Tensor], fitted: Mapping[str, Tensor]
) -> Figure:
    """Parts, their centers (large), annotated keypoints (crosses) and the regressed ones (dots, joined to them).

    Per method ``labels`` (N, H, W), ``centers`` (N, K, 2) and regressed keypoints ``fitted`` (N, M, 2), in pixels.
    """
    rows, columns = len(labels), len(samples)
    figure = Figure(figsize=(9.6, (9.6 / columns + 0.25) * rows))
    for row, name in zip(figure.subplots(rows, columns, squeeze=False), labels, strict=True):
        for i, (ax, sample) in enumerate(zip(row, samples, strict=True)):
            side = sample.image.shape[-1]
            picture = parts_picture(sample, labels[name][i], alpha=0.45, scale=4)
            ax.imshow(picture, extent=(-0.5, side - 0.5, side - 0.5, -0.5))
            assert sample.keypoints is not None, "the data set has no keypoints"
            shown = sample.keypoints[:, 2].numpy() > 0  # (M,)
            wanted, found = sample.keypoints[shown, :2].numpy(), np.asarray(fitted[name][i])[shown]  # (m, 2) each
            ax.plot(*np.stack([wanted, found], axis=1).T, color=INK, lw=1.6)  # (2, m) of x and of y
            ax.scatter(*wanted.T, marker="x", s=55, color=INK, lw=2.2)
            ax.scatter(*found.T, s=34, color="white", edgecolor=INK, lw=1.2, zorder=3)
            points = np.asarray(centers[name][i])  # (K, 2)
            colors = [part_color(k + 1) for k in range(len(points))]
            ax.scatter(*points.T, s=150, color=colors, edgecolor="white", lw=2, zorder=2.5)
            ax.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))
            ax.set_axis_off()
        row[0].set_title(name, loc="left")
    return figure


def damage_strip(sample: Sample, damaged: Mapping[str, Tensor], scores: Mapping[str, Mapping[str, float]]) -> Figure:
    """One image with several segmentations (H, W), and below each the scores that it has on the whole test set."""
    form = "FG-NMI {fg_nmi:.0f}  FG-ARI {fg_ari:.0f}\nkeypoint error {error:.1f}"
    notes = {title: form.format(**values) for title, values in scores.items()}
    return panels({title: parts_picture(sample, labels) for title, labels in damaged.items()}, notes)


def score_panel(samples: Sequence[Sample], labels: Tensor, truth: Tensor, scores: Mapping[str, float]) -> Figure:
    """Annotated and damaged parts (N, H, W) of a few images, and a bar for each score of the whole test set."""
    figure = Figure(figsize=(9.6, 4.0))
    left, right = np.asarray(figure.subfigures(1, 2, width_ratios=(5.5, 4.1)))
    above, below = left.subplots(2, len(samples))
    for axes, title, found in ((above, "annotated", truth), (below, "damaged", labels)):
        for ax, sample, parts in zip(axes, samples, found, strict=True):
            ax.imshow(parts_picture(sample, parts))
            ax.set_axis_off()
        axes[0].set_title(title, loc="left")
    ax = right.subplots()
    names = [name.replace(" ", "\n") for name in SCORE_NAMES.values()]
    bars = ax.barh(names, [scores[name] for name in SCORE_NAMES], color=[part_color(k) for k in (1, 2, 5, 7, 6)])
    ax.bar_label(bars, fmt="%.1f", padding=2)
    ax.set(xlim=(0, 118), xlabel="percent (of the error, less is better)")
    ax.invert_yaxis()
    return figure


def damage_explorer(train_set: PartDataset, test_set: PartDataset, first: int = 0) -> Interactive:
    """Choose a damage and its strength; see the damaged parts and the live scores of the whole test set.

    The keypoint regression is fitted to ``train_set``, a few hundred samples keep it quick; three test samples, from
    ``first`` on, are drawn.
    """
    truth = [annotated_parts(dataset) for dataset in (train_set, test_set)]

    def damaged(damage: str, strength: float) -> tuple[Tensor, dict[str, float]]:
        train, test = degrade(truth[0], damage, strength, 1), degrade(truth[1], damage, strength, 2)  # independent
        return test, per_image_counts(train, train_set, test, test_set).scores()

    def draw(damage: str, strength: float) -> Figure:
        shown, (labels, scores) = range(first, first + 3), damaged(damage, strength)
        return score_panel([test_set[i] for i in shown], labels[shown], truth[1][shown], scores)

    found = {"annotated": damaged("merge parts", 0.0)} | {damage: damaged(damage, 0.6) for damage in DAMAGES}
    labels = {title: labels[first] for title, (labels, _) in found.items()}
    static = damage_strip(test_set[first], labels, {title: scores for title, (_, scores) in found.items()})
    kinds = list(DAMAGES)
    return Interactive(
        draw,
        lambda: {"damage": choice("damage", kinds, "cores only"), "strength": slider("strength", 0.5, 0, 1, 0.1)},
        static,
    )
