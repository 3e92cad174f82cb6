"""VGG19 as the paper's perceptual network."""

from typing import Any

from torch import Tensor, nn
from torchvision.models import VGG19_Weights, vgg19
from torchvision.models.vgg import cfgs, make_layers

from partlib.backbones import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Normalize,
    fill_state_dict,
    torchvision_network,
    torchvision_weights,
)
from partlib.errors import ConfigError

# Convolutions per block; a 2x2 max-pooling follows each block.
_BLOCKS = (2, 2, 4, 4, 4)


def layer_indices() -> dict[str, int]:
    """Layer name, such as "relu3_2", -> its index in torchvision's ``vgg19().features``."""
    names, index = {}, 0
    for block, convolutions in enumerate(_BLOCKS, start=1):
        for place in range(1, convolutions + 1):
            names[f"relu{block}_{place}"] = index + 1  # each convolution is followed by its ReLU
            index += 2
        index += 1  # the pooling
    return names


class Convolutions(nn.Module):
    """VGG19 without its classifier, under torchvision's names, with random weights drawn as torchvision's.

    The classifier has 120 of the 140 million weights; drawing them for nothing would take seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = make_layers(cfgs["E"], batch_norm=False)
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)


class VGG19Encoder(nn.Module):
    """Feature maps of VGG19 after the named ReLUs; relu{b}_{i} has stride 2 ** (b - 1).

    Parameters
    ----------
    layers : names such as "relu3_2".
    pretrained : ImageNet weights of torchvision.
    weights : what to use instead, see :func:`partlib.backbones.torchvision_weights`.

    Raises
    ------
    ConfigError : unknown layer.
    CheckpointError : weights that cannot be had, or that do not fit.
    """

    def __init__(self, layers: tuple[str, ...], pretrained: bool = True, *, weights: str = "") -> None:
        super().__init__()
        indices = layer_indices()
        unknown = [layer for layer in layers if layer not in indices]
        if unknown:
            raise ConfigError(f"vgg19 has no layer {unknown[0]!r}; expected names like relu3_2")
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        self.levels = tuple(layer for layer in indices if layer in layers)  # finest first, as the maps are returned
        self.taps = [indices[layer] for layer in self.levels]
        usual = VGG19_Weights.IMAGENET1K_V1 if pretrained else None
        chosen, file = torchvision_weights(VGG19_Weights, weights, usual)
        network: Any = Convolutions() if chosen is None else torchvision_network(vgg19, chosen)
        if file:
            fill_state_dict(network, file, unused="classifier.")
        self.network = network.features[: self.taps[-1] + 1]
        for module in self.network:
            if isinstance(module, nn.ReLU):
                module.inplace = False  # else the next layer would overwrite what is returned
        self.channels = [self.network[tap - 1].out_channels for tap in self.taps]

    def forward(self, images: Tensor) -> list[Tensor]:
        maps, x = [], self.normalize(images)
        for index, module in enumerate(self.network):
            x = module(x)
            if index in self.taps:
                maps.append(x)
        return maps
