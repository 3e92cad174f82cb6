"""A run: the same numbers every time, whatever interrupts it; nothing that cannot be used is ever saved."""

import csv
import json
import os
import shutil
import signal
import threading
import warnings
from pathlib import Path

import pytest
import torch

from partlib import TrainConfig, load_or_train, train
from partlib.config import LOSSES
from partlib.errors import ConfigError
from partlib.runs import DEAD_SHARE, look_at
from partlib.runs.build import Recipe, build_trainer
from partlib.runs.checkpoint import load_checkpoint, load_model
from partlib.training import TrainingError

CONFIG = TrainConfig(
    **{"arch": "fpn_lite0", "views": 0, "image_size": 32, "feature_size": 32, "num_parts": 4, "starts": 1},
    **{"batch_size": 4, "steps": 4},
    **{"lambda_feature": 5.0, "lambda_visual": 2.0, "lambda_contrastive": 0.5, "lambda_equivariance": 0.5},
    **{"lambda_visual_end": 8.0, "backbone_lr": 1e-4, "eval_every": 2, "log_every": 3, "checkpoint_every": 2},
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


# --- numbers and files -----------------------------------------------------------------------------------------------


def test_same_seed_same_numbers_also_outside_the_main_thread(fit, reference):
    results = []
    thread = threading.Thread(target=lambda: results.append(fit()))
    thread.start()
    thread.join()
    assert same(weights(results[0]), weights(reference[0]))
    assert results[0].log == reference[0].log


@pytest.mark.parametrize("change", [{"seed": 1}, {"lambda_visual": 0.0}, {"temperature": 0.5}])
def test_another_configuration_gives_other_numbers(change, fit, reference):
    other = fit(CONFIG.replace(**change, steps=2))
    assert all(value.isfinite().all() for value in weights(other).values())
    assert other.log[0]["total"] != reference[0].log[0]["total"]


def test_how_often_it_is_evaluated_logged_and_saved_changes_nothing(fit, reference, tmp_path, tiny_birds):
    config = CONFIG.replace(eval_every=0, log_every=1, checkpoint_every=0)
    other = fit(config, tmp_path, datasets=(tiny_birds[0], None))
    assert same(weights(other), weights(reference[0]))
    names = ("step", "lr", "total", *LOSSES)
    shared = {entry["step"]: {name: entry[name] for name in names} for entry in reference[0].log}
    assert [entry for entry in other.log if entry["step"] in shared] == list(shared.values())


def test_files_of_a_run(reference):
    result, _ = reference
    names = ["checkpoint.pt", "config.json", "log.csv", "model.safetensors"]
    assert sorted(f.name for f in result.out.iterdir()) == names
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
        weight = {name: CONFIG.weight(name) for name in LOSSES} | {"visual": 2 * 4 ** ((entry["step"] - 1) / 4)}
        assert entry["total"] == pytest.approx(sum(weight[name] * entry[name] for name in LOSSES), rel=1e-5)


# --- interruptions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_interrupted_at_any_step_it_goes_on_from_its_last_checkpoint_and_ends_the_same(
    step, fit, reference, tmp_path, capsys
):
    with pytest.raises(KeyboardInterrupt):
        fit(out=tmp_path, on_step=stop_at(step, KeyboardInterrupt))
    assert f"interrupted; --resume --out {tmp_path} goes on from the last checkpoint" in capsys.readouterr().out
    seen = []
    resumed = fit(out=tmp_path, resume=True, on_step=lambda trainer, terms: seen.append(trainer.step))
    assert seen == [1, 2, 3, 4][2 * (step > 2) :]
    assert same(weights(resumed), weights(reference[0]))
    assert resumed.log == reference[0].log


def test_interrupted_in_the_middle_of_a_step_killed_and_interrupted_again_it_ends_the_same(fit, reference, tmp_path):
    config = CONFIG.replace(checkpoint_every=1)

    def press(trainer, terms):
        if trainer.step == 2:  # the next call of the optimizer presses Ctrl-C before the step is counted
            trainer.optimizer.register_step_post_hook(lambda *_: os.kill(os.getpid(), signal.SIGINT))

    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path, on_step=press)
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 2
    with pytest.raises(RuntimeError, match="killed"):
        fit(config, tmp_path, resume=True, on_step=stop_at(4, RuntimeError("killed")))
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 3
    resumed = fit(config, tmp_path, resume=True)
    assert same(weights(resumed), weights(reference[0]))
    assert resumed.log == reference[0].log


def test_trials_of_several_starts_are_not_lost(fit, tmp_path):
    config, tried = CONFIG.replace(starts=2, trial_steps=1, log_every=1, eval_every=0), []

    class Counting(Recipe):
        def segmenter(self, start=0):
            tried.append(start)
            return super().segmenter(start)

    whole = fit(config)
    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path, on_step=stop_at(2, KeyboardInterrupt))
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 1
    resumed = fit(config, tmp_path, resume=True, recipe=Counting)
    assert tried == [0]  # the network that takes the weights
    assert same(weights(resumed), weights(whole))
    assert resumed.log == whole.log


@pytest.mark.parametrize("stop", [3, 5])
def test_a_run_of_two_phases_goes_on_in_either(stop, fit, tmp_path):
    sizes = {"loss_size": 16, "refine_steps": 3, "refine_batch_size": 2}
    config = CONFIG.replace(views=1, **sizes, log_every=1, eval_every=0, checkpoint_every=1)
    whole, seen = fit(config), []

    def stopping(trainer, terms):
        seen.append(trainer.step)
        if len(seen) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path, on_step=stopping)
    resumed = fit(config, tmp_path, resume=True)
    assert [entry["step"] for entry in resumed.log] == [1, 2, 3, 4, 5, 6, 7]
    assert resumed.log == whole.log
    assert same(weights(resumed), weights(whole))
    found = fit(config.replace(refine_steps=0))  # the first phase alone: the encoder stays ImageNet's
    changed = [name for name, tensor in weights(found).items() if not torch.equal(tensor, weights(whole)[name])]
    assert any(name.startswith("encoder.") for name in changed)
    assert found.log == whole.log[:4]


def test_a_frozen_encoder_is_not_saved_with_the_model(fit, tmp_path):
    config = CONFIG.replace(views=1, loss_size=16, eval_every=0)
    result = fit(config, tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size < 300_000
    segmenter, saved = load_model(tmp_path)
    assert saved == config
    assert same(segmenter.state_dict(), weights(result))


def test_bookkeeping_may_change_on_resume(fit, reference, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(out=tmp_path, on_step=stop_at(3, KeyboardInterrupt))
    resumed = fit(CONFIG.replace(eval_every=0, log_every=1, checkpoint_every=0), tmp_path, resume=True)
    assert same(weights(resumed), weights(reference[0]))


def test_a_finished_run_is_left_as_it_is_by_resume(fit, reference):
    seen = []
    resumed = fit(out=reference[0].out, resume=True, on_step=lambda *_: seen.append(1))
    assert not seen
    assert same(weights(resumed), weights(reference[0]))


def test_a_second_run_in_the_same_folder_is_refused_while_the_first_is_at_work(fit, tmp_path):
    def begin_another(trainer, terms):
        if trainer.step == 1:
            with pytest.raises(ConfigError, match=f"{tmp_path / 'run'}: another run is at work here"):
                fit(out=tmp_path / "run", resume=True)

    fit(out=tmp_path / "run", on_step=begin_another)
    fit(out=tmp_path / "run", resume=True)  # nobody is at work any more
    assert not (tmp_path / "run" / ".lock").exists()


def test_a_model_without_its_checkpoint_is_not_overwritten(fit, reference, tmp_path):
    kept = shutil.copy(reference[0].out / "model.safetensors", tmp_path)
    before = Path(kept).read_bytes()
    for resume in (False, True):
        with pytest.raises(ConfigError, match="holds a model, and no checkpoint to go on from"):
            fit(out=tmp_path, resume=resume)
    assert Path(kept).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_folder_with_another_run_is_refused_naming_what_is_different(fit, reference, tiny_birds):
    folder = reference[0].out
    with pytest.raises(ConfigError, match="holds a run already; pass --resume"):
        fit(out=folder)
    changed = CONFIG.replace(lr=0.5, num_parts=3, log_every=1)
    with pytest.raises(ConfigError, match=r"num_parts is 4 there and 3 here; lr is 0.001 there and 0.5 here") as caught:
        fit(changed, folder, resume=True)
    assert "log_every" not in str(caught.value)
    with pytest.raises(ConfigError, match="was trained on other images"):
        fit(out=folder, resume=True, datasets=(tiny_birds[0].subset(range(8)), None))


# --- what goes wrong -------------------------------------------------------------------------------------------------


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


def test_a_run_that_explodes_stops_and_returns_no_model(fit):
    with pytest.raises(TrainingError, match=r"loss total is nan at step 3; start again .* lower lr"):
        fit(CONFIG.replace(checkpoint_every=0), on_step=spoil(2))
    with pytest.raises(TrainingError, match="weights are not finite after step 4"):
        fit(CONFIG.replace(checkpoint_every=0, log_every=0, eval_every=0), on_step=spoil(4))


def test_a_part_that_dies_is_warned_of_and_training_mode_stays(tiny_birds):
    trainer = build_trainer(CONFIG, "cpu", tiny_birds[0])
    classify = trainer.segmenter.decoder.classify
    with torch.no_grad():  # the decoder's last features are positive: part 2 wins everywhere
        classify.weight.copy_(-torch.ones_like(classify.weight))
        classify.weight[1] = 1
    before = {name: module.training for name, module in trainer.segmenter.named_modules()}
    with pytest.warns(UserWarning, match=r"step 0: part 1, 3, 4 holds less than 1% of the foreground"):
        values = look_at(trainer, tiny_birds[1])
    assert [values[f"share_{k}"] for k in range(1, 5)] == [0, 1, 0, 0]
    assert {name: module.training for name, module in trainer.segmenter.named_modules()} == before
    assert before["decoder"]
    assert look_at(trainer, None) == {}


def test_only_dead_parts_are_warned_of(reference):
    result, messages = reference
    dying = [
        entry["step"]
        for entry in result.log
        if "share_1" in entry and min(entry[f"share_{k}"] for k in range(1, 5)) < DEAD_SHARE
    ]
    assert [int(m.split()[1][:-1]) for m in messages if m.startswith("step")] == dying


# --- load_or_train ---------------------------------------------------------------------------------------------------


def test_load_or_train_trains_once_and_then_loads(tiny_birds, tmp_path, monkeypatch):
    monkeypatch.setenv("PARTLIB_RUNS", str(tmp_path))
    config, steps = CONFIG.replace(steps=2), []
    options = {"datasets": tiny_birds, "progress": False, "on_step": lambda trainer, terms: steps.append(trainer.step)}
    first, second = load_or_train(config, **options), load_or_train(config, **options)
    assert steps == [1, 2]
    assert first.out == tmp_path / f"birds-k4-{config.digest()}"
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
    assert steps == [3, 4]
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
