"""Clothing Co-Parsing: a tiny synthetic copy in the original layout, then a handful of the real photographs."""

import shutil
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat, savemat

from partlib.data import ccp, download, load_dataset
from partlib.data.base import SPLITS
from partlib.data.reading import read_photo
from tests.data.conftest import refused

TAGS = ("null", "bag", "hair", "jeans", "ring", "shirt", "shoes", "skin")
NAMES = [f"{i:04d}" for i in range(1, 21)]  # 0018 is val, 0006, 0014 and 0019 are test, the rest train
EMPTY = "0009"


def draw(name):
    """A striped photo (90, 60, 3) and its tags (90, 60): hair over skin over shirt over jeans over shoes."""
    rng = np.random.default_rng(int(name))
    photo = rng.integers(0, 255, (90, 60, 3), dtype=np.uint8)
    tags = np.zeros((90, 60), np.uint8)
    left = 15 + int(rng.integers(0, 10))
    for i, tag in enumerate(("hair", "skin", "shirt", "jeans", "shoes")):
        tags[10 + 14 * i : 24 + 14 * i, left : left + 20] = TAGS.index(tag)
    return photo, tags


def write_layout(root, names=NAMES):
    (root / "photos").mkdir(parents=True)
    (root / "annotations" / "pixel-level").mkdir(parents=True)
    cells = np.empty((1, len(TAGS)), object)
    cells[0] = TAGS
    savemat(root / "label_list.mat", {"label_list": cells})
    for name in names:
        photo, tags = draw(name)
        Image.fromarray(photo).save(root / "photos" / f"{name}.jpg", quality=95)
        annotate(root / "annotations" / "pixel-level" / f"{name}.mat", tags)
    return root


def annotate(path, tags):
    savemat(path, {"groundtruth": tags}, do_compression=True)


@pytest.fixture
def tiny(tmp_path):
    return write_layout(tmp_path / "clothing-co-parsing")


load = partial(load_dataset, "ccp", image_size=64)


def test_every_photo_is_in_exactly_one_split_and_samples_have_the_promised_form(tiny):
    names = []
    for split in SPLITS:
        data = load(split, root=tiny)
        names += data.names
        for sample in data:
            assert sample.image.shape == (3, 64, 64)
            assert sample.image.dtype == torch.float32
            assert 0 <= sample.image.min() < 0.2
            assert 0.8 < sample.image.max() <= 1
            assert sample.foreground.shape == (1, 64, 64)
            assert set(sample.foreground.unique().tolist()) == {0.0, 1.0}
            assert sample.parts.shape == (64, 64)
            assert sample.parts.dtype == torch.int64
            assert torch.equal(sample.parts > 0, sample.foreground[0] > 0)
            assert sample.keypoints is None
    assert sorted(names) == NAMES


def test_tags_become_the_eight_classes_in_order_and_unlisted_tags_accessories():
    names, lookup = ccp.group_tags(TAGS)
    assert names == ("hair", "skin", "upper", "lower", "dress", "footwear", "bag", "accessories")
    merged = [names[i - 1] for i in lookup[1:]]
    assert lookup[0] == 0
    assert merged == ["bag", "hair", "lower", "accessories", "upper", "footwear", "skin"]


def test_parts_lie_where_they_were_drawn_and_fill_the_crop_up_to_the_margin(tiny):
    data = load("train", root=tiny, margin=0.1)
    sample = data[0]
    rows = [torch.nonzero(sample.parts == part)[:, 0].float().mean().item() for part in (1, 2, 3, 4, 6)]
    assert rows == sorted(rows)
    assert np.diff(rows) == pytest.approx([64 * 14 / 84] * 4, abs=0.7)
    inside = torch.nonzero(sample.foreground[0])
    box = inside.max(0).values - inside.min(0).values + 1  # height, width
    assert box.tolist() == pytest.approx([64 * 70 / 84, 64 * 20 / 84], abs=1.01)
    assert (inside.float().mean(0) - 31.5).abs().max() < 1  # centered


def test_the_split_of_a_photo_does_not_depend_on_the_others(tiny):
    before = {name: split for split in SPLITS for name in load(split, root=tiny).names}
    for name in NAMES[::2]:
        (tiny / "photos" / f"{name}.jpg").unlink()
        (tiny / "annotations" / "pixel-level" / f"{name}.mat").unlink()
    for split in SPLITS:
        assert load(split, root=tiny).names == [name for name in NAMES[1::2] if before[name] == split]


def test_a_subset_without_a_photo_of_the_split_is_an_error_not_an_empty_data_set(tmp_path):
    root = write_layout(tmp_path / "few", NAMES[:3])
    assert load("train", root=root).names == NAMES[:3]
    with refused(r"none of its 3 photos is in the 'val' split"):
        load("val", root=root)


def test_prepared_once_then_read_from_the_cache_until_a_file_changes(tiny, monkeypatch):
    first = load("train", root=tiny)
    counted = []

    def counting(path):
        counted.append(path)
        return read_photo(path)

    monkeypatch.setattr("partlib.data.reading.read_photo", counting)
    again = load("train", root=tiny)
    assert counted == []
    assert isinstance(again.images, np.memmap)
    assert again.fingerprint() == first.fingerprint()
    _, tags = draw(NAMES[0])
    annotate(tiny / "annotations" / "pixel-level" / f"{NAMES[0]}.mat", np.roll(tags, 3, axis=1))
    assert load("train", root=tiny).fingerprint() != first.fingerprint()
    assert len(counted) == len(NAMES)


def test_empty_foregrounds_are_skipped_with_one_counted_warning(tiny):
    for name in (EMPTY, "0002"):
        tags = np.zeros((90, 60), np.uint8)
        tags[0, :3] = 1
        annotate(tiny / "annotations" / "pixel-level" / f"{name}.mat", tags)
    names = []
    for split in SPLITS:
        with pytest.warns(UserWarning, match="skipped 2 of 20") as caught:
            data = load(split, root=tiny)
        assert len(caught) == 1
        names += data.names
    assert sorted(names) == [name for name in NAMES if name not in (EMPTY, "0002")]


def test_no_foreground_anywhere_is_an_error(tiny):
    for name in NAMES:
        annotate(tiny / "annotations" / "pixel-level" / f"{name}.mat", np.zeros((90, 60), np.uint8))
    with refused("none of the 20 images has a foreground"):
        load("train", root=tiny)


def test_photos_past_the_annotated_ones_need_no_annotation(tiny):
    shutil.copy(tiny / "photos" / "0001.jpg", tiny / "photos" / "1005.jpg")
    assert ccp.check(tiny) == NAMES


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BREAKAGES = {
    "truncated photo": (lambda photo, mat: halve(photo), r"0003\.jpg: expected a whole image file"),
    "truncated annotation": (lambda photo, mat: halve(mat), r"0003\.mat: expected a MATLAB 5 file"),
    "annotation of something else": (lambda photo, mat: savemat(mat, {"x": np.zeros(3)}), r"0003\.mat.*'groundtruth'"),
    "annotation of another size": (
        lambda photo, mat: annotate(mat, np.ones((60, 90))),
        r"0003\.mat: is 90 x 60.*60 x 90",
    ),
    "annotation with depth": (lambda photo, mat: annotate(mat, np.ones((90, 60, 3))), r"0003\.mat.*\(90, 60, 3\)"),
    "label without a tag": (lambda photo, mat: annotate(mat, np.full((90, 60), 8)), r"0003\.mat.*label 8.*0 to 7"),
    "photo without annotation": (lambda photo, mat: mat.unlink(), r"0003\.mat is missing; copy it there"),
    "annotation without photo": (lambda photo, mat: photo.unlink(), r"0003\.jpg is missing; copy it there"),
    "no label list": (lambda photo, mat: (photo.parents[1] / "label_list.mat").unlink(), "partlib data download ccp"),
}


@pytest.mark.parametrize("what", BREAKAGES)
def test_bad_input_is_one_line_that_names_the_file(what, tiny):
    breakage, message = BREAKAGES[what]
    breakage(tiny / "photos" / "0003.jpg", tiny / "annotations" / "pixel-level" / "0003.mat")
    with refused(message):
        load("train", root=tiny)


def zip_folder(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))


def test_download_unpacks_the_repository_and_the_result_loads(server, tmp_path, monkeypatch):
    source = write_layout(tmp_path / "clothing-co-parsing-master")
    zip_folder(source, tmp_path / "master.zip")
    server.files["/master.zip"] = (tmp_path / "master.zip").read_bytes()
    destination = tmp_path / "data" / "clothing-co-parsing"
    destination.mkdir(parents=True)  # an empty folder is no obstacle
    monkeypatch.setattr(ccp, "ARCHIVES", [(f"{server.url}/master.zip", None, "")])
    assert download("ccp", destination) == destination
    assert sorted(file.name for file in destination.parent.iterdir()) == ["clothing-co-parsing"]
    for split in SPLITS:
        there, here = load(split, root=source), load(split, root=destination)
        assert here.names == there.names
        assert here.fingerprint() == there.fingerprint()
    server.files.clear()
    assert download("ccp", destination) == destination  # nothing is asked for again


def test_download_refuses_an_incomplete_folder_and_the_archive_of_something_else(server, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("hello")
    zip_folder(tmp_path / "other", tmp_path / "other.zip")
    server.files["/other.zip"] = (tmp_path / "other.zip").read_bytes()
    monkeypatch.setattr(ccp, "ARCHIVES", [(f"{server.url}/other.zip", None, "")])
    for destination in (tmp_path / "other", tmp_path / "data"):
        with refused(r"label_list\.mat is missing"):
            download("ccp", destination)


@pytest.fixture
def real(ccp_root, tmp_path):
    """Twelve real photographs, 0536 without a foreground among them, in a folder of their own."""
    root = tmp_path / "real"
    for folder in ("photos", "annotations/pixel-level"):
        (root / folder).mkdir(parents=True)
    shutil.copy(ccp_root / "label_list.mat", root)
    for name in ("0001", "0002", "0003", "0007", "0010", "0013", "0021", "0050", "0101", "0205", "0536", "0804"):
        shutil.copy(ccp_root / "photos" / f"{name}.jpg", root / "photos")
        shutil.copy(ccp_root / "annotations" / "pixel-level" / f"{name}.mat", root / "annotations" / "pixel-level")
    return root


def test_real_photographs_have_heads_above_shoes_and_keep_their_label_shares(real):
    with pytest.warns(UserWarning, match=r"skipped 1 of 12 .*0536"):
        data = load_dataset("ccp", "train", root=real, image_size=128)
    assert len(data) >= 6
    lookup = ccp.group_tags(ccp.read_tags(real))[1]
    for sample in data:
        rows = {part: torch.nonzero(sample.parts == i + 1)[:, 0].float() for i, part in enumerate(data.part_names)}
        assert rows["hair"].mean() < rows["skin"].mean() < rows["footwear"].mean()
        assert 0.05 < sample.foreground.mean() < 0.6
        tags = loadmat(real / "annotations" / "pixel-level" / f"{sample.name}.mat")["groundtruth"]
        full = np.bincount(lookup[tags].ravel(), minlength=9)[1:]
        small = np.bincount(sample.parts.flatten(), minlength=9)[1:]
        assert np.abs(full / full.sum() - small / small.sum()).max() < 0.02


def test_real_tags_all_have_a_class_and_every_class_has_tags(ccp_root):
    tags = ccp.read_tags(ccp_root)
    names, lookup = ccp.group_tags(tags)
    assert len(tags) == 59
    assert lookup[0] == 0
    assert set(lookup[1:].tolist()) == set(range(1, len(names) + 1))
