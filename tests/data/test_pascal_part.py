"""PASCAL-Part, on birds and boxes written out in its layout: what is loaded is what was drawn; bad files are named."""

import shutil
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from partlib.data import birds, load_dataset
from partlib.data.pascal_part import PART_NAMES, download, paint_parts
from partlib.errors import ConfigError, DataError
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
    with pytest.raises(DataError, match=r"no car with parts and a box of at least 60% of its image is in the 'test'"):
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


def test_painting_refuses_unknown_parts_and_masks_of_another_shape():
    with pytest.raises(DataError, match=r"part 'fin_1' of shape .* is unknown; expected .*backside"):
        paint_parts([("fin_1", rectangle(0, 0, 5, 5))], PART_NAMES["car"], (60, 80))
    with pytest.raises(DataError, match=r"part 'wheel_1' of shape \(60, 80\) .* expected \(50, 80\)"):
        paint_parts([("wheel_1", rectangle(0, 0, 5, 5))], PART_NAMES["car"], (50, 80))


@pytest.mark.parametrize("damage", ["cut", "page", "other"])
def test_a_truncated_or_foreign_annotation_is_named(broken, damage):
    path = sorted((broken / "Annotations_Part").glob("*.mat"))[-1]
    if damage == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "page":
        path.write_text("<html>moved</html>" * 20)
    else:
        savemat(path, {"groundtruth": np.zeros((4, 4))})
    with pytest.raises(DataError, match=rf"{path.name}: expected a PASCAL-Part annotation, .*it may be cut short"):
        load_birds("test", root=broken)


def test_an_unknown_part_in_a_file_is_named_with_its_object(cars):
    path = cars / "Annotations_Part" / "2008_000001.mat"
    write_annotation(path, [("car", rectangle(0, 0, 50, 70), [("fin_1", rectangle(0, 0, 20, 20))])])
    with (
        pytest.warns(UserWarning, match="skipped 1"),
        pytest.raises(DataError, match=r"2008_000001.mat, object 1: part 'fin_1' of shape .* is unknown"),
    ):
        load_cars("test", root=cars)


def test_missing_files_are_named_with_what_to_fetch(broken, tmp_path):
    image = sorted((broken / "VOC2010" / "JPEGImages").glob("*.jpg"))[-1]
    (broken / "Annotations_Part" / f"{image.stem}.mat").unlink()
    with pytest.raises(DataError, match=rf"{image.stem}.mat is missing; download"):
        load_birds("test", root=broken)
    image.unlink()
    with pytest.raises(DataError, match=rf"{image.name} is missing; download"):
        load_birds("test", root=broken)
    (broken / "VOC2010/ImageSets/Main/bird_train.txt").unlink()
    with pytest.raises(DataError, match=r"bird_train.txt is missing; download VOCtrainval_03-May-2010.tar"):
        load_birds("train", root=broken)
    with pytest.raises(DataError, match=r"car_train.txt is missing; .*trainval.tar.gz of PASCAL-Part"):
        download(tmp_path / "nowhere")


def test_a_missing_folder_of_annotations_is_named_with_what_to_fetch(broken):
    shutil.rmtree(broken / "Annotations_Part")
    with pytest.raises(DataError, match=r"Annotations_Part is missing; download"):
        load_birds("test", root=broken)


def test_annotations_may_lie_in_the_folder_of_their_archive(broken):
    names = load_birds("test", root=broken).names
    (broken / "trainval").mkdir()
    (broken / "Annotations_Part").rename(broken / "trainval" / "Annotations_Part")
    assert load_birds("test", root=broken).names == names


def test_a_photograph_of_another_size_and_a_bad_list_are_named(broken):
    path = sorted((broken / "VOC2010" / "JPEGImages").glob("*.jpg"))[-1]
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(path)
    with pytest.raises(DataError, match=rf"{path.stem}.mat: is 48 x 48 pixels, its .* is 30 x 20"):
        load_birds("test", root=broken)
    (broken / "VOC2010/ImageSets/Main/bird_val.txt").write_text("2010_000001 1\n2010_000002 yes\n")
    with pytest.raises(
        DataError, match=r"bird_val.txt: a row is .'2010_000002', 'yes'.; expected an image and 1, 0 or -1"
    ):
        load_birds("test", root=broken)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"category": "sofa"}, "category is 'sofa'; expected one with parts: aeroplane"),
        ({"min_area": 1.5}, "min_area is 1.5"),
        ({"margin": -1}, "margin is -1"),
    ],
)
def test_options_out_of_range_are_refused(exported, options, message):
    with pytest.raises(ConfigError, match=message):
        load_dataset("pascal-part", "test", exported, SIZE, **options)


def test_export_refuses_parts_without_a_counterpart(source, exported, tmp_path):
    with pytest.raises(ConfigError, match="maps 'head' of 'birds' to 'head'; expected a part of 'car': backside"):
        export_pascal_part(source[1], tmp_path / "other", category="car")
    with pytest.raises(DataError, match="exists already"):
        export_pascal_part(source[1], exported)
