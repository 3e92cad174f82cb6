"""Any network of timm or torchvision as one of features: which maps it gives, and whose weights they are made with."""

import pytest
import timm
import torch
from torchvision.models import resnet18

from partlib.backbones import Lite0Encoder, TimmEncoder, TorchvisionEncoder
from partlib.errors import CheckpointError, ConfigError

STRIDES = ("stride8", "stride16", "stride32")


@torch.no_grad()
@pytest.mark.parametrize(
    ("encoder", "name", "channels"),
    [
        (TimmEncoder, "resnet18", [128, 256, 512]),
        (TimmEncoder, "mobilenetv3_small_100", [24, 48, 576]),
        (TorchvisionEncoder, "resnet18", [128, 256, 512]),
        (TorchvisionEncoder, "mobilenet_v3_small", [24, 48, 576]),
        (TorchvisionEncoder, "mnasnet0_5", [24, 48, 1280]),  # its stages lie one level deeper
    ],
)
def test_any_convolutional_network_gives_the_last_map_of_each_stride(encoder, name, channels):
    network = encoder(name, weights="random").eval()
    assert network.layers == STRIDES
    assert [tuple(z.shape) for z in network(torch.rand(1, 3, 64, 96))] == [
        (1, c, 64 // s, 96 // s) for c, s in zip(channels, (8, 16, 32), strict=True)
    ]
    assert encoder(name, ("stride32", "stride4"), "random").layers == ("stride4", "stride32")


@torch.no_grad()
def test_torchvision_maps_are_those_of_its_stages():
    encoder, images = TorchvisionEncoder("resnet18", weights="random").eval(), torch.rand(1, 3, 64, 64)
    network = resnet18().eval()
    own = {name.removeprefix("network."): tensor for name, tensor in encoder.state_dict().items()}
    network.load_state_dict(own, strict=False)
    x = network.maxpool(network.relu(network.bn1(network.conv1(encoder.normalize(images)))))
    expected = [x := stage(x) for stage in (network.layer1, network.layer2, network.layer3, network.layer4)]
    for found, wanted in zip(encoder(images), expected[1:], strict=True):
        torch.testing.assert_close(found, wanted)


@torch.no_grad()
def test_a_transformer_has_one_map_at_the_stride_of_its_patches_whatever_the_size():
    network = TimmEncoder("vit_tiny_patch16_224", weights="random").eval()
    assert network.layers == ("stride16",)
    assert [tuple(z.shape) for z in network(torch.rand(1, 3, 80, 100))] == [(1, 192, 5, 7)]


@pytest.mark.parametrize(
    ("encoder", "name", "message"),
    [
        (TimmEncoder, "restnet50", "timm has no network 'restnet50'; expected .*resnet50"),
        (TimmEncoder, "swin_tiny_patch4_window7_224", "takes images of one size only"),
        (TorchvisionEncoder, "restnet50", "torchvision has no convolutional network 'restnet50'; expected .*resnet50"),
        (TorchvisionEncoder, "vit_b_16", "no convolutional network 'vit_b_16'"),
    ],
)
def test_networks_that_cannot_be_had_are_named_in_one_line(encoder, name, message):
    with pytest.raises(ConfigError, match=message) as caught:
        encoder(name, weights="random")
    assert "\n" not in str(caught.value)


@torch.no_grad()
def test_timm_networks_take_the_weights_of_a_file_or_of_their_package(tmp_path):
    layers = ("stride8", "stride32")
    packaged = TimmEncoder("tf_efficientnet_lite0", layers)
    images = torch.rand(1, 3, 64, 64)
    for found, wanted in zip(packaged.eval()(images), Lite0Encoder(layers).eval()(images), strict=True):
        torch.testing.assert_close(found, wanted)
    network = timm.create_model("resnet18")
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    found = TimmEncoder("resnet18", layers, str(tmp_path / "resnet18.pth")).state_dict()[
        "network.layer4.1.conv2.weight"
    ]
    assert torch.equal(found, network.layer4[1].conv2.weight)
    with pytest.raises(
        CheckpointError, match=r"resnet18\.pth of timm/resnet10t cannot be had .*; expected its own"
    ) as caught:
        TimmEncoder("resnet10t", layers, str(tmp_path / "resnet18.pth"))
    assert "\n" not in str(caught.value)


def test_a_timm_network_without_a_connection_says_what_to_do(monkeypatch):
    def refuse(*arguments, pretrained, **options):
        raise OSError("no connection\nto the hub")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(CheckpointError, match=r"of timm/resnet18 cannot be had .no connection to the hub.; give them"):
        TimmEncoder("resnet18")
