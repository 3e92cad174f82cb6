"""Predicted masks: the network that makes them, the files they are kept in, and the loaders that read them."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from partlib.cli import main
from partlib.data import birds, load_dataset
from partlib.errors import CheckpointError, ConfigError, DataError
from partlib.masks import MaskConfig
from partlib.masks.network import MaskNetwork, foreground, load_network, train_network
from partlib.masks.predicted import load_with_masks, mean_iou, paste, save_masks
from partlib.runs.checkpoint import write_tensors
from tests.export import export_cub, export_deepfashion

SIZE = 32
TINY = ["--data-options", "num_images=24", "--image-size", str(SIZE), "--batch-size", "4"]


@pytest.fixture(scope="module")
def drawn(own_cache):
    return birds.load("train", None, SIZE, 20), birds.load("test", None, SIZE, 6)


@pytest.fixture(scope="module")
def out(own_cache, tmp_path_factory):
    """A mask network of 30 steps, with its masks."""
    place = tmp_path_factory.mktemp("foreground") / "run"
    assert main(["foreground", *TINY, "--steps", "30", "--out", str(place)]) == 0
    return place


def trained(dataset, seed):
    images, masks = zip(*((s.image, s.foreground[0] > 0.5) for s in dataset), strict=True)
    return train_network(images, masks, batch_size=4, steps=2, seed=seed).state_dict()


def truth(dataset):
    return torch.stack([dataset[i].foreground[0] for i in range(len(dataset))])  # (N, H, W)


def test_thirty_steps_find_most_of_the_birds(out):
    scores = json.loads((out / "metrics.json").read_text())["mean_iou"]
    dataset = birds.load("test", None, SIZE, 24)
    wanted = truth(dataset) >= 0.5
    everything = mean_iou(torch.ones_like(wanted), wanted)
    assert set(scores) == {"val", "test"}
    assert scores["test"] > 35 > everything + 10
    predicted = load_with_masks("birds", "test", None, SIZE, out / "masks", num_images=24)
    assert mean_iou(truth(predicted) >= 0.5, wanted) == pytest.approx(scores["test"], abs=1e-4)
    assert torch.equal(predicted[3].image, dataset[3].image)
    assert torch.equal(predicted[3].parts, dataset[3].parts)
    assert len(list((out / "masks").glob("*.png"))) == 24  # of the test split alone


def test_the_command_prints_the_scores_and_takes_up_a_finished_network(out, capsys):
    written = (out / "foreground.safetensors").stat().st_mtime_ns
    before = json.loads((out / "metrics.json").read_text())["mean_iou"]
    assert main(["foreground", *TINY, "--steps", "30", "--out", str(out)]) == 0
    assert (out / "foreground.safetensors").stat().st_mtime_ns == written
    assert json.loads((out / "metrics.json").read_text())["mean_iou"] == before
    printed = capsys.readouterr().out
    assert f"val {before['val']:.1f}%, test {before['test']:.1f}%" in printed
    assert str(out / "masks") in printed


def test_networks_of_other_options_broken_files_and_files_of_others_are_refused_in_one_line(out, tmp_path, capsys):
    assert main(["foreground", *TINY, "--steps", "31", "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert '"steps": 30' in error
    assert "use another --out" in error
    shutil.copytree(out, tmp_path / "run")
    file = tmp_path / "run" / "foreground.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    assert main(["foreground", *TINY, "--steps", "30", "--out", str(tmp_path / "run")]) == 1
    assert f"{file} is no mask network of this edition (" in capsys.readouterr().err
    weights = MaskNetwork("random").state_dict()
    write_tensors(file, weights, {"foreground": "0123456789"})  # what the first edition wrote: encoder and decoder
    with pytest.raises(CheckpointError, match=r"is no mask network of this edition \("):
        load_network(file)


def test_options_out_of_range_and_too_few_images_are_named(tmp_path):
    for name in ("steps", "examples"):
        with pytest.raises(ConfigError, match=f"{name} is 0; expected at least 1"):
            MaskConfig(**{name: 0})
    config = MaskConfig(image_size=SIZE, data_options=("num_images=3",))
    with pytest.raises(ConfigError, match="batch_size is 12 but birds has 3 training images"):
        foreground(config, tmp_path)


def test_the_seed_decides_the_decoder_and_the_encoder_stays_that_of_imagenet(drawn):
    first, again, other = (trained(drawn[0], seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["decoder.classify.weight"], other["decoder.classify.weight"])
    fresh = MaskNetwork().state_dict()
    assert all(torch.equal(first[key], fresh[key]) for key in fresh if key.startswith("encoder."))


def test_a_stored_network_finds_the_same_object_and_it_moves_with_the_mirror_image(drawn, tmp_path):
    images, masks = zip(*((s.image, s.foreground[0] > 0.5) for s in drawn[0]), strict=True)
    network = train_network(images, masks, batch_size=4, steps=2)
    network.save(tmp_path / "network.safetensors", {"seen": "birds"})
    assert (tmp_path / "network.safetensors").stat().st_size < 300_000  # the encoder is not in it
    again, card = load_network(tmp_path / "network.safetensors")
    assert card == {"seen": "birds"}
    batch = torch.stack(images[:2])
    assert torch.equal(again(batch), network(batch))
    assert torch.allclose(network(batch.flip(3)), network(batch).flip(3), atol=1e-5)


def test_iou_is_the_mean_over_images_and_full_where_both_are_empty():
    found, wanted = torch.zeros(3, 4, 4, dtype=torch.bool), torch.zeros(3, 4, 4, dtype=torch.bool)
    found[0, :, :2], wanted[0, :, 1:3] = True, True  # a third
    found[1, 0], wanted[1, 1] = True, True  # nothing
    assert mean_iou(found, wanted) == pytest.approx(100 * (1 / 3 + 0 + 1) / 3)


def test_a_square_is_pasted_where_it_was_cut_out():
    probabilities = np.zeros((4, 4))
    probabilities[:, 2:] = 1  # the right half of a square of 20 pixels that reaches over the left and upper edge
    mask = paste(probabilities, (-5, -5, 20), (30, 40))
    assert mask.shape == (30, 40)
    assert mask[:15, 5:15].all()
    assert not mask[:, :4].any()
    assert mask.sum() == pytest.approx(15 * 10, abs=15)
    assert not paste(np.ones((4, 4)), (50, 0, 10), (30, 40)).any()


def tall(root):
    """Make the photographs and segmentations of an exported DeepFashion tall, by repeating their last row."""
    for file in root.rglob("img_highres/**/*.*"):
        pixels = np.asarray(Image.open(file))
        padding = ((0, 20), (0, 0), (0, 0))
        taller = np.pad(pixels, padding, "edge") if file.suffix == ".jpg" else np.pad(pixels, padding)
        Image.fromarray(taller).save(file)


@pytest.mark.parametrize("name", ["cub", "deepfashion"])
def test_masks_of_whole_photographs_come_back_through_the_loader(name, drawn, tmp_path):
    export = {"cub": export_cub, "deepfashion": export_deepfashion}[name]
    root = export(drawn, tmp_path / "root")
    if name == "deepfashion":
        tall(root)
    dataset = load_dataset(name, "test", root, 64)
    folder = save_masks(dataset, truth(dataset), tmp_path / "masks")
    for sample in dataset:
        with Image.open(folder / f"{sample.name}.png") as mask:
            assert mask.size == ((SIZE, SIZE) if name == "cub" else (SIZE, SIZE + 20))
    predicted = load_with_masks(name, "test", root, 64, folder)
    assert predicted.names == dataset.names
    assert mean_iou(truth(predicted) >= 0.5, truth(dataset) >= 0.5) > 93  # two resamplings of small masks
    with pytest.raises(DataError, match=f"{name} takes predicted masks for its test split only, not for 'val'"):
        load_with_masks(name, "val", root, 64, folder)


@pytest.mark.parametrize("name", ["cub", "deepfashion"])
def test_an_image_whose_predicted_mask_is_empty_is_scored_all_the_same(name, drawn, tmp_path):
    export = {"cub": export_cub, "deepfashion": export_deepfashion}[name]
    root = export(drawn, tmp_path / "root")
    dataset = load_dataset(name, "test", root, SIZE)
    masks = truth(dataset)
    masks[2] = 0
    predicted = load_with_masks(name, "test", root, SIZE, save_masks(dataset, masks, tmp_path / "masks"))
    assert len(predicted) == len(dataset)
    assert predicted[2].foreground.sum() == 0
    assert predicted[1].foreground.sum() > 0


def test_masks_may_have_another_size_than_the_images(drawn, tmp_path):
    large = birds.load("test", None, 96, 6)
    save_masks(large, truth(large), tmp_path)
    predicted = load_with_masks("birds", "test", None, SIZE, tmp_path, num_images=6)
    assert predicted[0].foreground.shape == (1, SIZE, SIZE)
    assert mean_iou(truth(predicted) >= 0.5, truth(drawn[1]) >= 0.5) > 75


def test_missing_broken_and_oblong_masks_are_named(drawn, tmp_path):
    def load():
        return load_with_masks("birds", "test", None, SIZE, tmp_path / "masks", num_images=6)

    with pytest.raises(DataError, match="masks is not a folder; expected one with a PNG per image"):
        load()
    save_masks(drawn[1], truth(drawn[1]), tmp_path / "masks")
    path = tmp_path / "masks" / f"{drawn[1].names[4]}.png"
    Image.fromarray(np.zeros((10, 20), np.uint8)).save(path)
    with pytest.raises(DataError, match=f"{path.name}: is 20 x 10 pixels; expected a square mask"):
        load()[4]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=f"{path.name}: expected a whole image file"):
        load()[4]
    path.unlink()
    with pytest.raises(DataError, match=f"{path.name} is missing, a mask of birds; write them all with partlib"):
        load()
