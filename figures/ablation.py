"""The stored runs of notebook 08: with and without pixels, longer than the notebook itself can train.

    python figures/ablation.py longer           # four rows, 300 steps, part of the birds: about ten minutes
    python figures/ablation.py birds            # the preset birds at full length, with and without the visual loss
    python figures/ablation.py ccp              # the preset photographs, the same

The last two take half an hour each on two idle cores.

Trains, or loads from runs/, and writes figures/ablation-NAME.json, and the parts of the first seed into
figures/results/ablation-NAME.png.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from partlib_course import ablations

from partlib.config import TrainConfig
from partlib.report import plots
from partlib.report import tables as report
from partlib.runs import checkpoint
from partlib.runs.build import Recipe

# study -> a preset, what differs from it, and the rows
STUDIES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "longer": (
        "cpu",
        {"steps": 300, "num_images": 300, "feature_size": 256, "starts": 1, "lambda_contrastive": 3.0, "eval_every": 0},
        (ablations.ALL, "no visual", "features", "features + pixels"),
    ),
    "birds": ("birds", {}, (ablations.ALL, "no visual")),
    "ccp": ("photographs", {"data": "ccp"}, (ablations.ALL, "no visual")),
}
HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    preset, options, titles = STUDIES[arguments.study]
    base = TrainConfig.preset(preset, **options)
    test_set = Recipe(base).dataset("test")
    pick = torch.linspace(0, len(test_set) - 1, 6).round().int().tolist()
    shown = [test_set[i] for i in pick]
    scores: dict[str, dict[str, dict[str, float]]] = {title: {} for title in titles}
    for seed in arguments.seeds:
        labels = {}
        for (title, _), config in ablations.grid(base, [seed], titles).items():
            outcome = ablations.outcome(config, test_set, pick)
            scores[title][str(seed)], labels[title] = outcome.scores, outcome.labels
            print(f"{title}, seed {seed}: FG-NMI {scores[title][str(seed)]['fg_nmi']:.1f}", flush=True)
        if seed == arguments.seeds[0]:
            picture = HERE / "results" / f"ablation-{arguments.study}.png"
            plots.results_grid(shown, labels, picture, part_names=test_set.part_names)
        done = " ".join(scores[titles[0]])
        stored = {
            "command": f"python figures/ablation.py {arguments.study} --seeds {done}",
            "environment": report.environment(),
            "config": base.to_dict(),
            "scores": scores,
        }
        target = HERE.parent / ablations.STORED.format(arguments.study)
        checkpoint.write_json(target, stored)  # after every seed: what is there is whole


if __name__ == "__main__":
    main()
