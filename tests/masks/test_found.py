"""Photographs that come alone: where the object is, and what ``partlib segment`` makes of it."""

import time

import numpy as np
import pytest
import torch
from PIL import Image

from partlib.cli import main
from partlib.data import birds
from partlib.errors import ConfigError, DataError
from partlib.masks.found import find, network_of
from partlib.masks.network import MaskNetwork
from partlib.masks.predicted import mean_iou


def photo_of(sample, size, corner):
    """A drawn bird somewhere in a larger photograph (H, W, 3) uint8 of its background's edge, and its mask (H, W)."""
    (height, width), (top, left) = size, corner
    image = (255 * sample.image.permute(1, 2, 0)).round().byte().numpy()
    side = len(image)
    around = (top, height - top - side), (left, width - left - side)
    return np.pad(image, (*around, (0, 0)), "edge"), np.pad(sample.foreground[0].numpy() > 0.5, around)


def test_birds_are_found_where_they_are_and_as_large_as_they_are(own_cache):
    network, scores = network_of("birds"), []
    for number, sample in enumerate(birds.load("test", None, 256, 6)):
        photo, mask = photo_of(sample, (300 + 40 * number, 420), (20 * number, 150))
        found = find(network, photo)
        assert found.shape == mask.shape
        scores.append(mean_iou(torch.from_numpy(found)[None], torch.from_numpy(mask)[None]))
    assert np.mean(scores) > 75


def test_without_grabcut_the_mask_is_nearly_the_same_and_needs_no_opencv(own_cache, monkeypatch):
    network, (photo, mask) = network_of("birds"), photo_of(birds.load("test", None, 256, 6)[0], (300, 420), (20, 150))
    sharp = find(network, photo)
    monkeypatch.setattr("partlib.masks.boxes.grabcut", None)
    smooth = find(network, photo, refine=False)
    assert 0.8 < (sharp & smooth).sum() / (sharp | smooth).sum() < 1
    assert mean_iou(torch.from_numpy(smooth)[None], torch.from_numpy(mask)[None]) > 75


@pytest.mark.parametrize("data", ["birds", "ccp", "cub"])
def test_the_shipped_networks_are_small(data):
    assert isinstance(network_of(data), MaskNetwork)


def test_a_data_set_without_a_network_is_named_and_one_of_its_own_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("PARTLIB_RUNS", str(tmp_path))
    with pytest.raises(ConfigError, match=r"no mask network goes with 'folder'; make one .*--whole-picture"):
        network_of("folder")
    own = MaskNetwork("random")
    for data in ("folder", "birds"):
        own.save(tmp_path / "masks" / data / "network.safetensors", {})
        again = network_of(data).decoder.state_dict()
        assert torch.equal(again["classify.weight"], own.decoder.state_dict()["classify.weight"])


def test_a_photograph_without_object_is_named_and_the_whole_picture_is_offered(tmp_path, capsys):
    with pytest.raises(DataError, match="no object was found"):
        find(network_of("birds"), np.full((200, 300, 3), 128, np.uint8))
    Image.fromarray(np.full((200, 300, 3), 128, np.uint8)).save(tmp_path / "gray.png")
    words = ["segment", "--model", "birds-k4", str(tmp_path / "gray.png"), "--out", str(tmp_path / "parts")]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert f"{tmp_path / 'gray.png'}: no object was found in it; give its --mask, or take --whole-picture" in error
    assert main([*words, "--whole-picture"]) == 0
    assert (np.asarray(Image.open(tmp_path / "parts" / "gray-parts.png")) > 0).all()


def test_a_photograph_of_12_megapixels_is_divided_without_a_mask_in_seconds(own_cache, tmp_path, capsys):
    photo, _ = photo_of(birds.load("test", None, 256, 1)[0], (300, 400), (30, 60))
    Image.fromarray(photo).resize((4000, 3000)).save(tmp_path / "large.jpg")
    words = ["segment", "--model", "birds-k4", str(tmp_path / "large.jpg"), "--out", str(tmp_path)]
    began = time.perf_counter()
    assert main(words) == 0
    assert time.perf_counter() - began < 20  # 3 seconds on an idle machine
    assert capsys.readouterr().err.count("masks: found by the network for birds") == 1
    labels = np.asarray(Image.open(tmp_path / "large-parts.png"))
    assert labels.shape == (3000, 4000)
    assert set(np.unique(labels)) == {0, 1, 2, 3, 4}
    assert 0.02 < (labels > 0).mean() < 0.6
