"""DeepFashion In-shop, on birds written out in its layout: what is loaded is what was drawn; bad files are named."""

import shutil
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from partlib.data import birds, load_dataset
from partlib.data.base import ArrayDataset
from partlib.data.deepfashion import COLORS, PART_NAMES, read_segmentation
from partlib.paper import release_data
from tests.data.conftest import refused
from tests.export import export_deepfashion

SIZE = 48
JPEG = 0.03  # largest mean difference of a pixel that compression may make

load = partial(load_dataset, "deepfashion", image_size=SIZE)


@pytest.fixture(scope="module")
def source(own_cache):
    return birds.load("train", None, SIZE, 20), birds.load("test", None, SIZE, 5)


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory):
    return export_deepfashion(source, tmp_path_factory.mktemp("deepfashion") / "In-shop")


@pytest.fixture
def broken(exported, tmp_path):
    """A copy to damage."""
    return shutil.copytree(exported, tmp_path / "In-shop")


def one(root, pattern):
    return sorted((root / "Anno" / "segmentation").rglob(pattern))[0]


def test_nothing_is_held_out_where_the_paper_holds_nothing_out(exported):
    names = {split: load(split, root=exported).names for split in ("train", "val")}
    assert names["val"]
    everything = load("train", root=exported, hold_out=False).names
    assert sorted(everything) == sorted(names["train"] + names["val"])


def test_export_and_load_give_the_same_images_and_parts(source, exported):
    names = []
    for split in ("train", "val", "test"):
        data = load(split, root=exported)
        assert data.part_names == PART_NAMES
        assert data.label_names[data[0].label] == "WOMEN"
        for sample in data:
            drawn = source[split == "test"]
            bird = drawn[drawn.names.index(sample.name.split("/")[-1])]
            names.append(bird.name)
            assert (sample.image - bird.image).abs().mean() < JPEG
            assert torch.equal(sample.parts, bird.parts)
            assert torch.equal(sample.foreground, bird.foreground)
            assert sample.keypoints is None
    assert sorted(names) == sorted(source[0].names + source[1].names)


def test_a_tall_photograph_is_centered_and_only_its_edge_is_repeated(broken):
    """Also the release's way of resizing must keep the picture in the same place."""
    photo, labels = np.full((96, 48, 3), 200, np.uint8), np.zeros((96, 48), np.uint8)
    photo[24:72, 12:36], labels[24:72, 12:36] = 30, 4
    path = one(broken, "test-*[0-9].jpg")
    Image.fromarray(photo).save(path)
    Image.fromarray(COLORS[labels]).save(path.with_name(f"{path.stem}_segment.png"))
    expected = torch.zeros(SIZE, SIZE, dtype=torch.int64)
    expected[12:36, 18:30] = 4
    for load_one in (load, partial(release_data.load, "deepfashion", image_size=SIZE)):
        data = load_one("test", root=broken)
        sample = next(s for s in data if s.name.endswith(path.stem))
        assert torch.equal(sample.parts, expected)
        assert (sample.image[:, :, :12] > 0.7).all()
        assert sample.image[:, 14:34, 20:28].mean() < 0.15


def test_the_preset_of_the_release_keeps_fewer_thin_parts(exported):
    ours, release = (open_one("deepfashion", "test", exported, 32) for open_one in (load_dataset, release_data.load))
    assert np.abs(ours.images.astype(float) - release.images).mean() < 12
    assert (ours.parts == release.parts).mean() > 0.9
    assert (ours.parts != release.parts).any()


def test_predicted_masks_change_the_foreground_of_the_test_split_and_not_the_parts(exported, tmp_path):
    folder = exported / "Anno" / "segmentation"
    for file in folder.rglob("*_segment.png"):
        target = tmp_path / file.relative_to(folder).with_name(file.name.replace("_segment", ""))
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((SIZE, SIZE), 255, np.uint8)).save(target)
    plain, predicted = (load("test", root=exported, masks=m) for m in (None, tmp_path))
    assert (predicted.masks == 255).all()
    assert np.array_equal(predicted.parts, plain.parts)
    assert (load("train", root=exported, masks=tmp_path).masks == 0).any()
    next(tmp_path.rglob("test-*.png")).unlink()
    with refused(r"test-.*\.png is missing"):
        load("test", root=exported, masks=tmp_path)
    with refused(r"nowhere.*\.png is missing"):
        load("test", root=exported, masks=tmp_path / "nowhere")


def test_lists_of_the_small_copies_lead_to_the_large_ones(broken):
    path = one(broken, "*_query.json")
    names = load("test", root=broken).names
    path.write_text(path.read_text().replace("img_highres/", "img/"))
    assert load("test", root=broken).names == names


@pytest.mark.parametrize("color", [(0, 0, 1), (255, 255, 255), (16, 78, 138), (100, 0, 0)])
def test_colors_next_to_the_palette_are_refused(color, tmp_path):
    Image.fromarray(np.array([[color]], np.uint8)).save(tmp_path / "a.png")
    with refused(r"a.png: color .* is not one of the 16"):
        read_segmentation(tmp_path / "a.png")


FILES = {
    "list missing": (
        "*_gallery.json",
        None,
        "_gallery.json is missing; ask for access at https://mmlab.*img_highres_seg",
    ),
    "list of something else": ("*_gallery.json", b'{"images": [{"id": 1}]}', "_gallery.json: expected JSON with"),
    "list is a page": ("*_gallery.json", b"<html>Quota exceeded</html>", "_gallery.json: expected JSON with"),
    "segmentation missing": ("test-*_segment.png", None, "_segment.png is missing; ask for"),
    "segmentation cut": ("test-*_segment.png", b"\x89PNG", "_segment.png: expected a whole image file"),
    "another size": (
        "test-*_segment.png",
        (20, 30, 3),
        "_segment.png: is 30 x 20 pixels, .* is 48 x 48",
    ),
    "photo missing": ("test-*[0-9].jpg", None, r"\.jpg is missing; ask for"),
}


@pytest.mark.parametrize("what", FILES)
def test_missing_and_broken_files_are_named(broken, what):
    pattern, content, message = FILES[what]
    path = one(broken, pattern)
    path.unlink()
    if isinstance(content, tuple):
        Image.fromarray(np.zeros(content, np.uint8)).save(path)
    elif content is not None:
        path.write_bytes(content)
    with refused(message):
        load("test", root=broken)


def test_a_photograph_without_a_person_is_skipped_with_one_counted_warning(broken):
    path = one(broken, "test-*_segment.png")
    Image.fromarray(np.zeros((SIZE, SIZE, 3), np.uint8)).save(path)
    with pytest.warns(UserWarning, match="skipped 1 of 5 images without foreground") as caught:
        data = load("test", root=broken)
    assert len(data) == len(data.labels) == 4
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_export_refuses_too_many_parts_none_and_a_full_folder(source, exported, tmp_path):
    drawn = source[1]
    for count in (0, 16):
        data = ArrayDataset(
            *(drawn.images, None, drawn.parts, None, drawn.labels, drawn.names, "x"),
            part_names=tuple(f"part {i}" for i in range(count)),
        )
        with refused(f"has {count} parts; DeepFashion's palette has colors for 1 to 15"):
            export_deepfashion(data, tmp_path / "other")
    with refused("exists already"):
        export_deepfashion(drawn, exported)
