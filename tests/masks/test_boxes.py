"""Masks from boxes alone: drawn birds, whose masks are known, and the files that the command leaves behind."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from partlib.cli import main
from partlib.data import birds, load_dataset
from partlib.data.photos import square_around
from partlib.errors import DataError
from partlib.masks import boxes, derived
from partlib.masks.network import train_network
from partlib.masks.predicted import mean_iou
from tests.export import export_cub, export_folder


def crops_of(dataset):
    """The birds as the steps see them, and their masks (N, S, S)."""
    crops, masks = [], []
    for i in range(len(dataset)):
        sample = dataset[i]
        mask = sample.foreground[0].numpy() > 0.5
        ys, xs = np.nonzero(mask)
        image = (255 * sample.image.permute(1, 2, 0)).round().byte().numpy()
        crops.append(boxes.Crop(image, (xs.min(), ys.min(), xs.max(), ys.max())))
        masks.append(mask)
    return crops, torch.from_numpy(np.stack(masks))


def iou(found, wanted):
    return mean_iou(torch.from_numpy(np.stack(found)), wanted)


@pytest.mark.slow
def test_every_step_finds_the_birds_and_the_last_finds_them_best(own_cache):
    crops, wanted = crops_of(birds.load("train", None, boxes.SIDE, 24))
    first = [boxes.from_box(crop) for crop in crops]
    images, targets = [boxes.to_tensor(crop.image) for crop in crops[:16]], [torch.from_numpy(m) for m in first[:16]]
    network = train_network(images, targets, steps=60)
    probabilities = [boxes.probability(network, crop) for crop in crops]
    last = [boxes.refined(*each) for each in zip(crops, probabilities, strict=True)]
    held_out = slice(16, 24)
    scores = [iou(found[held_out], wanted[held_out]) for found in (first, [p > 0.5 for p in probabilities], last)]
    assert min(scores) > 75
    assert scores[2] > scores[1] + 2  # the second GrabCut brings the rim back that the network's grid has lost
    assert scores[2] > 88
    for crop, mask in zip(crops, last, strict=True):
        assert not (mask & ~boxes.inside(crop.box)).any()


def test_a_mask_is_sound_where_it_fills_its_box_as_an_object_does():
    box = (50, 60, 149, 139)
    y, x = np.mgrid[: boxes.SIDE, : boxes.SIDE]
    oval = ((x - 99.5) / 50) ** 2 + ((y - 99.5) / 40) ** 2 <= 1
    assert boxes.is_sound(oval, box)
    for wrong in (boxes.inside(box), np.zeros_like(oval), oval & (x < 90), oval & (abs(y - 99) < 5)):
        assert not boxes.is_sound(wrong, box)


def test_grabcut_needs_some_of_both_and_is_left_out_where_there_is_only_one():
    crop = boxes.Crop(
        np.random.default_rng(0).integers(0, 255, (boxes.SIDE, boxes.SIDE, 3), np.uint8), (0, 0, 255, 255)
    )
    for value in (0.0, 1.0):
        assert (boxes.refined(crop, np.full((boxes.SIDE, boxes.SIDE), value)) == (value > 0.5)).all()


def test_photographs_in_which_nothing_is_found_are_an_error_and_no_traceback(monkeypatch, own_cache):
    monkeypatch.setattr(boxes, "is_sound", lambda mask, box: False)
    crops, _ = crops_of(birds.load("train", None, boxes.SIDE, 1))
    with pytest.raises(DataError, match="of 1 photographs GrabCut found no object"):
        boxes.learn(crops, 1)


@pytest.mark.slow
def test_the_command_makes_masks_that_the_loader_reads_and_goes_on_where_it_stopped(own_cache, tmp_path, monkeypatch):
    root = tmp_path / "CUB_200_2011"
    export_cub(birds.load("train", None, 96, 12), root)
    for file in (root / "segmentations").rglob("*.png"):
        file.unlink()
    out = tmp_path / "masks"
    command = ["masks", "--data", "cub", "--root", str(root), "--out", str(out), "--examples", "8"]
    paste, calls = derived.paste, []

    def stop_at_the_third(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return paste(*arguments)

    monkeypatch.setattr(derived, "paste", stop_at_the_third)
    assert main(command) == 130
    assert len(list((out / "masks").rglob("*.png"))) == 2
    assert main(command) == 0
    assert len(calls) == 3 + 10  # nothing is made twice
    report = json.loads((out / "report.json").read_text())
    assert report["photographs"] == 12 >= report["examples"] == 8 >= report["sound"] >= 4
    lines = (out / "masks.csv").read_text().splitlines()
    assert len(lines) == 12 >= report["sound in the end"] >= 6
    assert 0.5 < report["IoU with the network"] <= 1
    assert Image.open(out / "contact.png").size == (derived.SHEET[1] * derived.CELL, 2 * derived.CELL)
    with_masks = load_dataset("cub", "train", root, 64, masks=str(out / "masks"))
    assert 0.05 < float(torch.stack([with_masks[i].foreground for i in range(len(with_masks))]).mean()) < 0.8


def test_photographs_in_a_folder_have_their_rim_for_background(tmp_path, own_cache):
    export_folder(birds.load("train", None, 64, 4), tmp_path / "my")
    photos = derived.listed("folder", tmp_path / "my")
    crop, (left, top, side), size = derived.crop_of(photos[0])
    assert size == (64, 64)
    assert (left, top, side) == square_around(np.pad(np.ones((60, 60), bool), 2), boxes.MARGIN)
    outside = ~boxes.inside(crop.box)
    assert 0.1 < outside.mean() < 0.6


def test_mistakes_are_named(tmp_path, capsys):
    for words, problem in (
        (["--data", "birds", "--root", str(tmp_path)], "data is 'birds'; expected cub, which has boxes, or folder"),
        (["--data", "folder", "--root", str(tmp_path)], "holds no photographs"),
        (["--data", "folder"], "--root is not a folder"),
    ):
        assert main(["masks", *words, "--out", str(tmp_path / "out")]) == 1
        assert problem in capsys.readouterr().err
