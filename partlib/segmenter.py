"""The only trained network: image -> part logits."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from partlib.backbones import Lite0Encoder
from partlib.errors import ConfigError

BACKBONES = ("efficientnet_lite0", "resnet50")
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
    backbone : "efficientnet_lite0" (pyramid decoder, logits at stride 4) or "resnet50" (DeepLab-v2 as in the paper,
        stride 8).
    pretrained : start from ImageNet weights.

    Raises
    ------
    ConfigError : unknown backbone or ``num_parts`` < 2.
    """

    def __init__(self, num_parts: int, backbone: str = "efficientnet_lite0", pretrained: bool = True) -> None:
        super().__init__()
        if num_parts < 2:
            raise ConfigError(f"num_parts is {num_parts}; expected at least 2")
        self.num_parts, self.backbone = num_parts, backbone
        if backbone == "efficientnet_lite0":
            self.encoder: nn.Module = Lite0Encoder(("stride4", "stride8", "stride16", "stride32"), pretrained)
            self.decoder: nn.Module = PyramidDecoder(self.encoder.channels, num_parts)
        elif backbone == "resnet50":
            from partlib.deeplab import DeepLabHead, ResNet50Encoder

            self.encoder = ResNet50Encoder(pretrained)
            self.decoder = DeepLabHead(num_parts)
        else:
            raise ConfigError(f"backbone {backbone!r} is unknown; expected one of {', '.join(BACKBONES)}")

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
