"""Scores of a data set: one contingency table for all its pixels, whatever the batches."""

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from partlib import PartSegmenter
from partlib.data.base import batches
from partlib.evaluation import evaluate, evaluate_all, predict, score


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    return PartSegmenter(4).eval()


@pytest.mark.parametrize("keep", [None, [5, 1, 2]])
def test_scores_are_those_of_the_pooled_pixels(keep, tiny_birds):
    dataset = tiny_birds[1]
    truth = torch.from_numpy(np.array(dataset.parts)).long()
    shuffled = torch.where(torch.rand(truth.shape, generator=torch.Generator().manual_seed(0)) < 0.3, 1, truth % 5)
    labels = torch.where(truth > 0, shuffled, 0)
    found = score(labels, dataset, keep)
    pick = list(range(len(dataset))) if keep is None else keep
    target, prediction = truth[pick].numpy().ravel(), labels[pick].numpy().ravel()
    inside = target > 0
    expected = {
        "fg_nmi": normalized_mutual_info_score(target[inside], prediction[inside]),
        "fg_ari": adjusted_rand_score(target[inside], prediction[inside]),
        "nmi": normalized_mutual_info_score(target, prediction),
        "ari": adjusted_rand_score(target, prediction),
    }
    assert found == pytest.approx({name: 100 * value for name, value in expected.items()}, abs=1e-8)
    assert 20 < found["fg_nmi"] < 90


def test_keeping_some_images_scores_those_alone(tiny_birds):
    dataset = tiny_birds[1]
    labels = torch.from_numpy(np.array(dataset.parts)).clone()
    labels[0] = 0
    assert score(labels, dataset)["fg_nmi"] < 100
    assert score(labels, dataset, list(range(1, 8)))["fg_nmi"] == pytest.approx(100)


def test_prediction_is_the_segmentation_of_every_image_whatever_the_batch(segmenter, tiny_birds):
    dataset = tiny_birds[1]
    labels = predict(segmenter, dataset, batch_size=3)
    assert labels.shape == (8, 32, 32)
    assert labels.dtype == torch.uint8
    for found, sample in zip(labels, dataset, strict=True):
        alone = segmenter.segment(sample.image[None], sample.foreground[None])[0]
        assert (found == alone).float().mean() > 0.999  # rounding may differ between batch sizes
        assert torch.equal(found > 0, sample.foreground[0] > 0.5)


@pytest.mark.parametrize("training", [True, False])
def test_prediction_uses_eval_mode_and_puts_the_old_mode_back(training, segmenter, tiny_birds):
    expected = predict(segmenter.eval(), tiny_birds[1])
    assert torch.equal(predict(segmenter.train(training), tiny_birds[1]), expected)
    assert segmenter.training == training


def test_labels_and_scores_come_from_one_reading(segmenter, tiny_birds, monkeypatch):
    dataset = tiny_birds[1]
    read = []
    monkeypatch.setattr(type(dataset), "__getitem__", spied(type(dataset).__getitem__, read))
    labels, scores = evaluate(segmenter, dataset)
    assert read == list(range(8))
    assert torch.equal(labels, predict(segmenter, dataset))
    assert scores == score(labels, dataset)


def spied(method, read):
    return lambda self, index: (read.append(index), method(self, index))[1]


def test_several_methods_are_scored_by_name(tiny_birds):
    dataset = tiny_birds[1]
    methods = {"annotation": lambda batch, _: batch.parts, "number": lambda batch, i: batch.parts.sign() * (i[0] + 1)}
    labels, scores = evaluate_all(methods, dataset, 1)
    assert torch.equal(labels["annotation"], torch.from_numpy(np.array(dataset.parts)))
    assert labels["number"].amax((1, 2)).tolist() == list(range(1, 9))
    assert scores["annotation"]["fg_nmi"] == pytest.approx(100)
    assert scores["number"] == score(labels["number"], dataset)


def test_there_are_no_scores_without_annotated_parts(segmenter, tiny_birds):
    dataset = tiny_birds[1].subset([0, 1])
    dataset.masks, dataset.parts = (np.asarray(dataset.parts) > 0).astype(np.uint8) * 255, None
    labels, scores = evaluate(segmenter, dataset)
    assert labels.any()
    assert scores == {}


def test_batches_hold_all_samples_in_order(tiny_birds):
    found = list(batches(tiny_birds[1], 3))
    assert [indices for _, indices in found] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert [name for batch, _ in found for name in batch.names] == tiny_birds[1].names
