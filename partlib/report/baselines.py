"""What the method must beat: five ways to get K parts without learning a segmentation or seeing an annotation.

Pixels, or cells of a feature map, become vectors, a model with K components is fitted to a sample of them, and a pixel
takes the component with the highest score.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from partlib.augment import rgb_to_lab
from partlib.data.base import Column
from partlib.distributed import progress_bar
from partlib.errors import DataError
from partlib.features import FeatureScaling, foreground_cells
from partlib.paths import read
from partlib.segmenter import likeliest_part, resize

BATCH = 4  # images in memory at a time; more are not faster
SAMPLE = 50_000  # vectors a model is fitted to, drawn evenly from the training images

Features = Sequence[np.ndarray]  # (N, C, h, w) per layer, memory-mapped halves or any floats
Stack = Tensor | Column  # all images, or something that reads those of a slice
Images = tuple[Tensor, Tensor, list]  # (B, 3, H, W) in [0, 1], foregrounds (B, 1, H, W), layers that are not read yet


class Baseline:
    """Common part of all: sampling, batches, k-means. The same seed gives the same labels."""

    name = ""
    scale: Tensor | float = 1.0  # (D, 1, 1), what vectors are divided by before the model sees them

    def __init__(self, num_parts: int, seed: int = 0) -> None:
        self.num_parts, self.seed = num_parts, seed

    def fit(self, images: Stack, foregrounds: Stack, features: Features = ()) -> "Baseline":
        """Fit to images (N, 3, H, W) in [0, 1], foregrounds (N, 1, H, W) and features (N, C, h, w) per layer."""
        generator, per_image = torch.Generator().manual_seed(self.seed), max(1, SAMPLE // len(images))
        sample, count = torch.empty(0), 0  # filled in place: a list of all beside it would take as much again
        for batch in self._batches(images, foregrounds, features, BATCH):
            for values, mask in zip(*self._vectors(batch), strict=True):  # (D, h, w), (1, h, w)
                found = values[:, mask[0]].T  # (pixels, D)
                found = found[torch.randperm(len(found), generator=generator)[:per_image]]
                if not count:
                    sample = torch.empty(len(images) * per_image, len(values))
                sample[count : count + len(found)] = found
                count += len(found)
        sample = sample[:count]  # (P, D), P at most SAMPLE or one per image
        if len(sample) < self.num_parts:
            raise DataError(f"{len(sample)} foreground pixels for {self.num_parts} parts; check the foreground masks")
        self._fit_model(sample)
        return self

    def predict(self, images: Tensor, foregrounds: Tensor, features: Features = ()) -> Tensor:
        """Labels (N, H, W) int64: 0 off the foreground, 1..K on it. Arguments as in :meth:`fit`."""
        labels = [likeliest_part(scores) for scores in self.scores(images, foregrounds, features)]
        return torch.cat(labels) * (foregrounds[:, 0] > 0.5)  # (N, H, W)

    @torch.no_grad()
    def scores(self, images: Tensor, foregrounds: Tensor, features: Features = ()) -> Iterator[Tensor]:
        """Scores (B, K, H, W) of the parts, batch by batch; the highest wins. Arguments as in :meth:`fit`."""
        for batch in self._batches(images, foregrounds, features, BATCH):
            yield self._scores(batch)

    def _batches(self, images: Stack, foregrounds: Stack, features: Features, size: int) -> Iterator[Images]:
        for start in range(0, len(images), size):
            pick = slice(start, start + size)
            yield images[pick], foregrounds[pick], [z[pick] for z in features]

    def _vectors(self, batch: Images) -> tuple[Tensor, Tensor]:
        """Vectors (B, D, h, w) that the model is fitted to and which of them count, (B, 1, h, w) bool."""
        raise NotImplementedError

    def _fit_model(self, sample: Tensor) -> None:
        """Fit K components to vectors (P, D), which it may overwrite."""
        from sklearn.cluster import KMeans  # on use: scikit-learn takes a second and over 100 MB

        model = KMeans(self.num_parts, n_init=5, random_state=self.seed, copy_x=False).fit(sample.numpy())
        self.centers = torch.from_numpy(model.cluster_centers_).float()  # (K, D)

    def _scores(self, batch: Images) -> Tensor:
        """Scores (B, K, H, W), the highest wins: |vector|^2 - squared distance to a center; upsampling commutes."""
        vectors = self._vectors(batch)[0] / self.scale  # (B, D, h, w)
        linear = torch.einsum("kd,bdhw->bkhw", 2 * self.centers, vectors)  # (B, K, h, w)
        return linear - (self.centers**2).sum(1)[:, None, None]


class ColorPositionKMeans(Baseline):
    """k-means on CIE Lab, on where a pixel lies on the object, or on both, scaled to the same total variance."""

    name, color, position = "color + position k-means", True, True

    def _vectors(self, batch: Images) -> tuple[Tensor, Tensor]:
        images, inside = batch[0], batch[1] > 0.5
        groups = [rgb_to_lab(images)] if self.color else []  # (B, 3, H, W)
        groups += [object_positions(inside)] if self.position else []  # (B, 2, H, W)
        return torch.cat(groups, dim=1), inside

    def _fit_model(self, sample: Tensor) -> None:
        scale = torch.ones(sample.shape[1])
        # One scale per group: stretching L against a, b would distort Lab's distances.
        for group in [[0, 1, 2]] * self.color + [[-2, -1]] * self.position:
            scale[group] = sample[:, group].var(0, unbiased=False).sum().sqrt().clamp(min=1e-6)
        self.scale = scale[:, None, None]  # (D, 1, 1)
        super()._fit_model(sample / scale)


class PositionKMeans(ColorPositionKMeans):
    name, color = "position k-means", False


class ColorKMeans(ColorPositionKMeans):
    name, position = "color k-means", False


class FeatureKMeans(Baseline):
    """k-means on frozen features: the cells of the finest layer, the coarser ones upsampled to it.

    They are scaled as for the method's own losses: of raw ones the loudest channels and largest layers would decide.
    """

    name = "feature k-means"

    def fit(self, images: Stack, foregrounds: Stack, features: Features = ()) -> Baseline:
        self.scaling = FeatureScaling.fit(features, foregrounds)
        return super().fit(images, foregrounds, features)

    def _vectors(self, batch: Images) -> tuple[Tensor, Tensor]:
        layers = self.scaling([read(z).float() for z in batch[2]])  # (B, C_l, h_l, w_l) each
        size = max((z.shape[-2:] for z in layers), key=math.prod)
        layers = [z if z.shape[-2:] == size else resize(z, size) for z in layers]
        return torch.cat(layers, dim=1), foreground_cells(batch[1], size)  # (B, sum C_l, h, w), (B, 1, h, w)

    def _scores(self, batch: Images) -> Tensor:
        return resize(super()._scores(batch), batch[0].shape[-2:])  # (B, K, h, w) -> (B, K, H, W)


class FeatureFactorization(FeatureKMeans):
    """Deep feature factorization (Collins, Achanta, Suesstrunk, ECCV 2018): NMF of feature maps above their average.

    Cells x channels is about (cells x K) (K x channels), both non-negative; for new images the second is fixed.
    """

    name = "feature factorization (DFF)"

    def _fit_model(self, sample: Tensor) -> None:
        # as a function: the class would also compute what is left over, in twice the memory of the sample
        from sklearn.decomposition import non_negative_factorization  # on use, like KMeans

        self.factorize = partial(non_negative_factorization, n_components=self.num_parts, max_iter=300, tol=1e-3)
        cells = sample.clamp_(min=0).numpy()
        self.components = self.factorize(cells, init="nndsvda", random_state=self.seed)[1]  # (K, C)
        # How large a component's activations are depends on the length of its row: make the rows comparable.
        self.lengths = torch.from_numpy(np.linalg.norm(self.components, axis=1)).float()  # (K,)

    def activations(self, cells: np.ndarray) -> np.ndarray:
        """How much of each component, (P, K), is in non-negative cells (P, C)."""
        return self.factorize(cells, H=self.components, update_H=False)[0]

    def _scores(self, batch: Images) -> Tensor:
        cells, inside = self._vectors(batch)  # (B, C, h, w), (B, 1, h, w)
        near = F.max_pool2d(inside.float(), 3, stride=1, padding=1)[:, 0] > 0  # (B, h, w)
        activations = torch.zeros(len(cells), *cells.shape[-2:], self.num_parts)  # (B, h, w, K)
        if near.any():
            wanted = cells.clamp(min=0).permute(0, 2, 3, 1)[near]  # (cells, C)
            activations[near] = torch.from_numpy(self.activations(wanted.numpy())).float() * self.lengths
        return resize(activations.permute(0, 3, 1, 2), batch[0].shape[-2:])  # (B, K, h, w) -> (B, K, H, W)


KINDS = (PositionKMeans, ColorKMeans, ColorPositionKMeans, FeatureKMeans, FeatureFactorization)
BASELINES: dict[str, type[Baseline]] = {kind.name: kind for kind in KINDS}


def fit_baselines(
    images: Stack, masks: Stack, features: Features | None, num_parts: int, seed: int = 0, names: Sequence[str] = ()
) -> dict[str, Baseline]:
    """Name -> fitted baseline, of all or of those named; arguments as in :meth:`Baseline.fit`."""
    bar = progress_bar(names or BASELINES, desc="baselines", leave=False)
    return {name: BASELINES[name](num_parts, seed).fit(images, masks, features or ()) for name in bar}


def object_positions(inside: Tensor) -> Tensor:
    """Places (B, 2, H, W) ``(x, y)`` of pixels from the center of an object ``inside`` (B, 1, H, W) bool, 0 if empty.

    The unit is its root mean square radius, also where it is narrow.
    """
    y, x = torch.meshgrid(*(torch.arange(n) for n in inside.shape[-2:]), indexing="ij")  # (H, W) each
    place, mask = torch.stack([x, y]).float().to(inside.device), inside.float()  # (2, H, W), (B, 1, H, W)
    count = mask.sum((2, 3), keepdim=True).clamp(min=1)
    offset = place - (place * mask).sum((2, 3), keepdim=True) / count  # (B, 2, H, W)
    spread = ((offset**2 * mask).sum((1, 2, 3), keepdim=True) / count).sqrt()  # (B, 1, 1, 1)
    return torch.where(spread > 0, offset / spread.clamp(min=1e-6), 0.0)  # (B, 2, H, W)
