"""Lesson 10, ablations: one thing about the training changed at a time, intervals over seeds, scores at boundaries."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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

from partlib.config import LOSSES, TrainConfig
from partlib.data.base import PartDataset, Sample, stacked
from partlib.evaluation import annotated_parts, predict
from partlib.metrics import PartScores, part_share
from partlib.report.plots import INK, Picture, match_parts, overlay, part_color, parts_grid, to_rgb_array
from partlib.runs import load_or_train

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
FIELDS = (*(f"lambda_{loss}" for loss in LOSSES), "num_parts", "temperature", "seed")  # of the explorer
HEADINGS = {
    "fg_nmi": "FG-NMI (%)",
    "fg_ari": "FG-ARI (%)",
    "near_nmi": "FG-NMI near boundaries (%)",
    "far_nmi": "FG-NMI elsewhere (%)",
    "precision": "boundary precision (%)",
    "recall": "boundary recall (%)",
    "edges": "contrast across boundaries",
    "smallest": "share of the smallest part (%)",
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


def grid(base: TrainConfig, seeds: Iterable[int], titles: Sequence[str] = tuple(CHANGES)) -> dict[Run, TrainConfig]:
    """The configurations of an ablation, seed by seed, so that an interrupted grid has whole seeds.

    Runs of one seed see the same images and warps, and with equal K start from the same weights.
    """
    return {(title, seed): base.replace(seed=seed, **CHANGES[title]) for seed in seeds for title in titles}


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


def comparison(scores: Scores, titles: Sequence[str], other: str, columns: Mapping[str, str]) -> pd.DataFrame:
    """Each of ``titles`` minus ``other``, seed by seed, a row per score: the difference, its interval and a verdict.

    The verdict is "more" or "less" where the interval leaves 0 out, else "cannot tell". Between equal runs one such
    verdict in twenty is wrong: look for what several scores agree on.
    """
    rows = {}
    for title in titles:
        for name, heading in columns.items():
            found = interval(over_seeds(scores, title, name, other))
            verdict = "more" if found.low > 0 else "less" if found.high < 0 else "cannot tell"
            numbers = [f"{value:+.2f}" for value in (found.mean, found.low, found.high)]
            rows[f"{title} minus {other}", heading] = [*numbers, verdict]
    return pd.DataFrame(rows, index=["difference", "low", "high", "verdict"]).T


def interval_plot(
    scores: Scores,
    titles: Sequence[str],
    names: Sequence[str] = ("fg_nmi", "fg_ari"),
    lines: Mapping[str, Mapping[str, float]] | None = None,
    minus: str | None = None,
) -> Figure:
    """A panel per score and a row per configuration: a dot per seed, the mean, and its interval over the seeds.

    The band is the interval of the first row; ``lines`` (name -> scores) are dashed, such as a baseline. With ``minus``
    the differences to that configuration are drawn instead, seed by seed, around zero.
    """
    figure = Figure(figsize=(9.6, 1.1 + 0.36 * len(titles)))
    axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    style: dict[str, Any] = {"linestyle": "none", "marker": "s", "capsize": 0.25, "legend": False}
    style |= {"err_kws": {"linewidth": 1.5}, "errorbar": lambda values: interval(values)[::2]}  # its two ends
    style |= {"palette": [part_color(1 if minus or row else 2) for row in range(len(titles))]}
    for ax, name in zip(axes, names, strict=True):
        values = {title: over_seeds(scores, title, name, minus) for title in titles}
        frame = pd.DataFrame([(t, value) for t, row in values.items() for value in row], columns=["run", "value"])
        sns.pointplot(frame, x="value", y="run", hue="run", ax=ax, **style)
        for row, seeds in enumerate(values.values()):  # beside the mean, so that neither hides the other
            ax.scatter(seeds, [row + 0.25] * len(seeds), s=14, color=INK, zorder=3, lw=0)
        if minus:
            ax.axvline(0, color=INK, lw=1)
        elif len(values[titles[0]]) > 1:
            ax.axvspan(*interval(values[titles[0]])[::2], color=part_color(2), alpha=0.15, lw=0)
        for k, (line, found) in enumerate((lines or {}).items()):
            ax.axvline(found[name], color=part_color(6 + k), ls="--", lw=1.2, label=line)
        ax.set(xlabel=HEADINGS[name], ylabel="")
        ax.grid(axis="x")
    if minus:
        figure.suptitle(f"minus {minus}, seed by seed", x=0, ha="left", fontsize="medium")
    if lines:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right")
    return figure


def found_rows(samples: Sequence[Sample], rows: Mapping[str, Tensor], part_names: Sequence[str] = ()) -> Figure:
    """The same n images in every row, divided by one run each: title -> labels (n, H, W) of an :class:`Outcome`."""
    pictures: dict[str, Sequence[Picture]] = {"image": [s.image for s in samples]}
    scale = max(1, round(256 / samples[0].image.shape[-1]))
    for title, labels in rows.items():
        pictures[title] = [overlay(s.image, found, scale=scale) for s, found in zip(samples, labels, strict=True)]
    return parts_grid(pictures, legend=part_names, cell=128)


def boundary_zoom(sample: Sample, rows: Mapping[str, Tensor], corner: tuple[int, int], side: int = 44) -> Figure:
    """A square of one image, enlarged, with the boundaries between found parts (black) and annotated ones (white).

    ``rows`` is title -> labels (H, W), ``corner`` the left and upper pixel of the square of ``side`` pixels.
    """
    assert sample.parts is not None, "the data set has no annotated parts"
    left, top = corner
    window = (slice(top, top + side), slice(left, left + side))
    crop = to_rgb_array(sample.image)[window]  # (side, side, 3)
    figure = panels(dict.fromkeys(["image", *rows], crop), columns=1 + len(rows))
    for ax, labels in zip(figure.axes[1:], rows.values(), strict=True):
        _draw_boundaries(ax, sample.parts[window], "white", 2.5)
        _draw_boundaries(ax, labels[window], "black", 1.4)
    return figure


def _draw_boundaries(ax: Axes, labels: Tensor, color: str, width: float) -> None:
    """Lines between pixels of different parts (H, W); none along the background."""
    for across, draw in ((1, ax.vlines), (0, ax.hlines)):
        size = labels.shape[across] - 1
        first, second = labels.narrow(across, 0, size), labels.narrow(across, 1, size)
        place = ((first != second) & (first > 0) & (second > 0)).nonzero().numpy()  # (n, 2), y and x
        along = place[:, 1 - across]
        draw(place[:, across] + 0.5, along - 0.5, along + 0.5, color=color, lw=width)


def run_page(samples: Sequence[Sample], one: Outcome, heading: str, base: Mapping[str, float]) -> Figure:
    """Images as one run divides them, and its scores as bars, those of the ``base`` run marked."""
    figure = Figure(figsize=(9.6, 3.3))
    figure.suptitle(heading, x=0, ha="left", fontsize="medium")
    *axes, bars = figure.subplots(1, len(samples) + 1)
    for ax, sample, labels in zip(axes, samples, one.labels, strict=True):
        ax.imshow(overlay(sample.image, labels, scale=2))
        ax.set_axis_off()
    names = ("fg_nmi", "fg_ari", "near_nmi", "precision")
    headings = [HEADINGS[name].replace(" (%)", "").replace(" ", "\n", 1) for name in names]
    bars.barh(headings, [one.scores[name] for name in names], color=[part_color(k) for k in range(1, 5)])
    for y, name in enumerate(names):
        bars.vlines(base[name], y - 0.42, y + 0.42, color=INK, lw=2)
    bars.set(xlim=(0, 100), xlabel="percent; black line: all four")
    bars.invert_yaxis()
    return figure


def nearest_run(outcomes: Mapping[Run, Outcome], values: Mapping[str, float]) -> tuple[Run, list[str]]:
    """The run that agrees with ``values`` in most fields, and the names of the fields where it does not.

    Where several do, one with the wanted seed comes first, then the one that was trained first.
    """
    wrong = {r: [n for n, value in values.items() if getattr(one.config, n) != value] for r, one in outcomes.items()}
    best = min(wrong, key=lambda run: (len(wrong[run]), "seed" in wrong[run]))
    return best, wrong[best]


def _short(field: str) -> str:
    """The name of a field where there is little room: that of the loss for a weight."""
    return field.removeprefix("lambda_")


def weights_explorer(samples: Sequence[Sample], outcomes: Mapping[Run, Outcome]) -> Interactive:
    """Choose loss weights among the values that were trained; see the parts and scores of that run.

    ``outcomes`` keep the labels of ``samples``, of which four are drawn, and must have runs called "all four".
    """
    seed = min(seed for title, seed in outcomes if title == ALL)
    base = outcomes[ALL, seed].config
    choices = {name: sorted({getattr(one.config, name) for one in outcomes.values()}) for name in FIELDS}
    choices = {name: values for name, values in choices.items() if len(values) > 1}

    def draw(**values: Any) -> Figure:
        run, others = nearest_run(outcomes, values)
        one, heading = outcomes[run], f"{run[0]}, seed {run[1]}"
        if others:
            there = ", ".join(f"{_short(name)} {getattr(one.config, name):g}" for name in others)
            heading = f"this combination was not trained; the nearest that was: {heading} ({there})"
        return run_page(samples[:4], replace(one, labels=one.labels[:4]), heading, outcomes[ALL, run[1]].scores)

    shown = {title: one for (title, this), one in outcomes.items() if this == seed}
    notes = {t: f"NMI {one.scores['fg_nmi']:.0f}  ARI {one.scores['fg_ari']:.0f}" for t, one in shown.items()}
    static = panels({t: overlay(samples[0].image, o.labels[0], scale=2) for t, o in shown.items()}, notes, columns=7)
    return Interactive(
        draw, lambda: {n: choice(_short(n), v, getattr(base, n), slide=True) for n, v in choices.items()}, static
    )
