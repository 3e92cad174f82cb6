"""Labels of a whole data set and their scores; the data set is read once for both, and once for several methods."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from partlib.data.base import BATCH, Batch, PartDataset, at_once, batches
from partlib.errors import DataError
from partlib.metrics import PartScores
from partlib.segmenter import PartSegmenter

Segment = Callable[[Batch, list[int]], Tensor]  # batch and the indices of its samples -> labels (B, H, W)
Scores = dict[str, float]


def evaluate_all(
    methods: Mapping[str, Segment], dataset: PartDataset, batch_size: int = BATCH
) -> tuple[dict[str, Tensor], dict[str, Scores]]:
    """Labels and scores of every method, as :func:`evaluate` has them, by the names in ``methods``."""
    labels: dict[str, list[Tensor]] = {name: [] for name in methods}
    scores = {name: PartScores() for name in methods}
    for batch, indices in batches(dataset, batch_size):
        for name, segment in methods.items():
            labels[name].append(segment(batch, indices).to("cpu", torch.uint8))  # (B, H, W)
            if batch.parts is not None:
                scores[name].update(labels[name][-1], batch.parts)
    computed = {name: pooled.compute() if pooled.table.any() else {} for name, pooled in scores.items()}
    return {name: torch.cat(maps) for name, maps in labels.items()}, computed


def network(segmenter: PartSegmenter) -> Segment:
    """A segmenter as one of the methods: in eval mode for the while, a few images at a time."""

    def segment(batch: Batch, indices: list[int]) -> Tensor:
        device, was_training = next(segmenter.parameters()).device, segmenter.training
        few = [stack.to(device).split(at_once(device)) for stack in (batch.images, batch.foreground)]
        labels = torch.cat([segmenter.eval().segment(*pair) for pair in zip(*few, strict=True)])  # (B, H, W)
        segmenter.train(was_training)
        return labels

    return segment


def evaluate(segmenter: PartSegmenter, dataset: PartDataset, batch_size: int = BATCH) -> tuple[Tensor, Scores]:
    """Labels (N, H, W) uint8, 0 for background and 1..K for parts, and their scores ({} without annotated parts)."""
    labels, scores = evaluate_all({"ours": network(segmenter)}, dataset, batch_size)
    return labels["ours"], scores["ours"]


def predict(segmenter: PartSegmenter, dataset: PartDataset, batch_size: int = BATCH) -> Tensor:
    """The labels of :func:`evaluate` alone."""
    return evaluate(segmenter, dataset, batch_size)[0]


def score(labels: Tensor, dataset: PartDataset, keep: list[int] | None = None) -> Scores:
    """Scores in percent of labels (N, H, W) of ``dataset``, over the samples ``keep`` (all)."""
    found = labels if keep is None else labels[keep]
    return PartScores().update(found, annotated_parts(dataset, keep)).compute()


def annotated_parts(dataset: PartDataset, keep: list[int] | None = None) -> Tensor:
    """Annotated parts (N, H, W) uint8 of a data set that has them, or of its samples ``keep``."""
    samples = (dataset[i] for i in (range(len(dataset)) if keep is None else keep))
    parts = [sample.parts.to(torch.uint8) for sample in samples if sample.parts is not None]
    if not parts:
        raise DataError(f"data set {dataset.name!r} has no annotated parts")
    return torch.stack(parts)
