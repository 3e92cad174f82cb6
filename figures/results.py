"""Every number and picture of results in the README and the notebooks comes from here.

    python figures/results.py run --data birds --num-parts 4 --seeds 0 1 2
    python figures/results.py table            # rewrites the tables in docs/RESULTS.md and README.md

A run trains each seed (or loads it from runs/), scores it on the test split beside every baseline, and leaves
figures/results/<data>-k<K>.json and pictures of the best and the worst seed.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent.parent))  # from wherever this is run

from figures.pages import replace
from partlib.config import TrainConfig, default_preset
from partlib.data.base import PartDataset
from partlib.evaluation import score
from partlib.report import tables as report
from partlib.runs import checkpoint, load_or_train
from partlib.runs.build import Recipe

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE, README = ROOT / "figures" / "results", ROOT / "docs" / "RESULTS.md", ROOT / "README.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--data", default="birds")
    run.add_argument("--root", default="", help="left out of the stored command: it is a place on one machine")
    run.add_argument("--preset", default="", help="the one that fits the data set by default")
    run.add_argument("--num-parts", type=int, default=4)
    run.add_argument("--steps", type=int, help="the preset's by default")
    for loss in ("contrastive", "visual"):
        run.add_argument(f"--{loss}", dest=f"lambda_{loss}", type=float, help="the preset's by default")
    run.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    run.set_defaults(run=measure)
    commands.add_parser("table").set_defaults(run=write_table)
    arguments = parser.parse_args()
    arguments.run(arguments)


def measure(arguments: argparse.Namespace) -> None:
    names = ("data", "root", "num_parts", "lambda_contrastive", "lambda_visual", "steps")
    changes = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    base = TrainConfig.preset(arguments.preset or default_preset(arguments.data), **changes)
    seeds, evaluations = {}, {}
    for seed in arguments.seeds:
        config = base.replace(seed=seed)
        result = load_or_train(config)
        test_set = Recipe(config).dataset("test")
        evaluations[seed] = report.evaluate(result.segmenter, config, test_set, with_baselines=True)
        seeds[seed] = {**evaluations[seed].metrics, **by_novelty(evaluations[seed], test_set)}
        print(report.table(evaluations[seed].metrics), flush=True)
    words = sys.argv[1:]
    if "--root" in words:
        del words[words.index("--root") : words.index("--root") + 2]
    name, command = f"{base.data}-k{base.num_parts}", shlex.join(["python", "figures/results.py", *words])
    stored = {"command": command, "environment": report.environment(), "config": base.replace(root="").to_dict()}
    checkpoint.write_json(RESULTS / f"{name}.json", {**stored, "seeds": seeds})
    ranked = sorted(seeds, key=lambda seed: seeds[seed]["ours"]["fg_nmi"])
    for title, seed in (("best", ranked[-1]), ("worst", ranked[0])):
        report.picture(evaluations[seed], test_set, RESULTS / f"{name}-{title}.png")


def by_novelty(evaluation: report.Evaluation, dataset: PartDataset) -> dict:
    """Scores of species that training has seen and of those it has not, where the data set knows of such."""
    if not dataset.unseen_labels:
        return {}
    is_new = np.isin(dataset.labels, dataset.unseen_labels)  # type: ignore[attr-defined]
    picks = {"seen": np.flatnonzero(~is_new), "unseen": np.flatnonzero(is_new)}
    return {kind: score(evaluation.labels["ours"], dataset, pick.tolist()) for kind, pick in picks.items()}


def rows(stored: dict) -> pd.DataFrame:
    """Methods, best baseline first, with mean and standard deviation over the seeds of one stored result."""
    runs = list(stored["seeds"].values())
    methods = {"**ours**": [run["ours"] for run in runs]}
    methods |= {f"ours, {kind} species": [run[kind] for run in runs] for kind in ("seen", "unseen") if kind in runs[0]}
    baselines = {name: [run["baselines"][name] for run in runs] for name in runs[0]["baselines"]}
    methods |= dict(sorted(baselines.items(), key=lambda item: -sum(one["fg_nmi"] for one in item[1])))
    table = pd.DataFrame({"data, K": "", "method": list(methods)})
    for column in ("fg_nmi", "fg_ari"):
        values = pd.DataFrame([[one[column] for one in found] for found in methods.values()])  # (methods, seeds)
        spread = values.std(axis=1).fillna(0)  # of one seed
        table[report.SCORES[column]] = [f"{m:.1f} ± {s:.1f}" for m, s in zip(values.mean(axis=1), spread, strict=True)]
    table["smallest part"] = ""
    title = "{data} test, {num_parts}".format(**stored["config"])
    table.loc[0, ["data, K", "smallest part"]] = title, f"{min(min(run['part_share']) for run in runs):.1%}"
    return table


def write_table(_: argparse.Namespace) -> None:
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*-k?.json"))]
    made = "`{command}` (torch {environment[torch]}, {environment[device]}, {number} seeds)"
    commands = "; ".join(made.format(**stored, number=len(stored["seeds"])) for stored in results)
    table = pd.concat(map(rows, results)).to_markdown(index=False, disable_numparse=True)
    note = f"Mean ± standard deviation over seeds. Commands: {commands}."
    replace(PAGE, "results", f"{table}\n\n{note}")
    replace(README, "summary", summary(results, json.loads((RESULTS / "cub" / "scores.json").read_text())["scores"]))


def summary(results: list[dict], cub: dict) -> str:
    """Ours and feature k-means on every data set, as a table of Markdown."""

    def row(title: str, method: str, runs: list[dict]) -> list[str]:
        values = [[run[name] for run in runs if name in run] for name in ("fg_nmi", "fg_ari", "kp_all")]
        return [title, method, *(f"{np.mean(v):.1f} ± {np.std(v, ddof=1):.1f}" if v else "" for v in values)]

    lines = []
    for stored in results:
        title, runs = "{data}, {num_parts} parts".format(**stored["config"]), stored["seeds"].values()
        lines.append(row(title, "**ours**", [run["ours"] for run in runs]))
        lines.append(row("", "feature k-means", [run["baselines"]["feature k-means"] for run in runs]))
    for title, end in (("CUB, 4 parts", ""), ("CUB, 8 parts", ", K = 8")):
        lines.append(row(title, "**ours**", list(cub["ours" + end].values())))
        lines.append(row("", "feature k-means", list(cub["feature k-means" + end].values())))
    table = pd.DataFrame(lines, columns=["data", "method", "FG-NMI", "FG-ARI", "keypoint error"])
    table["data"] = table["data"].str.replace("ccp", "photographs")
    return table.to_markdown(index=False, disable_numparse=True)


if __name__ == "__main__":
    main()
