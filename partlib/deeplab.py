"""DeepLab-v2 on ResNet-50: the paper's segmentation network."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, resnet50

from partlib.backbones import IMAGENET_MEAN, IMAGENET_STD, Normalize, torchvision_network


class ResNet50Encoder(nn.Module):
    """ResNet-50 at output stride 8: the last two stages keep their resolution and dilate instead (by 2 and by 4)."""

    def __init__(self, pretrained: bool = True) -> None:
        super().__init__()
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        weights = ResNet50_Weights.IMAGENET1K_V1 if pretrained else None
        network: Any = torchvision_network(resnet50, weights, replace_stride_with_dilation=[False, True, True])
        self.stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        self.stages = nn.Sequential(network.layer1, network.layer2, network.layer3, network.layer4)
        self.channels = [2048]

    def forward(self, images: Tensor) -> list[Tensor]:
        """One map (B, 2048, ceil(H / 8), ceil(W / 8)) of images (B, 3, H, W) in [0, 1]."""
        return [self.stages(self.stem(self.normalize(images)))]


class DeepLabHead(nn.Module):
    """Sum of four dilated 3x3 convolutions (atrous spatial pyramid), each seeing the object at another scale."""

    def __init__(self, num_parts: int, channels: int = 2048, dilations: tuple[int, ...] = (6, 12, 18, 24)) -> None:
        super().__init__()
        branches = [nn.Conv2d(channels, num_parts, kernel_size=3, padding=d, dilation=d) for d in dilations]
        for branch in branches:
            nn.init.normal_(branch.weight, std=0.01)
            assert branch.bias is not None
            nn.init.zeros_(branch.bias)
        self.branches = nn.ModuleList(branches)

    def forward(self, levels: list[Tensor]) -> Tensor:
        return torch.stack([branch(levels[-1]) for branch in self.branches]).sum(dim=0)  # (B, K, h, w)
