"""Object masks from boxes alone, no mask annotated anywhere: ``partlib masks``.

Three steps. GrabCut (Rother, Kolmogorov, Blake, SIGGRAPH 2004) tells the object in a box from what lies around it, by
color; it fails where the two look alike. A network, trained for a minute on the masks that look sound, learns what
the objects have in common. A second GrabCut then starts from what the network says instead of from the box, so that
the mask ends at edges of the image again.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from partlib import distributed
from partlib.data.photos import Square, crop_square, resize_photo
from partlib.errors import DataError
from partlib.masks.network import MaskNetwork, train_network

SIDE = 256  # pixels of the square that is looked at
MARGIN = 0.15  # around the box, of its longer side: what the background looks like
ROUNDS, ROUNDS_AGAIN = 6, 2  # of GrabCut from the box, and from the network's answer
SURE = 0.9  # probability from which a pixel is fixed for the second GrabCut, and 1 - SURE
SOUND = (0.15, 0.9)  # share of its box that a sound mask covers

Box = tuple[int, int, int, int]  # (x0, y0, x1, y1), first and last pixel


class Crop(NamedTuple):
    """A square picture (SIDE, SIDE, 3) uint8 and the box of the object in it."""

    image: np.ndarray
    box: Box


def crop_around(photo: np.ndarray, box: Box, margin: float = MARGIN) -> tuple[Crop, Square]:
    """The square around a box in a photograph (H, W, 3) uint8, at SIDE pixels, and where it lies."""
    height, width = photo.shape[:2]
    x0, y0, x1, y1 = max(box[0], 0), max(box[1], 0), min(box[2], width - 1), min(box[3], height - 1)
    side = max(1, round(max(x1 - x0 + 1, y1 - y0 + 1) * (1 + 2 * margin)))
    square = left, top, _ = round((x0 + x1 + 1 - side) / 2), round((y0 + y1 + 1 - side) / 2), side
    small, scale = resize_photo(crop_square(photo, square, "edge"), SIDE), SIDE / side
    inner = int((x0 - left) * scale), int((y0 - top) * scale), int((x1 - left) * scale), int((y1 - top) * scale)
    return Crop(small, inner), square


def grabcut(image: np.ndarray, state: np.ndarray, rounds: int) -> np.ndarray:
    """Mask (S, S) bool from OpenCV's states (S, S): 0 background, 1 object, 2 and 3 the same but open to change."""
    import cv2  # on use: only this command needs it

    bgr, state = np.ascontiguousarray(image[..., ::-1]), state.astype(np.uint8)
    models, rectangle = np.zeros((2, 1, 65)), (0, 0, 1, 1)  # filled by OpenCV; not looked at
    cv2.grabCut(bgr, state, rectangle, models[0], models[1], rounds, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    return state % 2 == 1


def from_box(crop: Crop) -> np.ndarray:
    """Mask (S, S) bool: all of the box may be object, nothing outside is."""
    return grabcut(crop.image, np.where(inside(crop.box), 3, 0), ROUNDS)


def inside(box: Box) -> np.ndarray:
    """Pixels (SIDE, SIDE) bool of a box, at least one."""
    x0, y0, x1, y1 = np.clip(box, 0, SIDE - 1)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return mask


def is_sound(mask: np.ndarray, box: Box) -> bool:
    """Whether a mask looks like an object in its box: neither next to nothing nor all of it, and it reaches its sides.

    A box is tight: the object touches all four sides, so a mask that stops far from one has lost a piece.
    """
    within = inside(box)
    share = mask.sum() / within.sum()
    if not SOUND[0] <= share <= SOUND[1]:
        return False
    ys, xs = np.nonzero(mask)
    found, wanted = np.array([xs.min(), ys.min(), xs.max(), ys.max()]), np.clip(box, 0, SIDE - 1)
    reach = max(wanted[2] - wanted[0], wanted[3] - wanted[1]) * 0.15
    return bool((np.abs(found - wanted) <= reach).all())


def probability(network: MaskNetwork, crop: Crop) -> np.ndarray:
    """Probability (S, S) of the object; 0 outside of the box."""
    return network(to_tensor(crop.image)[None])[0, 0].numpy() * inside(crop.box)


def to_tensor(image: np.ndarray) -> Tensor:
    """A picture (S, S, 3) uint8 as a tensor (3, S, S) in [0, 1]."""
    return torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255


def refined(crop: Crop, probability: np.ndarray) -> np.ndarray:
    """Mask (S, S) bool: GrabCut from probabilities (S, S), of which those near 0 and 1 are fixed."""
    state = np.where(probability >= 0.5, 3, 2)
    state[probability < 1 - SURE], state[probability > SURE] = 0, 1
    if not ((state % 2 == 1).any() and (state % 2 == 0).any()):  # GrabCut needs some of both
        return probability >= 0.5
    return grabcut(crop.image, state, ROUNDS_AGAIN)


def learn(crops: Iterable[Crop], total: int) -> tuple[MaskNetwork, dict[str, int]]:
    """A network that has learned from the sound ones of GrabCut's masks of the crops, and how many there were."""
    kept: list[tuple[Crop, np.ndarray]] = []
    for crop in distributed.progress_bar(crops, "GrabCut", total, leave=False):
        mask = from_box(crop)
        if is_sound(mask, crop.box):
            kept.append((crop, mask))
    if not kept:
        remedy = "the object should stand out from the rim of its box; give more photographs, or masks made otherwise"
        raise DataError(f"masks: of {total} photographs GrabCut found no object; {remedy}")
    network = train_network([to_tensor(crop.image) for crop, _ in kept], [torch.from_numpy(mask) for _, mask in kept])
    return network, {"examples": total, "sound": len(kept)}
