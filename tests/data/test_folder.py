"""One's own folder of images: layouts, masks, splits, orientation, and every kind of bad input."""

import os
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from partlib.data import load_dataset
from partlib.data.base import SPLITS
from partlib.data.photos import resize_labels, resize_mask, square_around
from partlib.errors import ConfigError
from tests.data.conftest import refused

NAMES = [f"dog{i:02d}" for i in range(20)]
load = partial(load_dataset, "folder", image_size=32)


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def write_item(root, name, suffix=".jpg"):
    """A gray photo (40, 60) with a red square of 20 pixels at (x, y) = (30, 10); its mask; its upper and lower half."""
    photo = np.full((40, 60, 3), 128, np.uint8)
    photo[10:30, 30:50] = (250, 10, 10)
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 30:50] = 255
    parts = np.zeros((40, 60), np.uint8)
    parts[10:20, 30:50], parts[20:30, 30:50] = 1, 2
    write(root / "images" / f"{name}{suffix}", photo)
    write(root / "masks" / f"{name}.png", mask)
    write(root / "parts" / f"{name}.png", parts)


@pytest.fixture
def dogs(tmp_path):
    for name in NAMES:
        write_item(tmp_path / "dogs", name)
    return tmp_path / "dogs"


def remove(folder):
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def red(image):
    return (image[0] > 0.75) & (image[1] < 0.3)


def test_images_are_cropped_to_the_mask_with_their_parts(dogs):
    data = load("train", root=dogs, margin=0.0)
    assert data.part_names == ("part 1", "part 2")
    for sample in data:
        assert sample.foreground.mean() == 1  # the object is a square and the margin 0
        assert red(sample.image).float().mean() > 0.9
        assert (sample.parts[:16] == 1).all()
        assert (sample.parts[16:] == 2).all()


def test_the_margin_surrounds_the_object_evenly(dogs):
    sample = load("train", root=dogs, margin=0.5)[0]
    inside = torch.nonzero(sample.foreground[0])
    assert inside.min(0).values.tolist() == [8, 8]
    assert inside.max(0).values.tolist() == [23, 23]


def test_images_may_lie_right_in_the_root_and_masks_anywhere(dogs, tmp_path):
    for file in (dogs / "images").iterdir():
        file.rename(dogs / file.name.replace(".jpg", ".JPG"))
    (dogs / "images").rmdir()
    (dogs / "masks").rename(tmp_path / "elsewhere")
    data = load("train", root=dogs, masks=tmp_path / "elsewhere", margin=0.0)
    assert data[0].foreground.mean() == 1


@pytest.mark.parametrize("convert", [lambda m: m // 255, lambda m: m > 0, lambda m: np.stack([m] * 3, -1)])
def test_masks_may_be_0_and_1_one_bit_or_gray_in_rgb(dogs, convert):
    expected = load("train", root=dogs)[0].foreground
    for name in NAMES:
        path = dogs / "masks" / f"{name}.png"
        write(path, convert(np.asarray(Image.open(path))))
    assert torch.equal(load("train", root=dogs)[0].foreground, expected)


def test_without_masks_the_whole_image_is_the_object_and_a_warning_says_so(dogs):
    remove(dogs / "masks")
    remove(dogs / "parts")
    with pytest.warns(UserWarning, match="no masks"):
        data = load("train", root=dogs)
    sample = data[0]
    assert sample.parts is None
    assert data.part_names == ()
    assert sample.foreground.mean() == pytest.approx(40 / 60, abs=0.05)  # the rest pads the image to a square
    assert (sample.foreground[0, 16] == 1).all()


def test_without_masks_the_labelled_pixels_are_the_object(dogs):
    expected = load("train", root=dogs)[0]
    remove(dogs / "masks")
    sample = load("train", root=dogs)[0]
    assert torch.equal(sample.foreground, expected.foreground)


def test_part_names_come_from_parts_txt_and_labels_past_it_are_refused(dogs):
    (dogs / "parts.txt").write_text("front\nback\n")
    assert load("train", root=dogs).part_names == ("front", "back")
    (dogs / "parts.txt").write_text("front\n")
    with refused(r"dog\d\d\.png: found labels from 0 to 2.*0 to 1"):
        load("train", root=dogs)


def test_photos_are_turned_upright_before_they_meet_their_mask(dogs):
    path = dogs / "images" / f"{NAMES[0]}.jpg"
    with Image.open(path) as file:
        sideways = file.transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x0112] = 6  # "turn a quarter clockwise to view"
        sideways.save(path, exif=exif, quality=95)
    samples = {s.name: s for split in SPLITS for s in load(split, root=dogs, margin=0.0)}
    assert red(samples[NAMES[0]].image).float().mean() > 0.9


def test_every_image_is_in_one_split_and_adding_images_moves_none(dogs):
    before = {name: split for split in SPLITS for name in load(split, root=dogs).names}
    assert sorted(before) == NAMES
    assert set(before.values()) == set(SPLITS)
    for i in range(20, 30):
        write_item(dogs, f"dog{i:02d}", ".png")
    after = {name: split for split in SPLITS for name in load(split, root=dogs).names}
    assert len(after) == 30
    assert before.items() <= after.items()


def test_an_empty_split_holds_every_image_and_a_warning_says_nothing_is_held_out(dogs):
    everything = load("train", root=dogs, val_fraction=0, test_fraction=0)
    assert everything.names == NAMES
    with pytest.warns(UserWarning, match="nothing is held out"):
        data = load("test", root=dogs, val_fraction=0, test_fraction=0)
    assert data.names == NAMES


def test_images_without_an_object_are_skipped_with_one_counted_warning(dogs):
    write(dogs / "masks" / f"{NAMES[3]}.png", np.zeros((40, 60), np.uint8))
    with pytest.warns(UserWarning, match=f"skipped 1 of 20 .*{NAMES[3]}") as caught:
        data = load("train", root=dogs)
    assert len(caught) == 1
    assert NAMES[3] not in data.names


def gray_mask():
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20], mask[20:30] = 100, 255
    return mask


BREAKAGES = {
    "mask is not binary": ("masks/dog05.png", gray_mask(), r"dog05\.png.*not binary: 3 values \(0, 100, 255\)"),
    "mask in color": ("masks/dog05.png", np.full((40, 60, 3), (0, 0, 255), np.uint8), r"dog05\.png.*colors"),
    "mask of another size": ("masks/dog05.png", np.zeros((60, 40), np.uint8), "40 x 60.*dog05.jpg is 60 x 40"),
    "mask missing": ("masks/dog05.png", None, r"dog05\.jpg has no mask"),
    "labels past 255": ("parts/dog05.png", np.full((40, 60), 300, np.uint16), r"parts.dog05\.png.*300.*0 to 255"),
    "photo is text": ("images/dog05.jpg", b"hello", r"images.dog05\.jpg: expected a whole image file"),
    "two photos of one name": ("images/dog05.png", gray_mask(), r"dog05\.png and dog05\.jpg"),
}


@pytest.mark.parametrize("what", BREAKAGES)
def test_bad_input_is_one_line_that_names_the_file(what, dogs):
    name, content, message = BREAKAGES[what]
    (dogs / name).unlink(missing_ok=True)
    if isinstance(content, bytes):
        (dogs / name).write_bytes(content)
    elif content is not None:
        Image.fromarray(content).save(dogs / name, "PNG")  # whatever its name says
    with refused(message):
        load("train", root=dogs)


def test_roots_mask_folders_and_fractions_that_make_no_sense_are_refused(dogs, tmp_path):
    with refused("needs its folder: give --root", ConfigError):
        load("train")
    with refused("nowhere is not a folder"):
        load("train", root=tmp_path / "nowhere")
    with refused("masks.*nowhere is not a folder"):
        load("train", root=dogs, masks=tmp_path / "nowhere")
    with refused("tmp.* holds no images"):
        load("train", root=tmp_path)
    for fractions in ({"test_fraction": 1.5}, {"val_fraction": 0.5, "test_fraction": 0.5}):
        with refused("leave no share", ConfigError):
            load("train", root=dogs, **fractions)
    with refused("margin is -1", ConfigError):
        load("train", root=dogs, margin=-1)


def test_resizing_labels_invents_none_and_follows_the_area():
    rng = np.random.default_rng(0)
    labels = np.kron(rng.choice([0, 3, 7, 200], (40, 40), p=[0.4, 0.3, 0.2, 0.1]), np.ones((7, 7))).astype(np.uint8)
    for size in (20, 64, 400):
        mask = resize_mask(labels > 0, size)
        small = resize_labels(labels, mask, size)
        assert set(np.unique(small)) <= {0, 3, 7, 200}
        assert np.array_equal(small > 0, mask)
    exact = resize_labels(labels, resize_mask(labels > 0, 40), 40)
    assert np.array_equal(exact, labels[::7, ::7])


def test_the_square_contains_the_object_with_its_margin():
    mask = np.zeros((50, 80), bool)
    mask[5:15, 20:60] = True
    left, top, side = square_around(mask, 0.25)
    assert side == 60
    assert (left, left + side) == (10, 70)
    assert (top, top + side) == (-20, 40)


def test_two_folders_whose_files_have_equal_names_sizes_and_times_keep_their_own_pixels(dogs, tmp_path):
    first = load("train", root=dogs)
    other = shutil.copytree(dogs, tmp_path / "other")  # with times
    for file in (other / "images").iterdir():
        stat, size = file.stat(), file.stat().st_size
        Image.fromarray(np.full((40, 60, 3), 200, np.uint8)).save(file)
        file.write_bytes(file.read_bytes().ljust(size, b"\0")[:size])
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert load("train", root=other).images.mean() != pytest.approx(first.images.mean(), abs=1)
    # the same folder, corrected in place without a trace in size and time
    for file in (dogs / "masks").iterdir():
        stat, mask = file.stat(), np.asarray(Image.open(file))
        Image.fromarray(np.roll(mask, -20, axis=1)).save(file)
        file.write_bytes(file.read_bytes().ljust(stat.st_size, b"\0"))
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert not red(load("train", root=dogs)[0].image).all()


def test_names_of_any_encoding_and_a_list_saved_by_notepad_are_read(dogs):
    name = os.fsdecode(b"k\xe4tzchen")  # Latin-1 bytes, no UTF-8
    try:
        write_item(dogs, name)
    except (OSError, UnicodeError):
        pytest.skip("this file system takes UTF-8 names only")
    (dogs / "parts.txt").write_text("upper\nlower\n", encoding="utf-8-sig")
    found = [load(split, root=dogs) for split in SPLITS]
    assert name in [n for data in found for n in data.names]
    assert found[0].part_names == ("upper", "lower")


def test_what_is_left_out_is_counted_in_one_warning(dogs):
    (dogs / "images" / "notes.txt").write_text("mine")
    (dogs / "images" / "film.mov").write_bytes(b"")
    (dogs / "images" / "more").mkdir()
    with pytest.warns(UserWarning, match=r"images: left out are 1 .mov, 1 .txt, 1 folders; read are .jpg"):
        assert sum(len(load(split, root=dogs)) for split in SPLITS) == len(NAMES)


def test_void_of_voc_is_no_part_without_names_and_an_error_with_them(dogs):
    for file in (dogs / "parts").iterdir():
        labels = np.asarray(Image.open(file)).copy()
        labels[10:12, 30:50] = 255
        Image.fromarray(labels).save(file)
    assert load("train", root=dogs).part_names == ("part 1", "part 2")
    (dogs / "parts.txt").write_text("upper\nlower\n")
    with refused("found labels from 0 to 255; expected whole numbers from 0 to 2"):
        load("train", root=dogs)


def test_masks_beside_their_images_are_recognised_and_refused_where_there_are_others_too(dogs, tmp_path):
    expected = load("train", root=dogs)
    for file in (dogs / "images").iterdir():
        for end, name in zip(("_mask", "-mask", ".mask"), ("dog00", "dog01", "dog02"), strict=True):
            if file.stem == name:
                shutil.copy(dogs / "masks" / f"{name}.png", tmp_path / f"{name}{end}.png")
                break
        else:
            shutil.copy(dogs / "masks" / f"{file.stem}.png", tmp_path / f"{file.stem}_mask.png")
        shutil.copy(file, tmp_path)
    shutil.rmtree(dogs / "parts")
    shutil.move(dogs, tmp_path.with_name("away"))
    found = load("train", root=tmp_path)
    assert found.names == expected.names
    assert np.array_equal(found.masks, expected.masks)
    (tmp_path / "dog05_mask.png").unlink()
    with refused(r"dog05.jpg has no mask, as 1 of 20 images"):
        load("train", root=tmp_path)
    shutil.move(tmp_path.with_name("away") / "masks", tmp_path)
    with refused("has masks beside its images, such as dog00_mask.png"):
        load("train", root=tmp_path)
    shutil.rmtree(tmp_path.with_name("away"))


def test_an_accent_may_be_of_either_form(dogs):
    """Two file names that look alike: macOS wrote one of them."""
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    (dogs / "images" / "dog00.jpg").rename(dogs / "images" / f"{decomposed}.jpg")
    for kind in ("masks", "parts"):
        (dogs / kind / "dog00.png").rename(dogs / kind / f"{composed}.png")
    assert composed in [name for split in SPLITS for name in load(split, root=dogs).names]
    write_item(dogs, composed)
    with refused("have the same name"):
        load("train", root=dogs)


def test_all_that_is_broken_is_named_at_once(dogs):
    for name in ("dog03", "dog11"):
        (dogs / "masks" / f"{name}.png").write_bytes(b"x")
    with refused("dog03.png: .*; .*dog11.png: .*; 2 of 20 images cannot be used"):
        load("train", root=dogs)


def test_a_large_photograph_is_prepared_from_a_smaller_one(dogs, monkeypatch):
    sharp = load("train", root=dogs)
    monkeypatch.setattr("partlib.data.reading.LARGE", 40 * 60 // 3)
    monkeypatch.setattr("partlib.data.photos.CACHE_VERSION", -1)
    small = load("train", root=dogs)
    assert np.abs(sharp.squares - small.squares).max() <= 2  # a pixel of the smaller one
    assert small.fingerprint() != sharp.fingerprint()
    assert ((small.masks > 0) != np.stack([red(sample.image).numpy() for sample in small])).mean() < 0.15


def test_masks_of_no_image_are_counted(dogs):
    for name in ("dog03", "dog04"):
        (dogs / "images" / f"{name}.jpg").unlink()
        (dogs / "parts" / f"{name}.png").unlink()
    with pytest.warns(UserWarning, match=r"masks: 2 files belong to no image \(dog03.png, dog04.png\)"):
        load("train", root=dogs)
