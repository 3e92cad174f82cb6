"""The preset "paper": it trains on CUB's layout from any weights, and every quirk of the release can be switched."""

import shlex
from functools import cache

import pytest
import torch
from torchvision.models import resnet50, vgg19

from partlib import TrainConfig, train
from partlib.backbones import input_mean
from partlib.cli import main
from partlib.config import RELEASE
from partlib.data import birds
from partlib.errors import CheckpointError, ConfigError
from partlib.features import weigh_levels
from partlib.loading import StepBatches, seeded_batch
from partlib.objective import Objective, step_generator
from partlib.runs.checkpoint import load_checkpoint, load_model
from partlib.segmenter import PartSegmenter
from partlib.sources import feature_extractor, training_data
from partlib.training import Trainer
from partlib.vgg import VGG19Encoder
from tests.export import export_cub

SMALL = shlex.split("--image-size 32 --feature-size 32 --batch-size 3 --steps 2 --checkpoint-every 0")
pytestmark = pytest.mark.filterwarnings("ignore:step .* holds less than:UserWarning")


@pytest.fixture(scope="module")
def cub(own_cache, tmp_path_factory):
    """40 birds in the layout of CUB, all training images; the loader keeps some for validation."""
    return export_cub(birds.load("train", None, 48, 40), tmp_path_factory.mktemp("cub") / "CUB_200_2011")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weight files of both networks: one with its classifier, as torchvision's are, one without."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(7)
    torch.save(resnet50().state_dict(), folder / "resnet.pth")
    torch.save({f"features.{k}": v for k, v in vgg19().features.state_dict().items()}, folder / "vgg.pth")
    return folder


def small(cub, **changes):
    """The preset with random weights at 32 x 32 pixels."""
    sizes = {"image_size": 32, "feature_size": 32, "batch_size": 3, "steps": 2}
    return TrainConfig.preset("paper", **{"root": str(cub), "pretrained": False, **sizes, **changes})


def test_the_command_trains_on_exported_birds_from_random_weights(cub, tmp_path):
    arguments = ["train", "--preset", "paper", "--data", "cub", "--root", str(cub), "--out", str(tmp_path / "run")]
    assert main([*arguments, "--pretrained", "no", *SMALL]) == 0
    segmenter, config = load_model(tmp_path / "run")
    assert (config.backbone, config.feature_network, config.optimizer) == ("resnet50_paper", "vgg19", "sgd")
    assert all(value.isfinite().all() for value in segmenter.state_dict().values())
    last = load_checkpoint(tmp_path / "run" / "checkpoint.pt")["log"][-1]
    assert last["step"] == 2
    assert all(last[name] > 0 for name in ("feature", "visual", "contrastive", "equivariance"))


def test_the_command_trains_from_files_and_both_networks_start_with_them(cub, files, tmp_path, monkeypatch):
    weights = ["--backbone-weights", str(files / "resnet.pth"), "--feature-weights", str(files / "vgg.pth")]
    arguments = ["train", "--preset", "paper", "--root", str(cub), "--out", str(tmp_path / "run"), *weights, *SMALL]
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))  # files go before weights that would be downloaded
    assert main([*arguments, "--reproduce-release"]) == 0
    trainer = Trainer(load_model(tmp_path / "run")[1], "cpu")
    stored = torch.load(files / "resnet.pth", weights_only=True)
    assert torch.equal(trainer.segmenter.encoder.stages[3][2].conv3.weight, stored["layer4.2.conv3.weight"])
    batch, (fine, coarse) = trainer.batch(0)
    stored = VGG19Encoder(("relu3_2", "relu5_4"), weights=str(files / "vgg.pth"))
    assert torch.equal(
        stored.network[34].weight, torch.load(files / "vgg.pth", weights_only=True)["features.34.weight"]
    )
    with torch.no_grad():
        expected = stored(batch.images)
    torch.testing.assert_close(fine, 0.33 * expected[0])  # with the weights of their layers
    torch.testing.assert_close(coarse, expected[1])


@pytest.mark.parametrize("network", ["backbone", "feature"])
def test_weights_that_are_neither_a_file_nor_a_name_are_explained(network, cub, tmp_path):
    with pytest.raises(CheckpointError, match=r"'vgg\.pth' are neither a file nor torchvision's; .*IMAGENET1K_V1"):
        Trainer(small(cub, **{f"{network}_weights": "vgg.pth"}), "cpu")


@pytest.mark.parametrize(
    ("network", "file", "message"),
    [
        ("backbone", "vgg.pth", r"vgg\.pth lacks conv1\.weight, bn1\.weight, bn1\.bias and \d+ more; expected"),
        ("feature", "resnet.pth", r"resnet\.pth lacks features\.0\.weight, .* expected 32 tensors"),
    ],
)
def test_weights_of_another_network_are_refused_by_name(network, file, message, cub, files):
    with pytest.raises(CheckpointError, match=message) as caught:
        Trainer(small(cub, **{f"{network}_weights": str(files / file)}), "cpu")
    assert "\n" not in str(caught.value)


def test_options_of_one_network_are_refused_for_another():
    with pytest.raises(ConfigError, match="input_norm is 'release', which is for a ResNet"):
        PartSegmenter.from_config(TrainConfig.preset("cpu", reproduce_release=True))
    with pytest.raises(ConfigError, match=r"backbone_weights is 'x\.pth', which is for a ResNet"):
        PartSegmenter.from_config(TrainConfig(backbone_weights="x.pth"))
    with pytest.raises(ConfigError, match=r"feature_weights is 'x\.pth', which is for vgg19"):
        feature_extractor(TrainConfig(feature_weights="x.pth"))


def test_features_are_those_of_the_crop_of_the_step_times_the_weights_of_their_layers(cub):
    trainer = Trainer(small(cub), "cpu")
    batch, features = trainer.batch(0)
    fine, coarse = trainer.features.extractor.network(batch.images)
    assert (fine.shape, coarse.shape) == ((3, 256, 8, 8), (3, 512, 2, 2))
    torch.testing.assert_close(features[0], 0.33 * fine)
    torch.testing.assert_close(features[1], coarse)


def test_random_crops_differ_by_step_and_come_back_with_it(cub):
    dataset = training_data(small(cub), augment=True)
    first, again, other = (seeded_batch(dataset, [0, 1], 0, step).images for step in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    state = torch.get_rng_state()
    seeded_batch(dataset, [0, 1], 0, 5)
    assert torch.equal(torch.get_rng_state(), state)  # whoever draws next does not notice


def test_random_crops_of_the_shares_are_those_of_the_whole_batch(cub):
    config = small(cub, batch_size=4)
    dataset = training_data(config, augment=True)
    batches = StepBatches(dataset, None, config)
    whole, _ = batches[7]
    parts = []
    for batches.own in (slice(0, 2), slice(2, 4)):
        parts.append(batches[7][0])
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert [name for part in parts for name in part.names] == whole.names
    twice = seeded_batch(dataset, [3, 3], 0, 7).images  # every place in a batch draws for itself
    assert not torch.equal(twice[0], twice[1])


def test_a_run_with_random_crops_interrupted_and_resumed_ends_the_same(cub, tmp_path):
    lite = {"backbone": "efficientnet_lite0", "feature_network": "efficientnet_lite0", "batchnorm": "frozen"}
    layers = {"feature_layers": ["stride16", "stride32"], "pretrained": True, "steps": 3}
    config = small(cub, **lite, **layers, eval_every=0)

    def stop(trainer, terms):
        if trainer.step == 1:
            raise KeyboardInterrupt

    whole = train(config, device="cpu", progress=False).segmenter.state_dict()
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", device="cpu", progress=False, on_step=stop)
    resumed = train(config, tmp_path / "run", resume=True, device="cpu", progress=False).segmenter.state_dict()
    assert all(torch.equal(whole[name], value) for name, value in resumed.items())


def test_everything_but_training_sees_fixed_crops_and_num_images_limits_both(cub):
    config = small(cub, num_images=4)
    assert training_data(config).fixed_crop
    assert not training_data(config, augment=True).fixed_crop
    assert len(training_data(config)) == len(training_data(config, augment=True)) == 4


def test_the_release_trains_on_what_is_held_out_here(cub):
    ours, theirs = (training_data(small(cub, release_data=release)) for release in (False, True))
    held_out = training_data(small(cub), "val")
    assert len(held_out) > 0
    assert len(theirs) == len(ours) + len(held_out) == 40
    assert {held_out[i].name for i in range(len(held_out))} <= set(theirs.names)
    same = theirs[theirs.names.index(ours.names[0])]
    assert (ours[0].image - same.image).abs().max() > 0.01  # another way of resizing


def test_layers_count_as_their_weights_say():
    features = [torch.rand(1, 2, 3, 3), torch.rand(1, 2, 2, 2)]
    assert all(torch.equal(a, b) for a, b in zip(weigh_levels(features, ()), features, strict=True))
    fine, coarse = weigh_levels(features, (0.33, 1.0))
    torch.testing.assert_close(fine, 0.33 * features[0])
    assert torch.equal(coarse, features[1])


# the weight of the feature loss is large enough for it to show beside the others with features of a random network
PLAIN = {"feature_reduction": "mean", "joint_views": True, "batchnorm": "train", "lr_horizon": 0, "feature": 5e3}
IN_A_STEP = sorted(set(RELEASE) - {"release_data", "masked_features"})


@pytest.fixture(scope="module")
def weights_after(cub):
    """Number of steps and quirks switched on -> weights after these steps of the preset without the others."""

    @cache
    def run(steps, **quirk):
        trainer = Trainer(small(cub, lr=1e-2, backbone_lr=1e-2, **{**PLAIN, **quirk}), "cpu")
        for _ in range(steps):
            trainer.advance()
        return torch.cat([p.detach().flatten() for p in trainer.segmenter.parameters()])

    return run


@pytest.mark.parametrize("name", IN_A_STEP)
def test_every_quirk_changes_the_numbers_of_a_step(name, weights_after):
    steps = 2 if name == "lr_horizon" else 1  # the first step has the full rate whatever the horizon
    difference = weights_after(steps, **{name: RELEASE[name]}) - weights_after(steps)
    assert difference.abs().max() > 1e-5


def test_masking_features_shows_where_the_foreground_is_soft_only(cub):
    config = small(cub)
    batch, features = Trainer(config, "cpu").batch(0)
    logits = [torch.randn(3, 4, 32, 32, generator=step_generator(0, 0))]
    draw = torch.tensor([1, 2, 0]).repeat_interleave(4)  # (B K,)

    def feature(foreground, masked):
        objective = Objective(config.replace(masked_features=masked, equivariance=0.0))
        return objective.terms(logits, foreground, features, batch.images, None, positives=draw)

    soft = torch.where(batch.foreground > 0, 0.5, 0.0)
    for foreground, differs in ((batch.foreground, False), (soft, True)):
        on, off = feature(foreground, True), feature(foreground, False)
        assert (not torch.isclose(on["feature"], off["feature"], rtol=1e-3)) == differs


@torch.no_grad()
def test_mean_fill_is_what_the_network_takes_for_zero(cub):
    config = small(cub, warp_fill="mean", input_norm="release")
    segmenter, images = PartSegmenter.from_config(config), torch.rand(2, 3, 32, 32)
    objective = Objective(config)
    grid = torch.full((2, 32, 32, 2), 3.0)  # all outside
    filled = objective.warp_view(images, grid)
    assert segmenter.encoder.normalize(filled).abs().max() < 1e-3
    assert not Objective(small(cub)).warp_view(images, grid).any()
    assert (input_mean("resnet50_paper", "release").flatten() * 255).tolist() == pytest.approx(
        [104.007, 116.669, 122.679], abs=1e-3
    )
    grid = objective.random_grid(images, step_generator(0, 0))
    inside = Objective(small(cub)).warp_view(torch.ones(2, 3, 32, 32), grid) == 1
    black = Objective(small(cub)).warp_view(images, grid)
    torch.testing.assert_close(objective.warp_view(images, grid)[inside], black[inside])


@pytest.mark.parametrize(("name", "order"), [("caffe", (2, 1, 0)), ("release", (0, 1, 2))])
def test_caffes_scale_has_blue_first_and_the_releases_has_its_means_without_its_order(name, order):
    normalize = PartSegmenter(2, "resnet50", pretrained=False, input_norm=name).encoder.normalize
    pixel = torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1) / 255  # red, green, blue
    means = (104.00698793, 116.66876762, 122.67891434)
    other = PartSegmenter(2, "resnet50", pretrained=False, input_norm="caffe").encoder.normalize
    torch.testing.assert_close(normalize(pixel if name == "release" else pixel.flip(1)), other(pixel.flip(1)))
    expected = [(10, 20, 30)[channel] - mean for channel, mean in zip(order, means, strict=True)]
    assert normalize(pixel).flatten().tolist() == pytest.approx(expected, abs=1e-4)


def test_input_scale_is_part_of_the_saved_model(cub, tmp_path):
    config = small(cub, input_norm="release", steps=1, eval_every=0)
    result = train(config, tmp_path / "run", device="cpu", progress=False)
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(load_model(tmp_path / "run")[0](images), result.segmenter(images))
