"""Files of a run: whole or not there, without code, and refused by name where they do not fit."""

import json
import pickle

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

import partlib
from partlib import PartSegmenter, TrainConfig
from partlib.errors import CheckpointError, ConfigError
from partlib.runs.checkpoint import (
    load_checkpoint,
    load_model,
    save_checkpoint,
    save_model,
    write_json,
)

STATE = {
    "config": {"steps": 3, "feature_layers": []},
    "step": 2,
    "model": {"w": torch.arange(3.0)},
    "log": [{"a": 0.5}],
}


def test_state_is_read_back_with_the_version_that_wrote_it(tmp_path):
    save_checkpoint(tmp_path / "run" / "checkpoint.pt", STATE)
    found = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert found["version"] == partlib.__version__
    assert torch.equal(found["model"].pop("w"), STATE["model"]["w"])
    assert {k: found[k] for k in ("config", "step", "log")} == {k: STATE[k] for k in ("config", "step", "log")}


def test_a_state_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_checkpoint(path, {**STATE, "model": lambda: None})
    assert load_checkpoint(path)["step"] == 2


class _Trap:
    """Unpickling this creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_code_in_a_checkpoint_does_not_run(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save({"version": "1", **STATE, "model": _Trap(tmp_path / "sprung")}, path)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt cannot be read"):
        load_checkpoint(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("keep", [0, 10, 500])
def test_a_checkpoint_cut_short_or_missing_is_named(keep, tmp_path):
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt does not exist"):
        load_checkpoint(path)
    save_checkpoint(path, STATE)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt cannot be read; delete it"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [[1, 2], {"model": {}}, torch.zeros(2)])
def test_a_file_of_another_program_is_not_a_checkpoint(content, tmp_path):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"other\.pt is not a checkpoint of partlib"):
        load_checkpoint(tmp_path / "other.pt")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """(path, segmenter, config) of a saved model."""
    torch.manual_seed(0)
    config = TrainConfig(arch="fpn_lite0", views=0, num_parts=3, feature_layers=("stride16",))
    segmenter = PartSegmenter(3).to(memory_format=torch.channels_last).eval()
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, segmenter, config)
    return path, segmenter, config


@pytest.mark.parametrize("by", ["file", "folder"])
@torch.no_grad()
def test_a_model_is_read_back_with_its_configuration(by, model):
    path, segmenter, config = model
    found, found_config = load_model(path if by == "file" else str(path.parent))
    images = torch.rand(1, 3, 32, 32)
    assert found_config == config
    assert not found.training
    assert all(
        torch.equal(a, b) for a, b in zip(found.state_dict().values(), segmenter.state_dict().values(), strict=True)
    )
    torch.testing.assert_close(found(images), segmenter(images), rtol=1e-4, atol=1e-4)


def test_a_missing_model_says_how_to_make_one(tmp_path):
    with pytest.raises(CheckpointError, match=r"model\.safetensors does not exist; train first: partlib train --out"):
        load_model(tmp_path)


def test_files_that_are_no_model_are_refused_in_one_line(model, tmp_path):
    own = {"config": json.dumps(TrainConfig(arch="fpn_lite0").to_dict())}
    other = {"config": json.dumps({"magic": 1})}
    path, tensors = tmp_path / "model.safetensors", load_file(model[0])
    name = next(name for name in tensors if name.startswith("decoder"))
    one = {name: tensors[name]}
    for content, message in (
        (model[0].read_bytes()[:-1000], r"model\.safetensors is not a readable safetensors file"),
        (save({"w": torch.zeros(2)}), r"model\.safetensors has no configuration in its metadata"),
        (save(one, metadata=own), r"model\.safetensors is of another network: decoder\..* is no tensor; expected \("),
        (save({**tensors, "w": torch.zeros(2)}, metadata=own), r"another network: decoder\..* is \(3, 64, 1, 1\)"),
        (save(tensors, metadata=own), r"classify\.weight is \(3, 64, 1, 1\); expected \(4, 64"),
        (save(one, metadata=other), "'magic' is unknown"),
    ):
        path.write_bytes(content)
        with pytest.raises((CheckpointError, ConfigError), match=message) as caught:
            load_model(tmp_path)
        assert "\n" not in str(caught.value)
    (tmp_path / "release.pth").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"if the release wrote it: partlib convert .*release\.pth"):
        load_model(tmp_path / "release.pth")


def test_json_is_read_back_and_a_score_that_is_not_a_number_is_null(tmp_path):
    write_json(tmp_path / "a" / "m.json", {"ours": {"nmi": float("nan"), "ari": 3.5}, "share": (float("inf"), 1)})
    assert json.loads((tmp_path / "a" / "m.json").read_text()) == {
        "ours": {"nmi": None, "ari": 3.5},
        "share": [None, 1],
    }


def test_a_model_can_be_read_by_whom_the_umask_allows(model, tmp_path):
    (tmp_path / "other").write_text("")
    usual = (tmp_path / "other").stat().st_mode & 0o777
    assert model[0].stat().st_mode & 0o777 == usual


BAD_METADATA = ("not json", "null", "7", '{"num_parts": 1000000000}', '{"steps": "many"}', '{"what": 1}')


@pytest.mark.parametrize("config", BAD_METADATA)
def test_metadata_that_makes_no_configuration_is_refused_before_anything_is_built(config, model, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(save(load_file(model[0]), {"partlib": "1", "config": config}))
    with pytest.raises(CheckpointError, match=r"model.safetensors: its configuration cannot be used") as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_refused(model, tmp_path):
    tensors = load_file(model[0])
    with safe_open(model[0], framework="pt") as stored:
        card = stored.metadata()
    tensors["decoder.classify.weight"][0, 0] = float("nan")
    (tmp_path / "model.safetensors").write_bytes(save(tensors, card))
    with pytest.raises(CheckpointError, match="weights are not finite"):
        load_model(tmp_path)
