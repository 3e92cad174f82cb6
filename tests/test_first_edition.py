"""What the first edition wrote: models and checkpoints load, options that are gone say in one line what to do."""

import json

import pytest
import torch

from partlib import PartSegmenter, TrainConfig, train
from partlib.cli import main
from partlib.errors import ConfigError
from partlib.first_edition import GONE, QUIRKS, RECIPE, RENAMED, USUAL, current_fields
from partlib.paper.release import release_config
from partlib.runs.build import Recipe
from partlib.runs.checkpoint import load_checkpoint, load_model, write_tensors

# A whole configuration as the first edition wrote it; its names of tensors are today's.
OLD = {
    **{"data": "birds", "root": "", "data_options": [], "image_size": 32, "num_images": 0, "box_jitter": 0.0},
    **{"mirror": False, "release_data": False, "num_parts": 3, "backbone": "efficientnet_lite0", "input_norm": "own"},
    **{"pretrained": True, "backbone_weights": "", "feature_weights": "", "batchnorm": "frozen"},
    **{"feature_network": "efficientnet_lite0", "feature_layers": [], "feature_size": 32, "normalize_features": True},
    **{"feature_level_weights": [], "feature": 4.0, "visual": 2.0, "contrastive": 0.5, "equivariance": 0.5},
    **{"visual_end": 8.0, "feature_reduction": "mean", "masked_features": False, "lab_scale": 50.0},
    **{"temperature": 0.19, "positives": "all", "warp_fill": "black", "joint_views": True, "starts": 2},
    **{"start_steps": 1, "warmup_steps": 1, "start_losses": ["feature"], "steps": 4, "batch_size": 4, "seed": 0},
    **{"optimizer": "adam", "lr": 1e-3, "backbone_lr": 5e-4, "weight_decay": 0.0, "poly_power": 0.9, "lr_horizon": 0},
    **{"grad_clip": 5.0, "eval_every": 0, "log_every": 1, "checkpoint_every": 2},
}
NOW = TrainConfig(
    **{
        "views": 0,
        "arch": "fpn_lite0",
        "image_size": 32,
        "num_parts": 3,
        "feature_size": 32,
        "lambda_feature": 4.0,
        "lambda_visual": 2.0,
    },
    **{"lambda_contrastive": 0.5, "lambda_equivariance": 0.5, "lambda_visual_end": 8.0, "starts": 2, "trial_steps": 1},
    **{"select_by": ("feature",), "steps": 4, "batch_size": 4},
    **{"eval_every": 0, "log_every": 1, "checkpoint_every": 2},
)


def test_a_configuration_is_translated_and_todays_is_left_alone():
    assert TrainConfig.from_dict(current_fields(OLD)) == NOW
    for config in (NOW, TrainConfig.preset("paper")):
        assert TrainConfig.from_dict(current_fields(config.to_dict())) == config
    assert current_fields({}) == {}


@pytest.mark.parametrize(
    ("old", "arch", "network"),
    [
        ({"pretrained": False}, "fpn_lite0:random", "efficientnet_lite0:random"),
        ({"backbone": "resnet50", "pretrained": False}, "deeplab_resnet50:random", "efficientnet_lite0:random"),
        ({"backbone": "resnet50_paper"}, "deeplab_resnet50_paper", "efficientnet_lite0"),
        (
            {"backbone": "resnet50", "backbone_weights": "r.pth", "feature_network": "vgg19", "feature_weights": "v"},
            *("deeplab_resnet50:r.pth", "vgg19:v"),
        ),
    ],
)
def test_weights_are_part_of_a_networks_name(old, arch, network):
    config = TrainConfig.from_dict(current_fields({**OLD, **old}))
    assert (config.arch, config.feature_network) == (arch, network)


@torch.no_grad()
def test_a_model_loads_and_predicts_the_same(tmp_path):
    for backbone, arch in (("efficientnet_lite0", "fpn_lite0"), ("resnet50_paper", "deeplab_resnet50_paper")):
        segmenter, old = PartSegmenter(3, arch, "random").eval(), {**OLD, "backbone": backbone, "pretrained": False}
        write_tensors(tmp_path / "model.safetensors", segmenter.state_dict(), {"config": json.dumps(old)})
        found, config = load_model(tmp_path)
        images = torch.rand(1, 3, 32, 32)
        assert torch.equal(found(images), segmenter(images))
        assert config.arch == f"{arch}:random"


@pytest.mark.slow
def test_a_checkpoint_goes_on(tiny_birds, tmp_path):
    options = {"device": "cpu", "progress": False, "datasets": (tiny_birds[0], None)}

    def stop(trainer, terms):
        if trainer.step == 3:
            raise KeyboardInterrupt

    whole = train(NOW, **options)
    with pytest.raises(KeyboardInterrupt):
        train(NOW, tmp_path, **options, on_step=stop)
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    torch.save({**state, "config": OLD}, tmp_path / "checkpoint.pt")
    resumed = train(NOW, tmp_path, resume=True, **options)
    assert resumed.log == whole.log
    found, expected = resumed.segmenter.state_dict(), whole.segmenter.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("name", USUAL)
def test_an_option_that_is_gone_is_refused_in_one_line_unless_it_asks_for_what_is_computed_still(name):
    other = {bool: not USUAL[name], float: 7.0, int: 9, str: "else", list: [0.5, 1.0]}[type(USUAL[name])]
    with pytest.raises(ConfigError, match=f"{name} = .*: --preset paper, and with --reproduce-release") as caught:
        current_fields({**OLD, name: other})
    assert "\n" not in str(caught.value)
    assert current_fields({**OLD, name: USUAL[name]}) == current_fields(OLD)


@pytest.mark.parametrize("release", [False, True])
def test_the_papers_recipe_is_understood(release):
    paper = {"data": "cub", "backbone": "resnet50_paper", "box_jitter": 0.05, "mirror": True, "positives": "sample"}
    features = {"feature_network": "vgg19", "feature_layers": ["relu3_2", "relu5_4"]}
    quirks = {**QUIRKS, "input_norm": "release"} if release else {}
    found = TrainConfig.from_dict(current_fields({**OLD, **paper, **features, **RECIPE, **quirks}))
    same = {name: getattr(NOW, name) for name in NOW.to_dict() if name not in ("data", "arch", *features)}
    expected = TrainConfig.preset(
        "paper", **{**same, "quirks": ("recipe",), "data_options": ("jitter=0.05", "mirror=True")}
    )
    expected = release_config(expected) if release else expected
    assert found.replace(quirks=sorted(found.quirks)) == expected.replace(quirks=sorted(expected.quirks))


def test_every_old_field_is_known():
    assert set(OLD) == {name for name in NOW.to_dict() if name in OLD} | set(RENAMED) | (set(GONE) - {"decoder_steps"})


def test_old_options_work_on_the_command_line(bird_folder, tmp_path, capsys):
    small = "--preset ci --image-size 32 --feature-size 32 --num-images 8 --batch-size 4 --steps 1 --eval-every 0"
    where = ["--data", "folder", "--root", str(bird_folder), "--device", "cpu"]
    old = "--feature 3 --backbone efficientnet_lite0 --pretrained no --start-steps 2 --positives all"
    assert main(["train", *where, "--out", str(tmp_path / "run"), *small.split(), *old.split()]) == 0
    config = load_model(tmp_path / "run")[1]
    assert (config.lambda_feature, config.arch, config.trial_steps) == (3.0, "fpn_lite0:random", 2)
    assert Recipe(config).extractor().layers == ("stride16", "stride32")
    assert main(["train", *where, "--out", str(tmp_path / "other"), *small.split(), "--positives", "sample"]) == 1
    assert "positives = 'sample' was an option of the first edition" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
