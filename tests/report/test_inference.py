"""A user's own photographs: labels at the photograph's size, nothing off the mask, errors that name the file."""

import numpy as np
import pytest
import torch
from PIL import Image

from partlib.errors import CheckpointError, ConfigError, DataError
from partlib.report.inference import segment_files, segment_photo
from partlib.report.plots import part_color
from partlib.runs.checkpoint import load_model


@pytest.fixture(scope="module")
def photo(tiny_birds):
    """A landscape photograph (70, 100, 3) with a bird, and its mask (70, 100)."""
    train = tiny_birds[0]
    photo = np.full((70, 100, 3), 128, np.uint8)
    mask = np.zeros((70, 100), bool)
    photo[10:42, 50:82] = train.images[0]
    mask[10:42, 50:82] = train.parts[0] > 0
    return photo, mask


@pytest.fixture
def files(photo, tmp_path):
    """(photograph, mask) as files."""
    Image.fromarray(photo[0]).save(tmp_path / "bird.jpg", quality=95)
    Image.fromarray(photo[1]).save(tmp_path / "mask.png")
    return tmp_path / "bird.jpg", tmp_path / "mask.png"


def test_labels_have_the_size_of_the_photograph_and_keep_to_the_mask(photo, demo_run):
    segmenter, config = load_model(demo_run)
    labels = segment_photo(segmenter, *photo, config.image_size)
    assert labels.shape == (70, 100)
    assert labels.dtype == np.uint8
    assert np.array_equal(labels > 0, photo[1])
    assert labels.max() <= 4


@pytest.mark.parametrize("place", ["corner", "everywhere", "one pixel", "thin"])
def test_an_object_anywhere_in_the_photograph_is_segmented(place, photo, demo_run):
    segmenter, config = load_model(demo_run)
    mask = np.zeros((70, 100), bool)
    where = {"corner": np.s_[60:, :5], "everywhere": np.s_[:], "one pixel": np.s_[0, 99], "thin": np.s_[33]}
    mask[where[place]] = True
    assert np.array_equal(segment_photo(segmenter, photo[0], mask, config.image_size) > 0, mask)


def test_the_object_is_cropped_as_the_data_sets_crop_it(demo_run):
    """Where the object with its margins fills the picture, the segmenter sees that very picture."""
    segmenter, config = load_model(demo_run)
    assert config.image_size == 32
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    mask = np.zeros((32, 32), bool)
    mask[1:30, 1:30] = True  # 29 pixels and 5 % on both sides are 32
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255  # (1, 3, 32, 32)
    expected = segmenter.segment(image, torch.from_numpy(mask)[None, None].float())[0].numpy()
    assert len(np.unique(expected)) > 2
    assert (segment_photo(segmenter, picture, mask, 32) == expected).mean() > 0.99


def test_files_are_written_for_every_photograph(files, demo_run, tmp_path):
    image, mask = files
    written = segment_files(demo_run, [image], [mask], tmp_path / "out")
    assert [p.name for p in written] == ["bird-parts.png", "bird-overlay.png"]
    with Image.open(written[0]) as parts, Image.open(mask) as expected:
        assert parts.mode == "P"
        labels = np.asarray(parts)
        assert np.array_equal(labels > 0, np.asarray(expected))
        colors = np.asarray(parts.convert("RGB"))
    for k in np.unique(labels):
        assert np.abs(colors[labels == k] - 255 * np.array(part_color(int(k)))).max() <= 1
    with Image.open(written[1]) as overlay:
        assert overlay.size == (100, 70)


def test_without_masks_the_whole_picture_is_the_object(files, demo_run, tmp_path):
    written = segment_files(demo_run / "model.safetensors", [files[0]], [], tmp_path)
    with Image.open(written[0]) as parts:
        assert np.asarray(parts).min() >= 1


def test_another_number_of_masks_is_refused(files, demo_run, tmp_path):
    with pytest.raises(ConfigError, match="names 1 files for 2 images"):
        segment_files(demo_run, [files[0], tmp_path / "other.jpg"], [files[1]], tmp_path)


def test_results_of_one_name_are_refused(files, demo_run, tmp_path):
    with pytest.raises(ConfigError, match="2 images are named bird"):
        segment_files(demo_run, [files[0], tmp_path / "elsewhere" / "bird.png"], [], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda image, mask: Image.new("L", (100, 70)).save(mask), "mask.png: the mask is empty"),
        (lambda image, mask: Image.new("L", (99, 70), 1).save(mask), "mask.png: is 99 x 70 pixels, its image bird.jpg"),
        (lambda image, mask: Image.linear_gradient("L").resize((100, 70)).save(mask), "mask.png: the mask is not bin"),
        (lambda image, mask: mask.unlink(), "mask.png is missing; expected an image file"),
        (lambda image, mask: mask.write_bytes(mask.read_bytes()[:40]), "mask.png: expected a whole image file"),
        (lambda image, mask: image.unlink(), "bird.jpg is missing; expected an image file"),
        (lambda image, mask: image.write_bytes(image.read_bytes()[:900]), "bird.jpg: expected a whole image file"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(change, message, files, demo_run, tmp_path):
    change(*files)
    with pytest.raises(DataError, match=message):
        segment_files(demo_run, [files[0]], [files[1]], tmp_path / "out")


def test_a_folder_without_a_model_is_named(files, tmp_path):
    with pytest.raises(CheckpointError, match=r"model\.safetensors does not exist"):
        segment_files(tmp_path, [files[0]], [], tmp_path / "out")


def test_the_good_ones_of_several_photographs_are_done_and_the_broken_ones_named(demo_run, files, tmp_path):
    image, mask = files
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(image.read_bytes()[:900])
    with pytest.raises(DataError, match=r"broken.jpg: expected a whole image file.* \(1 of 2 photographs are done\)"):
        segment_files(demo_run, [broken, image], [mask, mask], tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["bird-overlay.png", "bird-parts.png"]


def test_results_that_are_there_are_replaced_only_if_asked_to(demo_run, files, tmp_path):
    image, mask = files
    (tmp_path / "bird-parts.png").write_text("mine")
    with pytest.raises(ConfigError, match=r"bird-parts.png is there already; pass --overwrite"):
        segment_files(demo_run, [image], [mask], tmp_path, overwrite=False)
    assert (tmp_path / "bird-parts.png").read_text() == "mine"
    segment_files(demo_run, [image], [mask], tmp_path)
    assert (tmp_path / "bird-parts.png").stat().st_size > 50
