"""Clothing Co-Parsing: a tiny synthetic copy in the original layout, then a handful of the real photographs."""

import shutil
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat, savemat

from partlib import errors
from partlib.data import ccp, load_dataset
from partlib.data.base import SPLITS
from partlib.data.photos import crop_object, split_of
from partlib.errors import DataError

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
        write_annotation(root, name, tags)
    return root


def write_annotation(root, name, tags):
    savemat(root / "annotations" / "pixel-level" / f"{name}.mat", {"groundtruth": tags}, do_compression=True)


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
    merged = {tag: names[i - 1] if i else None for tag, i in zip(TAGS, lookup, strict=True)}
    assert merged == {
        "null": None,
        "bag": "bag",
        "hair": "hair",
        "jeans": "lower",
        "ring": "accessories",
        "shirt": "upper",
        "shoes": "footwear",
        "skin": "skin",
    }


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


def test_raw_labels_keep_the_tags_and_the_same_foreground(tiny):
    raw, merged = load("train", root=tiny, raw_labels=True), load("train", root=tiny)
    assert raw.part_names == TAGS[1:]
    assert raw.names == merged.names
    for i in range(len(raw)):
        assert torch.equal(raw[i].foreground, merged[i].foreground)
        assert np.array_equal(ccp.group_tags(TAGS)[1][raw[i].parts], merged[i].parts)  # no class merges two tags here


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
    with pytest.raises(DataError, match=r"none of its 3 photos is in the 'val' split"):
        load("val", root=root)


def test_the_split_shares_are_near_seventy_ten_twenty():
    splits = [split_of(f"{i:04d}", ccp.VAL_PERCENT, ccp.TEST_PERCENT) for i in range(1, ccp.ANNOTATED + 1)]
    shares = [splits.count(split) / len(splits) for split in SPLITS]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.04)


def test_prepared_once_then_read_from_the_cache_until_a_file_changes(tiny, monkeypatch):
    first = load("train", root=tiny)
    counted = []

    def counting(*args):
        counted.append(args)
        return crop_object(*args)

    monkeypatch.setattr(ccp, "crop_object", counting)
    again = load("train", root=tiny)
    assert counted == []
    assert isinstance(again.images, np.memmap)
    assert again.fingerprint() == first.fingerprint()
    _, tags = draw(NAMES[0])
    write_annotation(tiny, NAMES[0], np.roll(tags, 3, axis=1))
    assert load("train", root=tiny).fingerprint() != first.fingerprint()
    assert len(counted) == len(NAMES)


def test_empty_foregrounds_are_skipped_with_one_counted_warning(tiny):
    for name in (EMPTY, "0002"):
        tags = np.zeros((90, 60), np.uint8)
        tags[0, :3] = 1
        write_annotation(tiny, name, tags)
    names = []
    for split in SPLITS:
        with pytest.warns(UserWarning, match="skipped 2 of 20") as caught:
            data = load(split, root=tiny)
        assert len(caught) == 1
        names += data.names
    assert sorted(names) == [name for name in NAMES if name not in (EMPTY, "0002")]


def test_no_foreground_anywhere_is_an_error(tiny):
    for name in NAMES:
        write_annotation(tiny, name, np.zeros((90, 60), np.uint8))
    with pytest.raises(DataError, match="none of the 20 images has a foreground"):
        load("train", root=tiny)


def test_a_missing_root_says_where_it_looked_and_how_to_get_the_data(tmp_path, monkeypatch):
    monkeypatch.setenv("PARTLIB_DATA", str(tmp_path))
    with pytest.raises(DataError) as caught:
        load("train")
    for text in (str(tmp_path / "clothing-co-parsing"), "partlib data download ccp", "Apache-2.0", "root"):
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_default_root_is_in_the_data_folder(tiny, monkeypatch):
    monkeypatch.setenv("PARTLIB_DATA", str(tiny.parent))
    assert load("train").root == tiny


def test_photos_past_the_annotated_ones_need_no_annotation(tiny):
    shutil.copy(tiny / "photos" / "0001.jpg", tiny / "photos" / "1005.jpg")
    assert ccp.find_annotated(tiny) == NAMES


def damage_photo(root):
    path = root / "photos" / "0003.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_annotation(root):
    path = root / "annotations" / "pixel-level" / "0003.mat"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty_annotation(root):
    (root / "annotations" / "pixel-level" / "0003.mat").write_bytes(b"")


def other_variable(root):
    savemat(root / "annotations" / "pixel-level" / "0003.mat", {"labels": np.zeros((3, 3))})


BREAKAGES = {
    "truncated photo": (damage_photo, r"0003\.jpg"),
    "photo is no image": (lambda root: (root / "photos" / "0003.jpg").write_bytes(b"hello"), r"0003\.jpg"),
    "truncated annotation": (damage_annotation, r"0003\.mat"),
    "empty annotation": (empty_annotation, r"0003\.mat"),
    "annotation of something else": (other_variable, r"0003\.mat.*'groundtruth'"),
    "annotation of another size": (
        lambda root: write_annotation(root, "0003", np.ones((60, 90), np.uint8)),
        r"0003\.mat: is 90 x 60.*60 x 90",
    ),
    "annotation with depth": (
        lambda root: write_annotation(root, "0003", np.ones((90, 60, 3), np.uint8)),
        r"0003\.mat.*\(90, 60, 3\)",
    ),
    "label without a tag": (
        lambda root: write_annotation(root, "0003", np.full((90, 60), 8, np.uint8)),
        r"0003\.mat.*label 8.*0 to 7",
    ),
    "negative label": (lambda root: write_annotation(root, "0003", np.full((90, 60), -1.0)), r"0003\.mat.*label -1"),
    "fractional label": (lambda root: write_annotation(root, "0003", np.full((90, 60), 1.5)), r"0003\.mat.*label 1\.5"),
    "photo without annotation": (
        lambda root: (root / "annotations" / "pixel-level" / "0003.mat").unlink(),
        r"0003\.mat is missing",
    ),
    "annotation without photo": (lambda root: (root / "photos" / "0003.jpg").unlink(), r"0003\.jpg is missing"),
    "no annotations": (lambda root: shutil.rmtree(root / "annotations"), r"0001\.mat is missing"),
    "no label list": (lambda root: (root / "label_list.mat").unlink(), r"label_list\.mat is missing"),
    "damaged label list": (lambda root: (root / "label_list.mat").write_bytes(b"MATLAB 5.0" * 20), r"label_list\.mat"),
}


@pytest.mark.parametrize("what", BREAKAGES)
def test_bad_input_is_one_line_that_names_the_file(what, tiny):
    breakage, message = BREAKAGES[what]
    breakage(tiny)
    with pytest.raises(DataError, match=message) as caught:
        load("train", root=tiny)
    assert "\n" not in str(caught.value)


def test_a_senseless_margin_is_refused(tiny):
    with pytest.raises(errors.ConfigError, match="margin"):
        load("train", root=tiny, margin=-0.1)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Keep the test output quiet."""


@pytest.fixture
def served(tmp_path):
    """A folder, and the address under which a local server offers it."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def zip_folder(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))


def test_download_unpacks_the_repository_and_the_result_loads(served, tmp_path):
    folder, address = served
    source = write_layout(tmp_path / "clothing-co-parsing-master")
    zip_folder(source, folder / "master.zip")
    destination = tmp_path / "data" / "clothing-co-parsing"
    destination.mkdir(parents=True)  # an empty folder is no obstacle
    assert ccp.download(destination, url=f"{address}/master.zip") == destination
    assert sorted(file.name for file in destination.parent.iterdir()) == ["clothing-co-parsing"]
    for split in SPLITS:
        there, here = load(split, root=source), load(split, root=destination)
        assert here.names == there.names
        assert here.fingerprint() == there.fingerprint()
    assert ccp.download(destination, url=f"{address}/gone.zip") == destination  # nothing is asked for again


def test_download_refuses_an_incomplete_folder_and_the_archive_of_something_else(served, tmp_path):
    folder, address = served
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("hello")
    zip_folder(tmp_path / "other", folder / "other.zip")
    with pytest.raises(DataError, match=r"label_list.mat is missing"):
        ccp.download(tmp_path / "other", url=f"{address}/other.zip")
    with pytest.raises(DataError, match=r"label_list\.mat is missing"):
        ccp.download(tmp_path / "data", url=f"{address}/other.zip")


# --- the real photographs ----------------------------------------------------------------------------------------


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
