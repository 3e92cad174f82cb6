"""The objective: a weighted sum of named terms, each reading the view that the paper says."""

import pytest
import torch

from partlib import PartSegmenter, TrainConfig, losses
from partlib.augment import ColorJitter, rgb_to_lab
from partlib.config import LOSSES
from partlib.data import collate
from partlib.objective import Objective, visual_weight
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


def run(config, batch, features, seed=0, jitter=None):
    recorder = Recorder()
    terms = Objective(config, jitter)(recorder, batch, features, torch.Generator().manual_seed(seed))
    return terms, recorder


def test_total_is_the_weighted_sum_of_the_named_terms(batch, features):
    terms, _ = run(TrainConfig(**WEIGHTS), batch, features)
    assert tuple(terms) == ("total", *LOSSES)
    assert all(value.ndim == 0 and value.isfinite() and value > 0 for value in terms.values())
    torch.testing.assert_close(terms["total"], sum(WEIGHTS[name] * terms[name] for name in LOSSES))


@pytest.mark.parametrize("name", LOSSES)
def test_weight_zero_leaves_a_term_out(name, batch, features):
    terms, recorder = run(TrainConfig(**{**WEIGHTS, name: 0}), batch, features)
    left = [term for term in LOSSES if term != name]
    assert list(terms) == ["total", *left]
    torch.testing.assert_close(terms["total"], sum(WEIGHTS[term] * terms[term] for term in left))
    assert len(recorder.images) == (3 if name == "equivariance" else 6)  # the second view serves equivariance only


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_flows_to_the_view_that_the_paper_says(name, batch, features):
    terms, recorder = run(TrainConfig(**WEIGHTS), batch, features)
    terms[name].backward()
    first, second = recorder.logits.grad.chunk(2)
    trained, untouched = (second, first) if name == "equivariance" else (first, second)
    assert (trained.abs().amax((1, 2, 3)) > 0).all()
    assert not untouched.any()


def test_terms_are_the_losses_of_the_first_view_against_the_clean_image(batch, features):
    config = TrainConfig(**WEIGHTS, lab_scale=10.0)
    # a jitter that takes all colour away: targets computed from jittered images would show
    terms, recorder = run(config, batch, features, jitter=ColorJitter(grey_probability=1))
    maps = part_maps(recorder.logits[:3], batch.foreground)
    lab = rgb_to_lab(batch.images) / 10
    descriptors = losses.part_descriptors(maps, features)
    torch.testing.assert_close(terms["visual"], losses.consistency_loss(maps, lab, batch.foreground))
    torch.testing.assert_close(terms["feature"], losses.consistency_loss(maps, features, batch.foreground))
    torch.testing.assert_close(terms["contrastive"], losses.contrastive_loss(descriptors, config.temperature, "all"))


def test_first_view_is_jittered_in_place_and_second_is_warped(batch, features):
    still = ColorJitter(probability=0, grey_probability=0)
    _, recorder = run(TrainConfig(**WEIGHTS), batch, features, jitter=still)
    first, second = recorder.images.chunk(2)
    assert torch.equal(first, batch.images)
    assert (second - batch.images).abs().flatten(1).mean(1).min() > 0.01
    _, recorder = run(TrainConfig(**WEIGHTS), batch, features, jitter=ColorJitter(probability=1))
    assert not torch.equal(recorder.images[:3], batch.images)


def test_the_generator_decides_jitter_and_warp(batch, features):
    config = TrainConfig(**WEIGHTS, positives="sample")
    (first, a), (again, b), (_, c) = (run(config, batch, features, seed) for seed in (1, 1, 2))
    assert torch.equal(a.images, b.images)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(a.images, c.images)


def test_every_image_gets_its_own_warp(batch):
    grid = Objective(TrainConfig()).random_grid(batch.images, torch.Generator().manual_seed(0))
    assert grid.shape == (3, 32, 32, 2)
    assert all((grid[i] - grid[j]).abs().max() > 0.05 for i in range(3) for j in range(i))


def test_both_views_pass_the_network_together(batch, features):
    _, recorder = run(TrainConfig(**WEIGHTS), batch, features)
    assert recorder.calls == 1
    assert recorder.logits.shape == (6, 3, 32, 32)


def test_without_feature_terms_no_features_are_needed(batch):
    terms, _ = run(TrainConfig(feature=0, contrastive=0), batch, [])
    assert list(terms) == ["total", "visual", "equivariance"]


def test_the_visual_weight_grows_by_the_same_factor_every_step():
    config = TrainConfig(visual=10, visual_end=1000, steps=4)
    assert [visual_weight(config, step) for step in range(5)] == pytest.approx([10, 10**1.5, 100, 10**2.5, 1000])
    assert visual_weight(config.replace(visual_end=0), 3) == 10
    assert visual_weight(config.replace(visual=0), 3) == 0
