"""Samples, data sets in arrays, batches, and the door to them all."""

import numpy as np
import pytest
import torch

import partlib
from partlib.data import DATASETS, LARGEST_SIZE, ArrayDataset, collate, load_dataset
from partlib.errors import ConfigError, DataError

N, SIZE = 6, 16


def make(masks=True, parts=True, keypoints=True, **attributes):
    rng = np.random.default_rng(0)
    return ArrayDataset(
        images=rng.integers(0, 256, (N, SIZE, SIZE, 3), dtype=np.uint8),
        foreground=255 * rng.integers(0, 2, (N, SIZE, SIZE), dtype=np.uint8) if masks else None,
        parts=rng.integers(0, 4, (N, SIZE, SIZE), dtype=np.uint8) if parts else None,
        keypoints=rng.random((N, 5, 3), dtype=np.float32) if keypoints else None,
        labels=np.arange(N),
        names=[f"image {i}" for i in range(N)],
        fingerprint="made",
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


def test_parts_are_the_foreground_where_there_is_no_mask():
    sample = make(masks=False)[0]
    assert torch.equal(sample.foreground[0], (sample.parts > 0).float())


def test_what_a_data_set_has_not_is_none():
    sample = make(parts=False, keypoints=False)[0]
    assert sample.parts is None
    assert sample.keypoints is None


def test_without_mask_and_parts_there_is_no_data_set():
    with pytest.raises(DataError, match="foreground or parts"):
        make(masks=False, parts=False)


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


def test_load_dataset_opens_birds_with_options():
    dataset = partlib.load_dataset("birds", "val", image_size=32, num_images=3)
    assert (dataset.name, dataset.split, dataset.image_size, len(dataset)) == ("birds", "val", 32, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "fish"}, f"'fish' is unknown; expected one of {', '.join(sorted(DATASETS))}"),
        ({"name": "birds", "split": "dev"}, "'dev' is unknown; expected one of train, val, test"),
        ({"name": "ccp", "image_size": 8}, "image_size is 8; ccp comes with sides from 16 to 1024"),
        ({"name": "folder", "image_size": 2000}, "image_size is 2000"),
        ({"name": "birds", "image_size": 1 + LARGEST_SIZE["birds"]}, "birds comes with sides from 16 to"),
    ],
)
def test_wrong_arguments_name_what_is_expected(arguments, message):
    with pytest.raises(ConfigError, match=message):
        load_dataset(**arguments)


def test_largest_sizes_are_those_of_known_data_sets():
    assert set(LARGEST_SIZE) <= set(DATASETS)
    largest = LARGEST_SIZE["birds"]
    assert load_dataset("birds", "val", image_size=largest, num_images=1)[0].image.shape == (3, largest, largest)
