"""The training step: rates and weights of the step, clipped gradients, and a state that goes on exactly."""

import copy

import pytest
import torch

from partlib import TrainConfig
from partlib.config import LOSSES
from partlib.runs.build import Recipe, build_trainer
from partlib.training import GRAD_CLIP, Schedule, TrainingError

CONFIG = TrainConfig(
    **{"arch": "fpn_lite0", "views": 0, "image_size": 32, "feature_size": 32, "batch_size": 4},
    **{"steps": 4, "starts": 1, "lr": 0.01},
    **{"lambda_visual": 2.0, "lambda_visual_end": 32.0},
)


class Sgd(Recipe):
    def optimizer(self, groups):
        return torch.optim.SGD(groups)


@pytest.fixture
def make(tiny_birds):
    """A trainer of the tiny birds."""
    return lambda config=CONFIG, recipe=Recipe: build_trainer(config, "cpu", tiny_birds[0], recipe=recipe)


def weights(trainer):
    return [p.detach().clone() for p in trainer.segmenter.parameters()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_learning_rates_fall_as_a_power_of_the_steps_left():
    schedule = Schedule(4, {"visual": 1.0})
    assert [schedule.lr_factor(step) for step in range(4)] == pytest.approx(
        [(1 - step / 4) ** 0.9 for step in range(4)]
    )
    assert Schedule(4, {"visual": 1.0}, decay_steps=8).lr_factor(4) == pytest.approx(0.5**0.9)


def test_the_visual_weight_grows_by_the_same_factor_every_step():
    weights = dict.fromkeys(LOSSES, 3.0) | {"visual": 10.0}
    schedule = Schedule(4, weights, visual_end=1000)
    assert [schedule.weights_at(step)["visual"] for step in range(5)] == pytest.approx(
        [10, 10**1.5, 100, 10**2.5, 1000]
    )
    assert {name: schedule.weights_at(3)[name] for name in LOSSES if name != "visual"} == {
        name: 3.0 for name in LOSSES if name != "visual"
    }
    assert Schedule(4, weights).weights_at(3) == weights
    assert Schedule(4, {**weights, "visual": 0.0}, 1000).weights_at(3)["visual"] == 0


def test_every_step_has_the_rates_and_weights_of_its_number(make):
    trainer = make()
    for step in range(4):
        terms = trainer.advance()
        expected = CONFIG.lambda_visual * 16 ** (step / 4) * terms["visual"]
        expected += sum(CONFIG.weight(name) * terms[name] for name in LOSSES if name != "visual")
        assert terms["total"].item() == pytest.approx(expected.item(), rel=1e-5)
        assert not terms["total"].requires_grad
        encoder, decoder = (group["lr"] for group in trainer.optimizer.param_groups)
        assert (encoder, decoder) == pytest.approx([rate * (1 - step / 4) ** 0.9 for rate in (5e-4, 0.01)])
    assert trainer.step == 4


def test_gradients_are_clipped_to_the_norm(make):
    trainer = make(CONFIG.replace(lambda_feature=5e3, lr=0.1, backbone_lr=0.1), Sgd)
    before = weights(trainer)
    trainer.advance()
    change = [(after - b).square().sum() for after, b in zip(weights(trainer), before, strict=True)]
    assert torch.stack(change).sum().sqrt().item() == pytest.approx(0.1 * GRAD_CLIP, rel=1e-3)


def test_the_losses_of_a_step_change_nothing_and_are_those_that_it_returns(make):
    trainer = make()
    before = weights(trainer)
    losses = trainer.losses(0)
    assert losses["total"].requires_grad
    assert same(weights(trainer), before)
    assert {name: value.item() for name, value in losses.items()} == {
        name: value.item() for name, value in trainer.advance().items()
    }
    assert not same(weights(trainer), before)


def test_a_state_goes_on_exactly_also_one_of_a_fused_optimizer(make):
    trainer = make()
    trainer.advance()
    state, other = copy.deepcopy(trainer.state()), make()
    for group in state["optimizer"]["param_groups"]:
        group["fused"] = True  # as a GPU would have written it
    other.load_state(state)
    assert other.step == 1
    assert [group["fused"] for group in other.optimizer.param_groups] == [None, None]
    assert {name: value.item() for name, value in other.advance().items()} == {
        name: value.item() for name, value in trainer.advance().items()
    }
    assert same(weights(other), weights(trainer))


def test_weights_that_are_not_finite_are_no_state(make):
    trainer = make()
    with torch.no_grad():
        next(trainer.segmenter.decoder.parameters()).view(-1)[0] = float("nan")
    with pytest.raises(TrainingError, match=r"weights are not finite after step 0; .* lower lr"):
        trainer.state()
