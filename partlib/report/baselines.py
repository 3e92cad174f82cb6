"""What the method must beat: five ways to get K parts without learning a segmentation.

Every baseline has one interface. ``fit`` sees the training images and their foregrounds (and, where it needs them, the
same frozen features that the method trains with), never an annotation. ``predict`` gives labels 0 (background) and
1..K for any images. All are scored like the method's own labels, with the same foreground.

All five work the same way: pixels (or cells of a feature map) become vectors, a model with K components is fitted to a
sample of them, and a pixel takes the component with the highest score.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from partlib.color import rgb_to_lab
from partlib.errors import ConfigError, DataError
from partlib.features import FeatureScaling, foreground_cells, read_copy
from partlib.memory import return_freed

BATCH = 32  # images in memory at a time
SAMPLE_BATCH = 8  # while vectors are drawn; the draw does not depend on it
SAMPLE = 50_000  # vectors a model is fitted to, drawn evenly from the training images
RESTARTS = 5  # of k-means; the best of them is kept

Features = Sequence[Tensor | np.ndarray] | None


class Baseline:
    """Common part of all baselines: sampling, batches, and labels from scores.

    Parameters
    ----------
    num_parts : K, at least 2.
    seed : draws the sample and starts the model; the same seed gives the same labels.
    """

    name = ""
    needs_features = False

    def __init__(self, num_parts: int, seed: int = 0) -> None:
        if num_parts < 2:
            raise ConfigError(f"num_parts is {num_parts}; expected at least 2")
        self.num_parts, self.seed = num_parts, seed
        self.is_fitted = False

    def fit(self, images: Tensor, foregrounds: Tensor, features: Features = None) -> "Baseline":
        """Fit to training images.

        Parameters
        ----------
        images : (N, 3, H, W) in [0, 1], RGB.
        foregrounds : (N, 1, H, W); above 0.5 is foreground.
        features : one (N, C, h, w) array or tensor per layer, or None. Arrays may be memory-mapped and of half
            precision: they are read a batch at a time.

        Raises
        ------
        DataError : fewer foreground vectors than parts, or shapes that do not fit.
        ConfigError : the baseline needs features and has none.
        """
        self._check(images, foregrounds, features)
        generator = torch.Generator().manual_seed(self.seed)
        per_image = max(1, SAMPLE // len(images))
        drawn, count = torch.empty(0), 0
        for batch in _batches(images, foregrounds, features if self.needs_features else None, SAMPLE_BATCH):
            vectors, inside = self._vectors(*batch)  # (B, D, h, w), (B, 1, h, w)
            for values, mask in zip(vectors, inside[:, 0], strict=True):  # (D, h, w), (h, w)
                found = values[:, mask].T  # (pixels, D)
                found = found[torch.randperm(len(found), generator=generator)[:per_image]]
                if not count:  # room for all of them: a list and its concatenation would take twice as much
                    drawn = torch.empty(len(images) * per_image, found.shape[1])
                drawn[count : count + len(found)] = found
                count += len(found)
        drawn = drawn[:count]  # (P, D), P at most SAMPLE or one per image
        if len(drawn) < self.num_parts:
            raise DataError(
                f"{self.name}: {len(drawn)} foreground vectors in {len(images)} images for {self.num_parts} parts; "
                "check the foreground masks"
            )
        self._fit_model(drawn)
        self.is_fitted = True
        return self

    @torch.no_grad()
    def predict(self, images: Tensor, foregrounds: Tensor, features: Features = None) -> Tensor:
        """Labels (N, H, W) int64: 0 off the foreground, 1..K on it. Arguments as in :meth:`fit`."""
        if not self.is_fitted:
            raise ConfigError(f"{self.name}: call fit before predict")
        self._check(images, foregrounds, features)
        labels = torch.zeros(len(images), *images.shape[-2:], dtype=torch.int64)
        start = 0
        for batch in _batches(images, foregrounds, features if self.needs_features else None):
            scores = self._scores(*batch)  # (B, K, H, W)
            inside = batch[1][:, 0] > 0.5  # (B, H, W)
            labels[start : start + len(scores)] = (scores.argmax(1) + 1) * inside
            start += len(scores)
        return labels

    def _vectors(self, images: Tensor, foregrounds: Tensor, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Vectors (B, D, h, w) that the model is fitted to and which of them count, (B, 1, h, w) bool."""
        raise NotImplementedError

    def _fit_model(self, sample: Tensor) -> None:
        """Fit K components to (P, D) vectors, which it may overwrite."""
        raise NotImplementedError

    def _scores(self, images: Tensor, foregrounds: Tensor, features: list[Tensor]) -> Tensor:
        """Scores (B, K, H, W); a pixel belongs to the component with the highest."""
        raise NotImplementedError

    def _check(self, images: Tensor, foregrounds: Tensor, features: Features) -> None:
        if images.ndim != 4 or foregrounds.shape != (len(images), 1, *images.shape[-2:]) or len(images) == 0:
            raise DataError(
                f"{self.name}: images {tuple(images.shape)} and foregrounds {tuple(foregrounds.shape)}; "
                "expected (N, 3, H, W) and (N, 1, H, W) with N at least 1"
            )
        if not self.needs_features:
            return
        if not features:
            raise ConfigError(f"{self.name} needs features; pass the maps of partlib.PerceptualFeatures")
        if any(level.ndim != 4 or len(level) != len(images) for level in features):
            shapes = [tuple(level.shape) for level in features]
            raise DataError(f"{self.name}: features {shapes}; expected (N, C, h, w) with N = {len(images)}")

    def _nearest(self, vectors: Tensor) -> Tensor:
        """Scores (B, K, h, w) of vectors (B, D, h, w): minus the squared distance to each centre, plus |vector|^2.

        The term left out is the same for all K, and without it the score is affine in the vector: upsampling scores
        equals upsampling vectors.
        """
        linear = torch.einsum("kd,bdhw->bkhw", 2 * self.centers, vectors)  # (B, K, h, w)
        return linear - (self.centers**2).sum(1)[:, None, None]

    def _kmeans(self, vectors: Tensor) -> None:
        """Centres of (P, D) vectors, which are overwritten."""
        from sklearn.cluster import KMeans  # on use: scikit-learn takes a second and over 100 MB

        model = KMeans(self.num_parts, n_init=RESTARTS, random_state=self.seed, copy_x=False).fit(vectors.numpy())
        self.centers = torch.from_numpy(model.cluster_centers_).float()  # (K, D)


class _PixelKMeans(Baseline):
    """k-means on vectors of single pixels; each group of coordinates is scaled to the same total variance."""

    groups: tuple[tuple[int, ...], ...]

    def _fit_model(self, sample: Tensor) -> None:
        self.scale = torch.ones(sample.shape[1])
        for group in self.groups:
            # One scale per group: stretching L against a, b would distort Lab's distances.
            self.scale[list(group)] = sample[:, list(group)].var(0, unbiased=False).sum().sqrt().clamp(min=1e-6)
        self._kmeans(sample / self.scale)

    def _scores(self, images: Tensor, foregrounds: Tensor, features: list[Tensor]) -> Tensor:
        vectors, _ = self._vectors(images, foregrounds, features)
        return self._nearest(vectors / self.scale[:, None, None])


class PositionKMeans(_PixelKMeans):
    """k-means on where a pixel lies on the object: the same K regions on every one.

    Positions are relative to the foreground's centre and spread, which makes the baseline stronger than positions in
    the image, and its units are square, which keeps narrow objects from being cut lengthwise.
    """

    name = "position k-means"
    groups = ((0, 1),)

    def _vectors(self, images: Tensor, foregrounds: Tensor, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        inside = foregrounds > 0.5
        return object_positions(inside), inside


class ColourKMeans(_PixelKMeans):
    """k-means on CIE Lab."""

    name = "colour k-means"
    groups = ((0, 1, 2),)

    def _vectors(self, images: Tensor, foregrounds: Tensor, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        return rgb_to_lab(images), foregrounds > 0.5


class ColourPositionKMeans(_PixelKMeans):
    """k-means on CIE Lab and position on the object, both scaled to unit variance."""

    name = "colour + position k-means"
    groups = ((0, 1, 2), (3, 4))

    def _vectors(self, images: Tensor, foregrounds: Tensor, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        inside = foregrounds > 0.5
        return torch.cat([rgb_to_lab(images), object_positions(inside)], dim=1), inside  # (B, 5, H, W)


class _CellBaseline(Baseline):
    """Fitted to the cells of the finest feature layer, the coarser ones upsampled to it; scores are then upsampled.

    Channels are standardised over the foreground of the training images, and in every layer each cell is scaled to unit
    length. Channels of an ImageNet network may differ much in size and layers in their number of
    channels; without this the loudest would decide alone. It is also what the method's own losses see.
    """

    needs_features = True

    def fit(self, images: Tensor, foregrounds: Tensor, features: Features = None) -> Baseline:
        self._check(images, foregrounds, features)
        self.scaling = FeatureScaling.fit(features or (), foregrounds)
        return super().fit(images, foregrounds, features)

    def _vectors(self, images: Tensor, foregrounds: Tensor, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        size = max((level.shape[-2:] for level in features), key=lambda s: s[0] * s[1])
        levels = [
            z if z.shape[-2:] == size else F.interpolate(z, size=size, mode="bilinear", align_corners=True)
            for z in self.scaling(features)
        ]
        cells = torch.cat(levels, dim=1)  # (B, sum C_l, h, w)
        return cells, foreground_cells(foregrounds, cells.shape)


class FeatureKMeans(_CellBaseline):
    """k-means on frozen features, read out per pixel.

    The features of a pixel are the bilinear interpolation of the cells', with corners aligned as in the method's loss.
    """

    name = "feature k-means"

    def _fit_model(self, sample: Tensor) -> None:
        self._kmeans(sample)

    def _scores(self, images: Tensor, foregrounds: Tensor, features: list[Tensor]) -> Tensor:
        cells, _ = self._vectors(images, foregrounds, features)
        return _upsample(self._nearest(cells), images)


class FeatureFactorisation(_CellBaseline):
    """Deep feature factorisation (Collins, Achanta, Suesstrunk, ECCV 2018): NMF of rectified feature maps.

    Cells x channels is approximated by (cells x K) (K x channels), both non-negative; the first factor says how much of
    each component a cell holds. It is found for new images with the second factor fixed, upsampled, and the largest
    wins. What is factorised is how far a channel lies above its average.
    """

    name = "feature factorisation (DFF)"

    def _fit_model(self, sample: Tensor) -> None:
        from sklearn.decomposition import NMF  # on use, like KMeans

        self.model = NMF(self.num_parts, init="nndsvda", random_state=self.seed, max_iter=300, tol=1e-3)
        self.model.fit(sample.clamp_(min=0).numpy())
        # How large a component's activations are depends on the length of its row: make the rows comparable.
        self.lengths = torch.from_numpy(np.linalg.norm(self.model.components_, axis=1)).float()  # (K,)

    def _scores(self, images: Tensor, foregrounds: Tensor, features: list[Tensor]) -> Tensor:
        cells, inside = self._vectors(images, foregrounds, features)  # (B, C, h, w), (B, 1, h, w)
        near = F.max_pool2d(inside.float(), 3, stride=1, padding=1)[:, 0] > 0  # (B, h, w)
        activations = torch.zeros(len(cells), *cells.shape[-2:], self.num_parts)  # (B, h, w, K)
        if near.any():
            wanted = cells.clamp(min=0).permute(0, 2, 3, 1)[near]  # (cells, C)
            activations[near] = torch.from_numpy(self.model.transform(wanted.numpy())).float() * self.lengths
        return _upsample(activations.permute(0, 3, 1, 2), images)  # (B, K, h, w) -> (B, K, H, W)


BASELINES: dict[str, type[Baseline]] = {
    kind.name: kind
    for kind in (PositionKMeans, ColourKMeans, ColourPositionKMeans, FeatureKMeans, FeatureFactorisation)
}


def fit_baselines(
    images: Tensor,
    foregrounds: Tensor,
    features: Features,
    num_parts: int,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> dict[str, Baseline]:
    """Fit several baselines (all of :data:`BASELINES` by default) to the same images; arguments as ``Baseline.fit``.

    Returns
    -------
    dict, name -> fitted baseline.
    """
    unknown = [name for name in names or () if name not in BASELINES]
    if unknown:
        raise ConfigError(f"unknown baseline {unknown[0]!r}; expected one of {', '.join(BASELINES)}")
    fitted = {}
    for name in tqdm(list(names or BASELINES), desc="baselines", leave=False):
        return_freed()  # of what came before: the vectors of the last baseline, a training
        fitted[name] = BASELINES[name](num_parts, seed).fit(images, foregrounds, features)
    return fitted


def object_positions(inside: Tensor) -> Tensor:
    """Where every pixel lies on the object: ``(x, y)`` from the foreground's centre of mass, in units of its spread.

    Parameters
    ----------
    inside : (B, 1, H, W) bool, the foreground.

    Returns
    -------
    Tensor, (B, 2, H, W) float32. Over the foreground the mean is 0 and the root mean square of the length is 1; one
    unit is the same number of pixels in x and y, so that a narrow object is not cut lengthwise. All zero where the
    foreground is empty.
    """
    height, width = inside.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")  # (H, W) each
    place = torch.stack([x, y]).float().to(inside.device)  # (2, H, W)
    mask = inside.float()  # (B, 1, H, W)
    count = mask.sum((2, 3), keepdim=True).clamp(min=1)
    offset = place - (place * mask).sum((2, 3), keepdim=True) / count  # (B, 2, H, W)
    spread = ((offset**2 * mask).sum((1, 2, 3), keepdim=True) / count).sqrt()  # (B, 1, 1, 1)
    return torch.where(spread > 0, offset / spread.clamp(min=1e-6), 0.0)  # (B, 2, H, W)


def _batches(
    images: Tensor, foregrounds: Tensor, features: Features, size: int = 0
) -> Iterator[tuple[Tensor, Tensor, list[Tensor]]]:
    """(images, foregrounds, feature levels) of ``size`` images (BATCH by default) at a time, float32 on the CPU."""
    size = size or BATCH
    for start in range(0, len(images), size):
        pick = slice(start, start + size)
        levels = [
            torch.from_numpy(read_copy(level, pick)) if isinstance(level, np.ndarray) else level[pick]
            for level in features or ()
        ]
        levels = [level.float().cpu() for level in levels]
        yield images[pick].float().cpu(), foregrounds[pick].float().cpu(), levels


def _upsample(scores: Tensor, images: Tensor) -> Tensor:
    """(B, K, h, w) -> (B, K, H, W) of the images, corners aligned."""
    return F.interpolate(scores, size=images.shape[-2:], mode="bilinear", align_corners=True)
