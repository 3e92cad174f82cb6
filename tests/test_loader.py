"""What a step reads is the same whoever reads it."""

import pytest
import torch

from partlib.data import PartDataset
from partlib.data.base import Sample
from partlib.features import PerceptualFeatures, cached_features
from partlib.loader import StepBatches, StepLoader, batch_indices, seeded_batch, step_generator

CPU = torch.device("cpu")


class RandomCrops(PartDataset):
    """Images whose every pixel is drawn anew, from the global generator, as crops are."""

    def __init__(self):
        self.fixed_crop = False

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return Sample(torch.rand(3, 4, 4), torch.ones(1, 4, 4), None, None, 0, f"image {index}")


def test_reading_ahead_gives_the_batches_of_reading_at_once_in_any_order(tiny_birds):
    features = cached_features(tiny_birds[0], PerceptualFeatures(size=32))
    batches = StepBatches(tiny_birds[0], features, batch_size=4, seed=0, steps=6)
    at_once, ahead = StepLoader(batches, CPU), StepLoader(batches, CPU, workers=1)
    for step in (0, 1, 2, 0, 1, 5):  # back to the first step, as trials of several starts do
        (batch, maps), (expected, expected_maps) = ahead(step), at_once(step)
        assert batch.names == expected.names
        assert torch.equal(batch.images, expected.images)
        assert all(torch.equal(a, b) for a, b in zip(maps, expected_maps, strict=True))


def test_features_are_scaled_float32_maps_of_the_images_of_the_step(tiny_birds):
    features = cached_features(tiny_birds[0], PerceptualFeatures(size=32))
    batches = StepBatches(tiny_birds[0], features, batch_size=4, seed=0, steps=6)
    batch, maps = StepLoader(batches, CPU, scale=lambda maps: [2 * z for z in maps])(3)
    indices = batch_indices(16, 4, 0, 3)
    assert batch.names == [tiny_birds[0].names[i] for i in indices]
    for found, expected in zip(maps, features.batch(indices), strict=True):
        assert found.dtype == torch.float32
        assert torch.equal(found, 2 * expected)
    assert StepLoader(StepBatches(tiny_birds[0], None, 4, 0, 6), CPU)(3)[1] == []


def test_every_epoch_shows_every_image_once_in_a_new_order():
    epochs = [[i for step in range(5 * e, 5 * e + 5) for i in batch_indices(20, 4, 0, step)] for e in range(3)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != [i for step in range(5) for i in batch_indices(20, 4, 1, step)]


def test_incomplete_batches_are_dropped():
    first = [i for step in range(2) for i in batch_indices(11, 4, 0, step)]
    assert len(set(first)) == 8
    assert len(batch_indices(11, 4, 0, 2)) == 4


def test_every_step_of_every_seed_draws_its_own_numbers():
    draws = [torch.rand(4, generator=step_generator(seed, step)).tolist() for seed in (0, 1) for step in (0, 1, 2)]
    assert len({tuple(d) for d in draws}) == 6
    assert torch.rand(4, generator=step_generator(1, 2)).tolist() == draws[-1]


def test_random_crops_differ_by_step_and_come_back_with_it():
    state = torch.get_rng_state()
    first, again, other = (seeded_batch(RandomCrops(), [0, 1], 0, step).images for step in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)  # whoever draws next does not notice
    twice = seeded_batch(RandomCrops(), [3, 3], 0, 7).images  # every place in a batch draws for itself
    assert not torch.equal(twice[0], twice[1])


@pytest.mark.parametrize("size", [1, 2])
def test_random_crops_of_the_shards_are_those_of_the_whole_batch(size):
    batches = StepBatches(RandomCrops(), None, batch_size=4, seed=0, steps=9)
    whole, _ = batches[7]
    parts = []
    for first in range(0, 4, size):
        batches.shard = slice(first, first + size)
        parts.append(batches[7][0])
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert [name for part in parts for name in part.names] == whole.names
