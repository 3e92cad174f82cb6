"""Masks from boxes as files: a PNG of the size of each photograph, a contact sheet to look at, and reports.

``partlib masks --data cub`` reads the annotated boxes; of a folder of photographs, which has none, the box is the
picture less its rim. What is there already is kept, so an interrupted call goes on.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from partlib import distributed
from partlib.data import cub, folder, photos, reading, usual_root
from partlib.errors import ConfigError, DataError
from partlib.masks import MaskConfig, boxes
from partlib.masks.network import MaskNetwork, load_network
from partlib.masks.predicted import paste
from partlib.paths import write_atomically
from partlib.runs.checkpoint import write_json

RIM = 0.03  # of the sides of a photograph without a box, taken for background
SHEET = (6, 10)  # rows and columns of the contact sheet
CELL = 128  # pixels of each of its pictures


COLUMNS = ("name", "sound", "iou")  # of masks.csv: does it look like an object, and IoU with the network's own answer


class Photo(NamedTuple):
    name: str  # of its mask, without suffix
    path: Path
    box: boxes.Box | None  # in its pixels; None where nobody has drawn one


def listed(data: str, root: Path | None = None) -> list[Photo]:
    """The photographs of a data set, all splits."""
    root = usual_root(data, root)
    if root is None or not root.is_dir():
        raise DataError(f"masks: {root or '--root'} is not a folder; expected the one of {data}: give it as --root")
    if data == "cub":
        birds, _ = cub.read_lists(root)
        sides = [tuple(round(float(side)) for side in box) for box in birds.box]
        files = [root / "images" / file for file in birds.file]
        found = [Photo(*each) for each in zip(map(str, birds.index), files, sides, strict=True)]  # type: ignore[arg-type]
    elif data == "folder":
        place = root / "images" if (root / "images").is_dir() else root
        found = [Photo(name, path, None) for name, path in folder.images_in(place).items()]
    else:
        raise ConfigError(f"masks: data is {data!r}; expected cub, which has boxes, or folder")
    if not found:
        raise DataError(f"{root}: holds no photographs; expected some to make masks of")
    photos.require([photo.path for photo in found], "add it, or take it out of the lists")
    return found


def crop_of(photo: Photo) -> tuple[boxes.Crop, photos.Square, tuple[int, int]]:
    """What the steps see of a photograph, the square of it that this is, and its size (H, W)."""
    image = reading.read_photo(photo.path)
    height, width = image.shape[:2]
    x, y = round(RIM * width), round(RIM * height)
    crop, square = boxes.crop_around(image, photo.box or (x, y, width - 1 - x, height - 1 - y))
    return crop, square, (height, width)


def derive(data: str, root: Path | None, out: Path, examples: int = MaskConfig.examples) -> dict:
    """Write ``out/masks/<name>.png`` for every photograph, 255 where the object is; returns ``report.json``.

    ``masks.csv`` has a line for each: those that are not sound, or far from what the network said, are worth a look.
    """
    every, masks, model, report = listed(data, root), out / "masks", out / "network.safetensors", out / "report.json"
    # learn from photographs that are spread evenly over the list
    if model.is_file():
        network, _ = load_network(model)
        learned = json.loads(report.read_text(encoding="utf-8"))
    else:
        pick = np.unique(np.linspace(0, len(every) - 1, min(examples, len(every))).round().astype(int))
        network, learned = boxes.learn((crop_of(every[i])[0] for i in pick), len(pick))
        learned["photographs"] = len(every)
        write_json(report, learned)
        network.save(model, {"report": json.dumps(learned)})
    # divide them all
    with open(
        out / "masks.csv", "a", encoding="utf-8", newline="", buffering=1
    ) as lines:  # a line is whole or not there
        for photo, mask, sound, iou in divided(every, network, masks):
            write_atomically(masks / f"{photo.name}.png", Image.fromarray(mask.astype(np.uint8) * 255).save)
            csv.writer(lines).writerow([photo.name, int(sound), round(iou, 3)])
    # what became of them
    table = pd.read_csv(out / "masks.csv", names=list(COLUMNS)).drop_duplicates("name", keep="last")
    learned |= {"sound in the end": int(table.sound.sum()), "IoU with the network": round(float(table.iou.mean()), 3)}
    write_json(report, learned)
    write_atomically(out / "contact.png", Image.fromarray(sheet(every, masks)).save)
    return learned


def divided(every: list[Photo], network: MaskNetwork, masks: Path) -> Iterator[tuple[Photo, np.ndarray, bool, float]]:
    """The photographs that have no mask in the folder ``masks`` yet, theirs (H, W) bool, and the columns of COLUMNS."""
    left = [photo for photo in every if not (masks / f"{photo.name}.png").is_file()]
    for photo in distributed.progress_bar(left, f"masks of {len(left)} photographs"):
        crop, square, size = crop_of(photo)
        probability = boxes.probability(network, crop)
        mask, said = boxes.refined(crop, probability), probability >= 0.5
        iou = float((mask & said).sum() / max(1, (mask | said).sum()))
        yield photo, paste(mask.astype(np.float32), square, size), boxes.is_sound(mask, crop.box), iou


def sheet(every: list[Photo], masks: Path) -> np.ndarray:
    """Some photographs, spread evenly, pale outside of their masks: a picture (rows, columns, 3) uint8 to look at."""
    rows, columns = SHEET
    page = np.full((rows * CELL, columns * CELL, 3), 255, np.uint8)
    pick = np.unique(np.linspace(0, len(every) - 1, min(rows * columns, len(every))).round().astype(int))
    for number, i in enumerate(pick):
        photo = reading.read_photo(every[i].path)
        mask = reading.read_mask(masks / f"{every[i].name}.png", every[i].path, photo.shape[:2])
        square = photos.square_of(photo.shape)
        image = photos.resize_photo(photos.crop_square(photo, square, "edge"), CELL)
        small = photos.resize_mask(photos.crop_square(mask, square, "zero"), CELL)
        row, column = divmod(number, columns)
        pale = 255 - (255 - image) // 4
        place = slice(row * CELL, (row + 1) * CELL), slice(column * CELL, (column + 1) * CELL)
        page[place] = np.where(small[..., None], image, pale)
    return page
