"""Baselines: planted parts are recovered, seeds are honoured, labels keep to the foreground."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from partlib.errors import DataError
from partlib.metrics import PartScores
from partlib.report.baselines import BASELINES, fit_baselines, object_positions

SIZE, CELLS = 32, 8


def planted(images=12, seed=0, place=8):
    """Objects with four quarters; every quarter has its place, its color and its feature channels.

    Returns images (N, 3, 32, 32), foregrounds (N, 1, 32, 32), features (N, 8, 8, 8) and (N, 4, 4, 4), parts.
    """
    rng = np.random.default_rng(seed)
    colors = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.7, 0.1], [0.2, 0.2, 0.9], [0.9, 0.9, 0.2]])
    parts = torch.zeros(images, SIZE, SIZE, dtype=torch.int64)
    for image in parts:
        top, left = 4 * rng.integers(0, place // 4 + 1, size=2)
        for quarter in range(4):
            y, x = top + 12 * (quarter // 2), left + 12 * (quarter % 2)
            image[y : y + 12, x : x + 12] = quarter + 1
    one_hot = F.one_hot(parts, 5)[..., 1:].permute(0, 3, 1, 2).float()  # (N, 4, 32, 32)
    noise = torch.from_numpy(rng.normal(size=(images, 3, SIZE, SIZE))).float() * 0.02
    pictures = (torch.einsum("nkhw,kc->nchw", one_hot, colors) + noise).clamp(0, 1)
    fine = F.adaptive_avg_pool2d(one_hot, CELLS).repeat_interleave(2, dim=1)  # (N, 8, 8, 8)
    coarse = F.adaptive_avg_pool2d(one_hot, CELLS // 2)  # (N, 4, 4, 4)
    features = [fine + 0.01 * torch.from_numpy(rng.random(fine.shape)).float(), coarse]
    return pictures, (parts > 0).float()[:, None], features, parts


@pytest.fixture(scope="module")
def train():
    return planted(seed=0)


@pytest.fixture(scope="module")
def test():
    return planted(images=5, seed=1)


@pytest.mark.parametrize(("name", "least"), [*zip(BASELINES, (95, 99, 99, 70, 70), strict=True)])
def test_planted_parts_are_recovered_on_new_images(name, least, train, test):
    images, foregrounds, features, parts = test
    baseline = BASELINES[name](num_parts=4).fit(*train[:3])
    scores = PartScores().update(baseline.predict(images, foregrounds, features), parts).compute()
    assert scores["fg_nmi"] > least
    assert scores["fg_ari"] > least


@pytest.mark.parametrize("name", BASELINES)
def test_labels_are_parts_on_the_foreground_and_zero_off_it(name, train, test):
    images, foregrounds, features, _ = test
    labels = BASELINES[name](num_parts=3).fit(*train[:3]).predict(images, foregrounds, features)
    assert labels.shape == (5, SIZE, SIZE)
    assert labels.dtype == torch.int64
    inside = foregrounds[:, 0] > 0.5
    assert labels[inside].unique().tolist() == [1, 2, 3]
    assert labels[~inside].unique().tolist() == [0]


@pytest.mark.parametrize("name", BASELINES)
def test_same_seed_same_labels_in_any_batch(name, train, test, monkeypatch):
    images, foregrounds, features, _ = test
    first = BASELINES[name](num_parts=4, seed=3).fit(*train[:3]).predict(images, foregrounds, features)
    monkeypatch.setattr("partlib.report.baselines.BATCH", 2)
    again = BASELINES[name](num_parts=4, seed=3).fit(*train[:3])
    assert torch.equal(again.predict(images, foregrounds, features), first)


def test_half_precision_memory_mapped_features_are_read(train, test, tmp_path):
    def stored(features, tag):
        for i, level in enumerate(features):
            np.save(tmp_path / f"{tag}{i}.npy", level.half().numpy())
        return [np.load(tmp_path / f"{tag}{i}.npy", mmap_mode="r") for i in range(len(features))]

    images, foregrounds, features, parts = test
    baseline = BASELINES["feature k-means"](num_parts=4).fit(*train[:2], stored(train[2], "train"))
    labels = baseline.predict(images, foregrounds, stored(features, "test"))
    assert PartScores().update(labels, parts).compute()["fg_nmi"] > 70


def test_upsampling_scores_equals_upsampling_features(train, test):
    """Feature k-means interpolates K scores and never the channels; the plain way gives the same labels."""
    images, foregrounds, features, _ = test
    baseline = BASELINES["feature k-means"](num_parts=4).fit(*train[:3])
    levels = []
    for level, own in zip(features, train[2], strict=True):
        inside = F.adaptive_avg_pool2d(train[1], level.shape[-2:])[:, 0] > 0.5  # (N, h, w)
        cells = own.permute(0, 2, 3, 1)[inside]  # (cells, C)
        scaled = (level - cells.mean(0)[:, None, None]) / cells.std(0, unbiased=False)[:, None, None]
        scaled = F.normalize(scaled, dim=1)
        levels.append(F.interpolate(scaled, size=(CELLS, CELLS), mode="bilinear", align_corners=True))
    vectors = torch.cat(levels, dim=1)
    pixels = F.interpolate(vectors, size=(SIZE, SIZE), mode="bilinear", align_corners=True)
    distance = torch.cdist(pixels.permute(0, 2, 3, 1).reshape(-1, 12), baseline.centers)  # (N * H * W, K)
    plain = (distance.argmin(1).view(5, SIZE, SIZE) + 1) * (foregrounds[:, 0] > 0.5)
    same = plain == baseline.predict(images, foregrounds, features)
    assert same.float().mean() > 0.999  # ties at borders may fall either way


def test_positions_follow_the_object():
    mask = torch.zeros(2, 1, 60, 60, dtype=torch.bool)
    mask[0, 0, 5:17, 4:12] = True
    mask[1, 0, 30:54, 20:36] = True  # twice the size, elsewhere
    small, large = (object_positions(mask)[i][:, mask[i, 0]] for i in (0, 1))
    for positions in (small, large):
        torch.testing.assert_close(positions.mean(1), torch.zeros(2), atol=1e-5, rtol=0)
        torch.testing.assert_close((positions**2).sum(0).mean(), torch.tensor(1.0))
    torch.testing.assert_close(small.amax(1), large.amax(1), atol=0.1, rtol=0)
    width, height = small.amax(1) - small.amin(1)
    assert height / width == pytest.approx(11 / 7)  # one unit is the same length in x and y
    assert object_positions(torch.zeros(1, 1, 4, 4, dtype=torch.bool)).abs().max() == 0


def test_empty_foregrounds_among_the_images_are_harmless(train, test):
    images, foregrounds, features, _ = test
    empty = foregrounds.clone()
    empty[2] = 0
    for baseline in fit_baselines(*train[:3], num_parts=4).values():
        labels = baseline.predict(images, empty, features)
        assert (labels[2] == 0).all()
        assert (labels[1] > 0).any()
    assert BASELINES["position k-means"](2).fit(images, empty).predict(images, empty)[2].max() == 0


def test_fit_baselines_gives_the_named_ones(train):
    names = ["color k-means", "position k-means"]
    fitted = fit_baselines(*train[:2], None, num_parts=2, names=names)
    assert list(fitted) == names


def test_foregrounds_without_pixels_are_refused(train):
    with pytest.raises(DataError, match="0 foreground pixels for 4 parts"):
        BASELINES["position k-means"](4).fit(train[0], train[1] * 0)
