"""The models that come with the package: small, complete, and worth what their cards say."""

import json

import pytest
import torch

import partlib
from partlib.cli import main
from partlib.data import birds
from partlib.errors import CheckpointError
from partlib.evaluation import evaluate
from partlib.metrics import part_share
from partlib.runs.checkpoint import load_model, model_card, pretrained

NAMES = [f"{data}-k{parts}" for data in ("birds", "cub", "photographs") for parts in (4, 8)]


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_small_and_says_how_it_was_made(name):
    path = pretrained()[name]
    assert path.stat().st_size < 500_000
    card = model_card(path)
    assert "FG-NMI" in card["scores"]
    assert "MIT" in card["licence"]
    assert "ImageNet" in card["licence"]
    segmenter, config = partlib.load_pretrained(name)
    assert not segmenter.training
    assert (config.num_parts, config.root) == (int(name[-1]), "")
    assert json.loads(card["config"]) == config.to_dict()


def test_the_shipped_birds_find_parts_in_new_birds(own_cache):
    segmenter, config = partlib.load_pretrained("birds-k4")
    drawn = birds.load("val", None, config.image_size, 20)
    labels, scores = evaluate(segmenter, drawn)
    assert scores["fg_nmi"] > 38
    assert part_share(labels, 4).min() > 0.05


def test_a_shipped_name_stands_for_its_model_unless_there_is_such_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, expected = load_model("birds-k4")[0].state_dict(), partlib.load_pretrained("birds-k4")[0].state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())
    (tmp_path / "birds-k4").mkdir()
    with pytest.raises(CheckpointError, match="does not exist; train first"):
        load_model("birds-k4")


def test_an_unknown_name_is_refused_with_those_that_there_are(capsys):
    with pytest.raises(CheckpointError, match="no model 'cats-k4' comes with partlib; expected one of birds-k4, "):
        partlib.load_pretrained("cats-k4")
    assert main(["segment", "--model", "cats-k4", "photo.jpg"]) == 1
    assert "cats-k4" in capsys.readouterr().err


def test_info_lists_them(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert all(f"model        {name}: " in out for name in NAMES)
