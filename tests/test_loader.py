"""What a step reads is the same whoever reads it, and however the features come."""

import pytest
import torch

from partlib import TrainConfig
from partlib.errors import ConfigError
from partlib.features import CachedFeatures, LiveFeatures, cached_features
from partlib.loader import StepBatches, batch_indices, step_generator
from partlib.runs.build import Runtime
from partlib.training import Trainer

CONFIG = TrainConfig(image_size=32, feature_size=32, batch_size=4, steps=6)


def test_reading_ahead_gives_the_batches_of_reading_at_once_in_any_order(tiny_birds):
    trainer = Trainer(CONFIG, "cpu", tiny_birds)
    batches = StepBatches(tiny_birds[0], trainer.features, CONFIG)
    ahead = Prefetcher(batches, torch.device("cpu"), workers=1)
    for step in (0, 1, 2, 0, 1, 5):  # back to the first step, as trials of several starts do
        (batch, loaded), (expected, maps) = ahead(step), batches[step]
        assert batch.names == expected.names
        assert torch.equal(batch.images, expected.images)
        assert all(torch.equal(a, b) for a, b in zip(loaded, maps, strict=True))


def test_features_too_large_for_the_cache_are_computed_and_scaled_all_the_same(tiny_birds):
    cached, live = (Trainer(CONFIG, "cpu", tiny_birds, Runtime(feature_cache_gb=limit)) for limit in (20.0, 0.0))
    assert isinstance(cached.features, CachedFeatures)
    assert isinstance(live.features, LiveFeatures)
    for found, expected in zip(live.batch(1)[1], cached.batch(1)[1], strict=True):
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-2)  # the cache has half the digits
    with pytest.raises(ConfigError, match="more than feature_cache_gb = 0; raise it"):
        cached_features(tiny_birds[0].subset(range(5)), live.features.extractor, limit_gb=0)


def test_bfloat16_changes_logits_by_rounding_only(tiny_birds):
    exact, coarse = (Trainer(CONFIG, "cpu", tiny_birds, Runtime(precision=p)) for p in ("float32", "bfloat16"))
    images = exact.batch(0)[0].images
    with torch.no_grad():
        expected, found = exact.forward(images), coarse.forward(images)
    assert found.dtype == torch.float32
    assert 0 < (found - expected).norm() < 0.05 * expected.norm()


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
