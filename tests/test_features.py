"""Frozen features: shapes, the cache that never mixes two networks, live features, and scaling."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from partlib.errors import ConfigError
from partlib.features import (
    CachedFeatures,
    FeatureScaling,
    LiveFeatures,
    PerceptualFeatures,
    cached_features,
    features_of,
    foreground_cells,
)


@pytest.fixture(scope="module")
def extractor():
    return PerceptualFeatures(size=64)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PARTLIB_CACHE", str(tmp_path))
    return tmp_path


# --- the network -----------------------------------------------------------------------------------------------------


def test_maps_have_the_strides_of_their_layers_finest_first(extractor):
    images = torch.rand(2, 3, 64, 64)
    assert extractor.layers == ("stride16", "stride32")
    assert [tuple(m.shape) for m in extractor(images)] == [(2, 112, 4, 4), (2, 320, 2, 2)]
    other = PerceptualFeatures(layers=("stride32", "stride8"), weights="random", size=None)
    assert other.layers == ("stride8", "stride32")
    assert [m.shape[-1] for m in other(images)] == [8, 2]


def test_small_images_are_enlarged_before_the_network_sees_them(extractor):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    enlarged = F.interpolate(images, size=(64, 64), mode="bicubic", align_corners=False).clamp(0, 1)
    for found, expected in zip(extractor(images), extractor(enlarged), strict=True):
        torch.testing.assert_close(found, expected)
    assert PerceptualFeatures(size=None)(images)[0].shape == (2, 112, 2, 2)


def test_network_is_frozen_even_in_train_mode(extractor):
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    before, after = extractor(images), extractor.train()(images)
    assert not any(p.requires_grad for p in extractor.parameters())
    assert not any(m.requires_grad for m in after)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_unknown_networks_and_layers_are_named():
    with pytest.raises(ConfigError, match="'alexnet' is unknown; expected one of efficientnet_lite0, vgg19, timm/NAME"):
        PerceptualFeatures("alexnet")
    with pytest.raises(ConfigError, match=r"no layer 'relu3_2'; expected stride2"):
        PerceptualFeatures("efficientnet_lite0", ("relu3_2",))


@pytest.mark.parametrize("network", ["timm/resnet18", "torchvision/resnet18", "efficientnet_lite0"])
def test_random_weights_are_the_same_ones_every_time(network):
    first, again = (PerceptualFeatures(network, weights="random", size=64).state_dict() for _ in range(2))
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())


def test_features_of_a_network_of_a_library_are_cached_too(tiny_birds, empty_cache):
    extractor = PerceptualFeatures("timm/resnet18", weights="random", size=64)
    features = cached_features(tiny_birds[1], extractor)
    expected = extractor(torch.stack([tiny_birds[1][i].image for i in range(2)]))
    for found, wanted in zip(features.batch([0, 1]), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=2e-3, atol=2e-3)


# --- cached or live --------------------------------------------------------------------------------------------------


def test_the_cache_holds_the_features_of_every_image_in_half_precision(extractor, tiny_birds, empty_cache):
    dataset = tiny_birds[1]
    features = cached_features(dataset, extractor)
    expected = extractor(torch.stack([dataset[i].image for i in range(len(dataset))]))
    assert features.layers == extractor.layers
    for array, maps in zip(features.maps, expected, strict=True):
        assert array.dtype == np.float16
        np.testing.assert_allclose(array, maps.numpy(), rtol=2e-3, atol=1e-3)
    for array, found in zip(features.maps, features(features.load([5, 0])), strict=True):
        assert found.dtype == torch.float32
        assert np.array_equal(array[[5, 0]].astype(np.float32), found.numpy())


def test_the_cache_is_read_the_second_time(extractor, tiny_birds, empty_cache):
    cached_features(tiny_birds[1], extractor)
    files = sorted(empty_cache.rglob("*.npy"))
    assert [f.name for f in files] == ["stride16.npy", "stride32.npy"]
    changed = np.load(files[0])
    changed[2] = 7
    np.save(files[0], changed)
    assert (cached_features(tiny_birds[1], extractor).maps[0][2] == 7).all()


def test_cache_tells_networks_sizes_layers_and_images_apart(extractor, tiny_birds, empty_cache):
    train, val = tiny_birds
    others = [
        (val, PerceptualFeatures(weights="random", size=64)),
        (val, PerceptualFeatures(size=96)),
        (val, PerceptualFeatures(layers=("stride32",), size=64)),
        (train.subset(range(8)), extractor),
    ]
    expected = cached_features(val, extractor).maps[-1]
    found = [cached_features(dataset, other).maps[-1] for dataset, other in others]
    assert len(list(empty_cache.glob("features-*"))) == 1 + len(others)
    assert [array.shape[-1] for array in found] == [2, 3, 2, 2]
    assert np.abs(found[0].astype(np.float32) - expected).max() > 0.1
    assert np.array_equal(found[2], expected)


def test_random_crops_have_no_features_to_keep(extractor, tiny_birds, empty_cache):
    dataset = tiny_birds[1].subset([0, 1])
    dataset.fixed_crop = False
    with pytest.raises(ConfigError, match="crops of 'birds' are drawn anew"):
        cached_features(dataset, extractor)
    assert isinstance(features_of(dataset, extractor), LiveFeatures)
    assert not list(empty_cache.iterdir())


def test_a_cache_above_the_limit_is_not_begun_nor_one_above_the_free_space(
    extractor, tiny_birds, empty_cache, monkeypatch
):
    size = 8 * 2 * (112 * 16 + 320 * 4)  # bytes
    assert isinstance(features_of(tiny_birds[1], extractor, limit_gb=(size - 1) / 1e9), LiveFeatures)
    usage = SimpleNamespace(free=size - 1)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(ConfigError, match=r"has 0\.0 MB free; set PARTLIB_CACHE to a larger disk"):
        features_of(tiny_birds[1], extractor)
    assert not list(empty_cache.rglob("*.npy"))
    usage.free += 1
    features = features_of(tiny_birds[1], extractor, limit_gb=size / 1e9)
    assert isinstance(features, CachedFeatures)
    assert sum(array.nbytes for array in features.maps) == size


def test_live_features_see_the_images_of_the_batch_or_larger_ones(extractor, tiny_birds):
    images = torch.stack([tiny_birds[1][i].image for i in (3, 1)])
    own, larger = LiveFeatures(extractor), LiveFeatures(extractor, tiny_birds[1])
    assert own.load([3, 1]) == []
    for found in (own([], images), larger(larger.load([3, 1]), torch.zeros_like(images))):
        assert all(torch.equal(a, b) for a, b in zip(found, extractor(images), strict=True))


# --- scaling ---------------------------------------------------------------------------------------------------------


def test_scaling_standardizes_the_foreground_and_gives_unit_length():
    generator = torch.Generator().manual_seed(0)
    foregrounds = torch.zeros(70, 1, 16, 16)
    foregrounds[:, :, 4:, :8] = 1
    scale = torch.tensor([0.01, 1.0, 100.0]).view(1, 3, 1, 1)
    maps = (torch.randn(70, 3, 4, 4, generator=generator) + 2) * scale
    maps[:, :, 0] = 1e4  # background cells do not count
    scaling = FeatureScaling.fit([maps.numpy()], foregrounds)
    cells = foreground_cells(foregrounds, maps.shape).expand_as(maps)
    standard = ((maps - scaling.mean[0]) / scaling.std[0])[cells].view(70, 3, -1)
    torch.testing.assert_close(standard.mean((0, 2)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(standard.pow(2).mean((0, 2)), torch.ones(3), atol=1e-4, rtol=0)
    (scaled,) = scaling([maps])
    torch.testing.assert_close(scaled.norm(dim=1), torch.ones(70, 4, 4))


def test_live_features_are_scaled_as_cached_ones(extractor, tiny_birds, empty_cache):
    cached, live = (features_of(tiny_birds[0], extractor, limit_gb=limit) for limit in (20.0, 0.0))
    expected, found = (FeatureScaling.of(features, tiny_birds[0]) for features in (cached, live))
    for a, b in zip([*found.mean, *found.std], [*expected.mean, *expected.std], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_foreground_cells_are_those_mostly_covered():
    foreground = torch.zeros(1, 1, 8, 8)
    foreground[..., :4, :3] = 1  # three quarters of the first of 2 x 2 cells
    assert foreground_cells(foreground, (2, 2)).flatten().tolist() == [True, False, False, False]
    assert foreground_cells(foreground, (4, 4))[0, 0, 0].tolist() == [True, False, False, False]
