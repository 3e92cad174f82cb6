"""What a configuration names: devices, images, features."""

import numpy as np
import pytest
import torch
from partlib.sources import feature_image_size

from partlib.config import PRESETS, TrainConfig
from partlib.data import LARGEST_SIZE, load_dataset
from partlib.errors import ConfigError
from partlib.features import PerceptualFeatures
from partlib.runs.build import Recipe, pick_device
from partlib.runs.checkpoint import load_model


def test_num_images_limits_the_training_split_only(demo_run):
    config = load_model(demo_run)[1]
    everything = load_dataset("folder", "val", config.root, 32)
    assert (len(Recipe(config).dataset()), len(Recipe(config).dataset("val"))) == (16, len(everything))


def test_a_batch_larger_than_the_data_is_refused(demo_run):
    with pytest.raises(ConfigError, match="batch_size is 17 but folder has 16 training images"):
        training_data(load_model(demo_run)[1].replace(batch_size=17))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("data", ["birds", "ccp"])
def test_presets_ask_for_images_that_there_are(name, data):
    config = TrainConfig.preset(name, data=data)
    largest = LARGEST_SIZE.get(data, 1024)
    assert config.image_size <= largest
    assert feature_image_size(config) == min(config.feature_size, largest)


def test_features_come_from_larger_images_of_the_same_split(bird_folder):
    config = TrainConfig(data="folder", root=str(bird_folder), image_size=32, feature_size=64, batch_size=4)
    fine, coarse = Recipe(config).features("val").levels
    assert len(fine) == len(Recipe(config).dataset("val"))
    assert (fine.shape[1:], coarse.shape[1:]) == ((112, 4, 4), (320, 2, 2))
    extractor, sample = PerceptualFeatures(size=64), load_dataset("folder", "val", bird_folder, 64)[0]
    torch.testing.assert_close(
        torch.from_numpy(fine[:1].astype(np.float32)), extractor(sample.image[None])[0], rtol=1e-2, atol=1e-2
    )


@pytest.mark.parametrize("name", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(ConfigError, match=f"device '{name}' cannot be used .*expected auto, cpu or cuda") as caught:
        pick_device(name)
    assert "\n" not in str(caught.value)


def test_auto_finds_a_device_that_works():
    assert torch.ones(2, device=pick_device()).sum() == 2
