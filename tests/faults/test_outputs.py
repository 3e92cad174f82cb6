"""What commands write: into folders that are new, empty or their own, one process at a time, and never over others."""

import csv
import fcntl
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from partlib.cli import main
from partlib.data import load_dataset
from partlib.errors import ConfigError
from partlib.masks.derived import derive
from partlib.masks.found import network_of, shipped
from partlib.masks.predicted import mean_iou
from partlib.paths import claim, locked

SMALL = ["--image-size", "32", "--feature-size", "32", "--batch-size", "4", "--steps", "2", "--starts", "1"]
# commands that make a folder
WRITERS = [
    ["train", "--data", "folder", "--root", "ROOT", *SMALL],
    ["masks", "--data", "folder", "--root", "ROOT", "--network", "birds"],
    ["foreground", "--data", "folder", "--root", "ROOT", "--steps", "1", "--batch-size", "2", "--image-size", "32"],
]
pytestmark = pytest.mark.filterwarnings("ignore:.* has no masks:UserWarning", "ignore:no image of:UserWarning")


@pytest.fixture(scope="module")
def wide(own_cache, tmp_path_factory):
    """Twelve photographs of 96 x 64 pixels, each with a drawn bird, their masks and parts."""
    root, birds = tmp_path_factory.mktemp("wide"), load_dataset("birds", "train", None, 64, num_images=12)
    for kind in ("images", "masks", "parts"):
        (root / kind).mkdir()
    for name, image, parts in zip(birds.names, birds.images, birds.parts, strict=True):
        photo, labels = np.full((64, 96, 3), image[0, 0], np.uint8), np.zeros((64, 96), np.uint8)
        photo[:, 20:84], labels[:, 20:84] = image, parts
        Image.fromarray(photo).save(root / "images" / f"{name}.png")
        Image.fromarray(labels > 0).save(root / "masks" / f"{name}.png")
        Image.fromarray(labels).save(root / "parts" / f"{name}.png")
    return root


def error_of(capsys, *words):
    assert main([str(word) for word in words]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("partlib: ")]
    assert len(lines) == 1
    return lines[0]


def mask_at(path):
    with Image.open(path) as file:
        return np.asarray(file) > 0


def test_a_folder_is_claimed_if_it_is_new_empty_or_ones_own(tmp_path):
    claim(tmp_path / "new", "mark")
    claim(tmp_path, "mark")
    (tmp_path / "config.json").write_text("")
    claim(tmp_path, "mark", "config.json")
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match=r"holds other files \(config.json, thesis.tex\); pass another --out"):
        claim(tmp_path, "mark")
    (tmp_path / "mark").write_text("")
    claim(tmp_path, "mark")


@pytest.mark.parametrize("command", WRITERS)
def test_a_folder_of_other_files_is_refused_and_left_as_it_is(command, wide, tmp_path, capsys):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "parts.png").write_text("mine")
    words = [word.replace("ROOT", str(wide)) for word in command]
    assert "holds other files (parts.png)" in error_of(capsys, *words, "--out", mine)
    assert [path.name for path in mine.iterdir()] == ["parts.png"]
    assert "is a file" in error_of(capsys, *words, "--out", mine / "parts.png")
    assert (mine / "parts.png").read_text() == "mine"


@pytest.mark.parametrize("command", WRITERS)
def test_of_two_processes_in_one_folder_the_second_is_refused(command, wide, tmp_path, capsys):
    words, out = [word.replace("ROOT", str(wide)) for word in command], tmp_path / "out"
    out.mkdir()
    with open(out / ".lock", "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "another run is at work here" in error_of(capsys, *words, "--out", out)
        assert [path.name for path in out.iterdir()] == [".lock"]
    assert main([*words, "--out", str(out)]) == 0  # a lock that is left behind by a killed process is none


def test_what_a_killed_process_has_left_is_removed_by_the_next(tmp_path):
    (tmp_path / ".partlib-abc").mkdir()
    (tmp_path / ".partlib-abc" / "checkpoint.pt").write_bytes(b"half")
    with locked(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_scores_and_pictures_are_replaced_only_if_asked_to(demo_run, tmp_path, capsys):
    words = ["evaluate", demo_run, "--split", "val"]
    for option, name in (("--json", "scores.json"), ("--picture", "grid.png")):
        file = tmp_path / name
        file.write_text("mine")
        assert f"{name} is there already; pass --overwrite" in error_of(capsys, *words, option, file)
        assert file.read_text() == "mine"
        assert main([str(word) for word in (*words, option, file, "--overwrite")]) == 0
        assert file.read_bytes() != b"mine"


# --- masks -----------------------------------------------------------------------------------------------------------


def test_masks_of_any_command_have_the_size_of_the_photograph_and_serve_every_other(wide, demo_run, tmp_path, capsys):
    sizes = ["--steps", "150", "--batch-size", "4", "--image-size", "64"]
    words = ["foreground", "--data", "folder", "--root", wide, *sizes]
    assert main([str(word) for word in (*words, "--splits", "train", "test", "--out", tmp_path / "fg")]) == 0
    masks = tmp_path / "fg" / "masks"
    given = {path.stem: mask_at(path) for path in (wide / "masks").iterdir()}
    made = {path.stem: mask_at(path) for path in masks.iterdir()}
    assert all(mask.shape == (64, 96) for mask in made.values())
    pairs = [torch.tensor(np.stack([each[name] for name in sorted(made)])) for each in (made, given)]
    assert mean_iou(*pairs) > 75
    # for segment, ...
    name = max(made, key=lambda name: int(made[name].sum()))
    photo = wide / "images" / f"{name}.png"
    segment = ["segment", demo_run, photo, "--mask", masks / f"{name}.png", "--out", tmp_path / "s"]
    assert main([str(word) for word in segment]) == 0
    assert np.array_equal(mask_at(tmp_path / "s" / f"{name}-parts.png"), made[name])
    # ... as the masks of a data set, ...
    shutil.copytree(wide / "images", tmp_path / "again" / "images")
    for path in (tmp_path / "again" / "images").iterdir():
        if path.stem not in made or not made[path.stem].any():
            path.unlink()
    data = load_dataset("folder", "train", tmp_path / "again", 64, masks=masks)
    assert len(data) > 0
    # ... to score with, and their network for photographs of others
    run = ["evaluate", demo_run, "--data", "folder", "--root", wide, "--split", "train", "--protocol", "pixels"]
    assert main([str(word) for word in (*run, "--masks", masks)]) == 0
    network = tmp_path / "fg" / "foreground.safetensors"
    other = ["masks", "--data", "folder", "--root", tmp_path / "again", "--network", network, "--out", tmp_path / "o"]
    main([str(word) for word in other])  # so small a training does not find every object
    assert mask_at(tmp_path / "o" / "masks" / f"{name}.png").shape == (64, 96)


def test_photographs_without_masks_get_them_from_a_shipped_network(wide, tmp_path):
    """From photographs alone: the larger part of every drawn bird."""
    assert set(shipped()) == {"birds", "ccp", "cub"}
    report = derive("folder", wide, tmp_path / "m", network=network_of("birds"))
    assert (report["photographs"], report["network"]) == (12, "given")
    names = [path.name for path in sorted((wide / "masks").iterdir())]
    found, wanted = (
        np.stack([mask_at(place / name) for name in names]) for place in (tmp_path / "m/masks", wide / "masks")
    )
    assert mean_iou(torch.tensor(found), torch.tensor(wanted)) > 80


def test_masks_of_changed_photographs_are_made_again_and_those_of_another_folder_refused(wide, tmp_path, capsys):
    mine = tmp_path / "mine"
    shutil.copytree(wide / "images", mine)
    words = ["masks", "--data", "folder", "--root", mine, "--network", "birds", "--out", tmp_path / "m"]
    assert main([str(word) for word in words]) == 0
    one, two = sorted((tmp_path / "m" / "masks").iterdir())[:2]
    before, times = mask_at(one), {path: path.stat().st_mtime_ns for path in (one, two)}
    with Image.open(mine / one.name) as photo:
        photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mine / one.name)
    assert main([str(word) for word in words]) == 0
    assert (mask_at(one)[:, ::-1] & before).sum() / (mask_at(one)[:, ::-1] | before).sum() > 0.9
    assert one.stat().st_mtime_ns > times[one]
    assert two.stat().st_mtime_ns == times[two]
    (tmp_path / "other").mkdir()
    shutil.copy(mine / one.name, tmp_path / "other")
    error = error_of(capsys, *["other" if word is mine else word for word in words][:4], tmp_path / "other", *words[5:])
    assert f"holds masks of {mine}" in error


def test_the_masks_of_good_photographs_are_made_and_the_broken_ones_named(wide, tmp_path, capsys):
    mine = tmp_path / "mine"
    shutil.copytree(wide / "images", mine)
    first, second = sorted(mine.iterdir())[:2]
    first.write_bytes(b"broken")
    Image.new("RGB", (50, 40), "gray").save(second)  # nothing in it
    words = ["masks", "--data", "folder", "--root", mine, "--network", "birds", "--out", tmp_path / "m"]
    error = error_of(capsys, *words)
    assert f"{first}: expected a whole image file" in error
    assert f"{second}: no object was found" in error
    assert "(10 of 12 masks are made)" in error
    assert len(list((tmp_path / "m" / "masks").iterdir())) == 10
    assert (tmp_path / "m" / "contact.png").is_file()
    assert json.loads((tmp_path / "m" / "report.json").read_text())["photographs"] == 12
    with open(tmp_path / "m" / "masks.csv") as lines:
        assert len(list(csv.reader(lines))) == 10
