"""Lesson 10, ablations: one thing about the training changed at a time, intervals over seeds, scores at boundaries."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from partlib_course.notebook import repository_root
from partlib_course.visual import boundary_contrast, panels
from partlib_course.widgets import Interactive, choice
from scipy import stats
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from partlib.config import TrainConfig
from partlib.data.base import Column, PartDataset, Sample, stacked
from partlib.evaluation import annotated_parts, predict
from partlib.metrics import PartScores, part_share
from partlib.report import tables
from partlib.report.baselines import FeatureKMeans
from partlib.report.plots import INK, match_parts, overlay, part_color, to_rgb_array
from partlib.runs import load_or_train
from partlib.runs.build import Recipe

ALL = "all four"
STORED = "figures/results/ablations/{}.json"  # written by figures/ablation.py, which lists the names
# study -> {title: what differs from the base}; the base itself stands in the first
STUDIES: dict[str, dict[str, dict[str, Any]]] = {
    "one loss removed": {
        ALL: {},
        "no feature": {"lambda_feature": 0.0},
        "no visual": {"lambda_visual": 0.0},
        "no contrast": {"lambda_contrastive": 0.0},
        "no equivariance": {"lambda_equivariance": 0.0},
    },
    "reconstruction alone": {
        "features": {"lambda_visual": 0.0, "lambda_contrastive": 0.0, "lambda_equivariance": 0.0},
        "pixels": {"lambda_feature": 0.0, "lambda_contrastive": 0.0, "lambda_equivariance": 0.0},
        "features + pixels": {"lambda_contrastive": 0.0, "lambda_equivariance": 0.0},
    },
    "visual weight": {"visual x 3": {"lambda_visual": 45.0}},
    "number of parts": {"K = 2": {"num_parts": 2}, "K = 8": {"num_parts": 8}},
    "temperature": {"temperature 0.05": {"temperature": 0.05}, "temperature 0.8": {"temperature": 0.8}},
}
CHANGES = {title: changes for study in STUDIES.values() for title, changes in study.items()}
HEADINGS = {
    "fg_nmi": "FG-NMI (%)",
    "fg_ari": "FG-ARI (%)",
    "near_nmi": "near borders (%)",
    "far_nmi": "elsewhere (%)",
    "precision": "precision (%)",
    "recall": "recall (%)",
    "edges": "edges (ratio)",
    "smallest": "smallest part (%)",
}

Run = tuple[str, int]  # title and seed
Scores = Mapping[Run, Mapping[str, float]]  # of every run, by the names of HEADINGS


def boundary_pixels(labels: Tensor) -> Tensor:
    """Pixels (N, H, W) bool of a part with a pixel of another part to the left, right, above or below.

    A straight boundary is two pixels wide, one on each side; background (0) has none.
    """
    boundary = torch.zeros(labels.shape, dtype=torch.bool)
    for axis in (-2, -1):
        size = labels.shape[axis] - 1
        first, second = labels.narrow(axis, 0, size), labels.narrow(axis, 1, size)
        meeting = (first != second) & (first > 0) & (second > 0)
        boundary.narrow(axis, 0, size).logical_or_(meeting)
        boundary.narrow(axis, 1, size).logical_or_(meeting)
    return boundary


def boundary_distance(labels: Tensor) -> Tensor:
    """Distance (N, H, W) float32 in pixels to the nearest boundary of the same image; inf where it has none."""
    found = boundary_pixels(labels).numpy()
    away = [distance_transform_edt(~one) if one.any() else np.full(one.shape, np.inf) for one in found]
    return torch.from_numpy(np.stack(away)).float()


def boundary_scores(labels: Tensor, truth: Tensor, reach: float = 4, tolerance: float = 2) -> dict[str, float]:
    """How well labels (N, H, W) agree with the annotated ones at boundaries, pooled over images; NaN without pixels.

    * "near_nmi", "far_nmi": FG-NMI in percent of the pixels within ``reach`` of annotated boundaries, and of others;
    * "precision": percentage of found boundary pixels with an annotated one within ``tolerance``; "chance": the same of
      all pixels of the object, what boundaries at random places reach; "recall": of annotated ones with a found one;
    * "distance": mean distance in pixels from a found boundary to the nearest annotated one.
    """
    labels, truth = labels.long(), truth.long()
    to_truth, to_found = boundary_distance(truth), boundary_distance(labels)  # (N, H, W)
    found, annotated, inside = boundary_pixels(labels), boundary_pixels(truth), truth > 0
    near, far = inside & (to_truth <= reach), inside & (to_truth > reach)
    return {
        "near_nmi": PartScores().update(labels[near], truth[near]).compute()["fg_nmi"],
        "far_nmi": PartScores().update(labels[far], truth[far]).compute()["fg_nmi"],
        "precision": 100 * float((to_truth[found] <= tolerance).double().mean()),
        "chance": 100 * float((to_truth[inside] <= tolerance).double().mean()),
        "recall": 100 * float((to_found[annotated] <= tolerance).double().mean()),
        "distance": float(to_truth[found & to_truth.isfinite()].mean()),
    }


@dataclass(frozen=True)
class Outcome:
    """What one run found on a test set: its scores, and its labels of the few images that are drawn."""

    config: TrainConfig
    scores: dict[str, float]  # of measure()
    labels: Tensor  # (n, H, W) uint8, numbered like the annotated parts that they overlap most in the whole set


def measure(labels: Tensor, truth: Tensor, images: Tensor, num_parts: int) -> dict[str, float]:
    """Every score of an ablation, of labels (N, H, W) against the annotated ones, on images (N, 3, H, W).

    FG-NMI and FG-ARI; :func:`boundary_scores`; "edges", :func:`partlib_course.visual.boundary_contrast`; "smallest",
    the percentage of the foreground that the smallest part holds, near 0 where a part is dead.
    """
    labels, truth = labels.long(), truth.long()
    pooled = PartScores().update(labels, truth).compute()
    scores = {name: pooled[name] for name in ("fg_nmi", "fg_ari")} | boundary_scores(labels, truth)
    smallest = 100 * float(part_share(labels, num_parts).min())
    return scores | {"edges": boundary_contrast(images, labels), "smallest": smallest}


def outcome(config: TrainConfig, dataset: PartDataset, shown: Sequence[int], **options: Any) -> Outcome:
    """Train or load one run and measure it on ``dataset``, whose images ``shown`` are kept for pictures.

    ``options`` are those of :func:`partlib.load_or_train`.
    """
    result = load_or_train(config, **{"progress": False, **options})
    if result.out is not None:  # the optimizer is three quarters of a run, and dozens would fill a small disk
        (result.out / "checkpoint.pt").unlink(missing_ok=True)
    labels, truth = predict(result.segmenter, dataset), annotated_parts(dataset)  # (N, H, W)
    kept = match_parts(labels, truth)[list(shown)].to(labels.dtype)
    return Outcome(config, measure(labels, truth, stacked(dataset)[0], config.num_parts), kept)


def feature_clusters(config: TrainConfig, dataset: PartDataset) -> Tensor:
    """Labels (N, H, W) of feature k-means, fitted to the training images of a run and with its features."""
    recipe = Recipe(config)
    masks, test_masks = (Column(images, "foreground") for images in (recipe.dataset(), dataset))
    # k-means reads no pixel: masks stand in for images, and labels are kept as bytes, to save half a gigabyte
    model = FeatureKMeans(config.num_parts, config.seed).fit(masks, masks, tables.features(recipe))
    levels, found = tables.features(recipe, dataset), []
    for start in range(0, len(dataset), 20):
        pick = slice(start, min(start + 20, len(dataset)))
        labels = model.predict(test_masks[pick], test_masks[pick], [z[pick] for z in levels])
        found.append(labels.to(torch.uint8))
    return torch.cat(found)


def stored_scores(name: str) -> dict[Run, dict[str, float]]:
    """Scores in ``figures/results/ablations/NAME.json``; empty outside of a copy of the repository."""
    root = repository_root()
    if root is None or not (root / STORED.format(name)).is_file():
        return {}
    stored = json.loads((root / STORED.format(name)).read_text(encoding="utf-8"))["scores"]
    return {(title, int(seed)): values for title, seeds in stored.items() for seed, values in seeds.items()}


class Interval(NamedTuple):
    """A mean over seeds between the ends of its interval (NaN for one seed); ``f"{found:.1f}"`` is mean ± half."""

    low: float
    mean: float
    high: float

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2

    def __format__(self, digits: str) -> str:
        return f"{self.mean:{digits}} ± {self.half:{digits}}"


def interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Student's interval of a mean of n values, one per seed: mean ± t · s / √n, t with n - 1 degrees of freedom.

    It says how far the mean over all seeds that there are may be, were the scores of seeds normally distributed. The
    test images are the same in all runs: their choice is not in it. With three values t is 4.3.
    """
    mean, number = float(np.mean(values)), len(values)
    half = stats.t.interval(level, number - 1)[1] * stats.sem(values) if number > 1 else float("nan")
    return Interval(mean - float(half), mean, mean + float(half))


def over_seeds(scores: Scores, title: str, name: str, minus: str | None = None) -> list[float]:
    """Score ``name`` of every seed of one configuration; with ``minus`` its difference to another, seed by seed."""
    seeds = sorted(seed for this, seed in scores if this == title)
    return [scores[title, s][name] - (scores[minus, s][name] if minus else 0.0) for s in seeds]


def table(scores: Scores, columns: Mapping[str, str], titles: Sequence[str] = ()) -> pd.DataFrame:
    """Mean ± half interval of configurations (all by default), a column per score: ``columns`` is score -> heading."""
    rows = titles or list(dict.fromkeys(title for title, _ in scores))
    cells = {
        heading: [format(interval(over_seeds(scores, t, n)), ".2f" if n == "edges" else ".1f") for t in rows]
        for n, heading in columns.items()
    }
    return pd.DataFrame(cells, index=list(rows))


def interval_plot(
    rows: Mapping[str, Mapping[str, Sequence[float]]],
    lines: Mapping[str, Mapping[str, float]] | None = None,
    zero: str = "",
    own: Mapping[str, Mapping[str, float]] | None = None,
) -> Figure:
    """A panel per score, a row per configuration: a dot per seed, the mean (square), and its interval over the seeds.

    ``rows`` is title -> score -> values of the seeds. They are differences to what ``zero`` names, or scores: then the
    band is the interval of the first row. ``lines`` (name -> scores) are dashed; ``own`` (title -> scores) a diamond.
    """
    names = list(next(iter(rows.values())))
    figure = Figure(figsize=(9.6, 1.1 + 0.36 * len(rows)))
    axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    style: dict[str, Any] = {"linestyle": "none", "marker": "s", "capsize": 0.25, "legend": False}
    style |= {"err_kws": {"linewidth": 1.5}, "errorbar": lambda values: interval(values)[::2]}  # its two ends
    style |= {"palette": [part_color(1 if zero or row else 2) for row in range(len(rows))]}
    for ax, name in zip(axes, names, strict=True):
        pairs = [(title, value) for title, scores in rows.items() for value in scores[name]]
        sns.pointplot(pd.DataFrame(pairs, columns=["run", "value"]), x="value", y="run", hue="run", ax=ax, **style)
        for row, (title, scores) in enumerate(rows.items()):  # beside the mean, so that neither hides the other
            ax.scatter(scores[name], [row + 0.25] * len(scores[name]), s=14, color=INK, zorder=3, lw=0, label="seed")
            if title in (own or {}):
                ax.scatter(own[title][name], row - 0.25, s=34, marker="D", color=part_color(6), zorder=3, label="own")
        first = next(iter(rows.values()))[name]
        if zero:
            ax.axvline(0, color=INK, lw=1)
        elif len(first) > 1:
            ax.axvspan(*interval(first)[::2], color=part_color(2), alpha=0.15, lw=0)
        for k, (line, found) in enumerate((lines or {}).items()):
            ax.axvline(found[name], color=part_color(6 + k), ls="--", lw=1.2, label=line)
        ax.set(xlabel=HEADINGS[name], ylabel="")
        ax.grid(axis="x")
    if zero:
        figure.suptitle(f"minus {zero}, seed by seed", x=0, ha="left", fontsize="medium")
    handles = dict(zip(*axes[0].get_legend_handles_labels()[::-1], strict=True))
    handles = {name: handle for name, handle in handles.items() if name in {"own", *(lines or {})}}
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside upper right", ncols=len(handles))
    return figure


def boundary_zoom(sample: Sample, rows: Mapping[str, Tensor], corner: tuple[int, int], side: int = 44) -> Figure:
    """A square of one image in pale gray, enlarged, with annotated boundaries (blue) below found ones (orange).

    ``rows`` is title -> labels (H, W), ``corner`` the left and upper pixel of the square of ``side`` pixels.
    """
    assert sample.parts is not None, "the data set has no annotated parts"
    left, top = corner
    window = (slice(top, top + side), slice(left, left + side))
    crop = to_rgb_array(sample.image)[window]  # (side, side, 3)
    pale = (127 + crop.mean(2, keepdims=True) / 2).round().astype(np.uint8).repeat(3, axis=2)  # lines stand out on it
    figure = panels({"image": crop, **dict.fromkeys(rows, pale)}, columns=1 + len(rows))
    for ax, labels in zip(figure.axes[1:], rows.values(), strict=True):
        for found, color, width in ((sample.parts, part_color(1), 4.0), (labels, part_color(2), 2.0)):
            _draw_boundaries(ax, found[window], "white", width + 1.5)
            _draw_boundaries(ax, found[window], color, width)
    return figure


def _draw_boundaries(ax: Axes, labels: Tensor, color: Any, width: float) -> None:
    """Lines between pixels of different parts (H, W); none along the background."""
    for across, draw in ((1, ax.vlines), (0, ax.hlines)):
        size = labels.shape[across] - 1
        first, second = labels.narrow(across, 0, size), labels.narrow(across, 1, size)
        place = ((first != second) & (first > 0) & (second > 0)).nonzero().numpy()  # (n, 2), y and x
        along = place[:, 1 - across]
        draw(place[:, across] + 0.5, along - 0.5, along + 0.5, color=color, lw=width, capstyle="round")


def run_page(dataset: PartDataset, pick: Sequence[int], labels: Tensor, heading: str, scores: Scores) -> Figure:
    """The images ``pick`` as one run segments them, (n, H, W) numbered like the annotation, and bars of its scores.

    ``scores`` has two entries: those of the run, and of the one with all four losses, which are marked.
    """
    figure = Figure(figsize=(9.6, 2.4))
    figure.suptitle(heading, x=0, ha="left", fontsize="medium")
    *axes, bars = figure.subplots(1, len(pick) + 1)
    for ax, i, found in zip(axes, pick, labels, strict=True):
        ax.imshow(overlay(dataset[i].image, found))
        ax.set_axis_off()
    own, whole = scores.values()
    names = ("fg_nmi", "fg_ari", "smallest")
    bars.barh(
        ["FG-NMI", "FG-ARI", "smallest\npart"],
        [own[name] for name in names],
        color=[part_color(k) for k in range(1, 4)],
    )
    for y, name in enumerate(names):
        bars.vlines(whole[name], y - 0.42, y + 0.42, color=INK, lw=2)
    bars.set(xlim=(0, 70), xlabel="percent; line: all four")
    bars.invert_yaxis()
    return figure


def runs_explorer(
    dataset: PartDataset, pick: Sequence[int], labels: Mapping[Run, Tensor], scores: Scores
) -> Interactive:
    """Choose a run and a seed; see some images as it divides them, and its scores beside those of all four losses.

    ``labels`` (N, H, W) and ``scores`` are those of every run, one of which is called "all four" for every seed. The
    static figure shows one image in all runs of the first seed.
    """
    truth = annotated_parts(dataset)
    matched = {run: match_parts(found, truth)[list(pick)] for run, found in labels.items()}
    titles, seeds = list(dict.fromkeys(t for t, _ in labels)), sorted({seed for _, seed in labels})

    def draw(run: str, seed: int) -> Figure:
        both = {(run, seed): scores[run, seed], (ALL, -1): scores[ALL, seed]}
        return run_page(dataset, pick, matched[run, seed], f"{run}, seed {seed}", both)

    notes = {t: "NMI {fg_nmi:.0f}  ARI {fg_ari:.0f}".format(**scores[t, seeds[0]]) for t in titles}
    shown = {t: overlay(dataset[pick[0]].image, matched[t, seeds[0]][0]) for t in titles}
    static = panels(shown, notes, columns=len(titles))
    return Interactive(
        draw, lambda: {"run": choice("run", titles, ALL), "seed": choice("seed", seeds, seeds[0])}, static
    )
