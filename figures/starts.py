"""How well losses of the first steps tell which start will end with good parts; on validation images.

    python figures/starts.py --data birds                     # into figures/results/birds-k4-starts.json
    python figures/starts.py --data ccp --root FOLDER

Trains every start to the end, on the same batches, and ranks them by losses over the later half of the race and by
their scores at the end (Spearman's rank correlation; the lower a loss, the higher the score should be).
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from tqdm import tqdm

from partlib.config import LOSSES, TrainConfig, default_preset
from partlib.evaluation import evaluate
from partlib.report import tables as report
from partlib.runs import checkpoint
from partlib.runs.build import Recipe, build_trainers
from partlib.runs.starts import EQUIVARIANCE

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="birds")
    parser.add_argument("--root", default="")
    parser.add_argument("--num-parts", type=int, default=4)
    parser.add_argument("--starts", type=int, default=16)
    given = parser.parse_args()
    config = TrainConfig.preset(default_preset(given.data), data=given.data, root=given.root)
    config = config.replace(num_parts=given.num_parts, starts=given.starts, seed=100)  # other starts than the results'
    trainers, seen = build_trainers(config), []
    for step in tqdm(range(config.steps)):
        terms = [trainer.advance() for trainer in trainers]
        if step < config.trial_steps:
            seen.append([[float(one[name]) for name in LOSSES] for one in terms])
    losses = np.array(seen)[config.trial_steps // 2 :].mean(0)  # (starts, 4)
    val_set = Recipe(config).dataset("val")
    scores = [evaluate(trainer.segmenter, val_set)[1] for trainer in trainers]
    table = ranked(config, losses, scores)
    for title, found in table.items():
        print(f"{title:40}", {key: round(value, 2) for key, value in found.items()})
    command = f"python figures/starts.py --data {given.data} --num-parts {given.num_parts} --starts {given.starts}"
    stored = {"command": command, "environment": report.environment(), "config": config.replace(root="").to_dict()}
    stored |= {"losses": losses.round(4).tolist(), "scores": scores, "criteria": table}
    checkpoint.write_json(RESULTS / f"{given.data}-k{given.num_parts}-starts.json", stored)
    mean = {key: np.mean([one[key] for one in scores]) for key in ("fg_nmi", "fg_ari")}
    print("mean of all starts", {key: round(float(value), 1) for key, value in mean.items()})


def ranked(config: TrainConfig, losses: np.ndarray, scores: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Rank correlation of sums of weighted losses (starts, 4) with the scores, and what the start chosen so scores."""
    weighted = {name: config.weight(name) * losses[:, k] for k, name in enumerate(LOSSES)}
    both = weighted["feature"] + weighted["equivariance"]
    more = (EQUIVARIANCE - 1) * weighted["equivariance"]
    criteria = {
        "features + equivariance": both,
        "features + contrast + 6 x equivariance": both + weighted["contrastive"] + more,
        "total": sum(weighted.values()),
        **weighted,
    }
    table = {}
    for title, values in criteria.items():
        best = scores[int(np.argmin(values))]
        table[title] = {key: float(spearmanr(values, [one[key] for one in scores])[0]) for key in ("fg_nmi", "fg_ari")}
        table[title] |= {f"chosen {key}": best[key] for key in ("fg_nmi", "fg_ari")}
    return table


if __name__ == "__main__":
    main()
