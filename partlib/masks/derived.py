"""Masks from boxes as files: a PNG of the size of each photograph, a contact sheet to look at, and reports.

``partlib masks --data cub`` reads the annotated boxes; of a folder of photographs, which has none, the box is the
picture less its rim. What is there already is kept, so an interrupted call goes on.
"""

import csv
import json
import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from partlib import distributed
from partlib.data import cub, folder, photos, reading, usual_root
from partlib.errors import ConfigError, DataError, about
from partlib.masks import MaskConfig, boxes
from partlib.masks.found import find
from partlib.masks.network import MaskNetwork, load_network
from partlib.masks.predicted import paste
from partlib.paths import claim, locked, write_atomically
from partlib.runs.checkpoint import write_json

RIM = 0.03  # of the sides of a photograph without a box, taken for background
SHEET = (6, 10)  # rows and columns of the contact sheet
MODEL = "network.safetensors"  # in the folder of the masks
CELL = 128  # pixels of each of its pictures


# of masks.csv: does it look like an object, IoU with the network's own answer, and which photograph it was made of
COLUMNS = ("name", "sound", "iou", "photograph")


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


def spread(every: list[Photo], most: int) -> list[Photo]:
    """At most so many of them, evenly spread over the list."""
    pick = np.unique(np.linspace(0, len(every) - 1, min(most, len(every))).round().astype(int))
    return [every[i] for i in pick]


def crop_of(photo: Photo) -> tuple[boxes.Crop, photos.Square, tuple[int, int]]:
    """What the steps see of a photograph, the square of the file that this is, and the file's size (H, W)."""
    image, (height, width) = reading.read_reduced(photo.path)
    scale = width / image.shape[1]
    x, y = round(RIM * width), round(RIM * height)
    box = photo.box or (x, y, width - 1 - x, height - 1 - y)
    crop, square = boxes.crop_around(image, tuple(round(value / scale) for value in box))  # type: ignore[arg-type]
    left, top, side = (round(value * scale) for value in square)
    return crop, (left, top, side), (height, width)


def derive(
    data: str, root: Path | None, out: Path, examples: int = MaskConfig.examples, network: MaskNetwork | None = None
) -> dict:
    """Write ``out/masks/<name>.png`` for every photograph, 255 where the object is; returns ``report.json``.

    ``masks.csv`` has a line for each: those that are not sound, or far from what the network said, are worth a look.
    A ``network`` that is given does not learn, and finds the object of a photograph without box itself.
    """
    claim(out, MODEL, "report.json")
    every, masks, report = listed(data, root), out / "masks", out / "report.json"
    with locked(out):
        trained, learned = network_for(every, data, root, out, examples, network)
        broken: list[str] = []
        # divide them all
        with open(out / "masks.csv", "a", encoding="utf-8", newline="", buffering=1) as lines:  # whole lines, or none
            left = undone(every, out)
            for photo, stamp in distributed.progress_bar(left, f"masks of {len(left)} photographs"):
                try:
                    mask, sound, iou = divided(photo, trained, search=network is not None)
                except DataError as error:  # the others are not lost for it
                    broken.append(about(error, photo.path))
                    continue
                write_atomically(masks / f"{photo.name}.png", Image.fromarray(mask.astype(np.uint8) * 255).save)
                csv.writer(lines).writerow([photo.name, int(sound), round(iou, 3), stamp])
        # what became of them
        table = lines_of(out)
        if network is None:
            mean = round(float(table.iou.mean()), 3)
            learned |= {"sound in the end": int(table.sound.sum()), "IoU with the network": mean}
        write_json(report, learned)
        write_atomically(out / "contact.png", Image.fromarray(sheet(every, masks)).save)
    if broken:
        more = "; ..." * (len(broken) > 10)
        raise DataError(f"{'; '.join(broken[:10])}{more} ({len(every) - len(broken)} of {len(every)} masks are made)")
    return learned


def network_for(
    every: list[Photo], data: str, root: Path | None, out: Path, examples: int, network: MaskNetwork | None
) -> tuple[MaskNetwork, dict]:
    """The network in ``out``, or one that is given, or that learns from photographs spread evenly over the list."""
    place = str(usual_root(data, root).absolute())  # type: ignore[union-attr]
    model, source = out / MODEL, {"data": data, "root": place, "network": "own" if network is None else "given"}
    if model.is_file():
        stored, card = load_network(model)
        learned = json.loads(card.get("report", "{}"))
        if {key: learned.get(key) for key in source} != source:
            found = f"{out} holds masks of {learned.get('root')} by a network that was {learned.get('network')}"
            raise ConfigError(f"{found}; pass another --out")
        return stored, learned
    learned = {**source, "photographs": len(every)}
    if network is None:
        pick = spread(every, examples)
        network, counts = boxes.learn(crops(pick), len(pick))
        learned |= counts
    network.save(model, {"report": json.dumps(learned)})
    return network, learned


def crops(some: list[Photo]) -> Iterator[boxes.Crop]:
    """What the network learns from; a photograph that cannot be read is named later, when it is divided."""
    for photo in some:
        with suppress(DataError):
            yield crop_of(photo)[0]


def lines_of(out: Path) -> pd.DataFrame:
    """The last line of each photograph in ``masks.csv``."""
    table = pd.read_csv(out / "masks.csv", names=list(COLUMNS), dtype={"name": str, "photograph": str})
    return table.drop_duplicates("name", keep="last")


def undone(every: list[Photo], out: Path) -> list[tuple[Photo, str]]:
    """The photographs that have no mask yet, or changed since, with what tells their content."""
    table = lines_of(out)
    made = dict(zip(table.name, table.photograph, strict=True))
    stamps = [photos.sample_of(photo.path) for photo in every]
    pairs = zip(every, stamps, strict=True)
    return [(p, s) for p, s in pairs if made.get(p.name) != s or not (out / "masks" / f"{p.name}.png").is_file()]


def divided(photo: Photo, network: MaskNetwork, search: bool) -> tuple[np.ndarray, bool, float]:
    """The mask (H, W) bool of a photograph, whether it is sound, and its IoU with what the network said."""
    if search and photo.box is None:
        image, shape = reading.read_reduced(photo.path)
        mask = find(network, image)
        large = Image.fromarray(mask).resize(shape[::-1], Image.Resampling.NEAREST)
        return np.asarray(large), True, math.nan
    crop, square, size = crop_of(photo)
    probability = boxes.probability(network, crop)
    mask, said = boxes.refined(crop, probability), probability >= 0.5
    iou = int((mask & said).sum()) / max(1, int((mask | said).sum()))
    return paste(mask.astype(np.float32), square, size), boxes.is_sound(mask, crop.box), iou


def sheet(every: list[Photo], masks: Path) -> np.ndarray:
    """Some photographs, spread evenly, pale outside of their masks: a picture (rows, columns, 3) uint8 to look at."""
    most, columns = SHEET
    pick = spread([photo for photo in every if (masks / f"{photo.name}.png").is_file()], most * columns)
    page = np.full((max(1, -(-len(pick) // columns)) * CELL, columns * CELL, 3), 255, np.uint8)
    for number, one in enumerate(pick):
        photo, full = reading.read_reduced(one.path)
        mask = reading.shrunk(reading.read_mask(masks / f"{one.name}.png", one.path, full), photo.shape[:2])
        square = photos.square_of(photo.shape)
        image = photos.resize_photo(photos.crop_square(photo, square, "edge"), CELL)
        small = photos.resize_mask(photos.crop_square(mask, square, "zero"), CELL)
        row, column = divmod(number, columns)
        pale = 255 - (255 - image) // 4
        place = slice(row * CELL, (row + 1) * CELL), slice(column * CELL, (column + 1) * CELL)
        page[place] = np.where(small[..., None], image, pale)
    return page
