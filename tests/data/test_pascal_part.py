"""PASCAL-Part, on birds and boxes written out in its layout: what is loaded is what was drawn; bad files are named."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from partlib.data import birds, load_dataset
from partlib.data.pascal_part import PART_NAMES
from partlib.errors import ConfigError
from tests.data.conftest import refused
from tests.export import export_pascal_part
from tests.export.pascal import BIRD_PARTS, write_annotation

SIZE = 48
JPEG = 0.03  # largest mean difference of a pixel that compression may make

load_birds = partial(load_dataset, "pascal-part", image_size=SIZE, category="bird", min_area=0.0)
load_cars = partial(load_dataset, "pascal-part", image_size=SIZE)


@pytest.fixture(scope="module")
def source(own_cache):
    return birds.load("train", None, SIZE, 20), birds.load("test", None, SIZE, 5)


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory):
    return export_pascal_part(source, tmp_path_factory.mktemp("pascal") / "VOCdevkit")


@pytest.fixture
def broken(exported, tmp_path):
    """A copy to damage."""
    return shutil.copytree(exported, tmp_path / "VOCdevkit")


def rectangle(top, left, height, width, shape=(60, 80)):
    mask = np.zeros(shape, bool)
    mask[top : top + height, left : left + width] = True
    return mask


@pytest.fixture
def cars(tmp_path):
    """Two test images: a large car, a small car and a large cat; then a car without parts."""
    root = tmp_path / "VOCdevkit"
    for folder in ("VOC2010/JPEGImages", "VOC2010/ImageSets/Main", "Annotations_Part"):
        (root / folder).mkdir(parents=True)
    large, small, other = rectangle(10, 10, 40, 60), rectangle(0, 0, 8, 8), rectangle(0, 0, 60, 80)
    wheels = [("wheel_1", rectangle(40, 15, 10, 10)), ("wheel_2", rectangle(40, 55, 10, 10))]
    objects = [
        ("car", large, [*wheels, ("leftside", rectangle(12, 10, 38, 60)), ("door_1", rectangle(20, 30, 20, 20))]),
        ("car", small, [("wheel_1", small)]),
        ("cat", other, [("head", other)]),
    ]
    write_annotation(root / "Annotations_Part" / "2008_000001.mat", objects)
    write_annotation(root / "Annotations_Part" / "2008_000002.mat", [("car", large, [])])
    for i in (1, 2, 3):
        Image.fromarray(np.full((60, 80, 3), 50 * i, np.uint8)).save(root / f"VOC2010/JPEGImages/2008_00000{i}.jpg")
    lists = "2008_000001  1\n2008_000002  0\n2008_000003 -1\n"
    (root / "VOC2010/ImageSets/Main/car_val.txt").write_text(lists)
    return root


def test_nothing_is_held_out_where_the_paper_holds_nothing_out(exported):
    names = {split: load_birds(split, root=exported).names for split in ("train", "val")}
    assert names["val"]
    everything = load_birds("train", root=exported, hold_out=False).names
    assert sorted(everything) == sorted(names["train"] + names["val"])


def test_export_and_load_give_the_same_images_and_parts(source, exported):
    everything = [bird for data in source for bird in data]
    names = []
    for split in ("train", "val", "test"):
        data = load_birds(split, root=exported, crop=False)
        assert data.part_names == PART_NAMES["bird"]
        as_exported = torch.tensor([0, *(data.part_names.index(BIRD_PARTS[name]) + 1 for name in birds.PART_NAMES)])
        for sample in data:
            names.append(sample.name)
            bird = everything[int(sample.name.split("_")[1]) - 1]
            assert (split == "test") == bird.name.startswith("test")
            assert (sample.image - bird.image).abs().mean() < JPEG
            expected = as_exported[bird.parts]
            assert torch.equal(sample.parts, expected)
            assert torch.equal(sample.foreground[0] > 0, expected > 0)
    assert sorted(names) == [f"2010_{i:06d}_0" for i in range(1, 26)]


def test_the_crop_fills_the_image_up_to_the_margin(exported):
    for sample in load_birds("test", root=exported, margin=0.1):
        inside = torch.nonzero(sample.foreground[0])
        low, high = inside.min(0).values, inside.max(0).values + 1
        assert (high - low).max().item() == pytest.approx(SIZE / 1.2, abs=2.5)
        assert ((low + high) / 2 - SIZE / 2).abs().max() < 2


def test_the_part_listed_first_wins_and_numbers_are_dropped(cars):
    with pytest.warns(UserWarning, match="skipped 1 of 2 objects"):
        sample = load_dataset("pascal-part", "test", cars, 80, crop=False)[0]
    names = ("background", *PART_NAMES["car"])
    labels = sample.parts[10:70]  # the 60 rows of the photograph, between ten above and ten below
    assert names[labels[45, 20]] == names[labels[45, 60]] == "wheel"  # although the side covers both
    assert names[labels[30, 40]] == "leftside"  # although a door is there: it is listed after the side
    assert names[labels[11, 40]] == "background"  # of the car, but of no part
    assert (sample.parts > 0).sum() == 38 * 60


def test_only_large_enough_objects_of_the_category_are_samples(cars):
    with pytest.warns(UserWarning, match="skipped 1"):
        assert load_cars("test", root=cars).names == ["2008_000001_0"]
    with pytest.warns(UserWarning, match="skipped 1"):
        assert load_cars("test", root=cars, min_area=0.01).names == ["2008_000001_0", "2008_000001_1"]
    with refused(r"no car with parts and a box of at least 60% of its image is in the 'test'"):
        load_cars("test", root=cars, min_area=0.6)


def test_objects_without_parts_are_skipped_with_one_warning_or_kept_as_background(cars):
    with pytest.warns(UserWarning, match=r"skipped 1 of 2 objects \(car\) without parts; keep_without_parts") as caught:
        load_cars("test", root=cars)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    kept = load_cars("test", root=cars, keep_without_parts=True)
    assert kept.names == ["2008_000001_0", "2008_000002_0"]
    assert kept[0].foreground.sum() > 100
    assert kept[1].foreground.sum() == kept[1].parts.sum() == 0


def test_the_objects_are_found_once(exported, monkeypatch):
    first = load_birds("test", root=exported)
    monkeypatch.setattr("partlib.data.pascal_part.read_objects", lambda path: pytest.fail(f"{path} was read again"))
    assert np.array_equal(load_birds("test", root=exported).parts, first.parts)


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


NO_ANNOTATION = r"2010_\d+.mat: expected a PASCAL-Part annotation, .*it may be cut short"
FILES = {
    "annotation cut": ("*.mat", halve, NO_ANNOTATION),
    "annotation is a page": ("*.mat", lambda path: path.write_text("<html>" * 99), NO_ANNOTATION),
    "annotation of something else": ("*.mat", lambda path: savemat(path, {"x": [0]}), NO_ANNOTATION),
    "annotation missing": ("*.mat", Path.unlink, r"2010_\d+.mat is missing; download VOC 2010 and PASCAL-Part"),
    "photo missing": ("*.jpg", Path.unlink, r"2010_\d+.jpg is missing; download VOC 2010"),
    "another size": ("*.jpg", lambda path: Image.new("RGB", (30, 20)).save(path), r"mat: is 48 x 48 .*jpg is 30 x 20"),
    "list missing": ("bird_val.txt", Path.unlink, "bird_val.txt is missing; download VOC 2010"),
    "list with another word": ("bird_val.txt", lambda path: path.write_text("a yes"), "bird_val.txt: a row is .*'yes'"),
}


@pytest.mark.parametrize("what", FILES)
def test_missing_and_broken_files_are_named(broken, what):
    pattern, damage, message = FILES[what]
    damage(sorted(broken.rglob(pattern))[-1])
    with refused(message):
        load_birds("test", root=broken)


@pytest.mark.filterwarnings("ignore:skipped 1")
@pytest.mark.parametrize(("name", "shape"), [("fin_1", (60, 80)), ("wheel_1", (50, 80))])
def test_an_unknown_part_and_one_of_another_shape_are_named_with_their_file(cars, name, shape):
    path = cars / "Annotations_Part" / "2008_000001.mat"
    write_annotation(path, [("car", rectangle(0, 0, 50, 70), [(name, rectangle(0, 0, 20, 20, shape))])])
    with refused(r"2008_000001.mat: part .* of shape .* is unknown; expected \(60, 80\) and one of backside"):
        load_cars("test", root=cars)


def test_options_out_of_range_are_refused(exported):
    wrong = {"category": ("sofa", "expected one with parts: aeroplane"), "min_area": (1.5, "min_area is 1.5")}
    for key, (value, message) in wrong.items():
        with refused(message, ConfigError):
            load_dataset("pascal-part", "test", exported, SIZE, **{key: value})


def test_export_refuses_parts_without_a_counterpart(source, exported, tmp_path):
    with pytest.raises(ConfigError, match="maps 'head' of 'birds' to 'head'; expected a part of 'car': backside"):
        export_pascal_part(source[1], tmp_path / "other", category="car")
    with refused("exists already"):
        export_pascal_part(source[1], exported)
