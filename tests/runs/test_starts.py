"""Several starts: the one with the lowest training loss is trained, and nothing else of a run changes."""

import pytest
import torch

from partlib import TrainConfig, train
from partlib.config import LOSSES
from partlib.runs.build import Recipe, build_trainer
from partlib.runs.starts import begin_start, best_start, learn_decoders, selection_loss

CONFIG = TrainConfig(
    image_size=32,
    feature_size=32,
    **{"batch_size": 4, "steps": 4, "starts": 3, "trial_steps": 4, "eval_every": 0, "log_every": 1},
)


def losses_of(trials):
    """``advance`` and ``begin`` that play back given losses, one list per start."""
    playing = iter(())

    def begin(start):
        nonlocal playing
        playing = iter(trials[start])

    return (lambda: {"total": torch.tensor(float(next(playing)))}), begin


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


def trainer_of(config, tiny_birds, start):
    """A trainer at step 0 of a start."""
    trainer = build_trainer(config, "cpu", tiny_birds[0])
    begin_start(trainer, Recipe(config), start)
    return trainer


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"decoder_steps": 2, "select_by": ("feature", "equivariance")}])
def test_a_run_is_that_of_the_chosen_start_from_its_first_step(changes, tiny_birds):
    config, runs = CONFIG.replace(**changes), []
    log = train(config, progress=False, device="cpu", datasets=(tiny_birds[0], None)).log
    for start in range(config.starts):
        trainer = trainer_of(config, tiny_birds, start)
        steps = [trainer.advance() for _ in range(config.steps)]
        loss = sum(config.weight(name) * step[name] for step in steps[2:4] for name in config.select_by or LOSSES)
        runs.append((loss.item(), [step["total"].item() for step in steps]))
    assert [entry["total"] for entry in log] == min(runs)[1]
    assert len({loss for loss, _ in runs}) == config.starts


def test_one_start_needs_no_trial_and_a_run_shorter_than_a_trial_is_no_error(tiny_birds):
    options = {"progress": False, "device": "cpu", "datasets": (tiny_birds[0], None)}
    trainer = build_trainer(CONFIG, "cpu", tiny_birds[0])
    expected = [trainer.advance()["total"].item() for _ in range(CONFIG.steps)]
    assert [entry["total"] for entry in train(CONFIG.replace(starts=1), **options).log] == expected
    assert len(train(CONFIG.replace(steps=2, trial_steps=80), **options).log) == 2


WARM = CONFIG.replace(decoder_steps=8, select_by=("feature", "equivariance"))


def test_decoders_learn_and_leave_the_encoder_and_the_run_alone(tiny_birds):
    trainer, cold = build_trainer(WARM, "cpu", tiny_birds[0]), Recipe(WARM).segmenter(1).state_dict()
    trainer.restart(cold)
    before = trainer.losses(0)["feature"]
    begin_start(trainer, Recipe(WARM), 1)
    warm = trainer.segmenter.state_dict()
    assert all(torch.equal(warm[name], cold[name]) for name in cold if name.startswith("encoder."))
    assert not torch.equal(warm["decoder.classify.weight"], cold["decoder.classify.weight"])
    assert trainer.losses(0)["feature"] < before - 0.01
    assert (trainer.step, len(trainer.optimizer.state)) == (0, 0)
    assert all(p.requires_grad for p in trainer.segmenter.encoder.parameters() if p.ndim == 4)


@pytest.mark.parametrize("weights", ["", ":random"])
def test_decoders_that_learn_together_are_those_that_learn_alone(tiny_birds, weights):
    config = WARM.replace(arch=f"fpn_lite0{weights}")
    trainer, recipe = build_trainer(config, "cpu", tiny_birds[0]), Recipe(config)
    together = learn_decoders(trainer, recipe, [0, 1, 2])
    for start in (2, 1):
        begin_start(trainer, recipe, start)
        alone = trainer.segmenter.decoder.state_dict()
        assert all(torch.equal(tensor, alone[name]) for name, tensor in together[start].items())
    assert not torch.equal(together[1]["classify.weight"], together[2]["classify.weight"])


def test_without_a_feature_loss_decoders_have_nothing_to_learn_from(tiny_birds):
    config = WARM.replace(lambda_feature=0.0)
    found, cold = trainer_of(config, tiny_birds, 1).segmenter.state_dict(), Recipe(config).segmenter(1).state_dict()
    assert all(torch.equal(tensor, cold[name]) for name, tensor in found.items())


def test_starts_are_judged_by_the_named_losses_that_are_trained():
    terms = {name: torch.tensor(value) for name, value in (("total", 9.0), ("feature", 2.0), ("equivariance", 3.0))}
    assert selection_loss(WARM, terms) == WARM.lambda_feature * 2 + WARM.lambda_equivariance * 3
    assert selection_loss(WARM.replace(select_by=("feature", "visual")), terms) == WARM.lambda_feature * 2
    assert selection_loss(WARM.replace(select_by=("visual",)), terms) == selection_loss(CONFIG, terms) == 9
