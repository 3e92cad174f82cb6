"""The segmenter: shapes and strides of both backbones, no background channel, labels from a mask."""

import pytest
import torch
from partlib.deeplab import DeepLabHead, ResNet50Encoder
from torch.nn import functional as F

from partlib import PartSegmenter
from partlib.errors import ConfigError
from partlib.segmenter import BACKBONES, part_maps, resize

LOGITS = {"efficientnet_lite0": 16, "resnet50": 8, "resnet50_paper": 9}  # side, for images of 64 x 64


@pytest.fixture(scope="module", params=BACKBONES)
def segmenter(request):
    torch.manual_seed(0)
    return PartSegmenter(3, request.param, weights="random").eval()


@torch.no_grad()
def test_there_is_one_logit_per_part_and_pixel(segmenter):
    logits = segmenter(torch.rand(2, 3, 64, 64))
    assert logits.shape == (2, 3, 64, 64)  # three parts, three channels: none for the background
    assert logits.isfinite().all()


@torch.no_grad()
def test_any_size_and_shape_of_image_runs(segmenter):
    assert segmenter(torch.rand(1, 3, 45, 70)).shape == (1, 3, 45, 70)


@torch.no_grad()
def test_logits_are_computed_at_the_promised_stride(segmenter):
    images, side = torch.rand(1, 3, 64, 64), LOGITS[segmenter.backbone]
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


def test_gradients_reach_every_parameter(segmenter):
    segmenter.zero_grad()
    segmenter(torch.rand(1, 3, 64, 64)).square().mean().backward()
    without = [name for name, p in segmenter.named_parameters() if p.grad is None or not p.grad.any()]
    # Dilated convolutions that reach further than the map see nothing but padding in their outer taps, never in all.
    assert without == []
    segmenter.zero_grad()


def test_a_seed_decides_the_initial_weights():
    def weights(seed):
        torch.manual_seed(seed)
        return PartSegmenter(4).decoder.state_dict()

    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["classify.weight"], other["classify.weight"])


def test_pretrained_encoder_differs_from_a_random_one():
    torch.manual_seed(0)
    pretrained, random = PartSegmenter(4).encoder, PartSegmenter(4, weights="random").encoder
    images = torch.rand(1, 3, 64, 64)
    assert (pretrained(images)[-1] - random(images)[-1]).abs().max() > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((1,), "num_parts is 1; expected at least 2"), ((4, "vit"), "'vit' is unknown; expected one of efficientnet")],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        PartSegmenter(*arguments)


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
def test_resnet_keeps_stride_eight_by_dilating_its_last_stages():
    encoder = ResNet50Encoder(weights="random").eval()
    assert encoder(torch.rand(1, 3, 64, 64))[0].shape == (1, 2048, 8, 8)
    dilations = [stage[-1].conv2.dilation for stage in encoder.stages]
    assert dilations == [(1, 1), (1, 1), (2, 2), (4, 4)]


@torch.no_grad()
def test_deeplab_head_is_the_sum_of_its_dilated_convolutions():
    torch.manual_seed(0)
    head, features = DeepLabHead(3, channels=32), torch.randn(1, 32, 20, 20)
    expected = sum(
        F.conv2d(features, branch.weight, branch.bias, padding=d, dilation=d)
        for branch, d in zip(head.branches, (6, 12, 18, 24), strict=True)
    )
    torch.testing.assert_close(head([features]), expected)
    assert all(not branch.bias.any() for branch in head.branches)
    assert all(0.009 < branch.weight.std() < 0.011 for branch in head.branches)


@torch.no_grad()
def test_deeplab_branches_see_as_far_as_their_dilation():
    head = DeepLabHead(2, channels=1)
    impulse = torch.zeros(1, 1, 61, 61)
    impulse[..., 30, 30] = 1
    reach = (head([impulse])[0, 0] != 0).nonzero() - 30
    assert set(reach.abs().unique().tolist()) == {0, 6, 12, 18, 24}
