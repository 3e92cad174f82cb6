"""Training: the same numbers every time, whatever interrupts it; nothing that cannot be used is ever saved."""

import csv
import json
import os
import signal
import threading
import warnings

import pytest
import torch
from partlib.interrupt import HeldInterrupt

from partlib import TrainConfig, load_or_train, train
from partlib.config import LOSSES
from partlib.errors import ConfigError
from partlib.runs import DEAD_SHARE
from partlib.runs.checkpoint import load_checkpoint, load_model
from partlib.training import Trainer, TrainingError

CONFIG = TrainConfig(
    image_size=32,
    feature_size=32,
    num_parts=4,
    **{"feature": 5.0, "visual": 2.0, "contrastive": 0.5, "equivariance": 0.5},
    **{"starts": 1, "batch_size": 4, "steps": 4, "lr": 1e-3, "backbone_lr": 1e-4},
    **{"eval_every": 2, "log_every": 3, "checkpoint_every": 2},
)
pytestmark = pytest.mark.filterwarnings("ignore:step .* holds less than:UserWarning")


@pytest.fixture(scope="module")
def fit(tiny_birds):
    """``train`` on the tiny birds, quietly."""

    def run(config=CONFIG, out=None, **options):
        return train(config, out, progress=False, device="cpu", **{"datasets": tiny_birds, **options})

    return run


@pytest.fixture(scope="module")
def reference(fit, tmp_path_factory):
    """An uninterrupted run, and the warnings that it gave."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = fit(out=tmp_path_factory.mktemp("reference"))
    return result, [str(w.message) for w in caught]


def weights(result):
    return result.segmenter.state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def stop_at(step, error):
    def on_step(trainer, terms):
        if trainer.step == step:
            raise error

    return on_step


def test_same_seed_same_numbers(fit, reference):
    again = fit()
    assert same(weights(again), weights(reference[0]))
    assert again.log == reference[0].log


@pytest.mark.parametrize("change", [{"seed": 1}, {"positives": "sample"}, {"optimizer": "sgd"}, {"visual": 0.0}])
def test_another_configuration_gives_other_numbers(change, fit, reference):
    other = fit(CONFIG.replace(**change))
    assert not same(weights(other), weights(reference[0]))
    assert all(value.isfinite().all() for value in weights(other).values())


def test_how_often_it_is_evaluated_logged_and_saved_changes_nothing(fit, reference, tmp_path):
    other = fit(CONFIG.replace(eval_every=0, log_every=1, checkpoint_every=0), tmp_path)
    assert same(weights(other), weights(reference[0]))
    names = ("step", "lr", "total", "feature", "visual", "contrastive", "equivariance")
    shared = {entry["step"]: {name: entry[name] for name in names} for entry in reference[0].log}
    assert [entry for entry in other.log if entry["step"] in shared] == list(shared.values())


def test_files_of_a_run(reference):
    result, _ = reference
    assert sorted(f.name for f in result.out.iterdir()) == [
        "checkpoint.pt",
        "config.json",
        "log.csv",
        "model.safetensors",
    ]
    assert TrainConfig.from_dict(json.loads((result.out / "config.json").read_text())) == CONFIG
    with (result.out / "log.csv").open(newline="") as stream:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(stream)]
    assert rows == result.log
    stored, config = load_model(result.out)
    assert same(stored.state_dict(), weights(result))
    assert config == CONFIG
    assert not result.segmenter.training


def test_log_holds_losses_shares_and_scores(reference):
    log = reference[0].log
    assert [entry["step"] for entry in log] == [2, 3, 4]
    assert [entry["step"] for entry in log if "val_fg_nmi" in entry] == [2, 4]
    for entry in log:
        if "share_1" in entry:
            assert sum(entry[f"share_{k}"] for k in range(1, 5)) == pytest.approx(1)
    total = sum(getattr(CONFIG, name) * log[0][name] for name in LOSSES)
    assert log[0]["total"] == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("step", [1, 2, 4])
def test_interrupted_at_any_step_and_resumed_ends_the_same(step, fit, reference, tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        fit(out=tmp_path, on_step=stop_at(step, KeyboardInterrupt))
    assert f"interrupted at step {step}; go on with --resume" in capsys.readouterr().out
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == step
    seen = []
    resumed = fit(out=tmp_path, resume=True, on_step=lambda trainer, terms: seen.append(trainer.step))
    assert seen == list(range(step + 1, 5))
    assert same(weights(resumed), weights(reference[0]))
    assert resumed.log == reference[0].log


def test_interrupted_twice_and_killed_once_ends_the_same(fit, reference, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(out=tmp_path, on_step=stop_at(1, KeyboardInterrupt))
    with pytest.raises(RuntimeError, match="killed"):  # nothing is saved at step 3, only at 2
        fit(out=tmp_path, resume=True, on_step=stop_at(3, RuntimeError("killed")))
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 2
    resumed = fit(out=tmp_path, resume=True)
    assert same(weights(resumed), weights(reference[0]))
    assert resumed.log == reference[0].log


def test_ctrl_c_in_the_middle_of_a_step_waits_for_its_end(fit, reference, tmp_path):
    def on_step(trainer, terms):
        if trainer.step == 2:  # the next call of the optimiser presses Ctrl-C before the step is counted
            trainer.optimizer.register_step_post_hook(lambda *_: os.kill(os.getpid(), signal.SIGINT))

    with pytest.raises(KeyboardInterrupt):
        fit(out=tmp_path, on_step=on_step)
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 3
    resumed = fit(out=tmp_path, resume=True)
    assert same(weights(resumed), weights(reference[0]))
    assert resumed.log == reference[0].log


def test_second_ctrl_c_acts_at_once_and_the_handler_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    with HeldInterrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.pressed
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_training_runs_outside_the_main_thread(fit, reference):
    results = []
    thread = threading.Thread(target=lambda: results.append(fit()))
    thread.start()
    thread.join()
    assert same(weights(results[0]), weights(reference[0]))


def test_a_finished_run_is_left_as_it_is_by_resume(fit, reference, tmp_path):
    fit(out=tmp_path)
    seen = []
    resumed = fit(out=tmp_path, resume=True, on_step=lambda *_: seen.append(1))
    assert not seen
    assert same(weights(resumed), weights(reference[0]))


def test_a_folder_with_a_run_is_not_overwritten(fit, reference):
    with pytest.raises(ConfigError, match="holds a run already; pass --resume"):
        fit(out=reference[0].out)


def test_another_configuration_is_refused_naming_what_changed(fit, reference):
    changed = CONFIG.replace(lr=0.5, num_parts=3, log_every=1)
    with pytest.raises(ConfigError, match=r"num_parts is 4 there and 3 here; lr is 0.001 there and 0.5 here") as caught:
        fit(changed, reference[0].out, resume=True)
    assert "log_every" not in str(caught.value)


def test_other_images_are_refused(fit, reference, tiny_birds):
    with pytest.raises(ConfigError, match="was trained on other images"):
        fit(out=reference[0].out, resume=True, datasets=(tiny_birds[0].subset(range(8)), None))


def test_bookkeeping_may_change_on_resume(fit, reference, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(out=tmp_path, on_step=stop_at(2, KeyboardInterrupt))
    resumed = fit(CONFIG.replace(eval_every=0, log_every=1, checkpoint_every=0), tmp_path, resume=True)
    assert same(weights(resumed), weights(reference[0]))


def spoil(step):
    """Make a weight NaN after ``step``, as an overflow would."""

    def on_step(trainer, terms):
        if trainer.step == step:
            with torch.no_grad():
                next(trainer.segmenter.decoder.parameters()).view(-1)[0] = float("nan")

    return on_step


def test_weights_that_are_not_finite_never_replace_a_good_checkpoint(fit, reference, tmp_path):
    config = CONFIG.replace(checkpoint_every=1, log_every=0, eval_every=0)
    with pytest.raises(TrainingError, match="weights are not finite after step 3"):
        fit(config, tmp_path, on_step=spoil(3))
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 2
    assert not (tmp_path / "model.safetensors").exists()
    assert same(weights(fit(config, tmp_path, resume=True)), weights(reference[0]))


def test_a_loss_that_is_not_finite_stops_the_run(fit):
    with pytest.raises(TrainingError, match=r"loss total is nan at step 3; start again .* lower lr or grad_clip"):
        fit(CONFIG.replace(checkpoint_every=0), on_step=spoil(2))


def test_an_exploding_run_returns_no_model(fit):
    with pytest.raises(TrainingError, match="not finite"):
        fit(CONFIG.replace(optimizer="sgd", lr=1e38, grad_clip=1e30, steps=2, log_every=0, eval_every=0))


def test_a_part_that_dies_is_warned_of(tiny_birds):
    trainer = Trainer(CONFIG, "cpu", tiny_birds)
    with torch.no_grad():  # the decoder's last features are positive: part 2 wins everywhere
        trainer.segmenter.decoder.classify.weight.copy_(-torch.ones_like(trainer.segmenter.decoder.classify.weight))
        trainer.segmenter.decoder.classify.weight[1] = 1
    with pytest.warns(UserWarning, match=r"step 0: part 1, 3, 4 holds less than 1% of the foreground"):
        values = trainer.evaluate()
    assert [values[f"share_{k}"] for k in range(1, 5)] == [0, 1, 0, 0]


def test_only_dead_parts_are_warned_of(reference):
    result, messages = reference
    dying = [
        entry["step"]
        for entry in result.log
        if "share_1" in entry and min(entry[f"share_{k}"] for k in range(1, 5)) < DEAD_SHARE
    ]
    assert [int(m.split()[1][:-1]) for m in messages if m.startswith("step")] == dying


def test_evaluation_leaves_training_mode_as_it_was(tiny_birds):
    trainer = Trainer(CONFIG.replace(batchnorm="train"), "cpu", tiny_birds)
    before = {name: module.training for name, module in trainer.segmenter.named_modules()}
    trainer.evaluate()
    assert {name: module.training for name, module in trainer.segmenter.named_modules()} == before
    assert all(before.values())


def test_without_validation_images_nothing_is_evaluated(fit, tiny_birds, reference):
    result = fit(datasets=(tiny_birds[0], None))
    assert same(weights(result), weights(reference[0]))
    assert not any("share_1" in entry for entry in result.log)


def test_learning_rates_fall_as_a_power_of_the_steps_left(fit):
    rates = []

    def on_step(trainer, terms):
        rates.append([group["lr"] for group in trainer.optimizer.param_groups])

    fit(CONFIG.replace(steps=4, lr=0.01, backbone_lr=0.002, poly_power=2.0), on_step=on_step)
    for step, (backbone, decoder) in enumerate(rates):
        assert decoder == pytest.approx(0.01 * (1 - step / 4) ** 2)
        assert backbone == pytest.approx(0.002 * (1 - step / 4) ** 2)


def test_a_growing_visual_weight_is_that_of_the_step_also_after_an_interruption(fit, tmp_path):
    config = CONFIG.replace(visual=2.0, visual_end=32.0, log_every=1)
    whole = fit(config)
    for entry in whole.log:
        weights_then = {name: getattr(config, name) for name in LOSSES} | {"visual": 2.0 * 2 ** (entry["step"] - 1)}
        assert entry["total"] == pytest.approx(sum(w * entry[name] for name, w in weights_then.items()), rel=1e-5)
    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path, on_step=stop_at(2, KeyboardInterrupt))
    resumed = fit(config, tmp_path, resume=True)
    assert same(weights(resumed), weights(whole))
    assert resumed.log == whole.log


def test_gradients_are_clipped_to_the_norm(tiny_birds):
    trainer = Trainer(CONFIG.replace(optimizer="sgd", lr=0.1, backbone_lr=0.1, grad_clip=0.05), "cpu", tiny_birds)
    before = [p.detach().clone() for p in trainer.segmenter.parameters()]
    trainer.advance()
    change = [(p.detach() - b).square().sum() for p, b in zip(trainer.segmenter.parameters(), before, strict=True)]
    assert torch.stack(change).sum().sqrt().item() == pytest.approx(0.1 * 0.05, rel=1e-3)


def test_load_or_train_trains_once_and_then_loads(tiny_birds, tmp_path, monkeypatch):
    monkeypatch.setenv("PARTLIB_RUNS", str(tmp_path))
    config, steps = CONFIG.replace(steps=2), []
    options = {"datasets": tiny_birds, "progress": False, "on_step": lambda trainer, terms: steps.append(trainer.step)}
    first = load_or_train(config, **options)
    assert steps == [1, 2]
    assert first.out == tmp_path / f"birds-k4-{config.digest()}"
    second = load_or_train(config, **options)
    assert steps == [1, 2]
    assert same(weights(second), weights(first))
    assert (second.log, second.config, second.out) == (first.log, config, first.out)
    assert not second.segmenter.training
    load_or_train(config.replace(seed=5), **options)
    assert steps == [1, 2, 1, 2]


def test_load_or_train_goes_on_with_an_interrupted_run(tiny_birds, reference, tmp_path):
    options = {"datasets": tiny_birds, "progress": False, "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        load_or_train(CONFIG, tmp_path, **options, on_step=stop_at(3, KeyboardInterrupt))
    steps = []
    result = load_or_train(CONFIG, tmp_path, **options, on_step=lambda trainer, terms: steps.append(trainer.step))
    assert steps == [4]
    assert same(weights(result), weights(reference[0]))


def test_load_or_train_is_content_with_a_model_alone(reference, tiny_birds, tmp_path):
    (tmp_path / "model.safetensors").write_bytes((reference[0].out / "model.safetensors").read_bytes())
    result = load_or_train(CONFIG, tmp_path, datasets=tiny_birds, on_step=stop_at(1, AssertionError("it trains")))
    assert same(weights(result), weights(reference[0]))
    assert result.log == []


def test_load_or_train_refuses_a_folder_of_another_run(reference, tiny_birds):
    with pytest.raises(ConfigError, match="seed is 0 there and 3 here"):
        load_or_train(CONFIG.replace(seed=3), reference[0].out, datasets=tiny_birds)
    with pytest.raises(ConfigError, match="other images"):
        load_or_train(CONFIG, reference[0].out, datasets=(tiny_birds[0].subset([0, 1, 2, 3]), None))
