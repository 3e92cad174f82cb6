"""The segmenter: shapes and strides, no background channel, labels from a mask, and what of BatchNorm may change."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from partlib import PartSegmenter
from partlib.errors import ConfigError
from partlib.segmenter import DeepLabHead, part_maps, resize

LOGITS = {
    "fpn_lite0": 16,
    "fpn8_lite0": 8,
    "deeplab_resnet50": 8,
    "deeplab_resnet50_paper": 9,
}  # side, for images of 64 x 64


@pytest.fixture(scope="module", params=LOGITS)
def segmenter(request):
    torch.manual_seed(0)
    segmenter = PartSegmenter(3, request.param, "random").eval()
    segmenter.side = LOGITS[request.param]
    return segmenter


@torch.no_grad()
def test_there_is_one_logit_per_part_and_pixel_of_images_of_any_size(segmenter):
    for size in ((64, 64), (45, 70)):
        logits = segmenter(torch.rand(2, 3, *size))
        assert logits.shape == (2, 3, *size)  # three parts, three channels: none for the background
        assert logits.isfinite().all()


@torch.no_grad()
def test_logits_are_computed_at_the_promised_stride(segmenter):
    images, side = torch.rand(1, 3, 64, 64), segmenter.side
    coarse = segmenter.decoder(segmenter.encoder(images))
    assert coarse.shape == (1, 3, side, side)
    torch.testing.assert_close(segmenter(images), resize(coarse, (64, 64)), rtol=1e-4, atol=1e-4)


def test_labels_are_zero_off_the_foreground_and_the_likeliest_part_on_it(segmenter):
    images = torch.rand(2, 3, 64, 64)
    foreground = torch.zeros(2, 1, 64, 64)
    foreground[:, :, 20:50, 10:40] = 1
    foreground[0, :, 20, 10:40], foreground[1, :, 20, 10:40] = 0.4, 0.6
    labels = segmenter.segment(images, foreground)
    inside = foreground[:, 0] >= 0.5
    assert labels.shape == (2, 64, 64)
    assert labels.dtype == torch.int64
    assert torch.equal(labels > 0, inside)
    assert torch.equal(labels[inside], (segmenter(images).argmax(1) + 1)[inside])


@torch.no_grad()
def test_logits_in_half_precision_are_interpolated_in_full():
    segmenter = PartSegmenter(3, weights="random").eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = segmenter(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert logits.dtype == torch.float32
    # bfloat16 has 8 bits: rounded to it, neighboring pixels between two cells would be equal
    assert (logits != logits.bfloat16().float()).float().mean() > 0.5


def test_a_seed_decides_the_decoder_and_the_encoder_is_imagenets():
    def states(seed):
        torch.manual_seed(seed)
        segmenter = PartSegmenter(4)
        return segmenter.encoder.state_dict(), segmenter.decoder.state_dict()

    (imagenet, first), (_, again), (other_encoder, other) = states(1), states(1), states(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["classify.weight"], other["classify.weight"])
    assert all(torch.equal(imagenet[name], other_encoder[name]) for name in imagenet)


def test_an_unknown_arch_is_named():
    with pytest.raises(
        ConfigError, match="'vit' is unknown; expected one of fpn_lite0, fpn8_lite0, deeplab_resnet50, "
    ):
        PartSegmenter(4, "vit")


# --- BatchNorm -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "affine", "statistics"), [("frozen", 0, 0), ("train", 1, 1), ("statistics", 0, 1)])
def test_batchnorm_changes_what_its_mode_allows_in_training(mode, affine, statistics):
    segmenter = PartSegmenter(3, batchnorm=mode).eval().train()
    layers = [m for m in segmenter.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [m.running_mean.clone() for m in layers]
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    segmenter(images).square().mean().backward()
    assert len(layers) > 40
    assert sum(m.weight.grad is not None for m in layers) == affine * len(layers)
    moved = sum(not torch.equal(m.running_mean, mean) for m, mean in zip(layers, before, strict=True))
    assert moved == statistics * len(layers)
    without = [name for name, p in segmenter.named_parameters() if p.requires_grad and not p.grad.any()]
    assert without == []  # gradients reach everything else, GroupNorm included


def test_the_papers_batchnorm_trains_the_shortcuts_only():
    segmenter = PartSegmenter(3, "deeplab_resnet50_paper", "random", batchnorm="statistics").train()
    layers = {name: m for name, m in segmenter.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert [name for name, m in layers.items() if m.weight.requires_grad] == [
        f"encoder.stages.{stage}.0.downsample.1" for stage in range(4)
    ]
    assert all(m.training for m in layers.values())
    segmenter(torch.rand(2, 3, 64, 64)).square().mean().backward()
    # Dilated convolutions that reach further than the map see nothing but padding in their outer taps, never in all.
    assert [name for name, p in segmenter.named_parameters() if p.requires_grad and not p.grad.any()] == []


# --- pieces ----------------------------------------------------------------------------------------------------------


def test_part_maps_divide_the_foreground():
    logits, foreground = torch.randn(2, 5, 8, 8), torch.rand(2, 1, 8, 8)
    maps = part_maps(logits, foreground)
    assert maps.min() >= 0
    torch.testing.assert_close(maps.sum(dim=1, keepdim=True), foreground)
    assert torch.equal(maps.argmax(dim=1), logits.argmax(dim=1))


def test_resize_aligns_corners():
    maps = torch.rand(1, 2, 5, 5)
    large = resize(maps, (17, 9))
    assert large.shape == (1, 2, 17, 9)
    torch.testing.assert_close(large[..., ::4, ::2], maps)


@torch.no_grad()
def test_deeplab_head_is_the_sum_of_its_dilated_convolutions_on_the_last_channels():
    torch.manual_seed(0)
    head, features = DeepLabHead(3, channels=32), torch.randn(1, 40, 20, 20)
    expected = sum(
        F.conv2d(features[:, 8:], branch.weight, branch.bias, padding=d, dilation=d)
        for branch, d in zip(head.branches, (6, 12, 18, 24), strict=True)
    )
    torch.testing.assert_close(head([features]), expected)
    assert all(not branch.bias.any() for branch in head.branches)
    assert all(0.009 < branch.weight.std() < 0.011 for branch in head.branches)
