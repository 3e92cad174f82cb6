"""The longer runs of notebook 08: with and without pixels, each 300 steps.

    python figures/ablation.py                  # trains, or loads from runs/, and writes figures/ablation.json

About ten minutes on two idle cores.
"""

import argparse
from pathlib import Path

from partlib import ablation, checkpoint, report
from partlib.config import TrainConfig
from partlib.sources import training_data

TITLES = (ablation.ALL, "no visual", "features", "features + pixels")
OPTIONS = {"contrastive": 1.0, "num_images": 300, "feature_size": 256, "starts": 1, "eval_every": 0}
HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    base = TrainConfig.preset("cpu", data="birds", steps=arguments.steps, **OPTIONS)
    test_set = training_data(base, "test")
    scores: dict[str, dict[str, dict[str, float]]] = {title: {} for title in TITLES}
    for seed in arguments.seeds:
        for (title, _), config in ablation.grid(base, [seed], TITLES).items():
            scores[title][str(seed)] = ablation.outcome(config, test_set, [0]).scores
            print(f"{title}, seed {seed}: FG-NMI {scores[title][str(seed)]['fg_nmi']:.1f}", flush=True)
        done = " ".join(scores[TITLES[0]])
        stored = {
            "command": f"python figures/ablation.py --steps {arguments.steps} --seeds {done}",
            "environment": report.environment(),
            "config": base.to_dict(),
            "scores": scores,
        }
        checkpoint.write_json(HERE.parent / ablation.STORED, stored)  # after every seed: what is there is whole


if __name__ == "__main__":
    main()
