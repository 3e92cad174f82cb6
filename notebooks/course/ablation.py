"""Ablations: one thing about the training changed at a time, several seeds each, and intervals over the seeds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from partlib_course.borders import border_pixels, border_scores
from partlib_course.color_study import border_contrast
from partlib_course.notebook import repository_root
from scipy.stats import t as student
from torch import Tensor

from partlib.config import TrainConfig
from partlib.data.base import PartDataset
from partlib.errors import ConfigError
from partlib.evaluation import annotated_parts, predict
from partlib.metrics import PartScores, part_share
from partlib.report.plots import match_parts
from partlib.report.tables import stacked
from partlib.training import TrainResult, load_or_train

ALL = "all four"
STORED = "figures/ablation-{}.json"  # written by figures/ablation.py, which lists the names
BATCH = 8  # images per forward pass when a run is measured; larger ones only take memory
# study -> {title: what differs from the base}; the base itself stands in the first
STUDIES: dict[str, dict[str, dict[str, Any]]] = {
    "one loss removed": {
        ALL: {},
        "no feature": {"feature": 0.0},
        "no visual": {"visual": 0.0},
        "no contrast": {"contrastive": 0.0},
        "no equivariance": {"equivariance": 0.0},
    },
    "reconstruction alone": {
        "features": {"visual": 0.0, "contrastive": 0.0, "equivariance": 0.0},
        "pixels": {"feature": 0.0, "contrastive": 0.0, "equivariance": 0.0},
        "features + pixels": {"contrastive": 0.0, "equivariance": 0.0},
    },
    "visual weight": {"visual x 3": {"visual": 45.0}},
    "number of parts": {"K = 2": {"num_parts": 2}, "K = 8": {"num_parts": 8}},
    "temperature": {"temperature 0.05": {"temperature": 0.05}, "temperature 0.8": {"temperature": 0.8}},
}
CHANGES = {title: changes for study in STUDIES.values() for title, changes in study.items()}

Run = tuple[str, int]  # title and seed


def grid(base: TrainConfig, seeds: Sequence[int], titles: Sequence[str] = tuple(CHANGES)) -> dict[Run, TrainConfig]:
    """The configurations of an ablation, seed by seed, so that an interrupted grid has whole seeds.

    Runs of one seed see the same images, jitter and warps, and with equal K start from the same weights: they differ
    in what their title says and in nothing else.

    Raises
    ------
    ConfigError : an unknown title or a seed twice.
    """
    unknown = [title for title in titles if title not in CHANGES]
    if unknown:
        raise ConfigError(f"ablation {unknown[0]!r} is unknown; expected one of {', '.join(CHANGES)}")
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds are {list(seeds)}; expected each of them once")
    return {(title, seed): base.replace(seed=seed, **CHANGES[title]) for seed in seeds for title in titles}


def trained(config: TrainConfig) -> TrainResult:
    """:func:`partlib.training.load_or_train` without the state of the optimiser, which is three quarters of a run.

    A run that is interrupted keeps it and goes on from there; dozens of finished ones would fill a small disk.
    """
    result = load_or_train(config, progress=False)
    if result.out is not None:
        (result.out / "checkpoint.pt").unlink(missing_ok=True)
    return result


@dataclass(frozen=True)
class Outcome:
    """What one run found on a test set of N images.

    Attributes
    ----------
    config : of the run.
    scores : of :func:`measure`.
    labels : (n, H, W) uint8, parts of the few images that are drawn, numbered like the annotated parts that they
        overlap most in the whole set.
    """

    config: TrainConfig
    scores: dict[str, float]
    labels: Tensor


def measure(labels: Tensor, truth: Tensor, images: Tensor, num_parts: int) -> dict[str, float]:
    """Every score of an ablation.

    Parameters
    ----------
    labels, truth : (N, H, W) integers, found and annotated, 0 is background.
    images : (N, 3, H, W) in [0, 1].
    num_parts : K.

    Returns
    -------
    dict of "fg_nmi" and "fg_ari" (:class:`partlib.metrics.PartScores`, percent); those of
    :func:`partlib.borders.border_scores`; "edges", the contrast of the image across the borders
    (:func:`partlib.color_study.border_contrast`, 1 where they ignore the image); and "smallest", the percentage of the
    foreground that the smallest part holds, near 0 where a part is dead.
    """
    labels, truth = labels.long(), truth.long()
    pooled = PartScores().update(labels, truth).compute()
    scores = {name: pooled[name] for name in ("fg_nmi", "fg_ari")} | border_scores(labels, truth)
    scores["edges"] = border_contrast(images, labels) if border_pixels(labels).any() else float("nan")
    return scores | {"smallest": 100 * float(part_share(labels, num_parts).min())}


def outcome(config: TrainConfig, dataset: PartDataset, shown: Sequence[int]) -> Outcome:
    """Train or load one run and measure it on ``dataset``, whose images ``shown`` are kept for pictures.

    Raises
    ------
    DataError : ``dataset`` has no annotated parts.
    """
    truth = annotated_parts(dataset)  # (N, H, W)
    labels = predict(trained(config).segmenter, dataset, BATCH)  # (N, H, W)
    images, _ = stacked(dataset)
    kept = match_parts(labels, truth)[list(shown)].to(labels.dtype)
    return Outcome(config, measure(labels, truth, images, config.num_parts), kept)


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and the half width of its interval; NaN where one seed cannot tell."""

    mean: float
    half: float

    @property
    def low(self) -> float:
        return self.mean - self.half

    @property
    def high(self) -> float:
        return self.mean + self.half

    def __format__(self, digits: str) -> str:
        """``f"{found:.1f}"`` is mean ± half."""
        return f"{self.mean:{digits or '.1f'}} ± {self.half:{digits or '.1f'}}"

    def __str__(self) -> str:
        return f"{self}"


def interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Student's interval of a mean: mean ± t · s / √n, t with n - 1 degrees of freedom.

    It says how far the mean over all seeds that there are may be, were the scores of seeds normally distributed. The
    test images are the same in all runs: their choice is not in it. With three values t is 4.3.

    Parameters
    ----------
    values : n scores, one per seed.
    level : probability that the interval is meant to hold the mean.
    """
    if len(values) == 0 or not 0 < level < 1:
        raise ConfigError(f"{len(values)} values and level {level}; expected at least one value, a level from 0 to 1")
    array = np.asarray(values, dtype=np.float64)
    if len(array) == 1:
        return Interval(float(array[0]), float("nan"))
    quantile = student.ppf((1 + level) / 2, len(array) - 1)
    return Interval(float(array.mean()), float(quantile * array.std(ddof=1) / np.sqrt(len(array))))


Scores = Mapping[Run, Mapping[str, float]]


def over_seeds(scores: Scores, title: str, name: str) -> list[float]:
    """Score ``name`` of every seed of one configuration, in order of the seeds."""
    found = [values[name] for (this, _), values in sorted(scores.items()) if this == title]
    if not found:
        raise ConfigError(
            f"no run is called {title!r}; expected one of {', '.join(dict.fromkeys(t for t, _ in scores))}"
        )
    return found


def difference(scores: Scores, title: str, other: str, name: str, level: float = 0.95) -> Interval:
    """Interval of ``title`` minus ``other``, seed by seed: what a seed does to both cancels."""
    seeds = [[seed for this, seed in sorted(scores) if this == one] for one in (title, other)]
    if seeds[0] != seeds[1]:
        raise ConfigError(f"{title} has seeds {seeds[0]}, {other} has {seeds[1]}; expected the same")
    pairs = zip(over_seeds(scores, title, name), over_seeds(scores, other, name), strict=True)
    return interval([a - b for a, b in pairs], level)


def table(scores: Scores, columns: Mapping[str, str], titles: Sequence[str] = ()) -> str:
    """Mean ± half interval of every configuration as text.

    Parameters
    ----------
    scores : of every run.
    columns : score -> heading.
    titles : rows; all configurations in their order by default.
    """
    titles = titles or list(dict.fromkeys(title for title, _ in scores))
    width = max(map(len, titles))
    lines = [" " * width + "".join(f"{heading:>16}" for heading in columns.values())]
    for title in titles:
        found = {name: interval(over_seeds(scores, title, name)) for name in columns}
        row = [f"{one:.2f}" if name == "edges" else f"{one:.1f}" for name, one in found.items()]
        lines.append(f"{title:{width}}" + "".join(f"{cell:>16}" for cell in row))
    return "\n".join(lines)


def stored_scores(name: str) -> dict[Run, dict[str, float]]:
    """The scores in ``figures/ablation-NAME.json``, of longer runs; empty outside of a copy of the repository.

    Parameters
    ----------
    name : "longer", "birds" or "ccp", the studies of ``figures/ablation.py``.
    """
    root = repository_root()
    if root is None or not (root / STORED.format(name)).is_file():
        return {}
    stored = json.loads((root / STORED.format(name)).read_text(encoding="utf-8"))
    return {(title, int(seed)): values for title, seeds in stored["scores"].items() for seed, values in seeds.items()}


def comparison(scores: Scores, title: str, other: str, columns: Mapping[str, str]) -> str:
    """``title`` minus ``other`` as text, seed by seed, a line per score: the difference, its interval and a verdict.

    The verdict is "more" or "less" where the interval leaves 0 out, else "cannot tell". Between equal runs one such
    verdict in twenty is wrong: look for what several scores agree on.
    """
    lines = [f"{title}, compared with {other}"]
    for name, heading in columns.items():
        found = difference(scores, title, other, name)
        verdict = "more" if found.low > 0 else "less" if found.high < 0 else "cannot tell"
        lines.append(f"  {heading:16} {found.mean:+7.2f}   [{found.low:+7.2f}, {found.high:+7.2f}]   {verdict}")
    return "\n".join(lines)
