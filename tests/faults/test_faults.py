"""Machines as users have them: full disks, forbidden folders, warnings, and data that is not what it says it is."""

import io
import os
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from partlib import PartSegmenter, paths
from partlib.cli import main
from partlib.errors import CheckpointError, ConfigError, DataError
from partlib.masks import MaskConfig
from partlib.masks.network import foreground
from partlib.runs.checkpoint import load_checkpoint, save_checkpoint

STATE = {"config": {}, "step": 1, "model": {"w": torch.zeros(3)}}


def refuse(*arguments, **options):
    raise PermissionError(13, "Permission denied")


def test_a_full_disk_at_a_checkpoint_is_an_error_of_the_system_and_the_old_one_stays(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    before = path.read_bytes()

    def full(self, data):
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left on device"):
        save_checkpoint(path, {**STATE, "step": 2})
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["checkpoint.pt"]


def test_a_cache_that_may_not_be_written_names_the_variable_to_set(monkeypatch):
    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(ConfigError, match=r"cannot be written .*set PARTLIB_CACHE to a folder of yours"):
        paths.cached_arrays("fault", "key", lambda folder: None)


def test_a_checkpoint_that_may_not_be_read_is_not_called_broken(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "checkpoint.pt", STATE)
    monkeypatch.setattr("torch.load", refuse)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt may not be read; change its permissions"):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_a_mask_network_does_not_learn_that_everything_is_object(own_cache, tmp_path):
    (tmp_path / "my").mkdir()
    for number in range(16):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "my" / f"{number}.png")
    config = MaskConfig(data="folder", root=str(tmp_path / "my"), image_size=32, batch_size=2, steps=1)
    with (
        pytest.warns(UserWarning, match="has no masks"),
        pytest.raises(DataError, match="nothing to learn; partlib masks"),
    ):
        foreground(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_images_in_bytes_are_no_images_for_the_segmenter():
    segmenter, mask = PartSegmenter(3, weights="random").eval(), torch.ones(1, 1, 32, 32)
    for images in (torch.full((1, 3, 32, 32), 200.0), torch.full((1, 3, 32, 32), 200, dtype=torch.uint8)):
        with pytest.raises(AssertionError, match="divide them by 255"):
            segmenter.segment(images, mask)


def test_a_warning_is_one_sentence_once(monkeypatch, capsys):
    def info():
        for _ in range(2):
            for line in range(2):  # from two places
                exec(
                    compile("\n" * line + "warnings.warn('mind the gap')", "source.py", "exec"), {"warnings": warnings}
                )

    monkeypatch.setattr("partlib.cli._info", info)
    info.__name__ = "_info"
    shown = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["info"]) == 0
    assert capsys.readouterr().err == "warning: mind the gap\n"
    assert warnings.showwarning is shown


def test_a_full_disk_while_photographs_are_prepared_is_an_error_and_no_crash(own_cache, tmp_path, monkeypatch, capsys):
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    plain = open

    class Full(io.FileIO):
        def write(self, data):
            raise OSError(28, "No space left on device", self.name)

    def opened(path, mode="r", *more, **options):
        return Full(path, "w") if mode == "wb" and str(path).endswith(".npy") else plain(path, mode, *more, **options)

    monkeypatch.setattr("builtins.open", opened)
    assert main(["data", "info", "folder", "--root", str(tmp_path)]) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("partlib: ")]
    assert len(error) == 1
    assert "No space left on device" in error[0]
