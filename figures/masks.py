"""Masks from boxes alone against annotated ones: mean IoU of every step, into figures/results/masks.json.

    python figures/masks.py --data birds
    python figures/masks.py --data ccp --root FOLDER

The box is the tight one around the annotated object; nothing else of the annotation is seen. The network learns from
images of the training split, IoU is that of the validation split. "Relabelled" is one more round, in which the network
learns from the masks of the round before.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from partlib.config import TrainConfig, default_preset
from partlib.data.base import PartDataset
from partlib.distributed import progress_bar
from partlib.masks import boxes
from partlib.masks.network import train_network
from partlib.masks.predicted import mean_iou
from partlib.report import tables as report
from partlib.runs import checkpoint
from partlib.runs.build import Recipe

FILE = Path(__file__).parent / "results" / "masks.json"
EXAMPLES = 300  # training images that the network learns from
Masks = list[np.ndarray]  # (S, S) bool each


def crops_of(dataset: PartDataset, number: int) -> tuple[list[boxes.Crop], Masks]:
    """At most so many images, spread evenly, with their tight boxes, and their annotated masks."""
    crops, masks = [], []
    for i in torch.linspace(0, len(dataset) - 1, min(number, len(dataset))).round().int().tolist():
        sample = dataset[i]
        mask = sample.foreground[0].numpy() > 0.5  # (S, S)
        ys, xs = np.nonzero(mask)
        image = (255 * sample.image.permute(1, 2, 0)).round().byte().numpy()
        crops.append(boxes.Crop(image, (xs.min(), ys.min(), xs.max(), ys.max())))
        masks.append(mask)
    return crops, masks


def learned(crops: list[boxes.Crop], masks: Masks, applied: list[boxes.Crop]) -> tuple[Masks, Masks]:
    """The masks of ``applied`` by a network that has learned from the sound ones, and by GrabCut seeded with it."""
    kept = [i for i, crop in enumerate(crops) if boxes.is_sound(masks[i], crop.box)]
    print(f"{len(kept)} of {len(crops)} masks are sound")
    images, targets = [boxes.to_tensor(crops[i].image) for i in kept], [torch.from_numpy(masks[i]) for i in kept]
    network = train_network(images, targets)
    found = [boxes.probability(network, crop) for crop in progress_bar(applied, "masks")]
    return [p >= 0.5 for p in found], [boxes.refined(*each) for each in zip(applied, found, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="birds")
    parser.add_argument("--root", default="")
    given = parser.parse_args()
    config = TrainConfig.preset(default_preset(given.data), data=given.data, root=given.root, image_size=boxes.SIDE)
    train, _ = crops_of(Recipe(config).dataset("train"), EXAMPLES)
    val, annotated = crops_of(Recipe(config).dataset("val"), 10_000)
    masks = [boxes.from_box(crop) for crop in progress_bar(train, "GrabCut")]
    found = {"GrabCut": [boxes.from_box(crop) for crop in val]}
    for title in ("", "relabelled: "):
        by_network, again = learned(train, masks, [*train, *val])
        found |= {f"{title}network": by_network[len(train) :], f"{title}GrabCut again": again[len(train) :]}
        masks = again[: len(train)]
    scores = {name: round(iou(masks, annotated), 1) for name, masks in found.items()}
    print(scores)
    stored = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
    command = f"python figures/masks.py --data {given.data}"
    entry = {"command": command, "environment": report.environment(), "images": len(val), "mean_iou": scores}
    checkpoint.write_json(FILE, stored | {given.data: entry})


def iou(found: Masks, wanted: Masks) -> float:
    return mean_iou(*(torch.from_numpy(np.stack(masks)) for masks in (found, wanted)))


def table() -> str:
    """Markdown: a row per data set, a column per step."""
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    steps = list(next(iter(stored.values()))["mean_iou"])
    lines = [f"| | {' | '.join(steps)} | images |", "|---" * (len(steps) + 2) + "|"]
    for data, one in stored.items():
        lines.append(f"| {data} | {' | '.join(str(one['mean_iou'][step]) for step in steps)} | {one['images']} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
