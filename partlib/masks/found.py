"""The mask of a photograph that comes alone, without box: a look at all of it, and a second where the object is.

The networks that come with the package have learned from masks derived from boxes (CUB-200-2011's birds) or from
annotated ones (people, drawn birds); a data set of one's own gets one by ``partlib masks --data folder``.
"""

from pathlib import Path

import numpy as np
from scipy import ndimage

from partlib.errors import ConfigError, DataError
from partlib.masks import boxes
from partlib.masks.network import MaskNetwork, load_network
from partlib.masks.predicted import paste
from partlib.paths import masks_dir

NOTHING = "no object was found in it; give its --mask, or take --whole-picture"
GROW = 0.05  # by which the box of what is seen at first grows, of its longer side


def shipped() -> dict[str, Path]:
    """The mask networks that come with the package, by the data set that they have learned from."""
    return {path.stem: path for path in sorted(Path(__file__).with_name("pretrained").glob("*.safetensors"))}


def network_of(name: str, otherwise: str = "--mask, or --whole-picture") -> MaskNetwork:
    """A mask network by a data set like whose photographs it shall take, one's own or a shipped one; or by its file.

    ``otherwise`` ends the message where there is none: what to do without.
    """
    for path in (Path(name), masks_dir(name) / "network.safetensors", shipped().get(name)):
        if path is not None and path.is_file():
            return load_network(path)[0]
    remedy = f"make one (partlib masks --data {name}), or give --network {', '.join(shipped())} or the file of one"
    raise ConfigError(f"no mask network goes with {name!r}; {remedy}, {otherwise}")


def find(network: MaskNetwork, photo: np.ndarray, refine: bool = True) -> np.ndarray:
    """Mask (H, W) bool of the largest object in a photograph (H, W, 3) uint8.

    ``refine`` moves its border to edges of the image, by GrabCut; without, the network's own smooth border stays, which
    is what the page in docs/parts draws.
    """
    height, width = photo.shape[:2]
    # Where is it? The network sees the whole photograph
    crop, (left, top, side) = boxes.crop_around(photo, (0, 0, width - 1, height - 1), margin=0)
    pieces, number = ndimage.label(boxes.probability(network, crop) >= 0.5)
    if not number:
        raise DataError(NOTHING)
    rows, columns = ndimage.find_objects(pieces)[np.bincount(pieces.ravel())[1:].argmax()]
    # Where does it end? A second look at the place
    grow, scale = GROW * max(rows.stop - rows.start, columns.stop - columns.start), side / boxes.SIDE
    starts = left + scale * (columns.start - grow), top + scale * (rows.start - grow)
    stops = left + scale * (columns.stop + grow), top + scale * (rows.stop + grow)
    box = round(starts[0]), round(starts[1]), round(stops[0]) - 1, round(stops[1]) - 1
    crop, square = boxes.crop_around(photo, box)
    seen = boxes.probability(network, crop)
    mask = paste(boxes.refined(crop, seen) if refine else seen, square, (height, width))
    if not mask.any():
        raise DataError(NOTHING)
    return mask
