"""The procedural birds: deterministic, consistent, and hard enough to teach something."""

import hashlib
import time

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from partlib.data import load_dataset
from partlib.data.birds import KEYPOINTS, LABEL_NAMES, PART_NAMES, UNSEEN_LABELS, generate
from partlib.errors import ConfigError

# Masks and keypoints of generate("test", 6, 64). They must be the same on every machine and with every NumPy: where
# this fails although no picture was meant to change, some geometry escaped the rounding to the grid.
GOLDEN = "eb5ca6967a0489a720bfb0f51a808dce760163d4b4f08fd5aa0f7a72ae508b6d"


@pytest.fixture(scope="module")
def birds():
    return {split: generate(split, 60, 64) for split in ("train", "test")}


def digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def test_masks_and_keypoints_are_the_same_to_the_bit_on_every_machine(birds):
    assert digest(birds["test"]["parts"][:6], birds["test"]["keypoints"][:6]) == GOLDEN


def test_the_first_birds_of_many_are_those_of_a_few_and_another_seed_or_split_shows_others(birds):
    for name, array in generate("train", 7, 64).items():
        assert np.array_equal(array, birds["train"][name][:7]), name
    pictures = {digest(image) for arrays in birds.values() for image in arrays["images"]}
    for split, seed in (("val", 0), ("train", 1)):
        pictures |= {digest(image) for image in generate(split, 20, 64, seed)["images"]}
    assert len(pictures) == 60 + 60 + 20 + 20


def test_unseen_species_occur_in_the_test_split_only(birds):
    assert len(set(LABEL_NAMES)) == len(LABEL_NAMES) >= 20 + len(UNSEEN_LABELS)
    assert not set(UNSEEN_LABELS) & set(birds["train"]["labels"].tolist())
    assert 0.3 <= np.isin(birds["test"]["labels"], UNSEEN_LABELS).mean() <= 0.4


def test_every_part_shows_in_most_images_and_takes_a_sizeable_share(birds):
    parts = np.concatenate([arrays["parts"] for arrays in birds.values()])
    share = np.bincount(parts[parts > 0], minlength=8)[1:] / np.count_nonzero(parts)
    for number, name in enumerate(PART_NAMES):
        assert (parts == number + 1).any(axis=(1, 2)).mean() > (0.8 if name == "legs" else 0.95), name
        assert {"beak": 0.01, "legs": 0.02}.get(name, 0.08) < share[number] < 0.35, name


def test_boxes_are_tight_round_the_bird(birds):
    for parts, box in zip(birds["test"]["parts"], birds["test"]["boxes"], strict=True):
        x, y, width, height = box.astype(int)
        inside = parts[y : y + height, x : x + width] > 0
        assert inside.sum() == (parts > 0).sum()
        assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
        assert 0.3 * 64 <= max(width, height) <= 64


def test_visible_keypoints_lie_on_a_part_they_belong_to_inside_the_picture(birds):
    for parts, keypoints in zip(birds["test"]["parts"], birds["test"]["keypoints"], strict=True):
        for (x, y, visible), allowed in zip(keypoints, KEYPOINTS.values(), strict=True):
            assert visible in (0, 1)
            if visible:
                rows, columns = np.nonzero(np.isin(parts, allowed))
                assert np.hypot(rows - y, columns - x).min() <= 3
                assert max(abs(x - 31.5), abs(y - 31.5)) <= 32
    assert birds["test"]["keypoints"][..., 2].mean() > 0.6  # most can be seen


def test_a_bird_in_profile_hides_its_far_eye(birds):
    left, right, beak, nape = (list(KEYPOINTS).index(n) for n in ("left eye", "right eye", "beak", "nape"))
    points = np.concatenate([arrays["keypoints"] for arrays in birds.values()])
    ahead = points[:, beak, 0] - points[:, nape, 0]
    one_eye = points[:, left, 2] != points[:, right, 2]
    assert one_eye.mean() > 0.5
    for facing, near in ((ahead > 5, right), (ahead < -5, left)):  # the head does, whatever the body
        assert (facing & one_eye).sum() >= 5
        assert points[facing & one_eye, near, 2].mean() > 0.95


@pytest.mark.parametrize("size", [32, 96, 256])
def test_another_size_shows_the_same_scene(birds, size):
    other = generate("train", 4, size)
    assert other["images"].shape == (4, size, size, 3)
    # pixel i of the small picture is centered where (i + 0.5) * size / 64 lies in the large one
    pick = ((np.arange(64) + 0.5) * size / 64).astype(int)
    for large, small in zip(other["parts"][:, pick][:, :, pick] > 0, birds["train"]["parts"] > 0, strict=False):
        assert (large & small).sum() / (large | small).sum() > (0.7 if size == 32 else 0.85)
    expected = (birds["train"]["keypoints"][:4, :, :2] + 0.5) * size / 64 - 0.5
    assert np.allclose(other["keypoints"][..., :2], expected, atol=1e-3)


def test_position_and_color_alone_do_not_find_the_parts():
    def pixels(split):
        arrays = generate(split, 120, 48)
        image, row, column = np.nonzero(arrays["parts"])
        colors = rgb2lab(arrays["images"])[image, row, column]
        return np.stack([column, row], axis=1) / 48, colors, arrays["parts"][image, row, column]

    (train_xy, train_lab, _), (test_xy, test_lab, truth) = pixels("train"), pixels("test")
    for fit, predict in ((train_xy, test_xy), (train_lab, test_lab)):
        found = KMeans(4, n_init=2, random_state=0).fit(fit[::3]).predict(predict)
        assert 100 * normalized_mutual_info_score(truth, found) < 35


def test_load_dataset_returns_samples_with_names_and_reads_the_cache_the_second_time(monkeypatch):
    data = load_dataset("birds", "test", image_size=48, num_images=9)
    sample = data[4]
    assert len(data) == len(data.boxes) == 9
    assert sample.image.shape == (3, 48, 48)
    assert 0 <= sample.image.min() < sample.image.max() <= 1
    assert torch.equal(sample.foreground[0], (sample.parts > 0).float())
    assert data.part_names == ("head", "beak", "breast", "back", "wing", "tail", "legs")
    assert data.keypoint_names[6] == "left eye"
    assert data[0].label in data.unseen_labels
    assert (sample.name, data.fingerprint()) == ("test-0-000004", "birds-v1-test-9x48-seed0")
    monkeypatch.setattr("partlib.data.birds.generate", lambda *_: pytest.fail("rendered again"))
    again = load_dataset("birds", "test", image_size=48, num_images=9)
    assert isinstance(again.images, np.memmap)
    assert np.array_equal(again.images, data.images)


def test_rendering_is_fast():
    generate("val", 2, 128)  # textures are made on first use
    start = time.process_time()
    generate("val", 40, 128)
    assert 40 / (time.process_time() - start) > 20  # about 110 on one core of a laptop


@pytest.mark.parametrize("options", [{"image_size": 16}, {"image_size": 600}, {"num_images": 0}, {"seed": -1}])
def test_options_out_of_range_are_refused_by_name(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        load_dataset("birds", "val", **options)
