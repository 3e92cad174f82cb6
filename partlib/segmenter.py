"""The only trained network: image -> part logits."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from partlib.backbones import Lite0Encoder
from partlib.errors import ConfigError

if TYPE_CHECKING:
    from partlib.config import TrainConfig

BACKBONES = ("efficientnet_lite0", "resnet50", "resnet50_paper")
INITIAL_SPREAD = 0.2


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear resizing of (B, C, h, w) with ``align_corners=True``, as everywhere in this library."""
    return F.interpolate(maps, size=(size[0], size[1]), mode="bilinear", align_corners=True)


class PyramidDecoder(nn.Module):
    """Merges feature maps from coarse to fine and reads part logits off the finest.

    Each level is projected to ``width`` channels and added to the upsampled coarser sum; a 3x3 convolution after each
    sum mixes the two. Coarse levels know what a region is, fine levels where it ends.
    """

    def __init__(self, channels: list[int], num_parts: int, width: int = 64) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, kernel_size=1) for c in channels)
        self.mix = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, kernel_size=3, padding=1, groups=width),
                nn.Conv2d(width, width, kernel_size=1),
                nn.GroupNorm(8, width),
                nn.ReLU(),
            )
            for _ in channels
        )
        self.classify = nn.Conv2d(width, num_parts, kernel_size=1, bias=False)
        # Wide enough that the parts differ from the first step on. From a flat start all parts mean the same, the first
        # to pull ahead takes the object, and the others never come back.
        nn.init.normal_(self.classify.weight, std=INITIAL_SPREAD)

    def forward(self, levels: list[Tensor]) -> Tensor:
        merged = None
        for features, lateral, mix in zip(reversed(levels), reversed(self.lateral), reversed(self.mix), strict=True):
            here = lateral(features)  # (B, width, h, w)
            if merged is not None:
                here = here + resize(merged, here.shape[-2:])
            merged = mix(here)
        return self.classify(merged)  # (B, K, h, w) of the finest level


class PartSegmenter(nn.Module):
    """Assigns each pixel logits over K parts. There is no background channel: the mask decides the background.

    Parameters
    ----------
    num_parts : K, at least 2.
    backbone : "efficientnet_lite0" (pyramid decoder, logits at stride 4), "resnet50" (DeepLab-v2, stride 8) or
        "resnet50_paper" (the same in the paper's layout: the head reads the last half of the channels, 33 x 33 logits
        for 256 x 256 images).
    pretrained : start from ImageNet weights.
    weights : what a ResNet-50 starts from instead, see :func:`partlib.backbones.torchvision_weights`.
    input_norm : input scale of a ResNet, see :func:`partlib.backbones.resnet_normalize`.

    Raises
    ------
    ConfigError : unknown backbone, ``num_parts`` < 2, or weights or a scale for a network other than a ResNet.
    CheckpointError : weights that cannot be had, or that do not fit.
    """

    def __init__(
        self,
        num_parts: int,
        backbone: str = "efficientnet_lite0",
        pretrained: bool = True,
        *,
        weights: str = "",
        input_norm: str = "own",
    ) -> None:
        super().__init__()
        if num_parts < 2:
            raise ConfigError(f"num_parts is {num_parts}; expected at least 2")
        self.num_parts, self.backbone = num_parts, backbone
        if backbone == "efficientnet_lite0":
            if weights or input_norm != "own":
                option = f"backbone_weights is {weights!r}" if weights else f"input_norm is {input_norm!r}"
                raise ConfigError(f"{option}, which is for a ResNet; use backbone resnet50_paper, or leave it out")
            self.encoder: nn.Module = Lite0Encoder(("stride4", "stride8", "stride16", "stride32"), pretrained)
            self.decoder: nn.Module = PyramidDecoder(self.encoder.channels, num_parts)
        elif backbone in BACKBONES:
            from partlib.deeplab import PAPER_HEAD, DeepLabHead, ResNet50Encoder

            paper = backbone == "resnet50_paper"
            self.encoder = ResNet50Encoder(pretrained, paper=paper, weights=weights, input_norm=input_norm)
            self.decoder = DeepLabHead(num_parts, PAPER_HEAD if paper else self.encoder.channels[-1])
        else:
            raise ConfigError(f"backbone {backbone!r} is unknown; expected one of {', '.join(BACKBONES)}")

    @classmethod
    def from_config(cls, config: "TrainConfig", *, start: bool = True) -> "PartSegmenter":
        """The network that ``config`` names; without ``start`` its initial weights are random, to be loaded over."""
        pretrained, weights = (config.pretrained, config.backbone_weights) if start else (False, "")
        return cls(config.num_parts, config.backbone, pretrained, weights=weights, input_norm=config.input_norm)

    def forward(self, images: Tensor) -> Tensor:
        """Part logits (B, K, H, W) of images (B, 3, H, W) in [0, 1]."""
        images = images.contiguous(memory_format=torch.channels_last)
        logits = self.decoder(self.encoder(images))  # (B, K, h, w)
        if logits.dtype == torch.bfloat16:  # enough for convolutions, too coarse to interpolate between
            logits = logits.float()
        return resize(logits, images.shape[-2:])

    @torch.no_grad()
    def segment(self, images: Tensor, foreground: Tensor) -> Tensor:
        """Labels (B, H, W) int64: 0 where ``foreground`` (B, 1, H, W) is below one half, else the likeliest part."""
        labels = self(images).argmax(dim=1) + 1  # (B, H, W)
        return labels * (foreground[:, 0] >= 0.5)


def part_maps(logits: Tensor, foreground: Tensor) -> Tensor:
    """m_k(u): softmax of the logits (B, K, H, W) over the parts, times the foreground (B, 1, H, W). Paper section 3."""
    return logits.softmax(dim=1) * foreground
