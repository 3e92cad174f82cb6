"""The report of a run: scores beside every baseline, a table, a picture, and the files of ``partlib demo``."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from partlib import TrainConfig, load_dataset
from partlib.data import birds
from partlib.data.base import stacked
from partlib.errors import DataError
from partlib.evaluation import evaluate_all, predict, score
from partlib.report import tables as report
from partlib.report.baselines import BASELINES
from partlib.runs.build import Recipe
from partlib.runs.checkpoint import load_model

KEYS = {"data", "split", "num_parts", "seed", "ours", "baselines", "part_share"}


@pytest.fixture(scope="module")
def run(demo_run):
    return load_model(demo_run)


@pytest.fixture(scope="module")
def metrics(demo_run):
    return json.loads((demo_run / "metrics.json").read_text())


def test_demo_writes_its_files(demo_run):
    expected = {"checkpoint.pt", "config.json", "log.csv", "metrics.json", "model.safetensors", "parts.png"}
    assert {f.name for f in demo_run.iterdir()} == expected
    assert TrainConfig.from_dict(json.loads((demo_run / "config.json").read_text())).steps == 4
    with (demo_run / "log.csv").open(newline="") as stream:
        assert [int(row["step"]) for row in csv.DictReader(stream)] == [2, 4]


def test_metrics_have_the_promised_form(metrics):
    assert set(metrics) == KEYS
    assert (metrics["data"], metrics["split"], metrics["num_parts"], metrics["seed"]) == ("folder", "test", 4, 0)
    assert list(metrics["baselines"]) == list(BASELINES)
    for scores in (metrics["ours"], *metrics["baselines"].values()):
        assert set(scores) == {"fg_nmi", "fg_ari", "nmi", "ari"}
        assert all(-50 <= value <= 100 for value in scores.values())
    assert len(metrics["part_share"]) == 4
    assert sum(metrics["part_share"]) == pytest.approx(1)


def test_metrics_are_those_of_the_saved_model(metrics, run):
    segmenter, config = run
    test_set = Recipe(config).dataset("test")
    labels = predict(segmenter, test_set)
    assert metrics["ours"] == pytest.approx(score(labels, test_set), abs=0.5)
    share = [(labels == k).sum() / (labels > 0).sum() for k in range(1, 5)]
    assert metrics["part_share"] == pytest.approx([float(s) for s in share], abs=5e-3)


def test_position_beats_chance_and_every_baseline_fills_the_foreground(run):
    segmenter, config = run
    test_set = Recipe(config).dataset("test")
    evaluation = report.evaluate(segmenter, config, test_set, with_baselines=True)
    _, foregrounds = stacked(test_set)
    assert set(evaluation.labels) == {"ours", *BASELINES}
    for labels in evaluation.labels.values():
        assert labels.shape == (len(test_set), 32, 32)
        assert torch.equal(labels > 0, foregrounds[:, 0] > 0.5)
    assert evaluation.metrics["baselines"]["position k-means"]["fg_nmi"] > 5


def test_without_baselines_none_are_scored(run):
    segmenter, config = run
    evaluation = report.evaluate(segmenter, config, Recipe(config).dataset("val"))
    assert set(evaluation.metrics) == KEYS
    assert evaluation.metrics["split"] == "val"
    assert evaluation.metrics["baselines"] == {}
    assert set(evaluation.labels) == {"ours"}


@pytest.mark.parametrize("which", ["birds", "another folder", "whole training split"])
def test_images_that_are_not_the_runs_own_are_scored_too(which, run, bird_folder, tmp_path):
    segmenter, config = run
    if which == "birds":
        dataset = birds.load("test", None, 32, 9)
    elif which == "another folder":  # the same name, split and number of images, other pictures
        for kind in ("images", "masks", "parts"):
            (tmp_path / kind).mkdir()
            for file in (bird_folder / kind).iterdir():
                Image.open(file).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / kind / file.name)
        dataset = load_dataset("folder", "test", tmp_path, 32)
    else:  # more images than the run was allowed to see
        dataset = load_dataset("folder", "train", bird_folder, 32)
        assert len(dataset) > config.num_images
    evaluation = report.evaluate(segmenter, config, dataset, with_baselines=True)
    assert evaluation.metrics["data"] == dataset.name
    assert all(len(labels) == len(dataset) for labels in evaluation.labels.values())


def baseline_labels(config, dataset):
    """Labels of every baseline by name."""
    return evaluate_all(report.baselines(Recipe(config), dataset), dataset)[0]


def test_baselines_see_the_features_of_the_images_they_are_asked_for(run):
    """Another order of the run's own test images: features of the usual order would be those of other pictures."""
    own = Recipe(run[1]).dataset("test")
    backwards = list(reversed(range(len(own))))
    straight, reverse = (baseline_labels(run[1], d) for d in (own, own.subset(backwards)))
    for name in BASELINES:
        assert (reverse[name] == straight[name][backwards]).float().mean() > 0.99, name


def test_baselines_keep_to_the_coarse_layers_where_there_are_any(run):
    config = run[1]
    test_set = Recipe(config).dataset("test")
    usual = baseline_labels(config, test_set)["feature k-means"]
    more = config.replace(feature_layers=("stride8", "stride16", "stride32"))
    assert torch.equal(baseline_labels(more, test_set)["feature k-means"], usual)
    fine = baseline_labels(config.replace(feature_layers=("stride8",)), test_set)["feature k-means"]
    assert not torch.equal(fine, usual)


def test_every_image_is_read_once_for_the_method_and_all_baselines(run, monkeypatch):
    segmenter, config = run
    test_set = Recipe(config).dataset("test")
    reads, read = Counter(), type(test_set).__getitem__

    def counted(self, index):
        reads[id(self), index] += 1
        return read(self, index)

    monkeypatch.setattr(type(test_set), "__getitem__", counted)
    report.evaluate(segmenter, config, test_set, with_baselines=True)
    own = [reads[id(test_set), i] for i in range(len(test_set))]
    assert own == [2, *[1] * (len(test_set) - 1)]  # the first says whether there are parts


def test_images_without_parts_cannot_be_scored(run, tiny_birds):
    segmenter, config = run
    dataset = tiny_birds[1].subset([0, 1])
    dataset.masks, dataset.parts = (np.asarray(dataset.parts) > 0).astype(np.uint8) * 255, None
    with pytest.raises(DataError, match="'birds' has no part annotation to score; use `partlib segment`"):
        report.evaluate(segmenter, config, dataset)


def test_table_lists_baselines_best_first_and_ours_last(metrics):
    lines = report.table(metrics).splitlines()
    assert lines[0].startswith("folder test, K = 4, seed 0")
    assert lines[0].split()[-4:] == ["FG-NMI", "FG-ARI", "NMI", "ARI"]
    assert lines[-2].split() == [
        "ours",
        *(f"{metrics['ours'][name]:.1f}" for name in ("fg_nmi", "fg_ari", "nmi", "ari")),
    ]
    found = [float(line.rsplit(maxsplit=4)[1]) for line in lines[1:-2]]
    assert len(found) == len(BASELINES)
    assert found == sorted(found, reverse=True)
    assert sum(float(s.rstrip("%")) for s in lines[-1].split(":")[1].split()) == pytest.approx(100, abs=0.3)


def test_table_without_baselines_has_ours_alone(metrics):
    lines = report.table(metrics | {"baselines": {}}).splitlines()
    assert lines[1].split()[:2] == ["ours", f"{metrics['ours']['fg_nmi']:.1f}"]
    assert len(lines) == 3


def test_picture_has_a_row_each_for_image_truth_best_baseline_and_ours(demo_run):
    with Image.open(demo_run / "parts.png") as picture:
        picture.load()
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert picture.width > 600
    assert picture.height > 4 * 150
    assert len(np.unique(pixels, axis=0)) > 100


def test_demo_goes_on_from_a_finished_run(demo_run, run, capsys):
    written = (demo_run / "model.safetensors").stat().st_mtime_ns
    evaluation = report.demo(run[1], demo_run)
    assert (demo_run / "model.safetensors").stat().st_mtime_ns == written
    assert str(demo_run / "parts.png") in capsys.readouterr().out
    assert evaluation.metrics["ours"] == pytest.approx(json.loads((demo_run / "metrics.json").read_text())["ours"])


def test_environment_names_versions_and_hardware():
    found = report.environment()
    assert found["torch"] == torch.__version__
    assert all(isinstance(value, str) and value for value in found.values())
