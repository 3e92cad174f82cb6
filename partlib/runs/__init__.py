"""A run from start to folder: train, resume, load."""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from partlib import distributed
from partlib.config import TrainConfig
from partlib.data import PartDataset
from partlib.errors import ConfigError
from partlib.evaluation import evaluate
from partlib.metrics import part_share
from partlib.paths import claim, locked, runs_dir, write_atomically
from partlib.runs import checkpoint
from partlib.runs.build import Recipe, Runtime, build_trainers, pick_device, release_memory
from partlib.runs.starts import race
from partlib.segmenter import PartSegmenter
from partlib.training import Trainer, TrainingError

DEAD_SHARE = 0.01  # a part that holds less of the foreground than this is called dead
Log = list[dict[str, float]]


@dataclass
class TrainResult:
    """What a run produced."""

    segmenter: PartSegmenter  # in eval mode
    config: TrainConfig
    log: Log  # per logged step: step, lr, losses and, where evaluated, scores and shares
    out: Path | None  # its folder, if there is one


def train(
    config: TrainConfig,
    out: str | Path | None = None,  # folder of config.json, log.csv, checkpoint.pt and model.safetensors; None for none
    *,
    resume: bool = False,  # go on from the checkpoint in ``out``, if there is one
    device: str = "auto",
    progress: bool = True,
    datasets: tuple[PartDataset, PartDataset | None] | None = None,  # train and val instead of those of ``config``
    on_step: Callable[[Trainer, dict[str, Tensor]], None] | None = None,  # called after every step with its losses
    runtime: Runtime | None = None,
    recipe: type[Recipe] = Recipe,  # makes the parts; partlib.paper.release.PaperRecipe for the preset "paper"
) -> TrainResult:
    """Train a part segmenter; in several processes at once inside :func:`partlib.distributed.processes`."""
    folder = None if out is None else Path(out)
    try:
        with locked(folder if distributed.rank() == 0 else None):
            return _train(config, folder, resume, device, progress, datasets, on_step, runtime, recipe)
    finally:
        release_memory()


def _train(
    config: TrainConfig,
    folder: Path | None,
    resume: bool,
    device: str,
    progress: bool,
    datasets: tuple[PartDataset, PartDataset | None] | None,
    on_step: Callable[[Trainer, dict[str, Tensor]], None] | None,
    runtime: Runtime | None,
    recipe: type[Recipe],
) -> TrainResult:
    written = folder if distributed.rank() == 0 else None
    state = distributed.broadcast_object(lambda: _saved_state(folder, resume))
    own, val_set = datasets or (None, recipe(config).dataset("val"))
    log: Log = [] if state is None else state["log"]
    weights: dict[str, Tensor] | None = None  # of the phase before
    phases = config.phases()

    def save(trainer: Trainer, phase: int) -> None:
        state = trainer.state()  # raises where a weight is not finite
        if written is not None:
            images = trainer.loader.batches.dataset
            state |= {"config": config.to_dict(), "data": images.fingerprint(), "phase": phase, "log": log}
            checkpoint.save_checkpoint(written / "checkpoint.pt", state)
            if log:  # to be watched while the run goes on
                write_atomically(written / "log.csv", lambda p: pd.DataFrame(log).to_csv(p, index=False))

    first = state.get("phase", 0) if state is not None else 0
    for number, phase in list(enumerate(phases))[first:]:
        # The parts of the run
        before = sum(earlier.steps for earlier in phases[:number])
        phase = phase if state is None else phase.replace(starts=1)
        trainers = build_trainers(phase, device, own, runtime, recipe)
        trainer = trainers[0]
        # Go on where an earlier run or phase stopped, or choose where to start from
        if state is not None and folder is not None:
            _check(state, config, trainer.loader.batches.dataset, folder / "checkpoint.pt")
            trainer.load_state(state)
            state = None
        elif weights is not None:
            trainer.segmenter.load_state_dict(weights)
        elif len(trainers) > 1:
            trainer, losses = race(trainers, config, progress)
            every = config.log_every or math.inf
            log.extend(_entry(n, trainer, terms) for n, terms in enumerate(losses, start=1) if n % every == 0)
            save(trainer, number)  # the race is not lost
        if written is not None:
            checkpoint.write_json(written / "config.json", config.to_dict())
        # The steps
        try:
            for terms in _steps(trainer, phase, before, val_set, log, progress):
                if on_step is not None:
                    on_step(trainer, terms)
                if config.checkpoint_every and trainer.step % config.checkpoint_every == 0:
                    save(trainer, number)
        except KeyboardInterrupt:
            if written is not None:
                print(f"interrupted; --resume --out {folder} goes on from the last checkpoint")
            raise
        save(trainer, number)
        weights = trainer.segmenter.state_dict()
    # What is left of it
    segmenter = trainer.segmenter.eval()
    if written is not None:
        checkpoint.save_model(written / "model.safetensors", segmenter, config)
    return TrainResult(segmenter, config, log, folder)


def _saved_state(folder: Path | None, resume: bool) -> dict[str, Any] | None:
    """The checkpoint to go on from, if there is one."""
    if folder is None or not (folder / "checkpoint.pt").exists():
        if folder is not None and (folder / "model.safetensors").exists():
            raise ConfigError(f"{folder} holds a model, and no checkpoint to go on from; pass another --out to keep it")
        if folder is not None:
            claim(folder, "checkpoint.pt", "config.json")  # the latter of a run that was killed early
        return None
    if not resume:
        raise ConfigError(f"{folder} holds a run already; pass --resume to go on with it, or another --out")
    return checkpoint.load_checkpoint(folder / "checkpoint.pt")


def _check(state: dict[str, Any], config: TrainConfig, train_set: PartDataset, source: Path) -> None:
    """Refuse a checkpoint of another configuration or of other images."""
    changed = TrainConfig.from_dict(state["config"]).differences(config)
    if changed:
        listed = "; ".join(f"{k} is {there!r} there and {here!r} here" for k, (there, here) in changed.items())
        raise ConfigError(f"{source} was trained with another configuration: {listed}; use another --out")
    if state.get("data") != train_set.fingerprint():
        raise ConfigError(f"{source} was trained on other images than {train_set.name} has here; use another --out")


def _steps(
    trainer: Trainer, config: TrainConfig, before: int, val_set: PartDataset | None, log: Log, progress: bool
) -> Iterator[dict[str, Tensor]]:
    """Run the trainer to its end, ``before`` steps of the run lie behind it; yields the losses of every step."""

    def due(every: int) -> bool:
        return every > 0 and (trainer.step % every == 0 or trainer.step == config.steps)

    options: dict[str, Any] = {"total": config.steps, "initial": trainer.step, "shown": progress}
    with distributed.progress_bar(desc="refining" if before else "training", **options) as bar:
        while trainer.step < config.steps:
            terms = trainer.advance()
            if due(config.log_every) or due(config.eval_every):  # reading a loss waits for the device
                entry = _entry(before + trainer.step, trainer, terms)
                if due(config.eval_every):
                    entry |= look_at(trainer, val_set)
                log.append(entry)
                bar.set_postfix({name: f"{entry[name]:.3f}" for name in terms})
            bar.update()
            yield terms


def _entry(step: int, trainer: Trainer, terms: dict[str, Tensor]) -> dict[str, float]:
    """A row of the log; refused where a loss is not finite."""
    entry: dict[str, float] = {"step": step, "lr": trainer.optimizer.param_groups[-1]["lr"]}
    entry |= dict(zip(terms, distributed.all_reduce_mean(torch.stack(list(terms.values()))).tolist(), strict=True))
    for name, value in entry.items():
        if not math.isfinite(value):  # no later step can mend it
            problem = f"loss {name} is {value} at step {step}"
            raise TrainingError(f"{problem}; start again in another folder with a lower lr")
    return entry


def look_at(trainer: Trainer, val_set: PartDataset | None) -> dict[str, float]:
    """Part shares, and scores where the validation split has parts: for the eye, never for selection."""
    if val_set is None or len(val_set) == 0 or distributed.rank() > 0:
        return {}
    labels, scores = evaluate(trainer.segmenter, val_set)
    shares = part_share(labels, trainer.segmenter.num_parts).tolist()
    dead = ", ".join(str(k) for k, share in enumerate(shares, start=1) if share < DEAD_SHARE)
    if dead:
        found = f"step {trainer.step}: part {dead} holds less than {DEAD_SHARE:.0%} of the foreground; it is dead or"
        warnings.warn(f"{found} dying (raise the feature weight or lower contrastive and equivariance)", stacklevel=2)
    values = {f"share_{k}": share for k, share in enumerate(shares, start=1)}
    return values | {f"val_{name}": value for name, value in scores.items()}


def load_or_train(config: TrainConfig, out: str | Path | None = None, **options: Any) -> TrainResult:
    """:func:`train` with its ``options`` once, load ever after; the folder is named after ``config``, runs go on."""
    folder = Path(out) if out is not None else runs_dir() / f"{config.data}-k{config.num_parts}-{config.digest()}"
    found = checkpoint.load_model(folder) if (folder / "model.safetensors").is_file() else None
    if found is None or found[1].digest() != config.digest():
        return train(config, folder, resume=True, **options)
    saved, log = folder / "checkpoint.pt", []
    if saved.is_file():  # a model alone, as somebody else may have sent it, is enough
        state = checkpoint.load_checkpoint(saved)
        if options.get("datasets"):
            _check(state, config, options["datasets"][0], saved)
        log = state["log"]
    return TrainResult(found[0].to(pick_device(options.get("device", "auto"))), config, log, folder)
