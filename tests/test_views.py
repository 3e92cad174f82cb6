"""The maps of views that a frozen encoder's steps read are those of images jittered and warped on the spot."""

import pytest
import torch
from torch.nn import functional as F

from partlib import TrainConfig, warps
from partlib.config import LOSSES
from partlib.errors import ConfigError
from partlib.loader import StepBatches, StepLoader, batch_indices, view_bank
from partlib.objective import Objective
from partlib.runs.build import Recipe, Runtime, build_trainers
from partlib.segmenter import PartSegmenter, resize

CONFIG = TrainConfig(
    **{"image_size": 32, "feature_size": 32, "loss_size": 16, "batch_size": 4, "steps": 6, "starts": 2},
    **{"trial_steps": 2, "eval_every": 0, "log_every": 1},
)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    return PartSegmenter(3, "fpn8_lite0").eval()


@pytest.fixture
def bank(tiny_birds, segmenter):
    return view_bank(tiny_birds[0], segmenter.encoder, 2, 16)


@torch.no_grad()
def test_a_batch_has_the_maps_of_the_chosen_views_and_the_clean_image_at_the_size_of_the_losses(
    bank, tiny_birds, segmenter
):
    batch = bank.batch([3, 3, 5], torch.tensor([[0, 1, 1], [1, 0, 1]])).to("cpu")
    assert [z.shape for z in batch.maps] == [(6, 40, 4, 4), (6, 112, 2, 2), (6, 320, 1, 1)]
    assert all(z.dtype == torch.float32 and z.is_contiguous(memory_format=torch.channels_last) for z in batch.maps)
    sample = tiny_birds[0][5]
    torch.testing.assert_close(batch.images[2], F.avg_pool2d(sample.image, 2), atol=1e-3, rtol=0)
    assert torch.equal(batch.foreground[2], (F.avg_pool2d(sample.foreground, 2) > 0.5).float())
    assert torch.equal(batch.points, bank.points[[3, 3, 5], [1, 0, 1]])
    # two views of one image differ, and so do two images
    finest = batch.maps[0]
    assert min((finest[0] - finest[1]).abs().max(), (finest[3] - finest[4]).abs().max()) > 0.1


@torch.no_grad()
def test_the_second_view_is_the_image_warped_by_the_points(tiny_birds, segmenter, monkeypatch):
    monkeypatch.setattr("partlib.loader.ColorJitter.__call__", lambda self, images, **_: images)
    own = view_bank(tiny_birds[1], segmenter.encoder, 1, 16)
    batch, image = own.batch([2], torch.tensor([[0], [0]])).to("cpu"), tiny_birds[1][2].image[None]
    warped = warps.warp(image, warps.thin_plate_grid(batch.points, (32, 32)))
    for found, expected in zip(batch.maps, segmenter.encoder(torch.cat([image, warped])), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)


def test_it_is_computed_once_and_is_another_for_other_views_sizes_or_weights(bank, tiny_birds, segmenter, monkeypatch):
    def refuse(*_):
        raise AssertionError("computed again")

    with monkeypatch.context() as patch:
        patch.setattr(segmenter.encoder, "forward", refuse)
        again = view_bank(tiny_birds[0], segmenter.encoder, 2, 16)
        assert all((a == b).all() for a, b in zip(again.maps, bank.maps, strict=True))
        for views, size in ((1, 16), (2, 8)):
            with pytest.raises(AssertionError, match="computed again"):
                view_bank(tiny_birds[0], segmenter.encoder, views, size)
    other = PartSegmenter(3, "fpn8_lite0", "random").eval()
    assert not (view_bank(tiny_birds[0], other.encoder, 2, 16).maps[0] == bank.maps[0]).all()


def test_one_too_large_is_refused_before_anything_is_computed(tiny_birds, segmenter):
    with pytest.raises(ConfigError, match=r"maps of 6 views of 16 images would take .* limit is 0 GB; .*fewer images"):
        view_bank(tiny_birds[0], segmenter.encoder, 3, 16, limit_gb=0)


def test_a_step_draws_its_views_and_processes_share_them_out(bank, tiny_birds):
    batches = StepBatches(tiny_birds[0], None, batch_size=4, seed=0, steps=9, bank=bank)
    whole, _ = batches[7]
    assert torch.equal(whole.images, bank.batch(batch_indices(16, 4, 0, 7), torch.zeros(2, 4, dtype=int)).images)
    halves = []
    for first in (0, 2):
        batches.shard = slice(first, first + 2)
        halves.append(batches[7][0])
    assert torch.equal(torch.cat([half.points for half in halves]), whole.points)
    for layer, z in enumerate(whole.maps):
        parts = [half.maps[layer].chunk(2)[view] for view in (0, 1) for half in halves]
        assert torch.equal(torch.cat(parts), z)


def test_reading_ahead_gives_the_same(bank, tiny_birds):
    batches = StepBatches(tiny_birds[0], None, batch_size=4, seed=0, steps=4, bank=bank)
    for step in range(2):
        found, expected = StepLoader(batches, CPU, workers=1)(step)[0], StepLoader(batches, CPU)(step)[0]
        assert all(torch.equal(a, b) for a, b in zip(found.maps, expected.maps, strict=True))


def test_the_losses_of_a_step_are_those_of_its_views_segmented(bank, segmenter):
    batch, weights = bank.batch([0, 1, 2, 3], torch.ones(2, 4, dtype=int)).to("cpu"), dict.fromkeys(LOSSES, 1.0)
    features = [torch.rand(4, 6, 4, 4)]
    decode = lambda maps: resize(segmenter.decoder(maps), (16, 16))  # noqa: E731
    objective = Objective()
    found = objective(decode, batch, features, weights, torch.Generator())
    logits, grid = decode(batch.maps).chunk(2), warps.thin_plate_grid(batch.points, (16, 16))
    expected = objective.terms(logits, batch.foreground, features, objective.lab(batch.images), grid, weights)
    assert {k: v.item() for k, v in found.items()} == pytest.approx({k: v.item() for k, v in expected.items()})
    still = objective(decode, batch, features, weights | {"equivariance": 0.0}, torch.Generator())
    assert still["feature"].item() == pytest.approx(found["feature"].item(), rel=1e-5)
    assert "equivariance" not in still


def test_only_the_decoder_learns(tiny_birds):
    trainer = build_trainers(CONFIG, "cpu", tiny_birds[0])[0]
    before = {name: tensor.clone() for name, tensor in trainer.segmenter.state_dict().items()}
    first = trainer.losses(0)["total"].item()
    for _ in range(6):
        trainer.advance()
    changed = [name for name, tensor in trainer.segmenter.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed
    assert all(name.startswith("decoder.") for name in changed)
    assert trainer.losses(0)["total"].item() < first


def test_random_crops_have_no_views_to_keep(tiny_birds):
    drawn = tiny_birds[0].subset(range(8))
    drawn.fixed_crop = False
    with pytest.raises(ConfigError, match="random crops"):
        build_trainers(CONFIG, "cpu", drawn, Runtime(), Recipe)
