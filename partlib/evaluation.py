"""Scores of a segmentation of a whole data set, whoever made it."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from partlib.data.base import Batch, PartDataset, collate
from partlib.errors import DataError
from partlib.metrics import PartScores
from partlib.segmenter import PartSegmenter

Segment = Callable[[Batch, list[int]], Tensor]  # batch and the indices of its samples -> labels (B, H, W)
BATCH = 8  # images in memory at a time


def batches(dataset: PartDataset, batch_size: int = BATCH) -> Iterator[tuple[Batch, list[int]]]:
    """The samples in order, with their indices."""
    for start in range(0, len(dataset), batch_size):
        indices = list(range(start, min(start + batch_size, len(dataset))))
        yield collate([dataset[i] for i in indices]), indices


def predict(segmenter: PartSegmenter, dataset: PartDataset, batch_size: int = BATCH) -> Tensor:
    """Labels (N, H, W) uint8 of every image; 0 is background, 1..K are parts."""
    device = next(segmenter.parameters()).device
    was_training = segmenter.training
    segmenter.eval()
    labels = [
        segmenter.segment(batch.images.to(device), batch.foreground.to(device)).to("cpu", torch.uint8)
        for batch, _ in batches(dataset, batch_size)
    ]
    segmenter.train(was_training)
    return torch.cat(labels)  # (N, H, W)


def score(labels: Tensor, dataset: PartDataset, keep: list[int] | None = None) -> dict[str, float]:
    """NMI and ARI in percent of labels (N, H, W) against the parts of ``dataset``, over the samples ``keep`` (all).

    The scores are of the pooled pixels, as in the paper: one contingency table for the whole data set.
    """
    scores = PartScores()
    for i in range(len(dataset)) if keep is None else keep:
        parts = dataset[i].parts
        assert parts is not None
        scores.update(labels[i].long(), parts)
    return scores.compute()


def annotated_parts(dataset: PartDataset) -> Tensor:
    """Annotated parts (N, H, W) uint8 of a data set that has them; bytes, as hundreds of maps are kept."""
    found = [dataset[i].parts for i in range(len(dataset))]
    if not found or any(parts is None for parts in found):
        raise DataError(f"data set {dataset.name!r} has no annotated parts")
    return torch.stack([parts.to(torch.uint8) for parts in found if parts is not None])


def evaluate(segmenter: PartSegmenter, dataset: PartDataset) -> tuple[Tensor, dict[str, float]]:
    labels = predict(segmenter, dataset)
    return labels, score(labels, dataset) if dataset[0].parts is not None else {}
