"""Every number and picture of results in the README and the notebooks comes from here.

    python figures/results.py run --data birds --num-parts 4 --seeds 0 1 2
    python figures/results.py table            # rewrites the table in README.md

A run trains each seed (or loads it from runs/), scores it on the test split beside every baseline, and leaves
figures/results/<data>-k<K>.json with the command, versions and hardware, and a picture of the best and the worst seed.
"""

import argparse
import shlex
import statistics
import sys
from pathlib import Path

import numpy as np

from partlib.config import TrainConfig
from partlib.data.base import PartDataset
from partlib.evaluation import score
from partlib.presets import default_preset
from partlib.report import tables as report
from partlib.runs import checkpoint
from partlib.sources import training_data
from partlib.training import load_or_train

HERE = Path(__file__).parent
RESULTS = HERE / "results"
README = HERE.parent / "README.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--data", default="birds")
    run.add_argument("--root", default="", help="left out of the stored command: it is a place on one machine")
    run.add_argument("--preset", default="", help="the one that fits the data set by default")
    run.add_argument("--num-parts", type=int, default=4)
    run.add_argument("--contrastive", type=float, help="weight of the contrastive loss; the preset's by default")
    run.add_argument("--visual", type=float, help="weight of the visual loss; the preset's by default")
    run.add_argument("--steps", type=int, help="training steps; the preset's by default")
    run.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "run":
        measure(arguments)
    else:
        write_table()


def measure(arguments: argparse.Namespace) -> None:
    seeds, evaluations = {}, {}
    changes = {"data": arguments.data, "root": arguments.root, "num_parts": arguments.num_parts}
    for name in ("contrastive", "visual", "steps"):
        if getattr(arguments, name) is not None:
            changes[name] = getattr(arguments, name)
    for seed in arguments.seeds:
        preset = arguments.preset or default_preset(arguments.data)
        config = TrainConfig.preset(preset, **changes, seed=seed)
        result = load_or_train(config)
        test_set = training_data(config, "test")
        evaluations[seed] = report.evaluate(result.segmenter, config, test_set, with_baselines=True)
        metrics = evaluations[seed].metrics
        seeds[seed] = {**metrics, **by_novelty(evaluations[seed], test_set)}
        print(report.table(metrics), flush=True)
    name = f"{arguments.data}-k{arguments.num_parts}"
    stored = {
        "command": shlex.join(["python", "figures/results.py", *without_root(sys.argv[1:])]),
        "environment": report.environment(),
        "config": {**config.replace(seed=0, root="").to_dict()},
        "seeds": seeds,
    }
    checkpoint.write_json(RESULTS / f"{name}.json", stored)
    ranked = sorted(seeds, key=lambda seed: seeds[seed]["ours"]["fg_nmi"])
    for title, seed in (("best", ranked[-1]), ("worst", ranked[0])):
        report.picture(evaluations[seed], test_set, RESULTS / f"{name}-{title}.png")


def without_root(words: list[str]) -> list[str]:
    if "--root" not in words:
        return words
    place = words.index("--root")
    return words[:place] + words[place + 2 :]


def by_novelty(evaluation: report.Evaluation, dataset: PartDataset) -> dict:
    """Scores of species that training has seen and of those it has not, where the data set knows of such."""
    unseen = getattr(dataset, "unseen_labels", None)
    if not unseen:
        return {}
    is_new = np.array([dataset[i].label in unseen for i in range(len(dataset))])
    labels = evaluation.labels["ours"]
    return {
        "seen": score(labels, dataset, np.flatnonzero(~is_new).tolist()),
        "unseen": score(labels, dataset, np.flatnonzero(is_new).tolist()),
    }


def spread(values: list[float]) -> str:
    """Mean and standard deviation over the seeds."""
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values) if len(values) > 1 else 0:.1f}"


def write_table() -> None:
    import json

    lines = [
        "| data, K | method | FG-NMI | FG-ARI | smallest part |",
        "|---|---|---|---|---|",
    ]
    commands = []
    for path in sorted(RESULTS.glob("*.json")):
        stored = json.loads(path.read_text())
        runs = list(stored["seeds"].values())
        title = f"{stored['config']['data']} test, {stored['config']['num_parts']}"
        smallest = min(min(r["part_share"]) for r in runs)
        ours = [spread([r["ours"][s] for r in runs]) for s in ("fg_nmi", "fg_ari")]
        lines.append(f"| {title} | **ours** | {ours[0]} | {ours[1]} | {smallest:.1%} |")
        for kind in ("seen", "unseen"):
            if kind in runs[0]:
                nmi, ari = (spread([r[kind][s] for r in runs]) for s in ("fg_nmi", "fg_ari"))
                lines.append(f"| | ours, {kind} species | {nmi} | {ari} | |")
        ranked = sorted(runs[0]["baselines"], key=lambda b: -statistics.mean(r["baselines"][b]["fg_nmi"] for r in runs))
        for name in ranked:
            nmi, ari = (spread([r["baselines"][name][s] for r in runs]) for s in ("fg_nmi", "fg_ari"))
            lines.append(f"| | {name} | {nmi} | {ari} | |")
        machine = stored["environment"]
        commands.append(f"`{stored['command']}` (torch {machine['torch']}, {machine['device']}, {len(runs)} seeds)")
    lines += ["", "Mean ± standard deviation over seeds. Commands: " + "; ".join(commands) + "."]
    text = README.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    README.write_text(head + BEGIN + "\n" + "\n".join(lines) + "\n" + END + tail, encoding="utf-8")


if __name__ == "__main__":
    main()
