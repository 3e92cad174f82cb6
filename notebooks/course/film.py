"""What a network finds while it is being trained: its parts of a few images at chosen steps."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from partlib.data.base import PartDataset
from partlib.errors import ConfigError
from partlib.evaluation import predict
from partlib.metrics import part_share
from partlib.runs.checkpoint import write_tensors
from partlib.training import Trainer


class Film:
    """Keeps the parts of some images at some steps of a run; to be handed to ``train`` as ``on_step``.

    Parameters
    ----------
    dataset : the N images to segment.
    steps : when to do so, counted from 1.
    path : file to keep the frames in, so that a run that goes on, or is only loaded, still has them; None for none.

    Raises
    ------
    ConfigError : ``path`` holds a film of other images.
    """

    def __init__(self, dataset: PartDataset, steps: Sequence[int], path: str | Path | None = None) -> None:
        self.dataset, self.wanted = dataset, set(steps)
        self.path = None if path is None else Path(path)
        self._frames: dict[int, Tensor] = {}  # step -> (N, H, W) uint8
        if self.path is not None and self.path.is_file():
            self._load(self.path)

    def _load(self, path: Path) -> None:
        expected = tuple(self.dataset[0].image.shape[-2:])
        for name, labels in load_file(path).items():
            if tuple(labels.shape) != (len(self.dataset), *expected):
                raise ConfigError(
                    f"{path} has frames of shape {tuple(labels.shape)}; expected {(len(self.dataset), *expected)}, "
                    "one per image; delete it or use another path"
                )
            self._frames[int(name)] = labels

    def __call__(self, trainer: Trainer, terms: dict[str, Tensor] | None = None) -> None:
        """Take a frame where this is one of the steps."""
        if trainer.step not in self.wanted:
            return
        self._frames[trainer.step] = predict(trainer.segmenter, self.dataset)  # (N, H, W)
        trainer.prepared()
        if self.path is not None:
            frames = {str(step): labels for step, labels in self._frames.items()}
            write_tensors(self.path, frames)

    @property
    def steps(self) -> list[int]:
        """The steps of the frames taken so far, ascending."""
        return sorted(self._frames)

    @property
    def labels(self) -> Tensor:
        """All frames in their order, (T, N, H, W) uint8; 0 is background, 1..K are parts.

        Raises
        ------
        ConfigError : no frame has been taken.
        """
        if not self._frames:
            raise ConfigError("the film has no frame; give it to train() as on_step, with steps that the run reaches")
        return torch.stack([self._frames[step] for step in self.steps])

    def shares(self, num_parts: int) -> list[dict[str, float]]:
        """Share of the foreground of each part, "share_1" ... "share_K", a row per frame with its "step"."""
        rows = []
        for step in self.steps:
            values = part_share(self._frames[step], num_parts).tolist()
            rows.append({"step": float(step), **{f"share_{k}": value for k, value in enumerate(values, start=1)}})
        return rows
