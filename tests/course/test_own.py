"""Figures of one's own photographs show what they are given; what is written as files, the loaders read back."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from partlib_course import own
from PIL import Image

from partlib import load_dataset
from partlib.data import birds


@pytest.fixture(scope="module")
def drawn(own_cache):
    return birds.load("test", None, 32, 10)


@pytest.fixture(scope="module")
def browser(drawn):
    return own.one_part_browser(drawn, torch.stack([s.parts for s in drawn]), 9, per_page=4)


def test_the_background_is_faded_and_the_object_is_not(drawn):
    sample = drawn[0]
    inside = sample.foreground[0] > 0.5
    faded = own.fade(sample.image, inside.float())
    assert torch.equal(faded[:, inside], sample.image[:, inside])
    assert faded[:, ~inside].min() > 0.8


def test_photographs_keep_their_proportions():
    tall, wide = np.zeros((40, 20, 3), np.uint8), np.zeros((20, 40, 3), np.uint8)
    figure = own.photo_rows({"above": [tall, wide], "below": [wide]})
    assert [ax.images[0].get_array().shape for ax in figure.axes if ax.images] == [tall.shape, wide.shape, wide.shape]
    assert figure.axes[0].get_title(loc="left") == "above"


def test_photographs_without_masks_are_drawn_birds_where_there_are_no_others(own_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("PARTLIB_DATA", str(tmp_path))
    data, folder = own.photographs(10)
    assert data == "birds"
    assert sorted(path.name for path in folder.iterdir()) == ["images", "parts", "parts.txt"]
    assert len(list((folder / "images").iterdir())) == len(list((folder / "parts").iterdir())) == 10
    assert own.photographs(10) == (data, folder)


def test_shares_are_sorted_and_dead_parts_are_marked():
    labels = torch.ones(2, 10, 10, dtype=torch.long)
    labels[:, :2] = 3  # a fifth
    ax = own.share_bars({"run": labels}, 3, dead=0.02).axes[0]
    assert [round(bar.get_height(), 3) for bar in ax.patches] == [0.8, 0.2, 0.0]
    assert [text.get_text() for text in ax.texts] == ["80%", "20%", "0.0%\ndead"]


def test_the_picture_follows_part_and_page(browser):
    pytest.importorskip("ipywidgets")
    seen = {browser.picture.value}
    for control, value in (("part", 3), ("page", 1), ("page", 2)):
        browser.controls[control].value = value
        seen.add(browser.picture.value)
    assert len(seen) == 4
    assert browser.controls["page"].max == 2  # ten images, four to a page
    assert len(browser.static.axes) == (1 + 9) * 4  # a row for each part, also where it has no pixel


def test_a_folder_comes_back_with_its_masks_and_parts(drawn, tmp_path):
    own.export_folder(drawn, tmp_path / "birds")
    loaded = load_dataset("folder", "train", tmp_path / "birds", image_size=32, val_fraction=0, test_fraction=0)
    assert sorted(loaded.names) == sorted(drawn.names)
    assert loaded.part_names == drawn.part_names
    own.export_folder(drawn, tmp_path / "bare", parts=False)
    bare = load_dataset("folder", "train", tmp_path / "bare", image_size=32, val_fraction=0, test_fraction=0)
    assert all(torch.equal(a.parts > 0, b.foreground[0] > 0.5) for a, b in zip(loaded, bare, strict=True))
    assert bare[0].parts is None


def test_the_layout_of_cub_is_that_of_the_exporter(drawn, tmp_path):
    from tests.export import export_cub

    own.export_cub([drawn], tmp_path / "ours")
    export_cub([drawn], tmp_path / "theirs")
    for file in (path for path in (tmp_path / "theirs").rglob("*") if path.is_file()):
        assert (tmp_path / "ours" / file.relative_to(tmp_path / "theirs")).read_bytes() == file.read_bytes()
    assert len(load_dataset("cub", "test", tmp_path / "ours", image_size=32)) == 10


def test_the_table_of_real_birds_has_the_means_over_seeds_and_is_empty_outside_of_the_repository(monkeypatch):
    table = own.cub_table()
    stored = json.loads((Path(__file__).parents[2] / own.CUB).read_text(encoding="utf-8"))["scores"]
    assert list(table.index) == list(stored)
    seeds = stored["ours"].values()
    assert table.loc["ours", "keypoint error"] == pytest.approx(np.mean([one["kp_all"] for one in seeds]), abs=0.051)
    assert table.loc["ours", "seeds"] == len(seeds)
    monkeypatch.setattr(own, "repository_root", lambda: None)
    assert own.cub_table().empty


def test_photographs_come_with_label_maps_where_they_are(ccp_root, tmp_path, monkeypatch):
    monkeypatch.setenv("PARTLIB_DATA", str(tmp_path))
    (tmp_path / "clothing-co-parsing").symlink_to(ccp_root)
    data, folder = own.photographs(3)
    assert data == "ccp"
    images = sorted((folder / "images").iterdir())
    assert len(images) == 3
    for image in images:
        with Image.open(image) as photo, Image.open(folder / "parts" / f"{image.stem}.png") as labels:
            assert photo.size == labels.size
            assert 0 < np.asarray(labels).max() <= 8
