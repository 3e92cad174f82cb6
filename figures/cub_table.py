"""The CUB table of docs/REPRODUCTION.md, and claims 2 and 3 on real birds, from figures/results/cub/scores.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from partlib_course import ablations
from scipy import stats

from figures.cub import TRAINED, UNTRAINED
from partlib.paper.protocols import COLUMNS
from partlib.report import plots

Stored = Mapping[str, Mapping[str, Mapping[str, Any]]]  # {row: {seed: scores}}
PUBLISHED = {  # FACTS.md and the paper's table 1; on the original photographs with annotated masks
    "SCOPS, as the paper reports it": (18.3, 17.7, 17.0, None, None, None, None, None),
    "paper": (11.3, 15.0, 10.6, 9.2, None, None, 43.5, None),
    "release": (None, None, None, None, 46.03, 21.03, 43.52, 19.58),
}
BETTER = {"kp_all": "keypoint error", "fg_nmi": "FG-NMI", "fg_ari": "FG-ARI", "nmi": "NMI", "ari": "ARI"}
DRAWS = 1000  # of the bootstrap


def table(scores: Stored) -> str:
    """Markdown: published rows, then ours, mean ± standard deviation over seeds, and the smallest part of all seeds."""
    lines = [f"| | {' | '.join(COLUMNS.values())} | smallest part | seeds |", "|---" * (len(COLUMNS) + 3) + "|"]
    for title, published in PUBLISHED.items():
        cells = ["—" if value is None else str(value) for value in published]
        lines.append(f"| {title} (published) | {' | '.join(cells)} | — | — |")
    for title in (*TRAINED, *UNTRAINED):
        found = list(scores.get(title, {}).values())
        if found:
            cells = [spread([one[column] for one in found]) for column in COLUMNS]
            shares = [min(one["part_share"]) for one in found if "part_share" in one]
            smallest = f"{100 * min(shares):.1f} %" if shares else "—"
            lines.append(f"| {title} | {' | '.join(cells)} | {smallest} | {len(found)} |")
    return "\n".join(lines)


def spread(values: list[float | None]) -> str:
    """Mean and standard deviation over the seeds; a dash where the protocol has no such score."""
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return "—"
    deviation = np.std(numbers, ddof=1) if len(numbers) > 1 else 0.0
    return f"{np.mean(numbers):.1f}" + (f" ± {deviation:.1f}" if deviation else "")


def pixels(scores: Stored) -> str:
    """Claim 2: what pixels, and the contrast, add to the rest, paired over seeds with 95 % intervals."""
    lines = ["| all four losses minus | " + " | ".join(BETTER.values()) + " |", "|---" * (len(BETTER) + 1) + "|"]
    for title in ("ours, without pixels", "ours, without contrast"):
        seeds = sorted(scores["ours"].keys() & scores.get(title, {}).keys())
        if len(seeds) > 1:
            cells = []
            for name in BETTER:
                found = ablations.interval([scores["ours"][s][name] - scores[title][s][name] for s in seeds])
                cells.append(f"{found.mean:+.1f} ({found.low:+.1f} to {found.high:+.1f})")
            lines.append(f"| {title.partition(', ')[2]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def points(scores: Stored) -> dict[str, list[Mapping[str, Any]]]:
    """All results with parts, by the row that they are of."""
    found = {title: [one for one in seeds.values() if "part_share" in one] for title, seeds in scores.items()}
    return {title: results for title, results in found.items() if results}


def correlations(scores: Stored, trials: Stored) -> str:
    """Claim 3: rank correlation of the keypoint error with the other scores, signed so that +1 is agreement.

    The interval is a bootstrap over rows, not over results: seeds of one method are no independent witnesses.
    """
    by_row = points(scores)
    sets = {
        "all rows": list(by_row.values()),
        "K = 4": [found for title, found in by_row.items() if "K = 8" not in title],
        "trained rows alone": [found for title, found in by_row.items() if title in TRAINED],
        "settings tried, K = 4, validation images": [
            found for title, found in points(trials).items() if "num_parts" not in title
        ],
    }
    names = [name for name in BETTER if name != "kp_all"]
    lines = ["| keypoint error against | " + " | ".join(BETTER[name] for name in names) + " | results |"]
    lines.append("|---" * (len(names) + 2) + "|")
    for title, rows in sets.items():
        cells = []
        for name in names:
            rho, low, high = rank_correlation(rows, name)
            cells.append(f"{rho:+.2f} ({low:+.2f} to {high:+.2f})")
        lines.append(f"| {title} | {' | '.join(cells)} | {sum(map(len, rows))} of {len(rows)} rows |")
    return "\n".join(lines)


def rank_correlation(rows: list[list[Mapping[str, Any]]], name: str) -> tuple[float, float, float]:
    """Spearman's correlation of -kp_all with a score over all results, and its 95 % interval."""
    generator = np.random.default_rng(0)

    def rho(chosen: list[list[Mapping[str, Any]]]) -> float:
        flat = [one for found in chosen for one in found]
        return float(stats.spearmanr([-one["kp_all"] for one in flat], [one[name] for one in flat]).statistic)

    drawn = [[rows[i] for i in generator.integers(len(rows), size=len(rows))] for _ in range(DRAWS)]
    values = [rho(chosen) for chosen in drawn if len({id(found) for found in chosen}) > 1]
    low, high = np.nanquantile(values, [0.025, 0.975])
    return rho(rows), float(low), float(high)


def scatter(scores: Stored, path: Path) -> None:
    """Every result: keypoint error against FG-NMI and FG-ARI."""
    figure = Figure(figsize=(9, 3.6), dpi=110, layout="constrained")
    axes = figure.subplots(1, 2)
    for ax, name in zip(axes, ("fg_nmi", "fg_ari"), strict=True):
        for number, (title, found) in enumerate(points(scores).items()):
            x, y = [one["kp_all"] for one in found], [one[name] for one in found]
            style = {"marker": "o" if title in TRAINED else "x", "color": plots.part_color(number + 1)}
            ax.scatter(x, y, s=22, label=title, **style)
        ax.set(xlabel="keypoint error, % of the box; better to the right", ylabel=BETTER[name])
        ax.invert_xaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=7)
    plots.save_png(figure, path, max_bytes=300_000)
