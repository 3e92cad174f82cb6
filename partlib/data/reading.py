"""One reader of photographs and one of masks, for every loader and command: any mode, upright, errors that say why."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from partlib.errors import DataError, brief, listed

HEIF = (".heic", ".heif", ".avif")  # Pillow alone may not read them
MAX_PIXELS = 178_000_000  # of a photograph; more would take gigabytes, and Pillow refuses them
LARGE = 16_000_000  # pixels of a photograph that are worth decoding
RIM = 0.9  # share of each edge of a photograph; a mask that holds more is suspected
VOID = 255  # in masks and label maps of numbered objects: not annotated
TURNS = {  # EXIF orientation -> what turns the stored pixels upright
    **{2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM},
    **{5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE},
    8: Image.Transpose.ROTATE_90,
}
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # below MAX_PIXELS there is no bomb
warnings.filterwarnings("ignore", "Corrupt EXIF data")  # of which the orientation alone is of use


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image file, not yet decoded; what goes wrong with it inside is a DataError that gives the true reason."""
    heif = path.suffix.lower() in HEIF and _open_heif()
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise DataError(f"{path} is no ordinary file; expected an image file")  # a pipe would be waited for
        with Image.open(path) as file:
            if file.width * file.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            yield file
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; expected an image file: check the name") from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder; expected an image file: name the images in it") from error
    except PermissionError as error:
        raise DataError(f"{path} may not be read; change its permissions") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: has too many pixels; expected at most {MAX_PIXELS:,}: make it smaller") from error
    except Exception as error:  # each of the decoders has errors of its own for a damaged file
        remedy = "it may be cut short: copy or download it again, or remove it"
        if isinstance(error, UnidentifiedImageError):
            unknown = path.suffix.lower() in HEIF and not heif
            kind = "install pillow-heif to read this kind, or" if unknown else "it may be cut short;"
            remedy = f"{kind} save it as JPEG or PNG, or remove it"
        reason = "it is none" if isinstance(error, UnidentifiedImageError) else brief(error)
        raise DataError(
            f"{path}: expected a whole image file, but it cannot be decoded ({reason}); {remedy}"
        ) from error


def _open_heif() -> bool:
    """Teach Pillow photographs of phones; whether the package for it is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _orientation(file: Image.Image) -> int:
    """The EXIF orientation that cameras write, 1 for upright; other tags are not read, whatever is in them."""
    try:
        value = file.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF says nothing
        return 1
    return value if value in TURNS else 1


def read_image(path: Path, limit: int = MAX_PIXELS) -> Image.Image:
    """An image file, decoded and turned upright; a JPEG of more than ``limit`` pixels at 1/2, 1/4, 1/8 of its size."""
    with _opened(path) as file:
        turn, factor = TURNS.get(_orientation(file)), shrinking(file.width, file.height, limit)
        if factor > 1:
            file.draft("RGB", (file.width // factor, file.height // factor))
        file.load()
        return file if turn is None else file.transpose(turn)


def shrinking(width: int, height: int, limit: int) -> int:
    """By which power of two to divide the sides so that at most ``limit`` pixels are left."""
    factor = 1
    while (width // factor) * (height // factor) > limit:
        factor *= 2
    return factor


def photo_shape(path: Path) -> tuple[int, int]:
    """(H, W) of an image file, upright; its pixels are not decoded."""
    with _opened(path) as file:
        lying = _orientation(file) >= 5
        return (file.width, file.height) if lying else (file.height, file.width)


def read_photo(path: Path, limit: int = MAX_PIXELS) -> np.ndarray:
    """A photograph (H, W, 3) uint8 RGB, upright, without transparency; of more than ``limit`` pixels a smaller one."""
    photo = read_image(path, limit)
    if photo.mode.startswith("I;16") or (photo.mode == "I" and photo.getextrema()[1] > 255):  # type: ignore[operator]
        values = np.asarray(photo).astype(np.float32)  # 16 bits per pixel, the upper eight of which are seen
        photo = Image.fromarray((values / 257).round().clip(0, 255).astype(np.uint8))
    elif photo.mode[0] in "IF":
        raise DataError(f"{path}: expected 8 or 16 bits per channel, found mode {photo.mode!r}; save it as 8 bits")
    photo = photo if photo.mode == "RGB" else photo.convert("RGB")
    factor = shrinking(photo.width, photo.height, limit)
    return np.asarray(photo.reduce(factor) if factor > 1 else photo)


def read_reduced(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
    """A photograph (h, w, 3) uint8 of at most LARGE pixels, and the size (H, W) of its file."""
    return read_photo(path, LARGE), photo_shape(path)


def shrunk(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Labels or a mask (H, W) at the smaller ``shape`` that its photograph was read at: of every cell one pixel."""
    if values.shape == tuple(shape):
        return values
    rows, columns = ((np.arange(small) + 0.5) * large / small for small, large in zip(shape, values.shape, strict=True))
    return values[rows.astype(int)][:, columns.astype(int)]


def check_size(path: Path, found: tuple[int, ...], photo: Path, expected: tuple[int, ...]) -> None:
    """DataError unless an annotation has the (H, W) of its photograph."""
    if found != expected:
        sizes = f"{found[1]} x {found[0]} pixels, its image {photo.name} is {expected[1]} x {expected[0]} (upright)"
        raise DataError(f"{path}: is {sizes}; expected the same size: use the original files, not resized ones")


def read_values(path: Path, photo: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Labels of an image (H, W), of the ``shape`` (H, W) of its photograph; of a palette image its indices."""
    values = np.asarray(read_image(path))
    if values.ndim == 3:
        values = _one_channel(path, values[..., : 3 if values.shape[2] >= 3 else 1])  # without transparency
    check_size(path, values.shape, photo, shape)
    return values


def _one_channel(path: Path, colors: np.ndarray) -> np.ndarray:
    if (colors != colors[..., :1]).any():
        raise DataError(f"{path}: expected one value per pixel, found colors; save it as a gray or indexed PNG")
    return colors[..., 0]  # (H, W)


def mask_values(path: Path) -> np.ndarray:
    """Values of a mask (H, W), 0 where there is no object.

    A palette of grays is read by its colors, what one sees: two-colored images often list white first. Other palettes
    are read by index, as label maps are, unless the index 0 is not black and another one is. Where transparency varies
    it is the mask, unless the colors are a mask too.
    """
    image = read_image(path)
    if image.mode == "P":
        values = _by_palette(path, image)
    elif "A" in image.mode:
        values = _by_transparency(path, np.asarray(image))
    else:
        values = np.asarray(image)
        values = _one_channel(path, values) if values.ndim == 3 else values
    return values


def _by_palette(path: Path, image: Image.Image) -> np.ndarray:
    indices = np.asarray(image)  # (H, W)
    table = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)  # (colors x 3) -> (colors, 3)
    used = np.unique(indices)
    if used.max() >= len(table):
        return indices
    if (table[used] == table[used][:, :1]).all():
        return table[indices][..., 0]
    black = [int(k) for k in used if not table[k].any()]
    if black and 0 not in black:
        readings = f"by index the object is all but color 0, by color all but black (index {black[0]})"
        raise DataError(f"{path}: this palette can be read in two ways: {readings}; save it as a gray PNG, 0 and 255")
    return indices


def _by_transparency(path: Path, values: np.ndarray) -> np.ndarray:
    colors, alpha = values[..., :-1], values[..., -1]
    if (alpha == alpha.flat[0]).all():
        return _one_channel(path, colors)
    if (colors == colors[..., :1]).all() and len(np.unique(colors)) == 2:
        readings = "its colors and its transparency are two different masks"
        if (colors[..., 0] > 0).tolist() != (alpha > 0).tolist():
            raise DataError(f"{path}: {readings}; save the one that is meant as a gray PNG, 0 and 255")
    return np.where(alpha >= 128, 255, 0).astype(np.uint8)  # edges of cut-out objects are soft


def read_mask(path: Path, photo: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A mask, (H, W) bool; ``shape`` (H, W) is that of its photograph.

    True where the value is not 0. Values 1, 2, ... are several objects, together the mask; beside them 255 is void, as
    in VOC's masks, and no object.
    """
    values = mask_values(path)
    check_size(path, values.shape, photo, shape)
    found = np.unique(values) if values.dtype != np.uint8 else np.flatnonzero(_counts(values))
    objects = [int(value) for value in found if value not in (0, VOID)]
    if objects == list(range(1, len(objects) + 1)) and (len(objects) > 1 or (objects and VOID in found)):
        return (values != 0) & (values != VOID)
    if np.count_nonzero(found) > 1:
        few = f"{len(found)} values ({', '.join(map(str, found[:6]))})"
        remedy = "threshold it and save it as PNG (JPEG blurs edges)"
        raise DataError(f"{path}: the mask is not binary: {few}; expected 0 and one other, or 0, 1, 2, ...: {remedy}")
    return values != 0


SUSPICIONS = {
    "inverted": "all four edges of the photograph are object; if so, exchange 0 and 255",
    "turned": "EXIF turns the photograph, and the size fits it both as stored and upright; if so, turn the mask too",
}


def suspicions(mask: np.ndarray, path: Path, photo: Path) -> list[str]:
    """Keys of SUSPICIONS: what may be wrong with a mask (H, W) bool at ``path`` and cannot be told from it."""
    edges = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    found = ["inverted"] if not mask.all() and min(edge.mean() for edge in edges) > RIM else []
    with _opened(photo) as file, _opened(path) as own:
        turn, square = _orientation(file), file.width == file.height
        if _orientation(own) == 1 and turn > 1 and (turn < 5 or square):
            found.append("turned")
    return found


def warn_of(suspects: Sequence[tuple[str, Path]], stacklevel: int = 2) -> None:
    """One warning for each suspicion, with the number of masks and the first ones' names."""
    for kind, text in SUSPICIONS.items():
        paths = sorted(path for other, path in suspects if other == kind)
        if paths:
            few = listed([path.name for path in paths])
            counted = f"{paths[0].parent}: {len(paths)} {'masks' if len(paths) > 1 else 'mask'} ({few})"
            warnings.warn(f"{counted} may be {kind}: {text}", stacklevel=stacklevel + 1)


def _counts(values: np.ndarray) -> np.ndarray:
    """How often each of 256 values occurs; row by row, as counting makes eight bytes of each."""
    return sum((np.bincount(row, minlength=256) for row in values), np.zeros(256, int))


def read_votes(path: Path, photo: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A mask of votes or probabilities, (H, W) bool, of the ``shape`` of its photograph."""
    votes = at_least_half(mask_values(path))
    check_size(path, votes.shape, photo, shape)
    return votes


def at_least_half(values: np.ndarray) -> np.ndarray:
    """True from one half (128) on; of 0 and 1 only, where 1."""
    return values >= (128 if values.max() > 1 else 1)
