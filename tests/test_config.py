"""The configuration: every mistake is named, and the digest changes with whatever changes the result."""

import dataclasses
import json
import math

import pytest

from partlib.config import PRESETS, SIZES, TrainConfig, default_preset
from partlib.errors import ConfigError

# Another value for every field that is no number: the digest must notice each, or ignore it on purpose.
CHANGES = {
    **{"data": "ccp", "root": "elsewhere", "data_options": ("seed=3",), "quirks": ("recipe",)},
    "select_by": ("feature",),
    **{"arch": "fpn_lite0:random", "feature_network": "vgg19:vgg.pth", "feature_layers": ("stride8",)},
}
BOOKKEEPING = ("eval_every", "log_every", "checkpoint_every")
FIELDS = [f.name for f in dataclasses.fields(TrainConfig)]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_survive_json(name):
    config = TrainConfig.preset(name)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert {k: v for k, v in config.to_dict().items() if k in PRESETS[name]} == PRESETS[name]


def test_preset_takes_changes():
    config = TrainConfig.preset("ci", steps=7, feature_layers=["stride8"])
    assert (config.steps, config.feature_layers) == (7, ("stride8",))
    assert config.num_images == PRESETS["ci"]["num_images"]


def test_the_defaults_are_a_preset_and_lessons_have_three_sizes():
    assert set(SIZES) < set(PRESETS)
    own = [default_preset(data) for data in ("birds", "cub", "ccp", "folder")]
    assert own == ["birds", "cub", "photographs", "photographs"]


@pytest.mark.parametrize("name", FIELDS)
def test_digest_changes_with_every_field_that_changes_the_result(name):
    config = TrainConfig()
    default = getattr(config, name)
    changed = config.replace(**{name: CHANGES[name] if name in CHANGES else default + 1})
    assert getattr(changed, name) != default
    assert (changed.digest() == config.digest()) == (name in BOOKKEEPING)
    assert list(changed.differences(config)) == ([] if name in BOOKKEEPING else [name])
    assert TrainConfig.from_dict(json.loads(json.dumps(changed.to_dict()))) == changed


def test_digests_stay():
    """They name folders that people have."""
    assert {name: TrainConfig.preset(name).digest() for name in SIZES} == {
        "ci": "db0754338e",
        "cpu": "76c088c146",
        "gpu": "b45be82e78",
    }


def test_digest_does_not_depend_on_how_a_value_is_written():
    assert TrainConfig(lambda_feature=5).digest() == TrainConfig(lambda_feature=5.0).digest()
    written = TrainConfig(feature_layers=["stride8"])
    assert written == TrainConfig(feature_layers=("stride8",))
    assert hash(written) == hash(TrainConfig(feature_layers=("stride8",)))


def test_a_single_start_has_no_trial():
    plain = TrainConfig(starts=1)
    tried = plain.replace(trial_steps=7, select_by=("feature",))
    assert tried.digest() == plain.digest()
    assert not tried.differences(plain)
    assert tried.replace(starts=2).digest() != plain.replace(starts=2).digest()


def test_a_visual_loss_that_is_off_stays_off():
    off = TrainConfig(lambda_visual=0)
    assert off.replace(lambda_visual_end=60).digest() == off.digest()
    assert TrainConfig(lambda_visual_end=60).digest() != TrainConfig().digest()


def test_a_run_that_refines_has_a_second_phase():
    config = TrainConfig(lambda_visual=5, lambda_visual_end=20, refine_steps=7, seed=3)
    find, refine = config.phases()
    assert find == config.replace(refine_steps=0)
    assert find.phases() == [find]
    assert (refine.batch_size, refine.steps, refine.starts, refine.seed) == (6, 7, 1, 3)
    assert (refine.lambda_visual, refine.lambda_visual_end) == (20, 0)
    assert config.replace(lambda_visual=0).phases()[1].lambda_visual == 0
    assert [c.frozen for c in (config, find, TrainConfig(views=0))] == [False, True, False]
    full = TrainConfig(views=0)
    assert full.replace(loss_size=32).digest() == full.digest() != find.digest()
    with pytest.raises(ConfigError, match="refine_steps goes with a frozen encoder"):
        full.replace(refine_steps=1)


def test_missing_fields_take_their_defaults_and_replace_leaves_the_original_as_it_was():
    config = TrainConfig()
    assert TrainConfig.from_dict({"steps": 3}) == config.replace(steps=3) == TrainConfig(steps=3)
    assert config == TrainConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.steps = 5


@pytest.mark.parametrize(
    "make",
    [TrainConfig.from_dict, lambda v: TrainConfig.preset("cpu", **v), lambda v: TrainConfig().replace(**v)],
)
def test_unknown_option_is_named_with_the_known_ones(make):
    with pytest.raises(ConfigError, match=r"'step' is unknown; expected one of .*seed, select_by, starts, steps"):
        make({"step": 3})


def test_unknown_preset_is_named_with_the_known_ones():
    with pytest.raises(ConfigError, match="'tpu' is unknown; expected one of photographs, birds, cub, ci, cpu, gpu"):
        TrainConfig.preset("tpu")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("steps", 0, "expected at least 1"),
        ("batch_size", 1, "expected at least 2"),
        ("num_parts", 1, "expected at least 2"),
        ("image_size", 8, "expected at least 16"),
        ("temperature", 0, "expected at least"),
        ("lr", math.nan, "expected at least 0"),
        ("lambda_visual", -1, "expected at least 0"),
        ("lambda_visual_end", -1, "expected at least 0"),
        ("arch", "efficientnet_lite0", "expected one of fpn8_lite0, fpn_lite0, deeplab_resnet50"),
        ("feature_network", "alexnet:random", "expected one of efficientnet_lite0, vgg19, timm/NAME, torchvision/NAME"),
        ("feature_network", "timm/", "expected one of efficientnet_lite0, vgg19"),
        ("feature_network", "hub/resnet50", "expected one of efficientnet_lite0, vgg19"),
        ("steps", "10", "type int"),
        ("steps", 10.0, "type int"),
        ("steps", True, "type int"),
        ("lr", "fast", "type float"),
        ("feature_layers", "stride8", "type tuple"),
    ],
)
def test_impossible_value_is_named(name, value, message):
    with pytest.raises(ConfigError, match=f"{name} is .*{message}"):
        TrainConfig().replace(**{name: value})


@pytest.mark.parametrize("network", ["vgg19", "timm/resnet50:weights/r.pth", "torchvision/resnet18:random"])
def test_another_network_of_features_has_layers_of_its_own(network):
    config = TrainConfig.preset("birds", feature_network=network)
    assert config.feature_layers == ()
    assert TrainConfig.preset("birds", feature_network=network, feature_layers=["stride4"]).feature_layers == (
        "stride4",
    )
    same = TrainConfig.preset("birds", feature_network="efficientnet_lite0:random")
    assert same.feature_layers == TrainConfig.preset("birds").feature_layers != ()


def test_at_least_one_loss_is_needed():
    with pytest.raises(ConfigError, match="all four loss weights are 0"):
        TrainConfig(lambda_feature=0, lambda_visual=0, lambda_contrastive=0, lambda_equivariance=0)
    assert TrainConfig(lambda_feature=0, lambda_visual=0, lambda_contrastive=0).weight("equivariance") > 0
    with pytest.raises(ConfigError, match="select_by is feature, total; expected some of feature, visual, contrastive"):
        TrainConfig(select_by=("feature", "total"))
