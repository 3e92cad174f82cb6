"""DeepLab-v2 on ResNet-50: the paper's segmentation network."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, resnet50

from partlib.backbones import (
    fill_state_dict,
    resnet_normalize,
    torchvision_network,
    torchvision_weights,
)

PAPER_HEAD = 1024  # channels that the paper's head reads: the last half of layer4's


class ResNet50Encoder(nn.Module):
    """ResNet-50 at output stride 8: the last two stages keep their resolution and dilate instead (by 2 and by 4).

    Parameters
    ----------
    pretrained : ImageNet weights of torchvision.
    paper : the layout of the paper's network instead of torchvision's, see :func:`as_in_paper`.
    weights : what to start from instead, see :func:`partlib.backbones.torchvision_weights`.
    input_norm : "own", "caffe" or "release", see :func:`partlib.backbones.resnet_normalize`.

    Raises
    ------
    CheckpointError : weights that cannot be had, or that do not fit.
    """

    def __init__(
        self, pretrained: bool = True, *, paper: bool = False, weights: str = "", input_norm: str = "own"
    ) -> None:
        super().__init__()
        self.normalize = resnet_normalize(input_norm)
        usual = ResNet50_Weights.IMAGENET1K_V1 if pretrained else None
        chosen, file = torchvision_weights(ResNet50_Weights, weights, usual)
        network: Any = torchvision_network(resnet50, chosen, replace_stride_with_dilation=[False, True, True])
        network.fc = nn.Identity()
        if file:
            fill_state_dict(network, file, unused="fc.")
        if paper:
            as_in_paper(network)
        self.stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        self.stages = nn.Sequential(network.layer1, network.layer2, network.layer3, network.layer4)
        self.channels = [2048]

    def forward(self, images: Tensor) -> list[Tensor]:
        """One map (B, 2048, ceil(H / 8), ceil(W / 8)) of images (B, 3, H, W) in [0, 1]; in the paper's layout one cell
        more per side, 33 x 33 of 256 x 256 images."""
        return [self.stages(self.stem(self.normalize(images)))]


def as_in_paper(network: Any) -> None:
    """Change torchvision's dilated ResNet-50 into the network that the paper's code inherits from Caffe.

    The first pooling rounds up and so adds a cell. The second stage halves the resolution in the 1x1 convolution of its
    first block, not in the 3x3 one after it. All blocks of a dilated stage dilate, the first included. Names and shapes
    of the weights stay the same.
    """
    network.maxpool.ceil_mode = True
    first = network.layer2[0]
    first.conv1.stride, first.conv2.stride = (2, 2), (1, 1)
    for stage, dilation in ((network.layer3, 2), (network.layer4, 4)):
        stage[0].conv2.dilation = stage[0].conv2.padding = (dilation, dilation)


class DeepLabHead(nn.Module):
    """Sum of four dilated 3x3 convolutions (atrous spatial pyramid), each seeing the object at another scale.

    It reads the last ``channels`` channels of the features.
    """

    def __init__(self, num_parts: int, channels: int = 2048, dilations: tuple[int, ...] = (6, 12, 18, 24)) -> None:
        super().__init__()
        self.channels = channels
        branches = [nn.Conv2d(channels, num_parts, kernel_size=3, padding=d, dilation=d) for d in dilations]
        for branch in branches:
            nn.init.normal_(branch.weight, std=0.01)
            assert branch.bias is not None
            nn.init.zeros_(branch.bias)
        self.branches = nn.ModuleList(branches)

    def forward(self, levels: list[Tensor]) -> Tensor:
        features = levels[-1][:, -self.channels :]  # (B, channels, h, w)
        return torch.stack([branch(features) for branch in self.branches]).sum(dim=0)  # (B, K, h, w)
