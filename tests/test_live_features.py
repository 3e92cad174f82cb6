"""Random crops: their features are computed at every step, and a step draws the same crops whenever it runs."""

import pytest
import torch

from partlib import TrainConfig
from partlib.data import birds
from partlib.data.export import export_cub
from partlib.errors import ConfigError
from partlib.live_features import seeded_batch
from partlib.sources import training_data
from partlib.training import Trainer


@pytest.fixture(scope="module")
def config(own_cache, tmp_path_factory):
    root = export_cub(birds.load("train", None, 48, 40), tmp_path_factory.mktemp("cub") / "CUB_200_2011")
    return TrainConfig(data="cub", root=str(root), image_size=32, feature_size=32, box_jitter=0.05, mirror=True)


def test_random_crops_differ_by_step_and_come_back_with_it(config):
    dataset = training_data(config, augment=True)
    first, again, other = (seeded_batch(dataset, [0, 1], 0, step).images for step in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    state = torch.get_rng_state()
    seeded_batch(dataset, [0, 1], 0, 5)
    assert torch.equal(torch.get_rng_state(), state)  # whoever draws next does not notice


def test_scaling_by_the_training_set_is_refused_for_random_crops(config):
    with pytest.raises(ConfigError, match="normalize_features is True, but random crops"):
        Trainer(config, "cpu")
