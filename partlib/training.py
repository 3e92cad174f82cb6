"""The training step: what happens between one set of weights and the next. Everything it needs is handed in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from partlib.errors import PartlibError
from partlib.loader import StepLoader, step_generator
from partlib.objective import Objective
from partlib.segmenter import PartSegmenter

GRAD_CLIP = 5.0  # largest L2 norm of the gradient (paper, appendix)
POLY_POWER = 0.9  # of the polynomial decay of learning rates (paper, appendix)


class TrainingError(PartlibError, RuntimeError):
    """Training cannot go on; the last checkpoint is still there."""


@dataclass(frozen=True)
class Schedule:
    """What changes from step to step."""

    steps: int
    weights: Mapping[str, float]  # of the four losses at the beginning
    visual_end: float = 0.0  # weight of the visual loss at the end, grown geometrically; 0 keeps it constant
    decay_steps: int = 0  # after which learning rates are zero; 0 for ``steps``

    def lr_factor(self, step: int) -> float:
        """(1 - step / decay_steps) ** 0.9, the factor of all learning rates."""
        return (1 - step / (self.decay_steps or self.steps)) ** POLY_POWER

    def weights_at(self, step: int) -> dict[str, float]:
        """Weights of the four losses at a step."""
        weights = dict(self.weights)
        if weights["visual"] and self.visual_end:
            weights["visual"] *= (self.visual_end / weights["visual"]) ** (step / self.steps)
        return weights


class Trainer:
    """State of one run, advanced a step at a time."""

    def __init__(
        self,
        segmenter: PartSegmenter,  # the network that is trained, in training mode
        loader: StepLoader,  # step number -> images and their features
        objective: Objective,
        optimizer: torch.optim.Optimizer,  # with the learning rates of the first step
        schedule: Schedule,
        seed: int = 0,  # decides jitter and warps of every step
        forward: Callable[[Tensor], Tensor] | None = None,  # the segmenter compiled or replicated; None for itself
    ) -> None:
        self.segmenter, self.loader, self.objective = segmenter, loader, objective
        self.optimizer, self.schedule, self.seed = optimizer, schedule, seed
        self.forward = forward or segmenter
        self.base_rates = [group["lr"] for group in optimizer.param_groups]
        self.trained = [p for p in segmenter.parameters() if p.requires_grad]
        self.step = 0

    def losses(self, step: int) -> dict[str, Tensor]:
        """The losses of one step at the present weights, with gradient: "total" and the terms of it, unweighted."""
        batch, features = self.loader(step)
        weights = self.schedule.weights_at(step)
        return self.objective(self.forward, batch, features, weights, step_generator(self.seed, step))

    def advance(self) -> dict[str, Tensor]:
        """One optimization step; returns the losses before it."""
        # The learning rates of this step
        for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = base * self.schedule.lr_factor(self.step)
        # Forward: images -> views -> logits -> part maps -> losses
        terms = self.losses(self.step)
        # Backward, clip, step
        self.optimizer.zero_grad(set_to_none=True)
        terms["total"].backward()
        nn.utils.clip_grad_norm_(self.trained, GRAD_CLIP)
        self.optimizer.step()
        self.step += 1
        return {name: value.detach() for name, value in terms.items()}

    def state(self) -> dict[str, Any]:
        """Everything needed to go on from here, as plain values and tensors; refused where a weight is not finite."""
        if not all(bool(p.isfinite().all()) for p in self.segmenter.parameters()):
            problem = f"weights are not finite after step {self.step}"
            raise TrainingError(f"{problem}; start again in another folder with a lower lr")
        return {"step": self.step, "model": self.segmenter.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.segmenter.load_state_dict(state["model"])
        for theirs, ours in zip(state["optimizer"]["param_groups"], self.optimizer.param_groups, strict=True):
            theirs["fused"] = ours["fused"]  # that is a matter of this device, not of the one that saved
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
