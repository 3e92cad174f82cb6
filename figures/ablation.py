"""The stored ablations: one thing about the recipe changed at a time, test scores of every seed.

    python figures/ablation.py birds                   # each loss left out, features alone, features and pixels
    python figures/ablation.py birds-resolution        # pixels against the number of cells of the feature maps
    python figures/ablation.py birds-settings          # K, the temperature, a network of features that saw no images
    python figures/ablation.py ccp --root FOLDER       # the same of the photographs; also ccp-resolution, ccp-settings
    python figures/ablation.py table                   # rewrites the tables of differences in docs/RESULTS.md

Trains, or loads from runs/, and writes figures/results/ablations/NAME.json, the parts of the first seed into
NAME.png beside it, and the paired differences into NAME-differences.png. A study is whole seeds: one
that was interrupted goes on.
"""

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from partlib_course import ablations
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent.parent))  # from wherever this is run

from figures.pages import replace
from partlib.config import TrainConfig, default_preset
from partlib.paths import runs_dir
from partlib.report import plots
from partlib.report import tables as report
from partlib.runs import checkpoint
from partlib.runs.build import Recipe

RESULTS, PAGE = Path(__file__).parent / "results" / "ablations", Path(__file__).parent.parent / "docs" / "RESULTS.md"
LOSSES = (*ablations.STUDIES["one loss removed"], "features", "features + pixels")
CELLS = (48, 24, 12, 6)  # per side of the finest feature map; 48 is the recipe
SETTINGS: dict[str, dict[str, Any]] = {
    ablations.ALL: {},
    **ablations.STUDIES["number of parts"],
    **ablations.STUDIES["temperature"],
    "untrained features": {"feature_network": "efficientnet_lite0:random"},
}


def pooled(cells: int) -> type[Recipe]:
    """The recipe with feature maps averaged over at most ``cells`` x ``cells``: resolution alone differs."""

    class Pooled(Recipe):
        def scale(self, *arguments: Any) -> Callable[[list[Tensor]], list[Tensor]]:
            scaled = super().scale(*arguments)
            return lambda maps: [coarser(z, cells) for z in scaled(maps)]

    return Pooled


def coarser(z: Tensor, cells: int) -> Tensor:
    """Maps (B, C, h, w) of unit vectors on a grid of at most ``cells`` x ``cells``, again of unit vectors."""
    return z if z.shape[-1] <= cells else F.normalize(F.adaptive_avg_pool2d(z, cells), dim=1)


def study(name: str, root: str) -> tuple[TrainConfig, dict[str, tuple[dict[str, Any], type[Recipe]]]]:
    """The base of a study, and title -> what differs from it, and its recipe."""
    data, _, kind = name.partition("-")
    base = TrainConfig.preset(default_preset(data), data=data, root=root, eval_every=0)
    if kind != "resolution":
        changes = SETTINGS if kind else {title: ablations.CHANGES[title] for title in LOSSES}
        return base, {title: (change, Recipe) for title, change in changes.items()}
    recipes = {cells: Recipe if cells == max(CELLS) else pooled(cells) for cells in CELLS}
    with_pixels = {f"{cells} cells": ({}, recipe) for cells, recipe in recipes.items()}
    without = {f"{title}, no visual": ({"lambda_visual": 0.0}, recipe) for title, (_, recipe) in with_pixels.items()}
    return base, with_pixels | without


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    studies = [data + kind for data in ("birds", "ccp") for kind in ("", "-resolution", "-settings")]
    parser.add_argument("study", choices=[*studies, "table"])
    parser.add_argument("--rows", nargs="+", help="some of its rows, by their titles")
    parser.add_argument("--root", default="", help="folder of the data set; not stored")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    arguments = parser.parse_args()
    name = arguments.study
    if name == "table":
        return write_tables()
    base, rows = study(name, arguments.root)
    rows = {title: row for title, row in rows.items() if title in (arguments.rows or rows)}
    test_set = Recipe(base).dataset("test")
    pick = torch.linspace(0, len(test_set) - 1, 6).round().int().tolist()
    scores: dict[str, dict[str, dict[str, float]]] = {title: {} for title in rows}
    for seed in arguments.seeds:
        labels = {}
        for title, (changes, recipe) in rows.items():
            config = base.replace(seed=seed, **changes)
            out = None if recipe is Recipe else runs_dir() / f"{name}-{title.replace(' ', '-')}-{config.digest()}"
            outcome = ablations.outcome(config, test_set, pick, recipe=recipe, out=out)
            scores[title][str(seed)], labels[title] = outcome.scores, outcome.labels
            print(f"{title}, seed {seed}: FG-NMI {outcome.scores['fg_nmi']:.1f}", flush=True)
        if seed == arguments.seeds[0]:
            picture = RESULTS / f"{name}.png"
            plots.results_grid([test_set[i] for i in pick], labels, picture, part_names=test_set.part_names)
        done = " ".join(next(iter(scores.values())))
        words = ["--rows", *arguments.rows] if arguments.rows else []
        command = shlex.join(["python", "figures/ablation.py", name, *words, "--seeds", *done.split()])
        stored = {"command": command, "environment": report.environment()}
        stored |= {"config": base.replace(root="").to_dict(), "scores": scores}
        checkpoint.write_json(RESULTS / f"{name}.json", stored)  # after every seed: what is there is whole
    draw(name, {(title, int(seed)): one for title, seeds in scores.items() for seed, one in seeds.items()})


def draw(name: str, scores: ablations.Scores) -> None:
    """Paired differences around zero: what leaving a loss out changes, or what pixels add to features of a grid."""
    titles, minus = [title for title in dict.fromkeys(t for t, _ in scores) if title != ablations.ALL], ablations.ALL
    if "resolution" in name:
        titles, minus, scores = [f"{cells} cells" for cells in CELLS], "no visual loss", gains(scores)
    names = ("fg_nmi", "fg_ari")
    rows = {title: {name: ablations.over_seeds(scores, title, name, minus) for name in names} for title in titles}
    figure = ablations.interval_plot(rows, zero=minus)
    figure.savefig(RESULTS / f"{name}-differences.png", dpi=150, bbox_inches="tight")


def gains(scores: ablations.Scores) -> dict[ablations.Run, dict[str, float]]:
    """What the visual loss adds to every score at each number of cells, seed by seed; and zeros, to compare with."""
    found = {}
    for cells, seed in scores:
        if not cells.endswith("no visual"):
            without = scores[f"{cells}, no visual", seed]
            found[cells, seed] = {key: value - without[key] for key, value in scores[cells, seed].items()}
            found["no visual loss", seed] = dict.fromkeys(without, 0.0)
    return found


def write_tables() -> None:
    """Paired differences with their intervals between the markers of docs/RESULTS.md, of every study that is stored."""
    columns = {"fg_nmi": "FG-NMI", "fg_ari": "FG-ARI"}
    losses, cells = {}, {}
    for data in ("birds", "ccp"):
        plain, resolution = (ablations.stored_scores(f"{data}{kind}") for kind in ("", "-resolution"))
        for key, heading in columns.items():
            found = {t: ablations.over_seeds(plain, t, key, ablations.ALL) for t in dict.fromkeys(t for t, _ in plain)}
            del found[ablations.ALL]
            losses[f"{data}, {heading}"] = {title: signed(values) for title, values in found.items()}
            if resolution:
                gain = gains(resolution)
                cells[f"{data}, {heading}"] = {
                    f"{n} x {n}": signed(ablations.over_seeds(gain, f"{n} cells", key)) for n in CELLS
                }
    text = pd.DataFrame(losses).rename_axis("minus all four losses").to_markdown(disable_numparse=True)
    text += "\n\n" + pd.DataFrame(cells).rename_axis("gain from pixels, cells").to_markdown(disable_numparse=True)
    replace(PAGE, "ablations", text)


def signed(values: list[float]) -> str:
    """A mean difference and its interval; bold where the interval leaves zero out."""
    found = ablations.interval(values)
    text = f"{found.mean:+.1f} ({found.low:+.1f} to {found.high:+.1f})"
    return f"**{text}**" if found.low > 0 or found.high < 0 else text


if __name__ == "__main__":
    main()
