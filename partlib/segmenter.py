"""The only trained network: image -> part logits, and the part maps that all losses read (paper, section 3).

An encoder makes feature maps, a decoder logits of them. There is no background channel: the mask decides about that.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from partlib.backbones import Lite0Encoder, ResNet50Encoder
from partlib.errors import ConfigError

INITIAL_STD = 0.2
# FPNs on EfficientNet-Lite0, by their layers. Beside a frozen encoder the finest layer costs most and gains nothing.
FPNS = {"fpn_lite0": ("stride4", "stride8", "stride16", "stride32"), "fpn8_lite0": ("stride8", "stride16", "stride32")}
# DeepLab-v2 on torchvision's ResNet-50, and on the paper's layout of it in three input scales
DEEPLABS = {
    "deeplab_resnet50": {"paper": False, "scale": "imagenet"},
    "deeplab_resnet50_paper": {"paper": True, "scale": "imagenet"},
    "deeplab_resnet50_caffe": {"paper": True, "scale": "caffe"},
    "deeplab_resnet50_release": {"paper": True, "scale": "release"},
}


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear resizing of (B, C, h, w) with ``align_corners=True``, as everywhere in this library."""
    return F.interpolate(maps, size=(size[0], size[1]), mode="bilinear", align_corners=True)


def part_maps(logits: Tensor, foreground: Tensor) -> Tensor:
    """m_k(u): softmax of the logits (B, K, H, W) over the parts, times the foreground (B, 1, H, W). Paper section 3."""
    return logits.softmax(dim=1) * foreground


def likeliest_part(scores: Tensor) -> Tensor:
    """Labels 1..K, (B, H, W) int64, of the parts with the highest of the scores (B, K, H, W)."""
    return scores.max(dim=1).indices + 1  # argmax over this axis is ten times slower on a CPU


class FPNDecoder(nn.Module):
    """Merges feature maps from coarse to fine and reads part logits off the finest (a feature pyramid network).

    Each map is projected to ``width`` channels and added to the upsampled coarser sum; a 3x3 convolution after each
    sum mixes the two. Coarse maps know what a region is, fine maps where it ends.
    """

    def __init__(self, channels: list[int], num_parts: int, width: int = 64) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, kernel_size=1) for c in channels)
        self.mix = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, kernel_size=3, padding=1, groups=width),
                *(nn.Conv2d(width, width, kernel_size=1), nn.GroupNorm(8, width), nn.ReLU()),
            )
            for _ in channels
        )
        self.classify = nn.Conv2d(width, num_parts, kernel_size=1, bias=False)
        # Wide enough that the parts differ from the first step on. From a flat start all parts mean the same, the first
        # to pull ahead takes the object, and the others never come back.
        nn.init.normal_(self.classify.weight, std=INITIAL_STD)

    def forward(self, maps: list[Tensor]) -> Tensor:
        merged = None
        for features, lateral, mix in zip(reversed(maps), reversed(self.lateral), reversed(self.mix), strict=True):
            here = lateral(features)  # (B, width, h, w)
            if merged is not None:
                here = here + resize(merged, here.shape[-2:])
            merged = mix(here)
        return self.classify(merged)  # (B, K, h, w) of the finest map


class DeepLabHead(nn.Module):
    """Sum of four dilated 3x3 convolutions (atrous spatial pyramid) over the last ``channels`` channels."""

    def __init__(self, num_parts: int, channels: int = 2048) -> None:
        super().__init__()
        self.channels = channels
        branches = [nn.Conv2d(channels, num_parts, 3, padding=d, dilation=d) for d in (6, 12, 18, 24)]
        for branch in branches:
            nn.init.normal_(branch.weight, std=0.01)
            nn.init.zeros_(branch.bias)  # type: ignore[arg-type]
        self.branches = nn.ModuleList(branches)

    def forward(self, maps: list[Tensor]) -> Tensor:
        features = maps[-1][:, -self.channels :]  # (B, channels, h, w)
        return torch.stack([branch(features) for branch in self.branches]).sum(dim=0)  # (B, K, h, w)


class PartSegmenter(nn.Module):
    """Assigns each pixel logits over ``num_parts`` parts, at least 2.

    ``arch`` is one of ``FPNS`` (logits at the stride of the finest layer) or one of ``DEEPLABS`` (stride 8; in the
    paper's layout the head reads the last half of the channels), ``weights`` see :mod:`partlib.backbones`. BatchNorm is
    "frozen" with its ImageNet statistics and parameters; or has the statistics of the batch, and trains its parameters
    ("train") or only those in the shortcut branches of a ResNet ("statistics", the paper).
    """

    def __init__(self, num_parts: int, arch: str = "fpn_lite0", weights: str = "", batchnorm: str = "frozen") -> None:
        super().__init__()
        assert num_parts >= 2
        assert batchnorm in ("frozen", "train", "statistics")
        self.num_parts, self.batchnorm = num_parts, batchnorm
        if arch in FPNS:
            self.encoder: nn.Module = Lite0Encoder(FPNS[arch], weights)
            self.decoder: nn.Module = FPNDecoder(self.encoder.channels, num_parts)
        elif arch in DEEPLABS:
            layout = DEEPLABS[arch]
            self.encoder = ResNet50Encoder(weights, **layout)  # type: ignore[arg-type]
            self.decoder = DeepLabHead(num_parts, 1024 if layout["paper"] else 2048)
        else:
            raise ConfigError(f"arch {arch!r} is unknown; expected one of {', '.join((*FPNS, *DEEPLABS))}")
        for name, module in self._batchnorms():
            trained = batchnorm == "train" or (batchnorm == "statistics" and "downsample" in name)
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(trained)

    def _batchnorms(self) -> list[tuple[str, nn.Module]]:
        kind = nn.modules.batchnorm._BatchNorm
        return [(name, module) for name, module in self.named_modules() if isinstance(module, kind)]

    def train(self, mode: bool = True) -> "PartSegmenter":
        """Training mode, BatchNorm as configured."""
        super().train(mode)
        if self.batchnorm == "frozen":
            for _, module in self._batchnorms():
                module.eval()
        return self

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
        assert images.is_floating_point(), "images are bytes; divide them by 255"
        assert images.amax() <= 1, "images are not in [0, 1]; divide them by 255"
        return likeliest_part(self(images)) * (foreground[:, 0] >= 0.5)
