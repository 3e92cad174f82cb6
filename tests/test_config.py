"""The configuration: every mistake is named, and the digest changes with whatever changes the result."""

import dataclasses
import json
import math

import pytest

from partlib.config import PRESETS, RELEASE, TrainConfig, default_preset
from partlib.data import DATASETS
from partlib.errors import ConfigError

# One other value for every field: the digest must notice each, or ignore it on purpose.
CHANGES = {
    "data": "ccp",
    "root": "elsewhere",
    "data_options": ("seed=3",),
    "image_size": 64,
    "num_images": 10,
    "num_parts": 7,
    "backbone": "resnet50",
    "mirror": True,
    "release_data": True,
    "input_norm": "caffe",
    "pretrained": False,
    "backbone_weights": "resnet.pth",
    "feature_weights": "vgg.pth",
    "batchnorm": "train",
    "feature_network": "vgg19",
    "feature_layers": ("stride8",),
    "feature_size": 200,
    "normalize_features": False,
    "feature_reduction": "sum",
    "masked_features": True,
    "warp_fill": "mean",
    "joint_views": False,
    "lr_horizon": 2000,
    "start_losses": ("feature",),
    "positives": "sample",
    "optimizer": "sgd",
}
BOOKKEEPING = ("eval_every", "log_every", "checkpoint_every")
FIELDS = [f.name for f in dataclasses.fields(TrainConfig)]


# Digests of the first runs: they name folders that people have, so they do not change. The presets had a weaker
# contrast then, fewer starts without warm-up, and "cpu" fewer steps.
DIGESTS = {"ci": "cc390fa355", "cpu": "8ffe01f0bc", "gpu": "b14be02806"}
STARTS = {"starts": 4, "start_steps": 80, "warmup_steps": 0, "start_losses": ()}
THEN = {"ci": {}, "cpu": {"steps": 600, **STARTS}, "gpu": STARTS}


def other_value(name):
    default = getattr(TrainConfig(), name)
    return CHANGES.get(name, default + 1 if isinstance(default, int | float) else None)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_survive_json(name):
    config = TrainConfig.preset(name)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert {k: v for k, v in config.to_dict().items() if k in PRESETS[name]} == PRESETS[name]


def test_preset_takes_changes():
    config = TrainConfig.preset("ci", steps=7, feature_layers=["stride8"])
    assert (config.steps, config.feature_layers) == (7, ("stride8",))
    assert config.num_images == PRESETS["ci"]["num_images"]


def test_every_data_set_has_a_preset_and_those_that_were_measured_have_their_own():
    chosen = {data: default_preset(data) for data in DATASETS}
    assert set(chosen.values()) <= set(PRESETS)
    assert {data: name for data, name in chosen.items() if name != "cpu"} == {"birds": "birds", "ccp": "photographs"}


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "feature_level_weights"])
def test_digest_changes_with_every_field_that_changes_the_result(name):
    config, changed = TrainConfig(), TrainConfig().replace(**{name: other_value(name)})
    assert getattr(changed, name) != getattr(config, name)
    assert (changed.digest() == config.digest()) == (name in BOOKKEEPING)
    assert list(changed.differences(config)) == ([] if name in BOOKKEEPING else [name])
    assert TrainConfig.from_dict(json.loads(json.dumps(changed.to_dict()))) == changed


def test_layer_weights_change_the_digest_and_need_a_number_for_each_layer():
    config = TrainConfig(feature_layers=("stride16", "stride32"))
    changed = config.replace(feature_level_weights=(0.5, 1))
    assert changed.digest() != config.digest()
    assert list(changed.differences(config)) == ["feature_level_weights"]
    assert changed.replace(feature_level_weights=["0.5", "1"]) == changed  # as the command line has them
    with pytest.raises(ConfigError, match="has 1 numbers; expected one for each of the 2 feature_layers"):
        config.replace(feature_level_weights=(0.5,))
    for wrong in ((0.5, 0), ("half", "one")):
        with pytest.raises(ConfigError, match=r"feature_level_weights is .*expected numbers"):
            config.replace(feature_level_weights=wrong)


@pytest.mark.parametrize("name", DIGESTS)
def test_digests_of_old_configurations_stay(name):
    assert TrainConfig.preset(name, contrastive=1.0, **THEN[name]).digest() == DIGESTS[name]


def test_reproducing_the_release_turns_every_quirk_on_and_each_can_be_switched_back():
    plain, release = TrainConfig.preset("paper"), TrainConfig.preset("paper", reproduce_release=True)
    assert all(getattr(release, name) == value for name, value in RELEASE.items())
    back = TrainConfig.preset("paper", reproduce_release=True, positives="sample")
    assert list(back.differences(release)) == ["positives"]
    # what is left to switch is what a correct implementation of the paper would not do
    changed = set(release.differences(plain))
    assert changed == {"input_norm", "positives", "masked_features", "warp_fill", "release_data"}
    assert all(getattr(TrainConfig(), name) != value for name, value in RELEASE.items())  # off by default


def test_the_learning_rate_cannot_end_before_the_run():
    with pytest.raises(ConfigError, match="lr_horizon is 10; expected at least the 20 steps, or 0"):
        TrainConfig(steps=20, lr_horizon=10)
    assert TrainConfig(steps=20, lr_horizon=20).lr_horizon == 20


def test_digest_does_not_depend_on_how_a_value_is_written():
    assert TrainConfig(feature=5).digest() == TrainConfig(feature=5.0).digest()
    written = TrainConfig(feature_layers=["stride8"])
    assert written == TrainConfig(feature_layers=("stride8",))
    assert hash(written) == hash(TrainConfig(feature_layers=("stride8",)))


def test_missing_fields_take_their_defaults():
    assert TrainConfig.from_dict({"steps": 3}) == TrainConfig(steps=3)


def test_replace_leaves_the_original_as_it_was():
    config = TrainConfig()
    assert config.replace(steps=5).steps == 5
    assert config == TrainConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.steps = 5


@pytest.mark.parametrize(
    "make",
    [TrainConfig.from_dict, lambda v: TrainConfig.preset("cpu", **v), lambda v: TrainConfig().replace(**v)],
)
def test_unknown_option_is_named_with_the_known_ones(make):
    with pytest.raises(
        ConfigError, match=r"'step' is unknown; expected one of .*seed, start_losses, start_steps, starts, steps"
    ):
        make({"step": 3})


def test_unknown_preset_is_named_with_the_known_ones():
    with pytest.raises(ConfigError, match="'tpu' is unknown; expected one of ci, cpu, gpu"):
        TrainConfig.preset("tpu")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("steps", 0, "expected at least 1"),
        ("batch_size", 1, "expected at least 2"),
        ("num_parts", 1, "expected at least 2"),
        ("image_size", 8, "expected at least 16"),
        ("grad_clip", 0, "expected at least"),
        ("temperature", 0, "expected at least"),
        ("lr", -1e-3, "expected at least 0"),
        ("lr", math.nan, "expected at least 0"),
        ("visual", -1, "expected at least 0"),
        ("batchnorm", "eval", "expected one of frozen, affine, train, statistics"),
        ("optimizer", "adamw", "expected one of adam, sgd"),
        ("positives", "none", "expected one of all, sample"),
        ("steps", "10", "type int"),
        ("steps", 10.0, "type int"),
        ("pretrained", "no", "type bool"),
        ("pretrained", 1, "type bool"),
        ("lr", "fast", "type float"),
        ("feature_layers", "stride8", "type tuple"),
    ],
)
def test_impossible_value_is_named(name, value, message):
    with pytest.raises(ConfigError, match=f"{name} is .*{message}"):
        TrainConfig().replace(**{name: value})


def test_at_least_one_loss_is_needed():
    with pytest.raises(ConfigError, match="all four loss weights are 0"):
        TrainConfig(feature=0, visual=0, contrastive=0, equivariance=0)
    assert TrainConfig(feature=0, visual=0, contrastive=0).equivariance > 0


def test_a_single_start_has_neither_trial_nor_warm_up():
    plain = TrainConfig(starts=1)
    warm = plain.replace(start_steps=7, warmup_steps=5, start_losses=("feature",))
    assert warm.digest() == plain.digest()
    assert not warm.differences(plain)
    assert warm.replace(starts=2).digest() != plain.replace(starts=2).digest()


def test_a_visual_loss_that_is_off_stays_off():
    off = TrainConfig(visual=0)
    assert off.replace(visual_end=60).digest() == off.digest()
    assert TrainConfig(visual_end=60).digest() != TrainConfig().digest()
    with pytest.raises(ConfigError, match=r"visual_end is -1.0; expected at least 0"):
        TrainConfig(visual_end=-1)


def test_starts_are_compared_by_losses_that_exist():
    with pytest.raises(ConfigError, match="start_losses has 'total'; expected some of feature, visual, contrastive"):
        TrainConfig(start_losses=("feature", "total"))
