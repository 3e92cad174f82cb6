"""Several starts: they race over the first steps, and the one with the lowest training loss goes on."""

from types import SimpleNamespace

import pytest
import torch

from partlib import TrainConfig, train
from partlib.runs.build import build_trainers
from partlib.runs.starts import EQUIVARIANCE, comparison_loss, race

CONFIG = TrainConfig(
    **{"image_size": 32, "feature_size": 32, "loss_size": 16, "batch_size": 4, "steps": 6, "starts": 3},
    **{"trial_steps": 4, "eval_every": 0, "log_every": 1},
)


@pytest.mark.parametrize(
    ("trials", "chosen"),
    [
        ([[9.0, 9, 3, 3], [1, 1, 2, 2], [0, 0, 4, 4]], 1),
        ([[1.0, 1, 1, 1], [0, 0, float("nan"), 0], [2, 2, 2, 2]], 0),
        ([[float("nan")] * 4, [5.0] * 4, [6.0] * 4], 1),
        ([[float("inf")] * 4] * 3, 0),
    ],
    ids=["later half", "nan loses", "nan at first", "all infinite"],
)
def test_the_start_with_the_lowest_later_loss_is_chosen(trials, chosen):
    played = [iter(losses) for losses in trials]
    trainers = [SimpleNamespace(advance=lambda p=p: {"total": torch.tensor(float(next(p)))}) for p in played]
    trainer, terms = race(trainers, CONFIG, progress=False)
    assert trainers.index(trainer) == chosen
    assert [step["total"].item() for step in terms] == pytest.approx(trials[chosen], nan_ok=True)


@pytest.mark.parametrize(
    "changes", [{}, {"lambda_equivariance": 2.0, "views": 0, "image_size": 32}], ids=["frozen", "full"]
)
def test_a_run_is_that_of_the_chosen_start_from_its_first_step(changes, tiny_birds):
    config, runs = CONFIG.replace(**changes), []
    log = train(config, progress=False, device="cpu", datasets=(tiny_birds[0], None)).log
    for trainer in build_trainers(config, "cpu", tiny_birds[0]):
        steps = [trainer.advance() for _ in range(config.steps)]
        loss = sum(comparison_loss(config, step) for step in steps[2:4])
        runs.append((loss.item(), [step["total"].item() for step in steps]))
    assert [entry["total"] for entry in log] == pytest.approx(min(runs)[1], rel=1e-6)
    assert [entry["step"] for entry in log] == [1, 2, 3, 4, 5, 6]
    assert len({loss for loss, _ in runs}) == config.starts


def test_starts_see_the_same_batches_and_share_a_frozen_encoder(tiny_birds):
    first, *others = build_trainers(CONFIG, "cpu", tiny_birds[0])
    for other in others:
        assert other.loader is first.loader
        assert other.segmenter.encoder is first.segmenter.encoder
        assert not torch.equal(other.segmenter.decoder.classify.weight, first.segmenter.decoder.classify.weight)
    learning, *rest = build_trainers(CONFIG.replace(views=0), "cpu", tiny_birds[0])
    assert all(other.segmenter.encoder is not learning.segmenter.encoder for other in rest)


def test_one_start_needs_no_race_and_a_run_shorter_than_a_race_is_no_error(tiny_birds):
    options = {"progress": False, "device": "cpu", "datasets": (tiny_birds[0], None)}
    trainer = build_trainers(CONFIG.replace(starts=1), "cpu", tiny_birds[0])[0]
    expected = [trainer.advance()["total"].item() for _ in range(CONFIG.steps)]
    assert [entry["total"] for entry in train(CONFIG.replace(starts=1), **options).log] == expected
    assert len(train(CONFIG.replace(steps=2, trial_steps=80), **options).log) == 2


def test_starts_are_judged_by_the_named_losses_that_are_trained():
    values = {"total": 9.0, "feature": 2.0, "visual": 7.0, "contrastive": 4.0, "equivariance": 3.0}
    terms = {name: torch.tensor(value) for name, value in values.items()}
    two = CONFIG.lambda_feature * 2 + CONFIG.lambda_equivariance * 3
    more = (EQUIVARIANCE - 1) * CONFIG.lambda_equivariance * 3  # beside the contrast
    assert comparison_loss(CONFIG, terms) == two + more + CONFIG.lambda_contrastive * 4
    assert comparison_loss(CONFIG.replace(select_by=("feature", "equivariance")), terms) == two
    assert comparison_loss(CONFIG, {"total": terms["total"], "feature": terms["feature"]}) == CONFIG.lambda_feature * 2
    assert comparison_loss(CONFIG, {"total": terms["total"], "visual": terms["visual"]}) == 9
    assert comparison_loss(CONFIG.replace(select_by=("feature", "visual")), terms) == CONFIG.lambda_feature * 2 + 15 * 7
    assert comparison_loss(CONFIG.replace(select_by=()), terms) == 9
