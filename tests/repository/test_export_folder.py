"""What export_folder writes, the folder loader reads back."""

import numpy as np
import pytest
import torch

from partlib.data import birds, load_dataset
from partlib.errors import DataError
from tests.export import export_folder


@pytest.fixture(scope="module")
def drawn(own_cache):
    return birds.load("train", None, 64, 12)


def read(root, **options):
    return load_dataset("folder", "train", root, image_size=64, val_fraction=0, test_fraction=0, **options)


def test_every_image_comes_back_with_its_mask_and_its_part_names(drawn, tmp_path):
    root = export_folder(drawn, tmp_path / "birds")
    loaded = read(root)
    assert sorted(loaded.names) == sorted(drawn.names)
    assert loaded.part_names == drawn.part_names
    for i in range(len(loaded)):
        sample = loaded[i]
        assert torch.equal(sample.parts > 0, sample.foreground[0] > 0.5)


def test_masks_and_label_maps_on_the_disk_are_exact(drawn, tmp_path):
    from PIL import Image

    root = export_folder(drawn, tmp_path / "birds")
    for i in range(len(drawn)):
        sample = drawn[i]
        mask = np.asarray(Image.open(root / "masks" / f"{sample.name}.png"))
        parts = np.asarray(Image.open(root / "parts" / f"{sample.name}.png"))
        assert np.array_equal(mask == 255, sample.foreground[0].numpy() > 0.5)
        assert np.array_equal(parts, sample.parts.numpy())


def test_parts_can_be_left_out(drawn, tmp_path):
    root = export_folder(drawn, tmp_path / "birds", parts=False)
    assert not (root / "parts").exists()
    assert not (root / "parts.txt").exists()
    loaded = read(root)
    assert loaded[0].parts is None
    assert loaded.part_names == ()


def test_a_folder_with_something_in_it_is_left_alone(drawn, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="exists already"):
        export_folder(drawn, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_two_images_of_one_name_are_refused_and_leave_nothing_behind(drawn, tmp_path):
    with pytest.raises(DataError, match="two images are named"):
        export_folder([drawn, drawn], tmp_path / "birds")
    assert list(tmp_path.iterdir()) == []
