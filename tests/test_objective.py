"""The objective: a weighted sum of named terms, each reading the view that the paper says."""

import pytest
import torch

from partlib import PartSegmenter, losses
from partlib.augment import ColorJitter, rgb_to_lab
from partlib.config import LOSSES
from partlib.data import collate
from partlib.objective import Objective
from partlib.segmenter import part_maps

WEIGHTS = {"feature": 3.0, "visual": 0.7, "contrastive": 0.4, "equivariance": 1.9}


@pytest.fixture(scope="module")
def batch(tiny_birds):
    return collate([tiny_birds[0][i] for i in range(3)])


@pytest.fixture(scope="module")
def features():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, 16, 4, 4, generator=generator), torch.randn(3, 8, 2, 2, generator=generator)]


class Recorder:
    """A segmenter that keeps its inputs and logits, and their gradients."""

    def __init__(self):
        torch.manual_seed(0)
        self.segmenter, self.calls = PartSegmenter(3).eval(), 0

    def __call__(self, images):
        self.calls += 1
        self.images, self.logits = images, self.segmenter(images)
        self.logits.retain_grad()
        return self.logits


def run(batch, features, seed=0, jitter=None, **weights):
    recorder, generator = Recorder(), torch.Generator().manual_seed(seed)
    terms = Objective(0.3, jitter)(recorder, batch, features, {**WEIGHTS, **weights}, generator)
    return terms, recorder


def test_total_is_the_weighted_sum_of_the_named_terms(batch, features):
    terms, _ = run(batch, features)
    assert tuple(terms) == ("total", *LOSSES)
    assert all(value.ndim == 0 and value.isfinite() and value > 0 for value in terms.values())
    torch.testing.assert_close(terms["total"], sum(WEIGHTS[name] * terms[name] for name in LOSSES))


@pytest.mark.parametrize("name", LOSSES)
def test_weight_zero_leaves_a_term_out(name, batch, features):
    terms, recorder = run(batch, features, **{name: 0.0})
    left = [term for term in LOSSES if term != name]
    assert list(terms) == ["total", *left]
    torch.testing.assert_close(terms["total"], sum(WEIGHTS[term] * terms[term] for term in left))
    assert len(recorder.images) == (3 if name == "equivariance" else 6)  # the second view serves equivariance only


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_flows_to_the_view_that_the_paper_says(name, batch, features):
    terms, recorder = run(batch, features)
    terms[name].backward()
    first, second = recorder.logits.grad.chunk(2)
    trained, untouched = (second, first) if name == "equivariance" else (first, second)
    assert (trained.abs().amax((1, 2, 3)) > 0).all()
    assert not untouched.any()


def test_terms_are_the_losses_of_the_first_view_against_the_clean_image(batch, features):
    # a jitter that takes all color away: targets computed from jittered images would show
    terms, recorder = run(batch, features, jitter=ColorJitter(gray_probability=1))
    maps = part_maps(recorder.logits[:3], batch.foreground)
    lab = rgb_to_lab(batch.images) / 50
    descriptors = losses.part_descriptors(maps, features)
    torch.testing.assert_close(terms["visual"], losses.consistency_loss(maps, lab, batch.foreground))
    torch.testing.assert_close(terms["feature"], losses.consistency_loss(maps, features, batch.foreground))
    torch.testing.assert_close(terms["contrastive"], losses.contrastive_loss(descriptors, 0.3))


def test_first_view_is_jittered_in_place_and_second_is_warped(batch, features):
    still = ColorJitter(probability=0, gray_probability=0)
    _, recorder = run(batch, features, jitter=still)
    first, second = recorder.images.chunk(2)
    assert torch.equal(first, batch.images)
    assert (second - batch.images).abs().flatten(1).mean(1).min() > 0.01
    _, recorder = run(batch, features, jitter=ColorJitter(probability=1))
    assert not torch.equal(recorder.images[:3], batch.images)


def test_the_generator_decides_jitter_and_warp(batch, features):
    (first, a), (again, b), (_, c) = (run(batch, features, seed) for seed in (1, 1, 2))
    assert torch.equal(a.images, b.images)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(a.images, c.images)


def test_every_image_gets_its_own_warp(batch):
    grid = Objective().random_grid(batch.images, torch.Generator().manual_seed(0))
    assert grid.shape == (3, 32, 32, 2)
    assert all((grid[i] - grid[j]).abs().max() > 0.05 for i in range(3) for j in range(i))


def test_both_views_pass_the_network_together(batch, features):
    _, recorder = run(batch, features)
    assert recorder.calls == 1
    assert recorder.logits.shape == (6, 3, 32, 32)


def test_without_feature_terms_no_features_are_needed(batch):
    terms, _ = run(batch, [], feature=0.0, contrastive=0.0)
    assert list(terms) == ["total", "visual", "equivariance"]


def test_a_variant_replaces_the_piece_that_differs(batch, features):
    class Doubled(Objective):
        def feature_loss(self, maps, features, foreground):
            return 2 * super().feature_loss(maps, features, foreground)

    def terms(objective):
        return objective(Recorder(), batch, features, WEIGHTS, torch.Generator().manual_seed(0))

    plain, doubled = terms(Objective()), terms(Doubled())
    assert doubled["feature"] == 2 * plain["feature"]
    assert all(doubled[name] == plain[name] for name in LOSSES[1:])
