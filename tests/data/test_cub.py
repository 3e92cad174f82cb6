"""CUB-200-2011, on birds written out in its layout: what is loaded is what was drawn, and bad files are named."""

import io
import shutil
import tarfile
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from partlib.data import birds, download, load_dataset
from partlib.data.cub import KEYPOINT_NAMES, MIRRORED, read_lists
from partlib.data.reading import read_votes
from partlib.errors import ConfigError
from partlib.paper import release_data
from tests.data.conftest import refused
from tests.export import export_cub

SIZE = 64
JPEG = 0.03  # largest mean difference of a pixel that compression may make


@pytest.fixture(scope="module")
def source(own_cache):
    return birds.load("train", None, SIZE, 24), birds.load("test", None, SIZE, 8)


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory):
    """The birds in CUB's layout; the loader keeps some of the training images for validation."""
    return export_cub(source, tmp_path_factory.mktemp("cub") / "CUB_200_2011")


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """The same with the whole image as box."""
    return export_cub(source, tmp_path_factory.mktemp("whole") / "CUB_200_2011", whole_images=True)


@pytest.fixture
def broken(exported, tmp_path):
    """A copy to damage."""
    return shutil.copytree(exported, tmp_path / "CUB_200_2011")


load = partial(load_dataset, "cub", image_size=SIZE)


def bird_of(source, name):
    """The drawn sample that became the CUB image ``name``."""
    return next(data[data.names.index(name.split("/")[1])] for data in source if name.split("/")[1] in data.names)


def edit(path, change):
    path.write_text("".join(change(line) for line in path.read_text().splitlines(keepends=True)))


def test_export_and_load_give_the_same_images_masks_keypoints_and_species(source, whole):
    seen = 0
    for split in ("train", "val", "test"):
        data = load(split, root=whole, padding=0.0)
        assert data.keypoint_names == KEYPOINT_NAMES
        assert data.part_names == ()
        for sample in data:
            bird = bird_of(source, sample.name)
            seen += 1
            assert (sample.image - bird.image).abs().mean() < JPEG
            assert torch.equal(sample.foreground, bird.foreground)
            visible = bird.keypoints[:, 2] > 0
            assert torch.equal(sample.keypoints[:, 2] > 0, visible)
            assert torch.allclose(sample.keypoints[visible], bird.keypoints[visible], atol=2e-3)
            assert (sample.keypoints[~visible, :2] == (SIZE - 1) / 2).all()
            species = birds.LABEL_NAMES[bird.label].replace(" ", "_")
            assert data.label_names[sample.label] == f"{bird.label + 1:03d}.{species}"
            assert sample.parts is None
    assert seen == 32


def test_the_splits_are_the_official_ones_and_a_tenth_of_training_by_name(source, exported):
    names = {split: load(split, root=exported).names for split in ("train", "val", "test")}
    assert {name.split("/")[1] for name in names["test"]} == set(source[1].names)
    assert {n.split("/")[1] for n in names["train"] + names["val"]} == set(source[0].names)
    assert 0 < len(names["val"]) < len(names["train"]) / 2


def test_the_crop_is_a_square_around_the_box_with_the_padding(source, exported):
    data = load("test", root=exported, padding=0.1)
    for i, sample in enumerate(data):
        inside = torch.nonzero(sample.foreground[0]).float()
        low, high = inside.min(0).values - 0.5, inside.max(0).values + 0.5  # edges of the bird, (y, x)
        left, top, width, height = data.boxes[i].tolist()
        assert [low[1] + 0.5, low[0] + 0.5] == pytest.approx([left, top], abs=1.6)
        assert (high - low).tolist() == pytest.approx([height, width], abs=2.1)
        assert max(width, height) == pytest.approx(SIZE / 1.2, rel=0.08)  # padding on both sides; whole pixels
        assert [left + width / 2, top + height / 2] == pytest.approx([SIZE / 2] * 2, abs=0.04 * SIZE)


def test_keypoints_stay_on_the_bird_when_it_is_cropped_and_enlarged(source, exported):
    data = load("train", root=exported)
    for sample in data:
        bird = bird_of(source, sample.name)
        both = bird.keypoints[:, 2] > 0
        old, new = bird.keypoints[both, :2], sample.keypoints[both, :2]
        scale = (new - new.mean(0)).norm() / (old - old.mean(0)).norm()
        assert 0.85 < scale < 2  # birds fill half of the drawing or nearly all of it
        assert torch.allclose(new - new.mean(0), scale * (old - old.mean(0)), atol=1e-2)
        around = torch.nn.functional.max_pool2d(sample.foreground, 7, 1, 3)[0]  # a point may lie just off the mask
        column, row = new.round().long().clamp(0, SIZE - 1).unbind(-1)
        assert around[row, column].all()


def test_classes_keep_the_species_asked_for_and_their_labels(exported):
    everything = load("train", root=exported)
    wanted = sorted(set(everything.labels.tolist()))[:2]
    some = load("train", root=exported, classes=[label + 1 for label in wanted])
    assert set(some.labels.tolist()) == set(wanted)
    assert len(some) == np.isin(everything.labels, wanted).sum() < len(everything)
    assert some.fingerprint() != everything.fingerprint()
    assert len(some.label_names) == len(birds.LABEL_NAMES)


def test_given_masks_replace_those_of_every_split(exported, tmp_path):
    for file in sorted((exported / "segmentations").rglob("*.png")):
        mask = np.array(Image.open(file))
        mask[: mask.shape[0] // 2] = 255  # as if a network had found the upper half
        target = tmp_path / "masks" / file.relative_to(exported / "segmentations")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(target)
    for split in ("train", "test"):
        plain, given = (load(split, root=exported, masks=m) for m in ("annotated", tmp_path / "masks"))
        assert (given.masks > 0).mean() > (plain.masks > 0).mean() + 0.1
        assert np.array_equal(given.images, plain.images)


def test_random_crops_differ_each_time_follow_the_seed_and_carry_their_keypoints(exported):
    data = load("train", root=exported, jitter=0.05, mirror=True)
    assert not data.fixed_crop
    torch.manual_seed(0)
    first = [data[0] for _ in range(6)]
    torch.manual_seed(0)
    again = [data[0] for _ in range(6)]
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.image, b.image)
        assert torch.equal(a.keypoints, b.keypoints)
    assert any(not torch.equal(first[0].image, other.image) for other in first[1:])
    fixed = load("train", root=exported)[0]
    visible = fixed.keypoints[:, 2] > 0
    mirrored = []
    for sample in first:
        straight, turned = sample.keypoints, sample.keypoints[list(MIRRORED)].clone()
        turned[:, 0] = SIZE - 1 - turned[:, 0]
        errors = [(k[visible, :2] - fixed.keypoints[visible, :2]).abs().max() for k in (straight, turned)]
        mirrored.append(errors[1] < errors[0])
        assert min(errors) < 0.1 * SIZE
        assert max(errors) > 0.1 * SIZE
    assert any(mirrored)
    assert not all(mirrored)
    assert load("test", root=exported, jitter=0.05, mirror=True).fixed_crop


def test_the_preset_of_the_release_shifts_keypoints_by_half_a_photo_pixel(exported):
    ours, release = load("test", root=exported), release_data.load("cub", "test", exported, SIZE)
    visible = ours.keypoints[..., 2] > 0
    assert not np.array_equal(ours.images, release.images)
    assert np.abs(ours.images.astype(float) - release.images).mean() < 20
    shift = (ours.keypoints - release.keypoints)[visible][:, :2]
    assert np.abs(shift).max() < 1.5
    assert (ours.keypoints[visible] != release.keypoints[visible]).any()


def test_a_mask_holds_what_most_annotators_marked_or_the_ones_of_zeros_and_ones(tmp_path):
    votes = np.zeros((40, 30), np.uint8)
    votes[5:35, 5:25], votes[10:30, 10:20] = 102, 153  # marked by two and by three of five
    for name, values, expected in (("votes", votes, votes == 153), ("binary", (votes > 0).astype(np.uint8), votes > 0)):
        Image.fromarray(values).save(tmp_path / f"{name}.png")
        assert np.array_equal(read_votes(tmp_path / f"{name}.png", tmp_path / "photo.jpg", (40, 30)), expected)


ROWS = [
    ("images.txt", "", "", "no image is in the 'test' split"),
    ("image_class_labels.txt", "3 ", "", "image 3 needs a row of 2 values"),
    ("parts/part_locs.txt", "2 14 ", "", r"image, keypoint \(2, 14\) needs a row of 5 values"),
    ("image_class_labels.txt", "1 ", "1 999", f"needs a class from 1 to {len(birds.LABEL_NAMES)}"),
    ("bounding_boxes.txt", "25 ", "25 5.0 5.0 many 10.0", "image 25 needs a row of 5 values"),
    ("bounding_boxes.txt", "25 ", "25 500.0 5.0 10.0 10.0", "jpg: the box lies outside its 64 x 64 pixels"),
    ("parts/part_locs.txt", "25 2 ", "25 2 900.0 10.0 1", "jpg: keypoint 'beak' lies outside its 64 x 64 pixels"),
    ("parts/parts.txt", "3 ", "3 foot", "expected CUB's 15 keypoints"),
]


@pytest.mark.parametrize(("name", "start", "row", "message"), ROWS)
def test_a_bad_row_of_a_list_is_explained(broken, name, start, row, message):
    edit(broken / name, lambda line: f"{row}\n" * bool(row) if line.startswith(start) else line)
    with refused(message):
        load("test", root=broken)


def test_an_invisible_keypoint_may_lie_anywhere(broken):
    edit(broken / "parts/part_locs.txt", lambda line: "25 2 900.0 10.0 0\n" if line.startswith("25 2 ") else line)
    load("test", root=broken)


FILES = {
    "list missing": ("part_locs.txt", None, "part_locs.txt is missing; .* with `partlib data download cub`"),
    "photo missing": ("test-*.jpg", None, r"\.jpg is missing; add this photograph or mask"),
    "photo cut": ("test-*.jpg", 300, r"\.jpg: expected a whole image file"),
    "mask missing": ("test-*.png", None, r"\.png is missing; add this photograph or mask"),
    "mask of another size": ("test-*.png", (20, 30), r"\.png: is 30 x 20 pixels, its image .* is 64 x 64"),
}


@pytest.mark.parametrize("what", FILES)
def test_missing_and_broken_files_are_named(broken, what):
    pattern, content, message = FILES[what]
    path = next(broken.rglob(pattern))
    if content is None:
        path.unlink()
    elif isinstance(content, tuple):
        Image.fromarray(np.zeros(content, np.uint8)).save(path)
    else:
        path.write_bytes(path.read_bytes()[:content])
    with refused(message):
        load("test", root=broken)


def test_the_folder_of_masks_may_lie_beside_and_is_named_where_it_is_missing(broken, tmp_path):
    (broken / "segmentations").rename(broken.parent / "segmentations")
    assert len(load("test", root=broken)) == 8
    with refused("masks=.*nowhere: .*nowhere is missing; expected a folder of masks"):
        load("test", root=broken, masks=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with refused(r"empty.*\.png is missing"):
        load("test", root=broken, masks=tmp_path / "empty")
    with refused("masks=boxes: .* is missing; make masks from the boxes: partlib masks --data cub --root "):
        load("test", root=broken, masks="boxes")
    shutil.rmtree(broken.parent / "segmentations")
    with refused("segmentations is missing; the masks are a separate archive: .*segmentations.tgz"):
        load("test", root=broken)


def test_an_empty_mask_is_skipped_with_one_counted_warning(broken):
    mask = next((broken / "segmentations").rglob("test-*.png"))
    Image.fromarray(np.zeros((SIZE, SIZE), np.uint8)).save(mask)
    with pytest.warns(UserWarning, match="skipped 1 of 8 images without foreground") as caught:
        data = load("test", root=broken)
    assert len(caught) == 1
    assert len(data) == len(data.keypoints) == len(data.labels) == len(data.boxes) == 7
    assert caught[0].filename == __file__


def test_options_out_of_range_are_refused(exported):
    few = f"numbers from 1 to {len(birds.LABEL_NAMES)}"
    wrong = {"classes": ((1, 999), few), "padding": (-0.1, "padding is -0.1"), "jitter": (0.9, "jitter is 0.9")}
    for key, (value, message) in wrong.items():
        with refused(message, ConfigError):
            load("train", root=exported, **{key: value})


def test_export_refuses_a_full_folder_and_other_keypoints(source, exported, bird_folder, tmp_path):
    with refused("exists already"):
        export_cub(source[1], exported)
    with refused("has 0 keypoints; the format needs CUB's 15"):
        export_cub(load_dataset("folder", "train", bird_folder, 32), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def packed(members):
    """The bytes of a tar archive of paths by their names in it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, path in members.items():
            tar.add(path, name, filter=lambda m: None if "/segmentations" in m.name else m)
    return buffer.getvalue()


def test_the_download_unpacks_both_archives_into_one_complete_folder(exported, server, tmp_path, monkeypatch):
    images = {"attributes.txt": exported / "classes.txt", "CUB_200_2011": exported}  # as Caltech's has them
    server.files |= {"/CUB_200_2011.tgz": packed(images), "/masks.tgz": packed({"masks": exported / "segmentations"})}
    archives = [(f"{server.url}/CUB_200_2011.tgz", None, ""), (f"{server.url}/masks.tgz", None, "segmentations")]
    monkeypatch.setattr("partlib.data.cub.ARCHIVES", archives)
    place = tmp_path / "data" / "CUB_200_2011"
    assert download("cub", place) == place
    assert np.array_equal(load("test", root=place).images, load("test", root=exported).images)
    assert sorted(p.name for p in place.parent.iterdir()) == ["CUB_200_2011"]
    server.files.clear()
    assert download("cub", place) == place  # nothing to do, and no server needed


def boxes_as_masks(root, folder, label):
    """Masks (255 inside the box) of one species of the real birds, laid out as segmentations/."""
    table, _ = read_lists(root)
    for bird in table[table.label == label].itertuples():
        with Image.open(root / "images" / bird.file) as photo:
            mask = np.zeros(photo.size[::-1], np.uint8)
        x0, y0, x1, y1 = (max(0, round(float(side))) for side in bird.box)
        mask[y0 : y1 + 1, x0 : x1 + 1] = 255
        path = folder / f"{bird.Index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    return table[table.label == label]


def test_real_birds_with_boxes_and_keypoints_beyond_their_photographs_load(cub_root, tmp_path):
    """The Pacific loons, one of which has a keypoint 7 pixels and a box 16 pixels outside."""
    table = boxes_as_masks(cub_root, tmp_path / "masks", label=85)
    sizes = [Image.open(cub_root / "images" / file).size for file in table.file]
    beyond = [(box[2:] - np.array(size)).max() for box, size in zip(table.box, sizes, strict=True)]
    assert max(beyond) > 10
    options = {"root": cub_root, "masks": tmp_path / "masks", "classes": (86,)}
    found = [load(split, **options) for split in ("train", "val", "test")]
    assert sum(map(len, found)) == len(table)
    for data in found:
        for sample in data:
            x, y, visible = sample.keypoints.T
            assert ((x > -0.1 * SIZE) & (x < 1.1 * SIZE) & (y > -0.1 * SIZE) & (y < 1.1 * SIZE))[visible > 0].all()
            assert 0.05 < sample.foreground.mean() <= 1


def test_a_gray_photograph_among_the_birds_is_read_as_one_of_three_equal_channels(broken):
    file = next((broken / "images").rglob("test-*.jpg"))
    Image.open(file).convert("L").save(file)
    data = load("test", root=broken)
    gray = data.images[data.names.index(file.relative_to(broken / "images").with_suffix("").as_posix())]
    assert (gray == gray[..., :1]).all()
    assert gray.std() > 5
