"""Settings tried on CUB's validation split, one start each: what the preset was chosen by, and points for claim 3.

    python figures/cub_trials.py --root FOLDER    # into figures/results/cub/trials.json, what is not there yet

The keypoint regression is fitted to every fourth training image. No test image is looked at.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # from wherever this is run

from figures.cub import TRIALS, Birds, keep, stored
from partlib.config import TrainConfig
from partlib.runs import train

EVERY = 4
THREE_LAYERS = {"feature_layers": ("stride8", "stride16", "stride32")}


def setting(visual: float, contrastive: float, equivariance: float, **more: Any) -> dict[str, Any]:
    weights = {"lambda_visual": visual, "lambda_contrastive": contrastive, "lambda_equivariance": equivariance}
    return {"starts": 1, **weights, **more}


# (changes of the preset, seeds), in the order in which they were tried
TRIED: list[tuple[dict[str, Any], range]] = [
    (setting(5, 2, 1), range(2)),
    (setting(15, 2, 1), range(4)),
    (setting(5, 3, 1), range(1)),
    (setting(5, 2, 1, **THREE_LAYERS), range(2)),
    (setting(0, 2, 1), range(1)),
    (setting(50, 2, 1), range(2)),
    (setting(15, 1, 1), range(6)),
    (setting(15, 3, 1), range(2)),
    (setting(15, 2, 1, **THREE_LAYERS), range(2)),
    (setting(15, 0.5, 1), range(2)),
    (setting(5, 1, 1), range(2)),
    (setting(15, 1, 1, steps=1000), range(1)),
    (setting(15, 1, 2), range(2)),
    (setting(10, 1, 2), range(10, 22)),
    (setting(10, 1, 5), range(10, 16)),
    (setting(20, 1, 2), range(10, 12)),
    (setting(10, 1, 2, temperature=0.1), range(10, 12)),
    (setting(10, 1, 2, **THREE_LAYERS), range(10, 11)),
    (setting(5, 1, 5), range(10, 13)),
    (setting(10, 1, 10), range(10, 13)),
    (setting(10, 0.5, 5), range(11, 12)),
    (setting(10, 2, 5), range(11, 13)),
    (setting(10, 1, 5, num_parts=8), range(1)),
    (setting(10, 2, 5, num_parts=8), range(1)),
    (setting(10, 3, 5, num_parts=8), range(1)),
    (setting(10, 3, 2, num_parts=8), range(1)),
]


class Fewer(Birds):
    """The splits with a fourth of the training images, which the regression is fitted to."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        train_set = self.sets["train"]
        self.sets["train"] = train_set.subset(range(0, len(train_set), EVERY))


def title_of(changes: dict[str, Any]) -> str:
    """A setting in words, without what all trials have in common."""
    short = {key.removeprefix("lambda_"): value for key, value in changes.items() if key != "starts"}
    return ", ".join(f"{key} {'+'.join(value) if isinstance(value, tuple) else value}" for key, value in short.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="", help="folder of CUB-200-2011; not stored")
    base = TrainConfig.preset("cub", root=parser.parse_args().root, eval_every=0)
    birds = Fewer(base)
    for changes, seeds in TRIED:
        title = title_of(changes)
        for seed in seeds:
            if str(seed) not in stored(TRIALS).get(title, {}):
                result = train(base.replace(seed=seed, **changes))
                found = birds.scores(birds.decoded(result.segmenter), "val")
                keep(title, seed, found, TRIALS)
                print(f"{title}, seed {seed}: kp {found['kp_all']:.1f}", flush=True)


if __name__ == "__main__":
    main()
