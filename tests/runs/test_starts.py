"""Several starts: the one with the lowest training loss is trained, and nothing else of a run changes."""

import pytest
import torch

from partlib import TrainConfig, train
from partlib.loader import step_generator
from partlib.runs.build import Recipe
from partlib.runs.starts import best_start, learn_decoders, selection_loss
from partlib.training import Trainer

CONFIG = TrainConfig(
    image_size=32,
    feature_size=32,
    **{"batch_size": 4, "steps": 6, "starts": 3, "start_steps": 4, "eval_every": 0, "log_every": 1},
)


def losses_of(trials):
    """``advance`` and ``reset`` that play back given losses, one list per start."""
    playing = iter(())

    def reset(start):
        nonlocal playing
        playing = iter(trials[start])

    return (lambda: {"total": torch.tensor(float(next(playing)))}), reset


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
    assert best_start(CONFIG, *losses_of(trials), progress=False) == chosen


def test_starts_differ_and_repeat():
    first, again, other = (initial_segmenter(CONFIG.replace(weights="random"), s).state_dict() for s in (0, 0, 1))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["decoder.classify.weight"], other["decoder.classify.weight"])


def test_a_run_is_that_of_the_chosen_start_from_its_first_step(tiny_birds):
    result = train(CONFIG, progress=False, device="cpu", datasets=tiny_birds)
    runs = []
    for start in range(CONFIG.starts):
        trainer = Trainer(CONFIG, "cpu", tiny_birds)
        trainer.reset(start)
        totals = [trainer.advance()["total"].item() for _ in range(CONFIG.steps)]
        runs.append((sum(totals[2:4]), totals))
    assert [entry["total"] for entry in result.log] == min(runs)[1]
    assert len({trial for trial, _ in runs}) == CONFIG.starts


def test_one_start_needs_no_trial(tiny_birds):
    single = CONFIG.replace(starts=1)
    trainer = Trainer(single, "cpu", tiny_birds)
    expected = [trainer.advance()["total"].item() for _ in range(single.steps)]
    result = train(single, progress=False, device="cpu", datasets=tiny_birds)
    assert [entry["total"] for entry in result.log] == expected


def test_a_run_shorter_than_a_trial_is_no_error(tiny_birds):
    short = CONFIG.replace(steps=2, start_steps=80)
    assert len(train(short, progress=False, device="cpu", datasets=tiny_birds).log) == 2


WARM = CONFIG.replace(warmup_steps=8, start_losses=("feature", "equivariance"))


def feature_loss(trainer):
    """Of the first batch, before a step."""
    batch, features = trainer.batch(0)
    with torch.no_grad():
        terms = trainer.objective(trainer.forward, batch, features, step_generator(trainer.config.seed, 0))
    return terms["feature"].item()


def test_the_warm_up_trains_the_decoder_and_leaves_the_backbone_and_the_run_alone(tiny_birds):
    trainer = Trainer(WARM, "cpu", tiny_birds)
    cold = Recipe(WARM).segmenter(1).state_dict()
    trainer.segmenter.load_state_dict(cold)
    before = feature_loss(trainer)
    trainer.reset(1)
    warm = trainer.segmenter.state_dict()
    assert all(torch.equal(warm[k], cold[k]) for k in cold if k.startswith("encoder."))
    assert not any(torch.equal(warm[k], cold[k]) for k in cold if k.endswith("classify.weight"))
    assert feature_loss(trainer) < before - 0.01
    assert trainer.step == 0
    assert not trainer.log
    assert not trainer.optimizer.state
    assert all(p.requires_grad for p in trainer.segmenter.encoder.parameters() if p.ndim == 4)


def test_a_run_begins_with_the_warmed_up_weights_of_the_chosen_start(tiny_birds):
    log = train(WARM, progress=False, device="cpu", datasets=tiny_birds).log
    runs = []
    for start in range(WARM.starts):
        trainer = Trainer(WARM, "cpu", tiny_birds)
        trainer.reset(start)
        steps = [{k: v.item() for k, v in trainer.advance().items()} for _ in range(WARM.steps)]
        loss = sum(WARM.feature * s["feature"] + WARM.equivariance * s["equivariance"] for s in steps[2:4])
        runs.append((loss, [s["total"] for s in steps]))
    assert [entry["total"] for entry in log] == min(runs)[1]


@pytest.mark.parametrize("pretrained", [True, False])
def test_decoders_warmed_up_together_are_those_warmed_up_alone(tiny_birds, pretrained):
    trainer = Trainer(WARM.replace(pretrained=pretrained, positives="sample"), "cpu", tiny_birds)
    together = learn_decoders(trainer, [0, 1, 2])
    for start in (2, 1):
        trainer.reset(start)
        alone = trainer.segmenter.decoder.state_dict()
        assert all(torch.equal(value, alone[k]) for k, value in together[start].items())
    assert not torch.equal(together[1]["classify.weight"], together[2]["classify.weight"])


def test_without_a_feature_loss_there_is_no_warm_up(tiny_birds):
    trainer = Trainer(WARM.replace(feature=0.0), "cpu", tiny_birds)
    trainer.reset(1)
    cold = Recipe(WARM).segmenter(1).state_dict()
    assert all(torch.equal(value, cold[k]) for k, value in trainer.segmenter.state_dict().items())


def test_starts_are_judged_by_the_named_losses_that_are_trained():
    terms = {name: torch.tensor(value) for name, value in (("total", 9.0), ("feature", 2.0), ("equivariance", 3.0))}
    assert selection_loss(WARM, terms) == WARM.feature * 2 + WARM.equivariance * 3
    assert selection_loss(WARM.replace(start_losses=("feature", "visual")), terms) == WARM.feature * 2
    assert selection_loss(WARM.replace(start_losses=("visual",)), terms) == selection_loss(CONFIG, terms) == 9
