"""Samples, data sets in arrays, batches, and the door to them all."""

import inspect

import numpy as np
import pytest
import torch

from partlib.data import DATASETS, LARGEST_SIZE, ArrayDataset, collate, find_loader, load_dataset, read_options
from partlib.data.base import Column, stacked
from partlib.errors import ConfigError

N, SIZE = 6, 16


def make(with_masks=True, parts=True, keypoints=True, **attributes):
    rng = np.random.default_rng(0)
    return ArrayDataset(
        images=rng.integers(0, 256, (N, SIZE, SIZE, 3), dtype=np.uint8),
        masks=255 * rng.integers(0, 2, (N, SIZE, SIZE), dtype=np.uint8) if with_masks else None,
        parts=rng.integers(0, 4, (N, SIZE, SIZE), dtype=np.uint8) if parts else None,
        keypoints=rng.random((N, 5, 3), dtype=np.float32) if keypoints else None,
        labels=np.arange(N),
        names=[f"image {i}" for i in range(N)],
        digest="made",
        **attributes,
    )


def test_sample_has_the_documented_shapes_types_and_ranges():
    dataset = make()
    sample = dataset[2]
    assert sample.image.shape == (3, SIZE, SIZE)
    assert sample.image.dtype == torch.float32
    assert torch.equal((sample.image * 255).round().byte(), torch.from_numpy(dataset.images[2]).permute(2, 0, 1))
    assert sample.foreground.shape == (1, SIZE, SIZE)
    assert sample.foreground.dtype == torch.float32
    assert set(sample.foreground.unique().tolist()) == {0.0, 1.0}
    assert sample.parts.dtype == torch.int64
    assert np.array_equal(sample.parts, dataset.parts[2])
    assert np.array_equal(sample.keypoints, dataset.keypoints[2])
    assert (sample.label, sample.name) == (2, "image 2")


def test_what_a_data_set_has_not_is_none_and_parts_are_the_foreground_where_there_is_no_mask():
    sample = make(parts=False, keypoints=False)[0]
    assert sample.parts is None
    assert sample.keypoints is None
    sample = make(with_masks=False)[0]
    assert torch.equal(sample.foreground[0], (sample.parts > 0).float())


def test_a_sample_is_a_copy_that_may_be_written_to():
    dataset = make()
    dataset[0].image.zero_()
    dataset[0].parts.zero_()
    assert dataset[0].image.any()
    assert dataset[0].parts.any()


def test_index_beyond_the_end_raises_so_that_iteration_ends():
    dataset = make()
    assert [sample.label for sample in dataset] == list(range(N))
    assert dataset[-1].label == N - 1
    with pytest.raises(IndexError, match="sample 6 of 6"):
        dataset[N]


@pytest.mark.parametrize("pick", [[4, 1, 1], np.array([False, True, False, False, True, True])])
def test_subset_picks_every_array_with_a_row_per_sample(pick):
    dataset = make(boxes=np.arange(N * 4).reshape(N, 4), part_names=("a", "b", "c"), split="val")
    subset = dataset.subset(pick)
    expected = np.arange(N)[pick]
    assert [sample.label for sample in subset] == expected.tolist()
    for found, label in zip(subset, expected, strict=True):
        assert torch.equal(found.image, dataset[label].image)
        assert torch.equal(found.keypoints, dataset[label].keypoints)
        assert found.name == dataset[label].name
    assert np.array_equal(subset.boxes, dataset.boxes[expected])
    assert (subset.part_names, subset.split, subset.image_size) == (dataset.part_names, "val", SIZE)
    assert len(dataset) == N


def test_fingerprint_of_a_subset_tells_which_one():
    dataset = make()
    prints = {s.fingerprint() for s in (dataset, dataset.subset([0, 1]), dataset.subset([1, 0]), dataset.subset([2]))}
    assert len(prints) == 4
    assert dataset.subset([0, 1]).fingerprint() == dataset.subset(np.array([0, 1])).fingerprint()


def test_collate_stacks_fields_and_keeps_missing_ones_missing():
    dataset = make()
    batch = collate([dataset[0], dataset[3]])
    assert batch.images.shape == (2, 3, SIZE, SIZE)
    assert batch.foreground.shape == (2, 1, SIZE, SIZE)
    assert batch.keypoints.shape == (2, 5, 3)
    assert torch.equal(batch.parts[1], dataset[3].parts)
    assert batch.labels.tolist() == [0, 3]
    assert batch.names == ["image 0", "image 3"]
    assert collate([make(parts=False)[0]]).parts is None


def test_batch_moves_all_its_tensors():
    batch = collate([make(keypoints=False)[0]]).to("meta")
    assert {t.device.type for t in (batch.images, batch.foreground, batch.parts, batch.labels)} == {"meta"}
    assert batch.keypoints is None
    assert batch.names == ["image 0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "fish"}, f"'fish' is unknown; expected one of {', '.join(DATASETS)}"),
        ({"name": "birds", "split": "dev"}, "'dev' is unknown; expected one of train, val, test"),
        ({"name": "ccp", "image_size": 8}, "image_size is 8; ccp comes with sides from 16 to 1024"),
        ({"name": "folder", "image_size": 2000}, "image_size is 2000"),
        ({"name": "birds", "image_size": 1 + LARGEST_SIZE["birds"]}, "birds comes with sides from 16 to"),
    ],
)
def test_wrong_arguments_name_what_is_expected(arguments, message):
    with pytest.raises(ConfigError, match=message):
        load_dataset(**arguments)


def test_load_dataset_takes_options_and_the_largest_size():
    largest = LARGEST_SIZE["birds"]
    dataset = load_dataset("birds", "val", image_size=largest, num_images=1)
    assert (dataset.name, dataset.split, dataset.image_size, len(dataset)) == ("birds", "val", largest, 1)
    assert dataset[0].image.shape == (3, largest, largest)


def test_stacked_holds_every_image_and_foreground():
    images, foregrounds = stacked(make())
    assert torch.equal(images[3], make()[3].image)
    assert torch.equal(foregrounds[3], make()[3].foreground)
    assert torch.equal(Column(make(), "image")[1:9], images[1:9])


def test_a_run_of_samples_is_not_copied():
    dataset = make()
    assert np.shares_memory(dataset.subset(range(1, 4)).images, dataset.images)
    assert not np.shares_memory(dataset.subset([1, 3]).images, dataset.images)
    assert len(dataset.subset([])) == 0


@pytest.mark.parametrize("name", DATASETS)
def test_every_option_of_every_loader_can_be_read_from_text(name):
    texts = {bool: "yes", int: "3", float: "0.5", str: "text", type(None): "1"}
    for key, parameter in inspect.signature(find_loader(name).load).parameters.items():
        default = parameter.default
        if key not in ("split", "root", "image_size", "crops", "resize"):  # two are the release's
            value = read_options(name, [f"{key}={texts[type(default)]}"])[key]
            assert default is None or type(value) is type(default)


def test_options_are_read_as_the_loader_expects_them():
    texts = ("classes=1,002,3", "padding=0.1", "mirror=Yes", "masks=some/folder", "hold-out=false")
    expected = {"classes": (1, 2, 3), "padding": 0.1, "mirror": True, "masks": "some/folder", "hold_out": False}
    assert read_options("cub", texts) == expected
    assert read_options("cub", ["classes=7"]) == {"classes": (7,)}
    assert read_options("pascal-part", ["category=horse", "min_area=0"]) == {"category": "horse", "min_area": 0.0}
    assert read_options("birds", ["num_images=5"]) == {"num_images": 5}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("cub", "classes", "'classes': expected key=value"),
        ("cub", "=3", "'=3': expected key=value"),
        ("cub", "classes=one", "classes is 'one'; expected whole numbers with commas"),
        ("cub", "padding=wide", "padding is 'wide'; expected a number"),
        ("cub", "mirror=maybe", "mirror is 'maybe'; expected true or false"),
        ("birds", "seed=1.5", "seed is '1.5'; expected a whole number"),
        ("cub", "category=car", "'category=car': .*cub has these keys: classes, masks, .*hold_out$"),
        ("fish", "a=b", "data set 'fish' is unknown"),
    ],
)
def test_a_wrong_option_is_named(name, text, message):
    with pytest.raises(ConfigError, match=message):
        read_options(name, [text])
