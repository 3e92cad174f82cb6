"""Photographs and masks as users have them: every mode is read as one sees it, or refused with the reason."""

import sys

import numpy as np
import pytest
from PIL import Image

from partlib.data import reading
from partlib.data.reading import photo_shape, read_mask, read_photo, read_votes, shrunk, suspicions
from tests.data.conftest import refused

SIZE = (40, 30)  # (H, W)


@pytest.fixture(scope="module")
def wanted():
    """An oval, (H, W) bool."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return ((y - 18) / 12) ** 2 + ((x - 14) / 8) ** 2 <= 1


@pytest.fixture(scope="module")
def colors():
    """A photograph (H, W, 3)."""
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)


def palette_image(indices, table):
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette([channel for color in table for channel in color])
    return image


def numbered(mask):
    """The mask as three objects, 1 to 3, one above the other."""
    return (mask * (1 + np.arange(len(mask))[:, None] * 3 // len(mask))).astype(np.uint8)


def void(mask):
    """A border of the object, one pixel wide, outside of it."""
    return ~mask & (np.roll(mask, 1, 0) | np.roll(mask, -1, 0))


WHITE, BLACK, RED, BLUE = (255,) * 3, (0,) * 3, (200, 0, 0), (0, 0, 200)
MASKS = {
    "0 and 1": lambda m, c: Image.fromarray(m.astype(np.uint8)),
    "0 and 255": lambda m, c: Image.fromarray(m.astype(np.uint8) * 255),
    "0 and 7": lambda m, c: Image.fromarray(m.astype(np.uint8) * 7),
    "one bit": lambda m, c: Image.fromarray(m),
    "gray as color": lambda m, c: Image.fromarray(np.repeat(m[..., None] * np.uint8(255), 3, axis=2)),
    "palette, white first": lambda m, c: palette_image(~m, [WHITE, BLACK]),
    "palette, black first": lambda m, c: palette_image(m, [BLACK, WHITE]),
    "palette, red object": lambda m, c: palette_image(m, [BLACK, RED]),
    "palette, two colors": lambda m, c: palette_image(m, [BLUE, RED]),
    "quantized": lambda m, c: Image.fromarray(m.astype(np.uint8) * 255).convert("RGB").quantize(2),
    "adaptive": lambda m, c: (
        Image.fromarray(m.astype(np.uint8) * 255).convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
    ),
    "cut out, RGBA": lambda m, c: Image.fromarray(np.dstack([c, m * np.uint8(255)])),
    "cut out, LA": lambda m, c: Image.fromarray(np.dstack([c[..., 0], m * np.uint8(255)]), "LA"),
    "opaque, RGBA": lambda m, c: Image.fromarray(
        np.dstack([np.repeat(m[..., None] * np.uint8(255), 3, 2), c[..., 0] | 255])
    ),
    "several objects": lambda m, c: Image.fromarray(numbered(m)),
    "several objects, palette": lambda m, c: palette_image(numbered(m), [BLACK, RED, BLUE, WHITE]),
    "one object and void": lambda m, c: Image.fromarray(np.where(void(m), 255, m).astype(np.uint8)),
    "several objects and void": lambda m, c: Image.fromarray(np.where(void(m), 255, numbered(m)).astype(np.uint8)),
    "16 bits": lambda m, c: Image.fromarray(m.astype(np.uint16) * 65535),
    "mask in both": lambda m, c: Image.fromarray(np.dstack([m * np.uint8(255)] * 4)),
}


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_is_what_one_sees(kind, wanted, colors, tmp_path):
    MASKS[kind](wanted, colors).save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png", tmp_path / "photo.jpg", SIZE), wanted)
    if kind not in ("0 and 7", "palette, red object") and "objects" not in kind and "void" not in kind:
        assert np.array_equal(read_votes(tmp_path / "mask.png", tmp_path / "photo.jpg", SIZE), wanted)


AMBIGUOUS = {
    "this palette can be read in two ways: by index .* by color": lambda m: palette_image(~m, [RED, BLACK]),
    "two different masks": lambda m: Image.fromarray(
        np.dstack([m * np.uint8(255)] * 3 + [np.roll(m, 5, 0) * np.uint8(255)])
    ),
    "mask is not binary": lambda m: Image.fromarray(m * np.uint8(255) - np.roll(m, 3, 0) * np.uint8(100)),
    "expected one value per pixel, found colors": lambda m: Image.fromarray(np.dstack([m * np.uint8(9), m, m])),
}


@pytest.mark.parametrize("message", AMBIGUOUS)
def test_what_can_be_read_in_two_ways_is_refused_with_both(message, wanted, tmp_path):
    AMBIGUOUS[message](wanted).save(tmp_path / "mask.png")
    with refused(f"mask.png: .*{message}"):
        read_mask(tmp_path / "mask.png", tmp_path / "photo.jpg", SIZE)


PHOTOS = {
    "gray": (lambda c: Image.fromarray(c[..., 0]), "png"),
    "palette": (lambda c: Image.fromarray(c).quantize(256), "png"),
    "transparent": (lambda c: Image.fromarray(np.dstack([c, c[..., 0]])), "png"),
    "CMYK": (lambda c: Image.fromarray(c).convert("CMYK"), "jpg"),
    "one bit": (lambda c: Image.fromarray(c[..., 0] > 128), "png"),
    "16 bit": (lambda c: Image.fromarray(c[..., 0].astype(np.uint16) * 257), "png"),
    "animated": (lambda c: Image.fromarray(c).convert("P"), "gif"),
}


@pytest.mark.parametrize("kind", PHOTOS)
def test_a_photograph_of_any_mode_is_read(kind, colors, tmp_path):
    make, suffix = PHOTOS[kind]
    image, path = make(colors), tmp_path / f"photo.{suffix}"
    more = {"save_all": True, "append_images": [Image.new("P", image.size)]} if kind == "animated" else {}
    image.save(path, **more)
    found = read_photo(path)
    assert found.shape == (*SIZE, 3)
    assert found.dtype == np.uint8
    if kind in ("gray", "16 bit"):
        assert np.array_equal(found[..., 1], colors[..., 0])
    assert found.std() > 40


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(orientation, colors, tmp_path):
    """The file holds what the camera stored; Pillow's own turning, which rewrites EXIF, says what it should be."""
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(colors).save(tmp_path / "photo.png", exif=exif)
    with Image.open(tmp_path / "photo.png") as file:
        assert np.array_equal(read_photo(tmp_path / "photo.png"), np.asarray(ImageOps.exif_transpose(file)))


# EXIF whose width is a text, as some telephones write it: a lying photograph (6), made by "maker" at a time
WRONG_TYPE = (
    "4d4d002a00000008 0003 0100000200000006 00000032 0112000300000001 00060000 0132000200000014 00000038 00000000"
)
WRONG_TYPE += " 6d616b657200" + b"2020:01:01 00:00:00\0".hex()


def test_damaged_exif_is_no_reason_to_refuse_a_photograph(colors, tmp_path):
    for name, exif in (
        ("type", bytes.fromhex(WRONG_TYPE)),
        ("noise", bytes(range(40, 90))),
        ("cut", b"MM\0*\0\0\0\x08\0\xff"),
    ):
        Image.fromarray(colors).save(tmp_path / f"{name}.jpg", exif=b"Exif\0\0" + exif, quality=95)
        expected = SIZE[::-1] if name == "type" else SIZE
        assert read_photo(tmp_path / f"{name}.jpg").shape == (*expected, 3)
        assert photo_shape(tmp_path / f"{name}.jpg") == expected


def test_photographs_of_telephones_are_read_where_the_package_for_them_is_installed(tmp_path, monkeypatch):
    heif = pytest.importorskip("pillow_heif")
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    picture = np.stack([6 * x, 5 * y, 3 * (x + y)], axis=2).astype(np.uint8)
    heif.from_pillow(Image.fromarray(picture)).save(tmp_path / "photo.heic", quality=95)
    found = read_photo(tmp_path / "photo.heic")
    assert found.shape == (*SIZE, 3)
    assert np.abs(found.astype(int) - picture).mean() < 6


def test_without_that_package_its_name_is_said(tmp_path, monkeypatch):
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with refused("photo.heic: .*install pillow-heif to read this kind, or save it as JPEG"):
        read_photo(tmp_path / "photo.heic")


def test_the_reason_is_the_true_one(colors, tmp_path, monkeypatch):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "text.jpg").write_text("hello")
    Image.fromarray(colors).save(tmp_path / "large.png")
    for name, message in {
        "nowhere.jpg": "nowhere.jpg is missing; expected an image file",
        "folder.jpg": "folder.jpg is a folder; expected an image file",
        "text.jpg": "text.jpg: expected a whole image file",
    }.items():
        with refused(message):
            read_photo(tmp_path / name)
    monkeypatch.setattr("partlib.data.reading.MAX_PIXELS", 1000)
    with refused("large.png: has too many pixels; expected at most 1,000: make it smaller"):
        read_photo(tmp_path / "large.png")
    monkeypatch.setattr("PIL.Image.open", lambda path: (_ for _ in ()).throw(PermissionError(13, "no")))
    with refused("large.png may not be read; change its permissions"):
        read_photo(tmp_path / "large.png")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_large_photograph_is_decoded_at_a_fraction_of_its_size_with_its_labels(suffix, tmp_path):
    y, x = np.mgrid[:80, :120]
    pixels = np.stack([2 * x, 3 * y, x + y], axis=2).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # lying
    Image.fromarray(pixels).save(tmp_path / f"p.{suffix}", exif=exif)
    assert photo_shape(tmp_path / f"p.{suffix}") == (120, 80)
    whole, small = read_photo(tmp_path / f"p.{suffix}"), read_photo(tmp_path / f"p.{suffix}", 80 * 120 // 4)
    assert (whole.shape, small.shape) == ((120, 80, 3), (60, 40, 3))
    mean = whole.reshape(60, 2, 40, 2, 3).mean((1, 3))  # (120, 80, 3) -> (60, 2, 40, 2, 3) -> (60, 40, 3)
    assert np.abs(mean - small).max() < 12
    labels = np.arange(120 * 80).reshape(120, 80)
    assert np.array_equal(shrunk(labels, (60, 40)), labels[1::2, 1::2])
    assert shrunk(labels, (120, 80)) is labels


def test_what_may_be_turned_or_inverted_is_suspected_once_with_a_count(wanted, colors, tmp_path):
    exif = Image.Exif()
    found = []
    for name, turn, mask, tag in (
        ("good", 1, wanted, None),
        ("lying", 6, wanted, None),  # of another size: an error tells it
        ("turned", 3, wanted, None),
        ("told", 3, wanted, 3),  # the mask itself says how it is meant
        ("inverted", 1, ~wanted, None),
        ("everything", 1, np.ones(SIZE, bool), None),
        ("close", 1, ~wanted | (np.arange(SIZE[1]) < 4), None),
    ):
        exif[0x0112] = turn
        Image.fromarray(colors).save(tmp_path / f"{name}.jpg", exif=exif)
        Image.fromarray(mask).save(tmp_path / f"{name}.png", **({"exif": exif} if tag else {}))
        kinds = suspicions(mask, tmp_path / f"{name}.png", tmp_path / f"{name}.jpg")
        found += [(kind, tmp_path / f"{name}.png") for kind in kinds]
    assert [(kind, path.stem) for kind, path in found] == [
        ("turned", "turned"),
        ("inverted", "inverted"),
        ("inverted", "close"),
    ]
    with pytest.warns(UserWarning, match="may be") as said:
        reading.warn_of(found)
    texts = [str(warning.message) for warning in said]
    assert len(texts) == 2
    assert "2 masks (close.png, inverted.png) may be inverted" in texts[0]
    assert "1 mask (turned.png) may be turned" in texts[1]


def test_a_pipe_is_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.jpg")
    with refused("pipe.jpg is no ordinary file"):
        read_photo(tmp_path / "pipe.jpg")
