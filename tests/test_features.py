"""Frozen features: shapes, the cache that never mixes two networks, and scaling."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from partlib.backbones import VGG19Encoder, layer_indices
from partlib.errors import ConfigError
from partlib.features import (
    FeatureScaling,
    LiveFeatures,
    PerceptualFeatures,
    bank_bytes,
    cached_features,
    foreground_cells,
    read_copy,
)


@pytest.fixture(scope="module")
def extractor():
    return PerceptualFeatures(size=64)


@pytest.fixture(scope="module")
def vgg():
    return VGG19Encoder(("relu5_4", "relu1_1", "relu3_2", "relu2_2", "relu4_1"), weights="random").eval()


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PARTLIB_CACHE", str(tmp_path))
    return tmp_path


def test_maps_have_the_strides_of_their_layers(extractor):
    maps = extractor(torch.rand(2, 3, 64, 64))
    assert extractor.layers == ("stride16", "stride32")
    assert [tuple(m.shape) for m in maps] == [(2, 112, 4, 4), (2, 320, 2, 2)]


def test_small_images_are_enlarged_before_the_network_sees_them(extractor):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    enlarged = F.interpolate(images, size=(64, 64), mode="bicubic", align_corners=False).clamp(0, 1)
    for found, expected in zip(extractor(images), extractor(enlarged), strict=True):
        torch.testing.assert_close(found, expected)
    as_they_are = PerceptualFeatures(size=None)(images)
    assert as_they_are[0].shape == (2, 112, 2, 2)


def test_network_is_frozen_even_in_train_mode(extractor):
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    before = extractor(images)
    extractor.train()
    after = extractor(images)
    assert not any(p.requires_grad for p in extractor.parameters())
    assert not any(m.training for m in extractor.modules())
    assert not any(m.requires_grad for m in after)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_layers_are_named_in_the_order_of_the_maps():
    extractor = PerceptualFeatures(layers=("stride32", "stride8"), weights="random", size=None)
    assert extractor.layers == ("stride8", "stride32")
    assert [m.shape[-1] for m in extractor(torch.rand(1, 3, 64, 64))] == [8, 2]


def test_unknown_networks_and_layers_are_named():
    with pytest.raises(ConfigError, match="'alexnet' is unknown; expected efficientnet_lite0 or vgg19"):
        PerceptualFeatures("alexnet")
    with pytest.raises(ConfigError, match=r"no layer 'relu3_2'; expected stride2"):
        PerceptualFeatures("efficientnet_lite0", ("relu3_2",))
    with pytest.raises(ConfigError, match="vgg19 has no layer 'relu6_1'"):
        VGG19Encoder(("relu6_1",))


def test_vgg_layers_are_where_torchvision_has_them(vgg):
    indices = layer_indices()
    assert len(indices) == 16
    assert {name: indices[name] for name in ("relu1_1", "relu3_2", "relu5_4")} == {
        "relu1_1": 1,
        "relu3_2": 13,
        "relu5_4": 35,
    }
    assert vgg.levels == ("relu1_1", "relu2_2", "relu3_2", "relu4_1", "relu5_4")
    assert all(isinstance(vgg.network[tap], torch.nn.ReLU) for tap in vgg.taps)


@torch.no_grad()
def test_vgg_maps_have_the_strides_and_channels_of_their_blocks(vgg):
    images = torch.rand(1, 3, 64, 64)
    maps = vgg(images)
    assert [m.shape[-1] for m in maps] == [64, 32, 16, 8, 4]
    assert [m.shape[1] for m in maps] == vgg.channels == [64, 128, 256, 512, 512]
    assert all(m.min() >= 0 and m.max() > 0 for m in maps)
    # what is returned is not overwritten by the layers after it
    torch.testing.assert_close(maps[0], vgg.network[0](vgg.normalize(images)).relu())


def test_bank_holds_the_features_of_every_image_in_half_precision(extractor, tiny_birds, empty_cache):
    dataset = tiny_birds[1]
    bank = cached_features(dataset, extractor, batch_size=3)
    assert len(bank) == len(dataset)
    expected = extractor(torch.stack([sample.image for sample in dataset]))
    for level, maps in zip(bank.maps, expected, strict=True):
        assert level.dtype == np.float16
        np.testing.assert_allclose(level, maps.numpy(), rtol=2e-3, atol=1e-3)
    found = bank.batch([5, 0])
    assert [m.dtype for m in found] == [torch.float32] * 2
    for level, maps in zip(bank.maps, found, strict=True):
        assert np.array_equal(level[[5, 0]].astype(np.float32), maps.numpy())


def test_bank_is_read_from_the_cache_the_second_time(extractor, tiny_birds, empty_cache):
    first = [level.copy() for level in cached_features(tiny_birds[1], extractor).levels]
    files = sorted(empty_cache.rglob("*.npy"))
    assert [f.name for f in files] == ["stride16.npy", "stride32.npy"]
    changed = np.load(files[0])
    changed[2] = 7
    np.save(files[0], changed)
    second = cached_features(tiny_birds[1], extractor).levels
    assert (second[0][2] == 7).all()
    assert np.array_equal(second[1], first[1])


def test_copies_of_memory_maps_are_exact_for_whole_maps_and_for_views(tmp_path):
    numbers = np.arange(400_000, dtype=np.float32).reshape(1000, 4, 10, 10)
    np.save(tmp_path / "level.npy", numbers)
    mapped = np.load(tmp_path / "level.npy", mmap_mode="r")
    for array, expected in ((mapped, numbers), (mapped[300:], numbers[300:]), (mapped[:, 1:3], numbers[:, 1:3])):
        copy = read_copy(array, slice(5, 25))
        assert np.array_equal(copy, expected[5:25])
        assert copy.flags.writeable


def test_unfinished_files_of_other_processes_do_not_matter(extractor, tiny_birds, empty_cache):
    expected = [level.copy() for level in cached_features(tiny_birds[1], extractor).levels]
    for file in list(empty_cache.rglob("*.npy")):
        file.with_suffix(".99999999.partial").write_bytes(b"half a file")
        file.unlink()
    found = cached_features(tiny_birds[1], extractor).levels
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert len(list(empty_cache.rglob("*.partial"))) == 2


def test_an_interrupted_computation_leaves_nothing_behind(extractor, tiny_birds, empty_cache):
    class Interrupted(type(tiny_birds[1])):
        def __getitem__(self, index):
            if index == 5:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    broken = tiny_birds[1].subset(range(8))
    broken.__class__ = Interrupted
    with pytest.raises(KeyboardInterrupt):
        cached_features(broken, extractor, batch_size=2)
    assert not [f for f in empty_cache.rglob("*") if f.is_file()]


def test_cache_tells_networks_sizes_layers_and_images_apart(extractor, tiny_birds, empty_cache):
    train, val = tiny_birds
    others = [
        (val, PerceptualFeatures(weights="random", size=64)),
        (val, PerceptualFeatures(size=96)),
        (val, PerceptualFeatures(layers=("stride32",), size=64)),
        (train.subset(range(8)), extractor),
    ]
    expected = cached_features(val, extractor).levels[-1]
    found = [cached_features(dataset, other).levels[-1] for dataset, other in others]
    assert len(list(empty_cache.glob("features-*"))) == 1 + len(others)
    assert [level.shape[-1] for level in found] == [2, 3, 2, 2]
    assert np.abs(found[0].astype(np.float32) - expected).max() > 0.1
    assert np.array_equal(found[2], expected)


def test_random_crops_have_no_features_of_their_own(extractor, tiny_birds, empty_cache):
    dataset = tiny_birds[1].subset([0, 1])
    dataset.fixed_crop = False
    with pytest.raises(ConfigError, match="'birds' cannot be cached"):
        cached_features(dataset, extractor)
    assert not list(empty_cache.iterdir())


def test_scaling_standardises_the_foreground_and_gives_unit_length():
    generator = torch.Generator().manual_seed(0)
    foregrounds = torch.zeros(70, 1, 16, 16)
    foregrounds[:, :, 4:, :8] = 1
    scale = torch.tensor([0.01, 1.0, 100.0]).view(1, 3, 1, 1)
    level = (torch.randn(70, 3, 4, 4, generator=generator) + 2) * scale
    level[:, :, 0] = 1e4  # background cells do not count
    scaling = FeatureScaling.fit([level.numpy()], foregrounds)
    cells = foreground_cells(foregrounds, level.shape).expand_as(level)
    standard = ((level - scaling.mean[0]) / scaling.std[0])[cells].view(70, 3, -1)
    torch.testing.assert_close(standard.mean((0, 2)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(standard.pow(2).mean((0, 2)), torch.ones(3), atol=1e-4, rtol=0)
    (scaled,) = scaling([level])
    torch.testing.assert_close(scaled.norm(dim=1), torch.ones(70, 4, 4))


def test_foreground_cells_are_those_mostly_covered():
    foreground = torch.zeros(1, 1, 8, 8)
    foreground[..., :4, :3] = 1  # covers the first cell, three quarters by half of a 2 x 2 grid's
    assert foreground_cells(foreground, (2, 2)).flatten().tolist() == [True, False, False, False]
    assert foreground_cells(foreground, (4, 4))[0, 0, 0].tolist() == [True, False, False, False]


def test_the_size_of_a_cache_is_known_before_it_is_made(extractor, tiny_birds, empty_cache):
    dataset = tiny_birds[1]
    expected = bank_bytes(dataset, extractor)
    bank = cached_features(dataset, extractor)
    assert expected == sum(level.nbytes for level in bank.maps) == 8 * 2 * (112 * 16 + 320 * 4)


def test_a_cache_above_the_limit_or_the_free_space_is_not_begun(extractor, tiny_birds, empty_cache, monkeypatch):
    with pytest.raises(ConfigError, match=r"features would take 0\.0 GB, more than feature_cache_gb = 1e-06; raise it"):
        cached_features(tiny_birds[1], extractor, limit_gb=1e-6)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(ConfigError, match=r"has 0\.0 GB free; set PARTLIB_CACHE to a larger disk"):
        cached_features(tiny_birds[1], extractor)
    assert not list(empty_cache.rglob("*.npy"))


def test_live_features_see_the_images_of_the_batch_or_larger_ones(extractor, tiny_birds):
    images = torch.stack([tiny_birds[1][i].image for i in (3, 1)])
    own, larger = LiveFeatures(extractor), LiveFeatures(extractor, tiny_birds[1])
    assert own.load([3, 1]) == []
    for found in (own.maps([], images), larger.maps(larger.load([3, 1]), torch.zeros_like(images))):
        assert all(torch.equal(a, b) for a, b in zip(found, extractor(images), strict=True))
