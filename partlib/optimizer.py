"""The optimisers of a run: of the whole network, and of its decoder alone."""

from typing import Any

import torch
from torch import nn

from partlib.config import TrainConfig
from partlib.segmenter import PartSegmenter


def build_optimizer(segmenter: PartSegmenter, config: TrainConfig) -> torch.optim.Optimizer:
    """Backbone and decoder in two groups with their own learning rates."""
    groups = [
        {"params": [p for p in segmenter.encoder.parameters() if p.requires_grad], "lr": config.backbone_lr},
        {"params": list(segmenter.decoder.parameters()), "lr": config.lr},
    ]
    return _optimizer(groups, segmenter, config)


def decoder_optimizer(decoder: nn.Module, config: TrainConfig, lr: float) -> torch.optim.Optimizer:
    """A decoder alone, with a learning rate of its own."""
    return _optimizer([{"params": list(decoder.parameters()), "lr": lr}], decoder, config)


def _optimizer(groups: list[dict[str, Any]], module: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    fused = next(module.parameters()).is_cuda or None  # one kernel for all parameters
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=config.weight_decay, fused=fused)
    return torch.optim.Adam(groups, weight_decay=config.weight_decay, fused=fused)
