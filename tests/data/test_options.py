"""Options of the data sets as text: every loader's are known, each value has its kind, each mistake is named."""

import inspect
from importlib import import_module

import pytest

from partlib import TrainConfig
from partlib.data import DATASETS, birds, load_dataset
from partlib.data import read_options
from partlib.errors import ConfigError
from partlib.sources import training_data
from tests.export import export_pascal_part


@pytest.mark.parametrize("name", DATASETS)
def test_every_option_of_every_loader_can_be_given(name):
    parameters = inspect.signature(import_module(DATASETS[name]).load).parameters
    assert set(option_types(name)) == set(parameters) - {"split", "root", "image_size"}
    for key, kind in option_types(name).items():
        default = parameters[key].default
        if default is not None:
            assert type(default) is kind


def test_values_are_read_as_the_loader_expects_them():
    texts = ("classes=1,002,3", "padding=0.1", "mirror=Yes", "masks=some/folder", "reproduce-release=false")
    expected = {"classes": (1, 2, 3), "padding": 0.1, "mirror": True, "masks": "some/folder"}
    assert read_options("cub", texts) == {**expected, "reproduce_release": False}
    assert read_options("cub", ["classes=7"]) == {"classes": (7,)}
    assert read_options("pascal-part", ["category=horse", "min_area=0"]) == {"category": "horse", "min_area": 0.0}
    assert read_options("birds", ["num_images=5"]) == {"num_images": 5}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("cub", "classes", "'classes' is not of the form key=value"),
        ("cub", "=3", "'=3' is not of the form key=value"),
        ("cub", "classes=one", "classes is 'one'; expected whole numbers with commas"),
        ("cub", "padding=wide", "padding is 'wide'; expected a number"),
        ("cub", "mirror=maybe", "mirror is 'maybe'; expected true or false"),
        ("birds", "seed=1.5", "seed is '1.5'; expected a whole number"),
        ("cub", "category=car", "'category' is unknown; cub has these: classes, masks, padding, jitter, mirror"),
        ("fish", "a=b", "data set 'fish' is unknown"),
    ],
)
def test_a_mistake_is_named(name, text, message):
    with pytest.raises(ConfigError, match=message):
        read_options(name, [text])


def test_the_later_of_two_values_counts():
    assert merge_options(("classes=1", "padding=0"), ("classes=2,3",)) == ("classes=2,3", "padding=0")


def test_a_configuration_loads_its_data_set_with_its_options(own_cache, tmp_path):
    drawn = birds.load("train", None, 32, 20), birds.load("test", None, 32, 4)
    root = export_pascal_part(drawn, tmp_path / "VOCdevkit", category="bird")
    options = ("category=bird", "min_area=0", "crop=no")
    config = TrainConfig(data="pascal-part", root=str(root), data_options=options, image_size=32, batch_size=4)
    loaded = training_data(config, "test")
    expected = load_dataset("pascal-part", "test", root, 32, category="bird", min_area=0.0, crop=False)
    assert loaded.names == expected.names
    assert loaded.fingerprint() == expected.fingerprint()
    assert TrainConfig.from_dict(config.to_dict()) == config
    assert config.digest() != config.replace(data_options=[]).digest()
