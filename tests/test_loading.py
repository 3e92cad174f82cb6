"""Batches by step: the same whoever reads them, ahead or not."""

import pytest
import torch

from partlib.data.base import collate
from partlib.execution import Execution
from partlib.loading import Prefetcher, StepBatches, batch_indices
from partlib.training import Trainer
from tests.test_execution import CONFIG

CPU = torch.device("cpu")


class RandomCrops:
    """A data set whose crops are drawn anew from PyTorch's global generator."""

    fixed_crop = False

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        sample = self.dataset[index]
        object.__setattr__(sample, "image", sample.image.roll(int(torch.randint(32, ())), dims=2))
        return sample


@pytest.fixture
def batches(tiny_birds):
    return StepBatches(RandomCrops(tiny_birds[0]), None, CONFIG)


def test_a_step_reads_the_images_of_its_indices(tiny_birds):
    batch, loaded = StepBatches(tiny_birds[0], None, CONFIG)[2]
    expected = collate([tiny_birds[0][i] for i in batch_indices(16, 4, CONFIG.seed, 2)])
    assert torch.equal(batch.images, expected.images)
    assert batch.names == expected.names
    assert loaded == []


def test_random_crops_depend_on_seed_step_and_place_alone(batches, tiny_birds):
    before = torch.get_rng_state()
    first = batches[1][0].images
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert torch.equal(batches[1][0].images, first)
    other = StepBatches(batches.dataset, None, CONFIG.replace(seed=1))
    assert not torch.equal(other[1][0].images, first)
    whole = collate([tiny_birds[0][i] for i in batch_indices(16, 4, 0, 1)]).images
    shifts = [next(s for s in range(32) if torch.equal(w.roll(s, 2), f)) for w, f in zip(whole, first, strict=True)]
    assert len(set(shifts)) > 1


def test_two_processes_read_the_two_halves_of_a_batch(batches, monkeypatch):
    whole = batches[1][0].images
    halves = []
    for rank in range(2):
        monkeypatch.setattr("partlib.distributed.world_size", lambda: 2)
        monkeypatch.setattr("partlib.distributed.rank", lambda rank=rank: rank)
        halves.append(StepBatches(batches.dataset, None, CONFIG)[1][0].images)
    assert torch.equal(torch.cat(halves), whole)


def test_reading_ahead_gives_the_batches_of_reading_when_asked(batches):
    at_once, ahead = Prefetcher(batches, CPU), Prefetcher(batches, CPU, workers=2)
    for step in (0, 1, 2, 1):  # in order, then back: as after a restart
        expected, found = at_once(step)[0], ahead(step)[0]
        assert torch.equal(found.images, expected.images)
        assert torch.equal(found.foreground, expected.foreground)
        assert found.names == expected.names


def test_features_computed_at_every_step_are_those_of_the_cache(tiny_birds):
    cached = Trainer(CONFIG, "cpu", tiny_birds)
    live = Trainer(CONFIG, "cpu", tiny_birds, Execution(feature_cache_gb=0))
    assert (type(cached.features).__name__, type(live.features).__name__) == ("FeatureBank", "LiveFeatures")
    for ours, theirs in zip(live.batch(1)[1], cached.batch(1)[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=2e-3)  # the cache is float16
    assert live.advance()["total"].item() == pytest.approx(cached.advance()["total"].item(), rel=1e-2)
