"""The preset "paper": it trains on CUB's layout from any weights, and every quirk of the release changes numbers."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet50
from torchvision.models.vgg import cfgs, make_layers

from partlib import TrainConfig, train
from partlib.cli import main
from partlib.config import LOSSES
from partlib.data import birds
from partlib.errors import ConfigError
from partlib.losses import consistency_loss
from partlib.paper.release import (
    QUIRKS,
    RELEASE,
    PaperRecipe,
    ReleaseObjective,
    masked_consistency,
    recipe_of,
    release_config,
)
from partlib.runs.build import Recipe, build_trainer
from partlib.runs.checkpoint import load_checkpoint, load_model, save_model
from tests import plain
from tests.export import export_cub

pytestmark = pytest.mark.filterwarnings("ignore:step .* holds less than:UserWarning")


@pytest.fixture(scope="module")
def cub(own_cache, tmp_path_factory):
    """40 birds in the layout of CUB, all training images; the loader keeps some for validation."""
    return export_cub(birds.load("train", None, 48, 40), tmp_path_factory.mktemp("cub") / "CUB_200_2011")


def small(cub, **changes):
    """The preset with random weights at 32 x 32 pixels."""
    networks = {"arch": "deeplab_resnet50_paper:random", "feature_network": "vgg19:random"}
    sizes = {"image_size": 32, "feature_size": 32, "batch_size": 3, "steps": 2}
    return TrainConfig.preset("paper", **{"root": str(cub), **networks, **sizes, **changes})


def trainer_of(config):
    return build_trainer(config, "cpu", recipe=PaperRecipe)


# --- a run -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("options", ["--arch deeplab_resnet50_paper:random", "--pretrained no --reproduce-release"])
def test_the_command_trains_on_exported_birds_from_random_weights(options, cub, tmp_path):
    sizes = "--image-size 32 --feature-size 32 --batch-size 3 --steps 2 --log-every 1 --checkpoint-every 0"
    where = ["--preset", "paper", "--root", str(cub), "--out", str(tmp_path / "run"), "--device", "cpu"]
    network = [] if "pretrained" in options else ["--feature-network", "vgg19:random"]
    assert main(["train", *where, *sizes.split(), *options.split(), *network]) == 0
    segmenter, config = load_model(tmp_path / "run")
    release = "release" in options
    assert config.arch == f"deeplab_resnet50_{'release' if release else 'paper'}:random"
    assert config.quirks == (QUIRKS if release else ("recipe",))
    assert all(value.isfinite().all() for value in segmenter.state_dict().values())
    log = load_checkpoint(tmp_path / "run" / "checkpoint.pt")["log"]
    assert [entry["step"] for entry in log] == [1, 2]
    assert all(entry[name] > 0 for entry in log for name in LOSSES)


def test_both_networks_start_with_weights_from_files(cub, tmp_path):
    resnet, vgg = tmp_path / "resnet.pth", tmp_path / "vgg.pth"
    torch.save(resnet50().state_dict(), resnet)
    torch.save({f"features.{name}": value for name, value in make_layers(cfgs["E"]).state_dict().items()}, vgg)
    config = release_config(small(cub, arch=f"deeplab_resnet50_paper:{resnet}", feature_network=f"vgg19:{vgg}"))
    assert config.arch == f"deeplab_resnet50_release:{resnet}"
    recipe = PaperRecipe(config)
    expected = torch.load(resnet, weights_only=True)["layer4.2.conv3.weight"]
    assert torch.equal(recipe.segmenter().encoder.stages[3][2].conv3.weight, expected)
    assert any(
        torch.equal(weight, torch.load(vgg, weights_only=True)["features.34.weight"])
        for weight in recipe.extractor().parameters()
    )


@pytest.mark.slow
def test_a_run_with_random_crops_interrupted_and_resumed_ends_the_same(cub, tmp_path):
    networks = {
        "arch": "fpn_lite0",
        "feature_network": "efficientnet_lite0",
        "feature_layers": ["stride16", "stride32"],
    }
    config = small(cub, **networks, steps=3, eval_every=0, checkpoint_every=1)
    options = {"device": "cpu", "progress": False, "recipe": PaperRecipe}

    def stop(trainer, terms):
        if trainer.step == 2:
            raise KeyboardInterrupt

    whole = train(config, **options).segmenter.state_dict()
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", **options, on_step=stop)
    resumed = train(config, tmp_path / "run", resume=True, **options).segmenter.state_dict()
    assert all(torch.equal(whole[name], value) for name, value in resumed.items())


def test_input_scale_is_part_of_the_saved_model(cub, tmp_path):
    images, logits = torch.rand(1, 3, 32, 32), []
    for scale in ("paper", "caffe", "release"):
        config = small(cub, arch=f"deeplab_resnet50_{scale}:random")
        segmenter = PaperRecipe(config).segmenter().eval()
        save_model(tmp_path / "model.safetensors", segmenter, config)
        with torch.no_grad():
            logits.append(load_model(tmp_path)[0](images))
            torch.testing.assert_close(logits[-1], segmenter(images))
    assert not any(torch.allclose(logits[0], other, rtol=0.1) for other in logits[1:])


# --- the recipe ------------------------------------------------------------------------------------------------------


def test_the_recipe_has_the_papers_rates_and_parameter_groups(cub):
    """SGD on all convolutions and the shortcuts' BatchNorm, the head ten times as fast."""
    trainer = trainer_of(small(cub))
    encoder, head = trainer.optimizer.param_groups
    rates = [(group["lr"], group["momentum"], group["weight_decay"]) for group in (encoder, head)]
    assert rates == [(1e-5, 0.9, 5e-4), (1e-4, 0.9, 5e-4)]
    assert isinstance(trainer.optimizer, torch.optim.SGD)
    assert len(head["params"]) == 8
    assert len(encoder["params"]) == 53 + 4 * 2  # every convolution, and scale and shift of four shortcuts
    layers = [m for m in trainer.segmenter.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(layer.training for layer in layers)  # batch statistics all the same
    assert trainer.schedule.lr_factor(50_000) == pytest.approx(0.5**0.9)


def test_features_are_those_of_the_crop_of_the_step_times_the_weights_of_their_layers(cub):
    trainer = trainer_of(small(cub))
    batch, (fine, coarse) = trainer.loader(0)
    expected = trainer.loader.batches.features.extractor.network(batch.images)
    assert (fine.shape, coarse.shape) == ((3, 256, 8, 8), (3, 512, 2, 2))
    torch.testing.assert_close(fine, 0.33 * expected[0])
    torch.testing.assert_close(coarse, expected[1])


def test_everything_but_training_sees_fixed_crops_and_num_images_limits_both(cub):
    recipe = PaperRecipe(small(cub, num_images=4))
    drawn, fixed = recipe.dataset(), recipe.dataset(fixed_crop=True)
    assert (drawn.fixed_crop, fixed.fixed_crop, recipe.dataset("val").fixed_crop) == (False, True, True)
    assert len(drawn) == len(fixed) == 4


def test_each_view_passes_the_network_on_its_own_and_the_feature_loss_is_summed(cub):
    trainer, calls = trainer_of(small(cub)), []
    forward, trainer.forward = trainer.forward, lambda images: calls.append(len(images)) or forward(images)
    trainer.losses(0)
    assert calls == [3, 3]
    maps, foreground = torch.rand(3, 4, 8, 8), torch.ones(3, 1, 8, 8)
    features, objective = [torch.rand(3, 5, 4, 4)], trainer.objective
    expected = 3 * consistency_loss(maps, features, foreground)
    torch.testing.assert_close(objective.feature_loss(maps, features, foreground), expected)
    images = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(objective.lab(images), 50 * Recipe(TrainConfig()).objective().lab(images))


# --- quirks ----------------------------------------------------------------------------------------------------------


def test_quirks_choose_the_recipe_and_must_be_known(cub):
    assert recipe_of(TrainConfig()) is Recipe
    assert recipe_of(small(cub)) is PaperRecipe
    for quirks in (("recipe", "magic"), ("positives",), ()):
        with pytest.raises(ConfigError, match=r"quirks is .*; expected recipe, and some of positives, masked_features"):
            PaperRecipe(small(cub, quirks=quirks))
    with pytest.raises(ConfigError, match="--reproduce-release is for the paper's network, arch is 'fpn8_lite0'"):
        release_config(TrainConfig())


def test_reproducing_the_release_turns_every_quirk_on(cub):
    paper, release = small(cub), release_config(small(cub))
    assert release.quirks == ("recipe", *RELEASE)
    assert set(release.differences(paper)) == {"arch", "quirks"}
    assert release.digest() != paper.digest() != small(cub, quirks=("recipe", "positives")).digest()


@pytest.mark.parametrize(
    ("quirks", "changed"),
    [
        (("positives",), {"contrastive"}),
        (("warp_fill",), {"equivariance"}),
        (("masked_features",), set()),  # the masks are binary
        (("pixels",), set(LOSSES)),
    ],
)
def test_every_quirk_changes_the_losses_that_it_is_about(quirks, changed, cub):
    def losses(quirks):
        return trainer_of(small(cub, quirks=("recipe", *quirks))).losses(0)

    paper, found = losses(()), losses(quirks)
    assert {name for name in LOSSES if not torch.isclose(found[name], paper[name], rtol=1e-4)} == changed


def test_the_release_trains_on_what_is_held_out_here(cub):
    ours, theirs = (PaperRecipe(small(cub, quirks=quirks)) for quirks in (("recipe",), ("recipe", "pixels")))
    here, there = ours.dataset(fixed_crop=True), theirs.dataset(fixed_crop=True)
    held_out = {sample.name for sample in ours.dataset("val")}
    names = [there[i].name for i in range(len(there))]
    assert len(held_out) > 0
    assert len(there) == len(here) + len(held_out) == 40
    assert held_out <= set(names)
    same = there[names.index(here[0].name)]
    assert (here[0].image - same.image).abs().max() > 0.01  # another way of resizing


def test_masking_features_shows_where_the_foreground_is_soft_only():
    generator = torch.Generator().manual_seed(0)
    maps, features = torch.rand(2, 3, 12, 10, generator=generator).double(), torch.rand(2, 5, 4, 3).double()
    binary = (torch.rand(2, 1, 12, 10, generator=generator) > 0.4).double()
    objective = ReleaseObjective(0.19, ("masked_features",))
    for foreground, differs in ((binary, False), (0.5 * binary, True)):
        m = maps * foreground
        upsampled = plain.upsample(features, (12, 10)) * foreground
        found = masked_consistency(m, [features], foreground)
        torch.testing.assert_close(found, plain.consistency_loss(m, upsampled, foreground))
        descriptors = objective.descriptors(m, [features], foreground)
        torch.testing.assert_close(descriptors, plain.part_descriptors(m, upsampled))
        unmasked = consistency_loss(m, features, foreground, reduction="none")
        assert torch.allclose(found, unmasked) != differs


def test_a_release_draw_leaves_no_choice_among_three_images():
    descriptors, objective = torch.randn(3, 2, 5), ReleaseObjective(0.19, ("positives",))
    only = objective.contrastive_loss(descriptors, None, torch.tensor([2, 2, 2, 2, 1, 1]))
    for seed in range(3):
        assert objective.contrastive_loss(descriptors, torch.Generator().manual_seed(seed), None) == only


@torch.no_grad()
def test_mean_fill_is_what_the_network_takes_for_zero(cub):
    release, black = PaperRecipe(release_config(small(cub))), PaperRecipe(small(cub)).objective()
    objective, images = release.objective(), torch.rand(2, 3, 32, 32)
    outside = torch.full((2, 32, 32, 2), 3.0)
    assert release.segmenter().encoder.normalize(objective.warp_view(images, outside)).abs().max() < 1e-3
    assert not black.warp_view(images, outside).any()
    assert (objective.fill.flatten() * 255).tolist() == pytest.approx([104.007, 116.669, 122.679], abs=1e-3)
    grid = objective.random_grid(images, torch.Generator().manual_seed(0))
    inside = black.warp_view(torch.ones(2, 3, 32, 32), grid) == 1
    torch.testing.assert_close(objective.warp_view(images, grid)[inside], black.warp_view(images, grid)[inside])
