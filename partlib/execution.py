"""How a run is carried out: number format, compilation, loading. What it computes is in ``TrainConfig``."""

import os
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from partlib import distributed
from partlib.errors import ConfigError

PRECISIONS = ("auto", "float32", "bfloat16")
GPU_WORKERS = 4  # enough to read 256-pixel images as fast as one GPU takes them


@dataclass(frozen=True)
class Execution:
    """Settings that make a run faster or smaller; results stay equal up to rounding.

    Attributes
    ----------
    precision : number format of the networks' activations, "float32" or "bfloat16" (autocast); "auto" takes bfloat16
        on GPUs that have it and float32 elsewhere. Weights, losses and the optimiser are always float32.
    compile : compile the segmenter with ``torch.compile``, which takes minutes at the start. Meant for GPUs; on the CPU
        the steps after that were no faster.
    workers : processes that read images ahead of the device; None for 4 with a GPU, none on the CPU, where they would
        take the processor from the network.
    feature_cache_gb : largest cache of frozen features in gigabytes (10^9 bytes). Above it, and for crops that are
        drawn anew every time, features are computed at every step.

    Raises
    ------
    ConfigError : an unknown precision or a negative number.
    """

    precision: str = "auto"
    compile: bool = False
    workers: int | None = None
    feature_cache_gb: float = 20.0

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision is {self.precision!r}; expected one of {', '.join(PRECISIONS)}")
        if self.workers is not None and self.workers < 0:
            raise ConfigError(f"workers is {self.workers}; expected a number of processes, at least 0")
        if not self.feature_cache_gb >= 0:
            raise ConfigError(f"feature_cache_gb is {self.feature_cache_gb}; expected gigabytes, at least 0")

    def half_type(self, device: torch.device) -> torch.dtype | None:
        """Type that autocast uses on ``device``, None for no autocast."""
        if self.precision == "auto":
            return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else None
        return torch.bfloat16 if self.precision == "bfloat16" else None

    def number_of_workers(self, device: torch.device) -> int:
        """Processes that read ahead for ``device``."""
        if self.workers is not None:
            return self.workers
        return min(GPU_WORKERS, os.cpu_count() or 1) if device.type == "cuda" else 0

    def autocast(self, device: torch.device) -> torch.autocast:
        """Context in which a network runs on ``device``."""
        half = self.half_type(device)
        return torch.autocast(device.type, dtype=half or torch.bfloat16, enabled=half is not None)


class TrainingForward(nn.Module):
    """The segmenter as a training step calls it: (B, 3, H, W) in [0, 1] -> (B, K, H, W) float32 logits.

    Replicated over the ranks, compiled where asked for, and in the number format of ``execution``. It shares the
    weights of ``segmenter``, which is still the one to save and to evaluate.
    """

    def __init__(self, segmenter: nn.Module, device: torch.device, execution: Execution) -> None:
        super().__init__()
        network = distributed.replicate(segmenter)
        self.network = torch.compile(network) if execution.compile else network
        self.device, self.execution = device, execution

    def forward(self, images: Tensor) -> Tensor:
        # Autocast ends here: warps, colours and losses do not survive eight bits of mantissa.
        with self.execution.autocast(self.device):
            logits: Tensor = self.network(images)
        return logits.float()
