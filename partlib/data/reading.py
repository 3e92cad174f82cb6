"""One reader of photographs and one of masks, for every loader and command: any mode, upright, errors that say why."""

import struct
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from partlib.errors import DataError

HEIF = (".heic", ".heif", ".avif")  # Pillow alone may not read them
MAX_PIXELS = 200_000_000  # of a photograph; more would take gigabytes
TURNS = {  # EXIF orientation -> what turns the stored pixels upright
    **{2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM},
    **{5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE},
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: Path) -> Image.Image:
    """An image file, decoded and turned upright by the EXIF orientation that cameras write."""
    if path.suffix.lower() in HEIF:
        _open_heif()
    try:
        with Image.open(path) as file:
            if file.width * file.height > MAX_PIXELS:
                found = f"{file.width} x {file.height} pixels"
                raise DataError(f"{path}: has {found}; expected at most {MAX_PIXELS:,}: make it smaller")
            file.load()
            return _upright(file)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; expected an image file: check the name") from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder; expected an image file: name the images in it") from error
    except PermissionError as error:
        raise DataError(f"{path} may not be read; change its permissions") from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        remedy = "it may be cut short: copy or download it again, or remove it"
        if isinstance(error, UnidentifiedImageError):
            kind = (
                "install pillow-heif to read this kind, or " if path.suffix.lower() in HEIF else "it may be cut short; "
            )
            remedy = f"{kind}save it as JPEG or PNG, or remove it"
        raise DataError(f"{path}: expected a whole image file, but it cannot be decoded ({error}); {remedy}") from error


def _open_heif() -> None:
    """Teach Pillow photographs of phones, where the package for it is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return
    register_heif_opener()


def _upright(file: Image.Image) -> Image.Image:
    """The picture turned as its camera was held; other tags are neither read nor rewritten, whatever is in them."""
    try:
        turn = TURNS.get(file.getexif().get(ExifTags.Base.Orientation, 1))
    except (ValueError, SyntaxError, struct.error, TypeError, KeyError):
        turn = None  # damaged EXIF says nothing
    return file.copy() if turn is None else file.transpose(turn)


def read_photo(path: Path) -> np.ndarray:
    """A photograph (H, W, 3) uint8 RGB, upright, without its transparency."""
    photo = read_image(path)
    if photo.mode.startswith("I;16") or (photo.mode == "I" and photo.getextrema()[1] > 255):  # type: ignore[operator]
        values = np.asarray(photo).astype(np.float32)  # 16 bits per pixel, the upper eight of which are seen
        photo = Image.fromarray((values / 257).round().clip(0, 255).astype(np.uint8))
    elif photo.mode[0] in "IF":
        raise DataError(f"{path}: expected 8 or 16 bits per channel, found mode {photo.mode!r}; save it as 8 bits")
    return np.asarray(photo.convert("RGB"))


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
    """A binary mask, (H, W) bool, true where the value is not 0; ``shape`` (H, W) is that of its photograph."""
    values = mask_values(path)
    check_size(path, values.shape, photo, shape)
    found = np.unique(values)
    if np.count_nonzero(found) > 1:
        few = f"{len(found)} values ({', '.join(map(str, found[:6]))})"
        remedy = "threshold it and save it as PNG (JPEG blurs edges)"
        raise DataError(f"{path}: the mask is not binary: {few}; expected 0 and one other: {remedy}")
    return values != 0


def read_votes(path: Path, photo: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A mask of votes or probabilities, (H, W) bool, of the ``shape`` of its photograph."""
    votes = at_least_half(mask_values(path))
    check_size(path, votes.shape, photo, shape)
    return votes


def at_least_half(values: np.ndarray) -> np.ndarray:
    """True from one half (128) on; of 0 and 1 only, where 1."""
    return values >= (128 if values.max() > 1 else 1)
